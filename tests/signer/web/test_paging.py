"""Pages by cursor: every row that the caller may see once, in whatever steps, and none of the others."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.signer.web.refusal import assert_refused

if TYPE_CHECKING:
    from tests.signer.service import ServiceInProcess

KEYS: Final = 25
POLICIES: Final[tuple[list[str], ...]] = (["role/ci"], ["role/other"], ["role/ci", "role/other"], [])


@pytest.fixture(scope="module")
def keys(own_service: ServiceInProcess) -> list[dict[str, Any]]:
    """Keys in turn for one user, the other, both and none; made by two administrators in turn."""
    return [
        own_service.made(
            "user/key-admin" if number % 2 else "user/other-key-admin",
            "POST",
            "/v1/keys",
            {"spec": "ECC_NIST_P256", "purpose": "general", "alias": f"k{number}", "users": POLICIES[number % 4]},
        )
        for number in range(KEYS)
    ]


def pages(service: ServiceInProcess, who: str, path: str, member: str, limit: int | None) -> list[list[Any]]:
    found: list[list[Any]] = []
    query = [] if limit is None else [f"limit={limit}"]
    cursor: list[str] = []
    while True:
        page = service.made(who, "GET", f"{path}?{'&'.join(query + cursor)}")
        assert set(page) == {member, "next_cursor"}
        found.append(page[member])
        if page["next_cursor"] is None:
            return found
        cursor = [f"cursor={page['next_cursor']}"]


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 7, 12, 13, 100, 1000, None])
@pytest.mark.parametrize("who", ["role/ci", "role/other", "user/key-admin", "user/other-key-admin"])
def test_pages_of_keys_hold_each_visible_key_once(
    own_service: ServiceInProcess, keys: list[dict[str, Any]], who: str, limit: int | None
) -> None:
    found = pages(own_service, who, "/v1/keys", "keys", limit)
    expected = {key["id"] for number, key in enumerate(keys) if who in POLICIES[number % 4] or who == key["created_by"]}
    shown = [key["id"] for page in found for key in page]
    assert shown == sorted(expected)
    assert all(len(page) == (limit or 100) for page in found[:-1])
    assert found[-1]  # no empty page at the end
    assert next(key for page in found for key in page) in keys


def test_who_may_see_no_key_gets_an_empty_page(own_service: ServiceInProcess) -> None:
    made = own_service.made("user/admin", "POST", "/v1/principals", {"name": "role/fresh", "duty": "key-user"})
    token = own_service.made(None, "POST", "/v1/enrolments", {"code": made["enrolment_code"]})["token"]
    assert own_service.made(token, "GET", "/v1/keys") == {"keys": [], "next_cursor": None}


@pytest.mark.parametrize("limit", [1, 3, 4, 50])
def test_pages_of_principals_hold_each_once_and_no_deleted_one(own_service: ServiceInProcess, limit: int) -> None:
    for number in range(9):
        name = f"role/p{limit}-{number}"
        own_service.made("user/admin", "POST", "/v1/principals", {"name": name, "duty": "auditor"})
        if number % 3 == 0:
            own_service.made("user/admin", "DELETE", f"/v1/principals/{name}")
    found = pages(own_service, "user/admin", "/v1/principals", "principals", limit)
    names = [principal["name"] for page in found for principal in page]
    assert names == sorted(set(names))
    assert {name for name in names if name.startswith(f"role/p{limit}-")} == {
        f"role/p{limit}-{number}" for number in range(9) if number % 3
    }
    assert {"user/admin", "user/key-admin", "role/ci"} <= set(names)
    members = {"name", "duty", "state", "enabled_until", "created_at", "created_by"}
    assert all(set(one) == members for page in found for one in page)
    assert all(len(page) == limit for page in found[:-1])


@pytest.mark.parametrize("path", ["/v1/keys", "/v1/principals"])
@pytest.mark.parametrize("limit", ["0", "1001", "-1", "1.5", "x", "", "%31%30%30%30%30", "000000001999999", "9" * 5000])
def test_a_page_has_1_to_1000_rows(own_service: ServiceInProcess, path: str, limit: str) -> None:
    who = "user/admin" if path.endswith("principals") else "role/ci"
    assert_refused(own_service.call(who, "GET", f"{path}?limit={limit}"), 422, "malformed_request", "limit")


@pytest.mark.parametrize("query", ["page=2", "limit=1&limit=2", "cursor=a&cursor=b", "Limit=1"])
def test_unknown_and_repeated_parameters_are_refused(own_service: ServiceInProcess, query: str) -> None:
    answer = own_service.call("role/ci", "GET", f"/v1/keys?{query}")
    assert_refused(answer, 422, "malformed_request", query.partition("=")[0])


@pytest.mark.parametrize("cursor", ["!", "a", "====", "%00", base64.urlsafe_b64encode(b"\xff\xfe").decode(), "ü"])
def test_a_cursor_is_one_that_the_service_gave(own_service: ServiceInProcess, cursor: str) -> None:
    answer = own_service.call("role/ci", "GET", f"/v1/keys?cursor={cursor}")
    assert_refused(answer, 422, "malformed_request", "cursor")


def test_a_made_up_cursor_shows_nothing_more(own_service: ServiceInProcess, keys: list[dict[str, Any]]) -> None:
    hidden = min(key["id"] for number, key in enumerate(keys) if number % 4 == 1)
    cursor = base64.urlsafe_b64encode(hidden.encode()).decode()
    page = own_service.made("role/ci", "GET", f"/v1/keys?cursor={cursor}")
    assert all("role/ci" in POLICIES[int(key["alias"][1:]) % 4] for key in page["keys"])
