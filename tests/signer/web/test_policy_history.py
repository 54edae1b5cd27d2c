"""Every version of a key's policy: who, when, what and why; and an earlier one made to count again."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any, Final

import pytest

from keystore.access import Change
from tests.signer.web.refusal import assert_refused

if TYPE_CHECKING:
    from tests.signer.service import ServiceInProcess

KEEPER: Final = "user/key-admin"
OTHER: Final = "user/other-key-admin"
MESSAGE: Final = {"message": "AAAA"}


@pytest.fixture
def key(service: ServiceInProcess) -> str:
    """A key whose policy was made, widened and cut down: at revision 3."""
    made = service.make_key(f"h{uuid.uuid4().hex[:12]}", purpose="general", administrators=[OTHER])
    path = f"/v1/keys/{made['id']}/policy"
    wide = {"administrators": [KEEPER, OTHER], "users": ["role/ci", "role/other"], "reason": "the other pipeline too"}
    service.made(OTHER, "PUT", path, wide)
    service.made(KEEPER, "PUT", path, {"administrators": [KEEPER], "users": ["role/ci"]})
    return str(made["id"])


def versions(service: ServiceInProcess, key: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = service.made(KEEPER, "GET", f"/v1/keys/{key}/policy/versions")["versions"]
    return found


def restore(service: ServiceInProcess, key: str, number: object, who: str = KEEPER, **members: object) -> Any:
    return service.call(who, "POST", f"/v1/keys/{key}/policy/versions/{number}/restore", members)


def test_every_version_is_listed_with_who_when_and_why(service: ServiceInProcess, key: str) -> None:
    listed = versions(service, key)
    assert [(version["revision"], version["created_by"], version["reason"]) for version in listed] == [
        (1, KEEPER, "the key was made"),
        (2, OTHER, "the other pipeline too"),
        (3, KEEPER, ""),
    ]
    assert [version["created_at"] for version in listed] == sorted(version["created_at"] for version in listed)
    path = f"/v1/keys/{key}/policy/versions"
    page = service.made(KEEPER, "GET", f"{path}?limit=2")
    rest = service.made(KEEPER, "GET", f"{path}?limit=2&cursor={page['next_cursor']}")
    assert (page["versions"] + rest["versions"], rest["next_cursor"]) == (listed, None)
    for cursor in ("eA==", "MDE=", "LTE="):
        answer = service.call(KEEPER, "GET", f"{path}?cursor={cursor}")
        assert_refused(answer, 422, "malformed_request", "cursor")


def test_a_version_is_shown_as_it_was_stored(service: ServiceInProcess, key: str) -> None:
    shown = service.made(KEEPER, "GET", f"/v1/keys/{key}/policy/versions/3")
    assert shown["policy"] == json.loads(service.services.keystore.get_key(key).policy.document)
    second = service.made(KEEPER, "GET", f"/v1/keys/{key}/policy/versions/2")
    assert (second["created_by"], second["reason"]) == (OTHER, "the other pipeline too")
    assert "role/other" in json.dumps(second["policy"])
    for revision in ("4", "0", "-1", "01", "x", "1000000000000"):
        answer = service.call(KEEPER, "GET", f"/v1/keys/{key}/policy/versions/{revision}")
        assert_refused(answer, 404, "not_found", "revision")


def test_an_earlier_version_counts_again_as_a_new_one(service: ServiceInProcess, key: str) -> None:
    path = f"/v1/keys/{key}/signatures"
    assert service.call("role/other", "POST", path, MESSAGE).status_code == 404
    answer = restore(service, key, 2, reason="the other pipeline is back")
    assert (answer.status_code, answer.get_json()["revision"]) == (200, 4)
    assert answer.get_json()["users"] == ["role/ci", "role/other"]
    assert service.call("role/other", "POST", path, MESSAGE).status_code == 200
    assert versions(service, key)[3]["reason"] == "the other pipeline is back"
    assert restore(service, key, 3).status_code == 200
    assert versions(service, key)[4]["reason"] == "revision 3 restored"
    first, last = (service.made(KEEPER, "GET", f"/v1/keys/{key}/policy/versions/{at}")["policy"] for at in (3, 5))
    assert first == last
    assert_refused(restore(service, key, 9), 404, "not_found", "revision")


def test_who_is_not_in_the_policy_now_restores_nothing(service: ServiceInProcess, key: str) -> None:
    """That it was in the version to be restored does not count."""
    assert_refused(restore(service, key, 2, OTHER), 404, "not_found", "key")
    assert_refused(restore(service, key, 2, "role/ci"), 403, "duty_forbids")
    assert len(versions(service, key)) == 3


def test_a_version_is_checked_again_before_it_counts(service: ServiceInProcess, key: str) -> None:
    """What was right once may not be now: somebody was deleted since, or has been granted the use."""
    gone = f"role/x{uuid.uuid4().hex[:12]}"
    service.made("user/admin", "POST", "/v1/principals", {"name": gone, "duty": "key-user"})
    path = f"/v1/keys/{key}/policy"
    service.made(KEEPER, "PUT", path, {"administrators": [KEEPER], "users": [gone]})
    service.made(KEEPER, "PUT", path, {"administrators": [KEEPER], "users": []})
    service.made("user/admin", "DELETE", f"/v1/principals/{gone}")
    answer = restore(service, key, 4)
    assert (answer.status_code, answer.get_json()["code"]) == (422, "unprocessable")
    assert gone in answer.get_json()["detail"]
    keystore = service.services.keystore
    before = json.loads(keystore.get_key(key).policy.document)
    before["Statement"][0]["Principal"]["AWS"].append(f"arn:aws:iam::{keystore.account}:role/ci")
    keystore.set_policy(key, json.dumps(before), Change("test", keystore.clock()))
    assert restore(service, key, 5).status_code == 200
    service.made(KEEPER, "POST", f"/v1/keys/{key}/grants", {"grantee": "role/ci", "operations": ["Sign"]})
    assert_refused(restore(service, key, 6), 409, "separation_of_duties", "policy")


def test_a_policy_that_changed_meanwhile_is_not_written_over(service: ServiceInProcess, key: str) -> None:
    assert_refused(restore(service, key, 1, revision=2), 409, "conflict", "revision")
    put = {"administrators": [KEEPER], "users": [], "revision": 2}
    assert_refused(service.call(KEEPER, "PUT", f"/v1/keys/{key}/policy", put), 409, "conflict", "revision")
    assert len(versions(service, key)) == 3


@pytest.mark.parametrize("foreseen", [{}, {"revision": 3}, {"revision": 4}])
def test_who_was_taken_out_meanwhile_does_not_put_itself_back(
    service: ServiceInProcess, key: str, monkeypatch: pytest.MonkeyPatch, foreseen: dict[str, object]
) -> None:
    """Two administrators at the same time: the one whom the other's change takes out was permitted before it. It helps
    nothing to foresee the revision that the other one makes."""
    keystore = service.services.keystore
    document = keystore.get_key(key).policy.document
    separation = type(service.services.policies._separation)
    usual = separation.people

    def meanwhile(self: Any) -> Any:
        monkeypatch.undo()
        keystore.set_policy(key, document.replace(KEEPER, OTHER), Change(OTHER, keystore.clock()))
        return usual(self)

    monkeypatch.setattr(separation, "people", meanwhile)
    put = {"administrators": [KEEPER], "users": ["role/ci"], **foreseen}
    answer = service.call(KEEPER, "PUT", f"/v1/keys/{key}/policy", put)
    assert (answer.status_code, answer.get_json()["code"]) == (409, "conflict")
    if foreseen.get("revision") == 4:  # refused at once
        return
    assert service.call(KEEPER, "GET", f"/v1/keys/{key}/policy").status_code == 404
    assert len(service.made(OTHER, "GET", f"/v1/keys/{key}/policy/versions")["versions"]) == 4


def test_a_lockout_is_not_restored_but_by_saying_so(service: ServiceInProcess, key: str) -> None:
    account = service.services.keystore.account
    mine = {"AWS": f"arn:aws:iam::{account}:{KEEPER}"}
    locked = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": mine, "Action": "kms:DescribeKey", "Resource": "*"}],
    }
    keystore = service.services.keystore
    before = keystore.get_key(key).policy.document
    keystore.set_policy(key, json.dumps(locked), Change("test", keystore.clock()))
    keystore.set_policy(key, before, Change("test", keystore.clock()))
    answer = restore(service, key, 4)
    assert (answer.status_code, answer.get_json()["code"]) == (422, "unprocessable")
    assert "bypass_policy_lockout_safety_check" in answer.get_json()["detail"]
    assert restore(service, key, 4, bypass_policy_lockout_safety_check=True).status_code == 200
    assert service.call(KEEPER, "GET", f"/v1/keys/{key}/policy").status_code == 403
