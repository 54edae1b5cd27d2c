"""Reports and the history of the configuration, at a clock that a test turns."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest

from signer.access.duties import Action
from signer.audit_history import CHANGES
from tests.signer.service import MovedClock, ServiceInProcess, running_service
from tests.signer.web.refusal import assert_refused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keystore.hsm import Token

AUDITOR: Final = "user/auditor"
FILE: Final = {"name": "app", "size": 3, "digests": {"sha256": hashlib.sha256(b"app").hexdigest()}}
CLIENT: Final = {"artifacts": [FILE], "formats": ["cms"]}


@dataclass(frozen=True)
class Place:
    """A service, its clock, which the trail's own does not follow, and what a test has made."""

    service: ServiceInProcess
    clock: MovedClock

    def report(self, query: str = "") -> list[dict[str, Any]]:
        keys: list[dict[str, Any]] = self.service.made(AUDITOR, "GET", f"/v1/audit/report?{query}")["keys"]
        return keys

    def of(self, alias: str, query: str = "") -> dict[str, Any]:
        (shown,) = self.report(f"key={alias}&{query}")
        return shown

    def history(self, query: str = "") -> list[dict[str, Any]]:
        changes: list[dict[str, Any]] = self.service.made(AUDITOR, "GET", f"/v1/audit/history?{query}")["changes"]
        return changes

    def lacking(self, what: str, days: int = 90) -> set[str]:
        return {str(key["alias"]) for key in self.report(f"without={what}&days={days}")}


