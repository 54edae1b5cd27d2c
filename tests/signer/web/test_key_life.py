"""The life of a key over HTTP: policy, rotation, disabling, deletion, and what each state allows."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest

from signer.access.short_form import document_of
from tests.signer.web.refusal import assert_refused

if TYPE_CHECKING:
    from tests.signer.service import ServiceInProcess

MESSAGE: Final = {"message": "AAAA"}
TOKENS: Final[dict[str, object]] = {"purpose": "jwt", "audiences": ["https://api.example"], "max_ttl": 600}
ASSERTIONS: Final[dict[str, object]] = {
    "purpose": "saml",
    "audiences": ["https://sp.example"],
    "recipients": ["https://sp.example/acs"],
}
WAIT: Final = timedelta(seconds=900)  # max-age + 600 s


def make(service: ServiceInProcess, **members: object) -> str:
    body = {"spec": "ECC_NIST_P256", "purpose": "general", "users": ["role/ci"], **members}
    return str(service.made("user/key-admin", "POST", "/v1/keys", body)["id"])


def administer(service: ServiceInProcess, key: str, call: str, body: object = None) -> Any:
    return service.made("user/key-admin", "POST", f"/v1/keys/{key}/{call}", body)


def states(description: dict[str, Any]) -> list[tuple[int, str]]:
    return [(version["version"], version["state"]) for version in description["versions"]]


# policy


def test_a_policy_is_replaced_and_counted(service: ServiceInProcess) -> None:
    key = make(service)
    path = f"/v1/keys/{key}/policy"
    first = service.made("user/key-admin", "GET", path)
    body = {"administrators": ["user/other-key-admin", "user/key-admin"], "users": ["role/other", "role/other"]}
    second = service.made("user/key-admin", "PUT", path, body)
    assert second == {
        "policy": document_of(body["administrators"], body["users"], "000000000000"),
        "short_form": True,
        "administrators": ["user/key-admin", "user/other-key-admin"],
        "users": ["role/other"],
        "revision": first["revision"] + 1,
    }
    assert service.made("user/other-key-admin", "GET", path) == second
    assert service.made("role/other", "GET", f"/v1/keys/{key}")["policy_revision"] == second["revision"]
    assert service.call("role/ci", "POST", f"/v1/keys/{key}/signatures", MESSAGE).status_code == 404
    assert service.call("role/other", "POST", f"/v1/keys/{key}/signatures", MESSAGE).status_code == 200


def test_a_key_may_be_handed_over_and_is_then_out_of_sight(service: ServiceInProcess) -> None:
    key = make(service)
    body = {"administrators": ["user/other-key-admin"], "users": []}
    service.made("user/key-admin", "PUT", f"/v1/keys/{key}/policy", body)
    assert service.call("user/key-admin", "GET", f"/v1/keys/{key}").status_code == 404
    assert service.call("user/key-admin", "PUT", f"/v1/keys/{key}/policy", body).status_code == 404


@pytest.mark.parametrize(
    ("administrators", "users", "field"),
    [
        ([], ["role/ci"], "administrators"),  # nobody could ever change it again
        (["user/nobody"], [], "administrators"),
        (["role/ci"], [], "administrators"),
        (["user/admin"], [], "administrators"),
        (["user/key-admin"], ["user/auditor"], "users"),
        (["user/key-admin"], ["user/key-admin"], "users"),
        (["user/key-admin"], ["role/nobody"], "users"),
    ],
)
def test_a_policy_that_locks_out_or_mixes_duties_is_refused(
    service: ServiceInProcess, administrators: list[str], users: list[str], field: str
) -> None:
    key = make(service)
    path = f"/v1/keys/{key}/policy"
    before = service.made("user/key-admin", "GET", path)
    body = {"administrators": administrators, "users": users}
    assert_refused(service.call("user/key-admin", "PUT", path, body), 422, "unprocessable", field)
    assert service.made("user/key-admin", "GET", path) == before


def test_deleted_people_are_named_in_no_new_policy(service: ServiceInProcess) -> None:
    service.made("user/admin", "POST", "/v1/principals", {"name": "role/left", "duty": "key-user"})
    service.made("user/admin", "POST", "/v1/principals", {"name": "user/left", "duty": "key-administrator"})
    key = make(service, users=["role/left"], administrators=["user/left"])
    for name in ("role/left", "user/left"):
        service.made("user/admin", "DELETE", f"/v1/principals/{name}")
    for body, field in (
        ({"administrators": ["user/left"], "users": []}, "administrators"),
        ({"administrators": ["user/key-admin"], "users": ["role/left"]}, "users"),
    ):
        answer = service.call("user/key-admin", "PUT", f"/v1/keys/{key}/policy", body)
        assert_refused(answer, 422, "unprocessable", field)


# rotation


@pytest.mark.parametrize("members", [{"purpose": "artifact"}, {"purpose": "general"}])
def test_a_new_version_signs_at_once_where_nobody_caches_keys(
    service: ServiceInProcess, members: dict[str, object]
) -> None:
    key = make(service, **members)
    rotated = administer(service, key, "rotate")
    assert states(rotated) == [(1, "retired"), (2, "active")]
    assert rotated["versions"][0]["kid"] != rotated["versions"][1]["kid"]
    assert rotated == service.made("role/ci", "GET", f"/v1/keys/{key}")


@pytest.mark.parametrize("members", [TOKENS, ASSERTIONS])
def test_a_new_version_waits_until_clients_know_it(service: ServiceInProcess, members: dict[str, object]) -> None:
    key = make(service, **members)
    before = datetime.now(UTC)
    rotated = administer(service, key, "rotate", {})
    after = datetime.now(UTC)
    assert states(rotated) == [(1, "active"), (2, "pending")]
    assert before + WAIT <= datetime.fromisoformat(rotated["versions"][1]["activate_at"]) <= after + WAIT
    at_once = administer(service, key, "rotate", {"now": True})
    # The version that was overtaken before it began never signs.
    assert states(at_once) == [(1, "retired"), (2, "retired"), (3, "active")]


def test_the_pending_version_does_not_sign_and_the_one_made_now_does(service: ServiceInProcess) -> None:
    key = make(service, **TOKENS)
    administer(service, key, "rotate")

    def issued() -> tuple[int, str]:
        (result,) = service.made("role/ci", "POST", f"/v1/keys/{key}/jwts", {"claims": {"sub": "s"}})["results"]
        header = result["token"].partition(".")[0]
        return result["key_version"], json.loads(base64.urlsafe_b64decode(header + "=="))["kid"]

    versions = service.made("user/key-admin", "GET", f"/v1/keys/{key}")["versions"]
    assert issued() == (1, versions[0]["kid"])
    versions = administer(service, key, "rotate", {"now": True})["versions"]
    assert issued() == (3, versions[2]["kid"])


def test_public_keys_of_all_versions_stay_to_be_had(service: ServiceInProcess) -> None:
    key = make(service, purpose="artifact")
    path = f"/v1/keys/{key}/public-key"
    first = service.call(None, "GET", path).get_data()
    administer(service, key, "rotate")
    assert service.call(None, "GET", f"{path}?version=1").get_data() == first
    assert service.call(None, "GET", path).get_data() == service.call(None, "GET", f"{path}?version=2").get_data()
    assert service.call(None, "GET", path).get_data() != first
    for absent in ("3", "0", "01", "-1", "x"):
        assert_refused(service.call(None, "GET", f"{path}?version={absent}"), 404, "not_found", "version")


# states


@pytest.fixture
def key(service: ServiceInProcess) -> str:
    return make(service)


def test_a_disabled_key_does_nothing_until_it_is_enabled(service: ServiceInProcess, key: str) -> None:
    assert administer(service, key, "disable")["state"] == "disabled"
    answer = service.call("role/ci", "POST", f"/v1/keys/{key}/signatures", MESSAGE)
    assert "disabled" in assert_refused(answer, 409, "wrong_state")
    for call in ("disable", "rotate", "cancel-deletion"):
        assert_refused(service.call("user/key-admin", "POST", f"/v1/keys/{key}/{call}"), 409, "wrong_state")
    assert service.made("role/ci", "GET", f"/v1/keys/{key}")["state"] == "disabled"
    assert administer(service, key, "enable")["state"] == "enabled"
    assert service.call("role/ci", "POST", f"/v1/keys/{key}/signatures", MESSAGE).status_code == 200
    for call in ("enable", "cancel-deletion"):
        assert_refused(service.call("user/key-admin", "POST", f"/v1/keys/{key}/{call}"), 409, "wrong_state")


def test_a_key_whose_deletion_is_scheduled_does_nothing_and_can_be_kept(service: ServiceInProcess, key: str) -> None:
    before = datetime.now(UTC)
    scheduled = administer(service, key, "schedule-deletion", {"days": 7})
    assert scheduled["state"] == "pending_deletion"
    wait = datetime.fromisoformat(scheduled["deletion_at"]) - before
    assert timedelta(days=7) <= wait < timedelta(days=7, seconds=60)
    answer = service.call("role/ci", "POST", f"/v1/keys/{key}/signatures", MESSAGE)
    assert "pending deletion" in assert_refused(answer, 409, "wrong_state")
    for call in ("disable", "enable", "rotate", "schedule-deletion"):
        assert_refused(service.call("user/key-admin", "POST", f"/v1/keys/{key}/{call}"), 409, "wrong_state")
    kept = administer(service, key, "cancel-deletion")
    assert (kept["state"], kept["deletion_at"]) == ("disabled", None)
    administer(service, key, "enable")
    assert service.call("role/ci", "POST", f"/v1/keys/{key}/signatures", MESSAGE).status_code == 200


@pytest.mark.parametrize("days", [6, 0, -7, 31, 365, "7", 7.5, None])
def test_the_waiting_period_is_7_to_30_days(service: ServiceInProcess, key: str, days: object) -> None:
    answer = service.call("user/key-admin", "POST", f"/v1/keys/{key}/schedule-deletion", {"days": days})
    assert_refused(answer, 422, "malformed_request", "days")
    assert service.made("user/key-admin", "GET", f"/v1/keys/{key}")["state"] == "enabled"


@pytest.mark.parametrize(("body", "days"), [({"days": 7}, 7), ({"days": 30}, 30), ({}, 30), (None, 30)])
def test_the_waiting_period_is_30_days_unless_said(
    service: ServiceInProcess, key: str, body: object, days: int
) -> None:
    before = datetime.now(UTC)
    wait = datetime.fromisoformat(administer(service, key, "schedule-deletion", body)["deletion_at"]) - before
    assert timedelta(days=days) <= wait < timedelta(days=days, seconds=60)


def test_every_change_is_recorded_before_and_after(service: ServiceInProcess, key: str) -> None:
    for call, action in (("disable", "DisableKey"), ("enable", "EnableKey"), ("rotate", "RotateKey")):
        answer = service.call("user/key-admin", "POST", f"/v1/keys/{key}/{call}")
        identifier = answer.headers["X-Request-Id"]
        (intent,) = service.intents(identifier)
        (outcome,) = service.outcomes(identifier)
        assert (intent["action"], intent["principal"], intent["key_id"]) == (action, "user/key-admin", key)
        assert (outcome["intent_id"], outcome["outcome"], outcome["code"]) == (intent["id"], "succeeded", None)
    refused = service.call("user/key-admin", "POST", f"/v1/keys/{key}/enable").headers["X-Request-Id"]
    (outcome,) = service.outcomes(refused)
    assert (outcome["outcome"], outcome["code"]) == ("denied", "wrong_state")


# deletion


def test_a_deleted_key_is_404_everywhere_and_its_alias_is_free(own_service: ServiceInProcess) -> None:
    service = own_service
    bodies: dict[str, dict[str, object]] = {"artifact": {"purpose": "artifact"}, "jwt": TOKENS, "saml": ASSERTIONS}
    keys = {purpose: make(service, alias=f"doomed-{purpose}", **members) for purpose, members in bodies.items()}
    spared = make(service, alias="spared", purpose="artifact")
    kids = {service.made("user/key-admin", "GET", f"/v1/keys/{key}")["versions"][0]["kid"] for key in keys.values()}
    for key in (*keys.values(), spared):
        administer(service, key, "schedule-deletion", {"days": 7})
    administer(service, spared, "cancel-deletion")
    service.services.upkeep.once(datetime.now(UTC) + timedelta(days=6, hours=23))
    assert all(service.call(None, "GET", f"/v1/keys/{key}/public-key").status_code == 200 for key in keys.values())
    service.services.upkeep.once(datetime.now(UTC) + timedelta(days=7, minutes=1))

    absent = service.call("user/key-admin", "GET", "/v1/keys/never-there").get_json()
    for purpose, key in keys.items():
        for reference in (key, f"doomed-{purpose}"):
            for who, method, call, body in (
                ("user/key-admin", "GET", "", None),
                ("role/ci", "GET", "", None),
                ("user/key-admin", "GET", "/policy", None),
                ("user/key-admin", "PUT", "/policy", {"administrators": ["user/key-admin"], "users": []}),
                ("user/key-admin", "POST", "/rotate", None),
                ("user/key-admin", "POST", "/enable", None),
                ("user/key-admin", "POST", "/disable", None),
                ("user/key-admin", "POST", "/schedule-deletion", None),
                ("user/key-admin", "POST", "/cancel-deletion", None),
                ("role/ci", "POST", "/signatures", MESSAGE),
                ("role/ci", "POST", "/jwts", {"claims": {}}),
                (None, "GET", "/public-key", None),
                ("user/key-admin", "GET", "/public-key", None),
                (None, "GET", "/certificate", None),
            ):
                answer = service.call(who, method, f"/v1/keys/{reference}{call}", body)
                assert_refused(answer, 404, "not_found", "key")
        hidden = service.call("user/key-admin", "GET", f"/v1/keys/{key}").get_json()
        assert {**hidden, "request_id": ""} == {**absent, "request_id": ""}
    listed = service.made("user/key-admin", "GET", "/v1/keys")["keys"]
    assert [key["id"] for key in listed] == [spared]
    published = [
        service.call(None, "GET", path).get_data(as_text=True)
        for path in ("/.well-known/jwks.json", "/saml/metadata", "/v1/trust")
    ]
    assert not any(mark in document for document in published for mark in (*keys.values(), *kids))
    assert make(service, alias="doomed-artifact") not in keys.values()