@pytest.fixture(scope="module")
def place(token: Token, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    clock = MovedClock(datetime.now(UTC))
    with running_service(token, tmp_path_factory.mktemp("report"), clock=clock) as service:
        service.make_key("busy", formats=["cms", "raw"])
        service.make_key("idle", formats=["raw"])
        for _ in range(3):
            service.made("role/ci", "POST", "/v1/keys/busy/artifacts", CLIENT)
        headers = {"Idempotency-Key": "once"}
        for _ in range(2):
            assert service.call("role/ci", "POST", "/v1/keys/busy/artifacts", CLIENT, headers).status_code == 200
        policy = {
            "administrators": ["user/key-admin"],
            "users": ["role/ci", "role/other"],
            "reason": "the new pipeline",
        }
        service.made("user/key-admin", "PUT", "/v1/keys/busy/policy", policy)
        assert service.call("user/admin", "GET", "/v1/keys/busy").status_code == 403
        yield Place(service, clock)


def test_a_key_s_report_says_who_used_it_and_how_often(place: Place) -> None:
    shown = place.of("busy")
    assert (shown["uses"], shown["denied"], shown["failed"]) == (4, 1, 0)  # an answer given again is no use
    by_name = {each["principal"]: each["actions"] for each in shown["principals"]}
    assert [(call["action"], call["outcome"], call["code"], call["count"]) for call in by_name["role/ci"]] == [
        ("SignArtifact", "succeeded", None, 4),
        ("SignArtifact", "succeeded", "repeated", 1),
    ]
    assert [(call["action"], call["code"]) for call in by_name["user/admin"]] == [("DescribeKey", "duty_forbids")]
    assert shown["first_use"] < shown["last_use"]
    assert shown["certificate"]["revoked_at"] is None
    assert (shown["last_rotation"]["version"], shown["policy_revision"], shown["lacks"]) == (1, 2, [])
    assert shown["last_policy_change"]["by"] == shown["last_policy_review"]["by"] == "user/key-admin"
    assert sum(period["uses"] for period in shown["periods"]) == 4
    assert shown["periods"][0]["denied"] == 0  # of use: what was refused was a look at the key


def test_who_may_use_a_key_and_does_not(place: Place) -> None:
    people = {each["principal"]: each for each in place.of("busy")["may_use"]}
    assert set(people) == {"role/ci", "role/other"}
    assert (people["role/ci"]["idle"], people["role/other"]["idle"]) == (False, True)
    assert people["role/other"]["last_use"] is None
    assert people["role/other"]["by"].startswith("the key policy")
    grant = {"grantee": "role/other", "operations": ["SignArtifact"]}
    made = place.service.made("user/key-admin", "POST", "/v1/keys/idle/grants", grant)
    by = {each["principal"]: each["by"] for each in place.of("idle")["may_use"]}
    assert by["role/other"] == f"the grant {made['id']}"


def test_counts_are_of_the_time_asked_for_and_what_was_last_of_all_time(place: Place) -> None:
    last = place.of("busy")["last_use"]
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat().replace("+00:00", "Z")
    shown = place.of("busy", f"from={tomorrow}")
    assert (shown["uses"], shown["denied"], shown["principals"], shown["periods"]) == (0, 0, [], [])
    assert shown["last_use"] == last
    yesterday = (datetime.now(UTC) - timedelta(days=1)).isoformat().replace("+00:00", "Z")
    assert place.of("busy", f"from={yesterday}&to={tomorrow}&per=day")["uses"] == 4


def test_reports_come_in_pages_and_hold_the_authority_s_key_too(place: Place) -> None:
    at_once = [key["key_id"] for key in place.report("limit=1000")]
    paged: list[str] = []
    cursor = ""
    while True:
        page = place.service.made(AUDITOR, "GET", f"/v1/audit/report?limit=1{cursor}")
        paged += [key["key_id"] for key in page["keys"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert paged == at_once
    authority = next(key for key in place.report() if key["purpose"] == "ca")
    assert authority["uses"] >= 3  # its own certificate, and one for each published key


def test_a_question_about_reports_that_makes_no_sense_is_refused(place: Place) -> None:
    for query, field in (("without=love", "without"), ("days=0", "days"), ("days=x", "days"), ("per=hour", "per")):
        refused = place.service.call(AUDITOR, "GET", f"/v1/audit/report?{query}")
        assert_refused(refused, 422, "malformed_request", field)
    for path in ("report?key=none", f"report?key={uuid.uuid4()}"):
        assert_refused(place.service.call(AUDITOR, "GET", f"/v1/audit/{path}"), 404, "not_found", "key")
    refused = place.service.call(AUDITOR, "GET", "/v1/audit/history?of=weather")
    assert_refused(refused, 422, "malformed_request", "of")


def test_the_history_says_who_changed_what_and_to_what(place: Place) -> None:
    (changed,) = place.history("key=busy&of=policies")
    assert (changed["action"], changed["principal"], changed["detail"]) == (
        "PutKeyPolicy",
        "user/key-admin",
        {"revision": 2},
    )
    assert changed["policy"]["reason"] == "the new pipeline"
    assert place.service.made(AUDITOR, "GET", "/v1/keys/busy/policy")["policy"] == changed["policy"]["policy"]
    made = [change for change in place.history("of=keys&key=idle") if change["action"] == "CreateKey"]
    assert made[0]["detail"]["alias"] == "idle"


def test_every_kind_of_change_is_in_the_history(place: Place) -> None:
    service, admin, keys = place.service, "user/admin", "user/key-admin"
    deny = {"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "kms:Sign", "Resource": "*"}]}
    made = service.made(admin, "POST", "/v1/principals", {"name": "role/new", "duty": "key-user"})
    service.made(None, "POST", "/v1/enrolments", {"code": made["enrolment_code"]})
    service.made(admin, "PUT", "/v1/principals/role/new/policies/none", {"policy": deny, "reason": "not yet"})
    service.made(admin, "DELETE", "/v1/principals/role/new/policies/none", {"reason": "now"})
    service.made(admin, "POST", "/v1/principals/role/new/disable")
    service.made("role/ci", "POST", "/v1/principals/role/ci/tokens", {"label": "laptop"})
    key = service.make_key("changing", formats=["raw"])["id"]
    grant = {"grantee": "role/other", "operations": ["SignArtifact"]}
    granted = service.made(keys, "POST", "/v1/keys/changing/grants", grant)
    service.made(keys, "DELETE", f"/v1/keys/changing/grants/{granted['id']}")
    for call in ("rotate", "certificate/renew", "disable", "schedule-deletion"):
        service.made(keys, "POST", f"/v1/keys/changing/{call}", {})
    rule = {"sign": {"approvers": ["user/auditor"], "needed": 1, "window_seconds": 600}}
    service.made(keys, "PUT", "/v1/keys/idle/approval-rule", rule)
    service.made(keys, "POST", "/v1/issuers", {"name": "shop", "url": "https://shop.example"})

    changes = place.history("order=oldest&limit=1000")
    assert [change["time"] for change in changes] == sorted(change["time"] for change in changes)
    of_key = [(change["action"], change["detail"]) for change in changes if change["key_id"] == key]
    assert [action for action, _ in of_key] == [
        *("CreateKey", "CreateGrant", "RevokeGrant", "RotateKey", "RenewCertificate", "DisableKey"),
        "ScheduleKeyDeletion",
    ]
    details = dict(of_key)
    assert (details["RevokeGrant"]["grant"], details["RevokeGrant"]["grantee"]) == (granted["id"], "role/other")
    assert details["RotateKey"]["version"] == 2
    assert details["ScheduleKeyDeletion"]["state"] == "pending_deletion"
    about = [(change["action"], change["subject"]) for change in place.history("principal=role/new&order=oldest")]
    assert about == [
        *(("CreatePrincipal", "role/new"), ("Enrol", "role/new"), ("PutPrincipalPolicy", "role/new")),
        *(("PutPrincipalPolicy", "role/new"), ("UpdatePrincipal", "role/new")),
    ]
    attached = place.history("of=policies&principal=role/new&order=oldest")[0]
    assert (attached["policy"]["policy"], attached["policy"]["reason"]) == (deny, "not yet")
    by_ci = place.history("principal=role/ci&of=credentials")
    assert by_ci[0]["detail"]["label"] == "laptop"
    (ruled,) = place.history("of=policies&key=idle")
    assert ruled["detail"]["sign"]["approvers"] == ["user/auditor"]
    assert [change["detail"]["name"] for change in place.history("of=issuers")] == ["shop"]
    kinds = {change["of"] for change in place.history("limit=1000")}
    assert kinds == set(CHANGES) - {"domains"}  # those are made in ceremonies
    assert {change["outcome"] for change in changes} == {"succeeded"}


def test_what_was_refused_is_no_change(place: Place) -> None:
    before = len(place.history("limit=1000"))
    assert place.service.call("role/ci", "PUT", "/v1/keys/busy/policy", {"users": []}).status_code == 403
    assert len(place.history("limit=1000")) == before


def test_every_action_of_the_history_is_recorded_by_somebody() -> None:
    elsewhere = {"Enrol", "DeleteKey", "DeleteExpiredKeyMaterial"}
    elsewhere |= {"CreateDomain", "RotateDomain", "ExportDomain", "AdoptDomain", "BeginLog"}  # ceremonies
    named = {action for actions in CHANGES.values() for action in actions}
    assert named - elsewhere <= {action.value for action in Action}
    changing = ("Put", "Create", "Update", "Delete", "Revoke", "Rotate", "Enable", "Disable", "Schedule", "Cancel")
    assert {action.value for action in Action if action.value.startswith(changing)} <= named


def test_what_keys_lack_by_the_clock(place: Place) -> None:
    """Last in this module: from here on it is a hundred days later."""
    new = place.service.make_key("younger", formats=["raw"])["id"]
    assert place.lacking("use") == place.lacking("policy-review") == place.lacking("rotation") == set()
    place.clock.move(timedelta(days=100))
    assert {"busy", "idle", "younger"} <= place.lacking("use")
    assert {"busy", "idle"} <= place.lacking("rotation")
    assert place.lacking("use", 101) == set()
    assert place.lacking("certificate") == set()
    place.service.made("user/key-admin", "POST", "/v1/keys/younger/rotate", {"now": True})
    assert "younger" not in place.lacking("rotation")
    assert new in {key["key_id"] for key in place.report("without=use")}
    # Certificates of the built-in authority are for a year; of a key that is not published none is asked for.
    place.service.make_key("hidden", purpose="general", published=False)
    place.clock.move(timedelta(days=400))
    place.service.services.upkeep.once(place.clock())
    assert place.history("of=keys")[0]["action"] == "DeleteKey"
    assert {"busy", "idle"} <= place.lacking("certificate")
    assert "hidden" not in place.lacking("certificate")
