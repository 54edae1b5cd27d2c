"""Approvals as callers meet them: held, shown, approved, released once; and all that releases nothing."""

from __future__ import annotations

import hashlib
import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest

from keystore.api import CredentialRecord, EnrolmentRecord
from keystore.errors import HsmUnavailable, WrongState
from keystore.values import stored_json, stored_time
from signer.authn.principal import CredentialKind, Principal
from tests.signer.certificates.outside import outside_chain
from tests.signer.guarded import (
    ADMINISTRATOR,
    APPROVERS,
    CI,
    EVERYTHING,
    QUORUM,
    Guarded,
    approvers_there,
    artifacts,
    enrolled,
    guarded_key,
)
from tests.signer.service import MovedClock, ServiceInProcess, running_service
from tests.signer.web.refusal import assert_refused

if TYPE_CHECKING:
    from pathlib import Path

    from werkzeug.test import TestResponse

    from keystore.hsm import Token

ALICE, BOB, CAROL = APPROVERS
POLICY: Final = {"administrators": [ADMINISTRATOR], "users": [CI, "role/other"]}


@pytest.fixture(scope="module")
def guarded(own_service: ServiceInProcess) -> Guarded:
    return guarded_key(own_service)


def assert_held(answer: TestResponse) -> None:
    assert_refused(answer, 403, "approval_required")


def assert_not_released(answer: TestResponse) -> str:
    return assert_refused(answer, 403, "approval_invalid", "Sealmark-Approval")


def test_a_call_is_held_released_once_and_recorded(guarded: Guarded) -> None:
    refused = guarded.sign()
    detail = assert_refused(refused, 403, "approval_required")
    assert "approval-requests" in detail
    assert "`artifacts`" in detail
    made = guarded.ask(reason="release 1.2.0")
    assert (made["state"], made["needed"], made["approved_by"]) == ("open", 2, [])
    assert_not_released(guarded.sign(approval=made["id"]))
    guarded.approve(ALICE, made)
    assert_not_released(guarded.sign(approval=made["id"]))
    shown = guarded.approve(BOB, made)
    assert (shown["approved_by"], shown["obstacle"]) == ([ALICE, BOB], None)
    signed = guarded.sign(approval=made["id"])
    assert signed.status_code == 200
    assert "used already" in assert_not_released(guarded.sign(approval=made["id"]))
    seen = guarded.service.made(CI, "GET", f"/v1/approval-requests/{made['id']}")
    assert (seen["state"], seen["closed_by"]) == ("released", CI)
    (intent,) = guarded.service.intents(signed.headers["X-Request-Id"])
    assert (intent["approval"], intent["action"]) == (made["id"], "SignArtifact")
    (denied,) = guarded.service.outcomes(refused.headers["X-Request-Id"])
    assert (denied["outcome"], denied["code"]) == ("denied", "approval_required")


def test_request_votes_and_withdrawal_are_recorded(guarded: Guarded) -> None:
    path = f"/v1/keys/{guarded.key}/approval-requests"
    asked = guarded.service.call(CI, "POST", path, {"operation": "artifacts", "request": artifacts()})
    made = asked.get_json()
    steps = {
        "ApproveRequest": guarded.about(ALICE, made, "approve", {"request_sha256": made["request_sha256"]}),
        "RejectRequest": guarded.about(BOB, made, "reject", {"reason": "not reviewed"}),
        "WithdrawRequest": guarded.about(CI, made, "withdraw"),
        "RequestApproval": asked,
    }
    for action, answer in steps.items():
        (intent,) = guarded.service.intents(answer.headers["X-Request-Id"])
        assert (intent["action"], intent["approval"]) == (action, made["id"])
        (outcome,) = guarded.service.outcomes(answer.headers["X-Request-Id"])
        assert outcome["outcome"] == "succeeded"


def test_approvers_see_what_they_approve_and_can_hash_it_themselves(guarded: Guarded) -> None:
    made = guarded.ask(reason="release 1.2.0")
    shown = guarded.service.made(CAROL, "GET", f"/v1/approval-requests/{made['id']}")
    assert shown["request"] == artifacts()  # file names, sizes, digests and context
    assert (shown["operation"], shown["requester"], shown["reason"]) == ("artifacts", CI, "release 1.2.0")
    assert shown["bound"] == {"key_version": 1, "rule_revision": 1}
    names = (*("id", "key_id", "operation", "requester", "request", "reason", "bound", "created_at", "expires_at"),)
    text = stored_json({name: shown[name] for name in names})
    assert hashlib.sha256(text.encode()).hexdigest() == shown["request_sha256"]
    listed = guarded.service.made(CAROL, "GET", "/v1/approval-requests?state=open&limit=1000")["approval_requests"]
    assert made["id"] in {each["id"] for each in listed}


def test_an_approver_need_not_see_the_key(guarded: Guarded) -> None:
    service = guarded.service
    dana = enrolled(service, f"user/dana-{uuid.uuid4().hex[:8]}", "key-user")
    own = guarded_key(service, {"sign": {**QUORUM, "approvers": [dana, ALICE, BOB]}})
    assert_refused(service.call(dana, "GET", f"/v1/keys/{own.key}"), 404, "not_found", "key")
    assert service.made(dana, "GET", f"/v1/keys/{own.key}/approval-rule")["sign"]["needed"] == 2
    assert service.made(dana, "GET", f"/v1/approval-requests/{own.ask()['id']}")["request"] == artifacts()


def test_an_explanation_says_that_approvers_are_asked(guarded: Guarded) -> None:
    question = {"principal": CI, "action": "SignArtifact", "key": guarded.key, "details": {"sealmark:Format": "raw"}}
    explained = guarded.service.made("user/auditor", "POST", "/v1/access/explain", question)
    real = guarded.sign()
    assert (real.status_code, explained["refusal"]["code"]) == (403, real.get_json()["code"])
    assert (explained["allowed"], explained["steps"][-1]["source"]) == (True, "approval")
    assert "2 of 3 approvers" in explained["why"]


def test_an_auditor_reads_what_people_approve_and_has_no_vote(guarded: Guarded) -> None:
    made = guarded.ask()
    assert guarded.service.made("user/auditor", "GET", f"/v1/approval-requests/{made['id']}")["id"] == made["id"]
    vote = guarded.about("user/auditor", made, "approve", {"request_sha256": made["request_sha256"]})
    assert_refused(vote, 403, "policy_forbids")


def test_an_approval_is_of_what_was_shown(guarded: Guarded) -> None:
    one, other = guarded.ask(), guarded.ask(request=artifacts("2"))
    swapped = guarded.about(ALICE, one, "approve", {"request_sha256": other["request_sha256"]})
    assert_refused(swapped, 409, "conflict", "request_sha256")
    assert_refused(guarded.about(ALICE, one, "approve", {}), 422, "malformed_request", "request_sha256")


@pytest.mark.parametrize("outsider", ["role/other", "user/admin", "user/other-key-admin"])
def test_others_are_told_what_they_would_be_told_of_none(guarded: Guarded, outsider: str) -> None:
    made = guarded.ask()
    there, absent = (
        guarded.service.call(outsider, "GET", f"/v1/approval-requests/{name}").get_json()
        for name in (made["id"], str(uuid.uuid4()))
    )
    assert {**there, "request_id": ""} == {**absent, "request_id": ""}
    assert guarded.about(outsider, made, "withdraw").status_code == 404
    listed = guarded.service.made(outsider, "GET", "/v1/approval-requests?limit=1000")["approval_requests"]
    assert made["id"] not in {each["id"] for each in listed}


def test_nobody_but_an_approver_votes_and_never_the_requester(own_service: ServiceInProcess) -> None:
    named = {**QUORUM, "approvers": [ADMINISTRATOR, *APPROVERS]}
    guarded = guarded_key(own_service, {"sign": QUORUM, "rotation": named})
    own = guarded.ask(ADMINISTRATOR, "rotate", {"now": True})
    assert ADMINISTRATOR not in own["requirements"][0]["approvers"]
    for word, body in (("approve", {"request_sha256": own["request_sha256"]}), ("reject", {})):
        assert_refused(guarded.about(ADMINISTRATOR, own, word, body), 403, "policy_forbids")
    held = guarded.ask()
    body = {"request_sha256": held["request_sha256"]}
    assert_refused(guarded.about(ADMINISTRATOR, held, "approve", body), 403, "policy_forbids")
    assert_refused(guarded.about(CI, held, "approve", body), 403, "policy_forbids")
    assert_refused(guarded.about(ALICE, held, "withdraw"), 403, "policy_forbids")


def test_what_releases_nothing(guarded: Guarded) -> None:
    """Every way of taking an approval for something else; after all of them it releases its own call."""
    approval = guarded.approved()
    other_key = guarded_key(guarded.service)
    changed = artifacts()
    changed["context"] = {"commit": "evil"}
    reordered = artifacts()
    reordered["artifacts"] = [*reordered["artifacts"], {**reordered["artifacts"][0], "name": "second"}]
    attempts = {
        "another body": guarded.sign(artifacts("2"), approval),
        "another context": guarded.sign(changed, approval),
        "one more file": guarded.sign(reordered, approval),
        "another format": guarded.sign({**artifacts(), "formats": ["raw", "raw"]}, approval),
        "another key": other_key.sign(approval=approval),
        "another operation": guarded.call(ADMINISTRATOR, "POST", "rotate", {}, approval),
        "no id": guarded.sign(approval="yes"),
        "an unknown id": guarded.sign(approval=str(uuid.uuid4())),
        "two ids": guarded.sign(approval=f"{approval}, {approval}"),
        "an empty id": guarded.sign(approval=""),
    }
    told = {what: assert_not_released(answer) for what, answer in attempts.items()}
    assert len(set(told.values())) == 1, told
    assert_held(guarded.sign(Approval=approval))
    assert_held(guarded.service.call(CI, "POST", f"/v1/keys/{guarded.key}/artifacts?approval={approval}", artifacts()))
    # The same body, written differently, is the same body.
    text = json.dumps(artifacts(), indent=3, sort_keys=True)
    released = guarded.service.client.post(
        f"/v1/keys/{guarded.key}/artifacts",
        data=text,
        content_type="application/json",
        headers={"Authorization": f"Bearer {guarded.service.tokens[CI]}", "Sealmark-Approval": approval.upper()},
    )
    assert released.status_code == 200


def test_another_user_of_the_key_does_not_use_it(own_service: ServiceInProcess) -> None:
    guarded = guarded_key(own_service, users=[CI, "role/other"])
    approval = guarded.approved()
    assert_not_released(guarded.sign(approval=approval, who="role/other"))
    assert guarded.sign(approval=approval).status_code == 200


def test_a_header_where_nothing_asks_for_it_is_refused(own_service: ServiceInProcess) -> None:
    guarded = guarded_key(own_service, {"policy": QUORUM})
    assert_not_released(guarded.sign(approval=str(uuid.uuid4())))
    assert guarded.sign().status_code == 200
    body = {"name": "role/x", "duty": "key-user"}
    answer = own_service.call("user/admin", "POST", "/v1/principals", body, {"Sealmark-Approval": "x"})
    assert_not_released(answer)


def test_a_request_is_authorised_as_the_call_itself(guarded: Guarded) -> None:
    path = f"/v1/keys/{guarded.key}/approval-requests"

    def ask(who: str, operation: str, request: object) -> TestResponse:
        return guarded.service.call(who, "POST", path, {"operation": operation, "request": request})

    assert_refused(ask("role/other", "artifacts", artifacts()), 404, "not_found", "key")
    assert_refused(ask(CI, "rotate", {}), 403, "duty_forbids")
    assert_refused(ask(ADMINISTRATOR, "artifacts", artifacts()), 403, "duty_forbids")
    assert_refused(ask(CI, "jwts", {"claims": {}}), 409, "wrong_purpose")
    assert_refused(ask(CI, "artifacts", {**artifacts(), "x": 1}), 422, "malformed_request", "request.x")
    short = {**artifacts(), "artifacts": [{"name": "a", "size": 1, "digests": {"sha512": "ab" * 64}}]}
    field = "request.artifacts[0].digests.sha256"
    assert_refused(ask(CI, "artifacts", short), 422, "unprocessable", field)
    assert_refused(ask(CI, "format-disk", {}), 422, "malformed_request", "operation")
    assert_refused(ask(ADMINISTRATOR, "enable", {}), 409, "wrong_state")
    unknown = {"sign": {**QUORUM, "approvers": ["user/nobody"], "needed": 1}}
    assert_refused(ask(ADMINISTRATOR, "approval-rule", unknown), 422, "unsupported", "request.sign.approvers")
    huge = {**artifacts(), "artifacts": [{**artifacts()["artifacts"][0], "name": "n" * 256}] * 900}
    assert_refused(ask(CI, "artifacts", huge), 422, "unprocessable", "request")
    free = guarded_key(guarded.service, {"policy": QUORUM})
    asked = {"operation": "artifacts", "request": artifacts()}
    answer = guarded.service.call(CI, "POST", f"/v1/keys/{free.key}/approval-requests", asked)
    assert_refused(answer, 422, "unprocessable", "operation")


def test_nobody_fills_the_database_with_requests(
    own_service: ServiceInProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keystore.approvals.OPEN_REQUESTS", 2)
    guarded = guarded_key(own_service)
    first, _ = guarded.ask(), guarded.ask()
    asked = {"operation": "artifacts", "request": artifacts()}
    answer = own_service.call(CI, "POST", f"/v1/keys/{guarded.key}/approval-requests", asked)
    assert_refused(answer, 409, "limit_exceeded")
    assert guarded.about(CI, first, "withdraw").status_code == 200
    guarded.ask()


@pytest.mark.parametrize(
    ("rule", "code", "field"),
    [
        ({}, "unprocessable", None),
        ({"sign": {**QUORUM, "needed": 0}}, "malformed_request", "sign.needed"),
        ({"sign": {**QUORUM, "needed": 4}}, "unprocessable", "sign.needed"),
        ({"sign": {**QUORUM, "needed": True}}, "malformed_request", "sign.needed"),
        ({"sign": {**QUORUM, "approvers": []}}, "malformed_request", "sign.approvers"),
        ({"sign": {**QUORUM, "approvers": [ALICE, ALICE]}}, "unprocessable", "sign.approvers"),
        ({"sign": {**QUORUM, "approvers": [ALICE, "role/ci"]}}, "malformed_request", "sign.approvers[1]"),
        ({"sign": {**QUORUM, "approvers": [ALICE, "user/nobody"]}}, "unsupported", "sign.approvers"),
        ({"sign": {**QUORUM, "approvers": [ALICE, "user/gone"]}}, "unsupported", "sign.approvers"),
        ({"sign": {**QUORUM, "approvers": [ALICE, "user/fresh"]}}, "unsupported", "sign.approvers"),
        ({"sign": {**QUORUM, "approvers": [f"user/u{n}" for n in range(17)]}}, "malformed_request", "sign.approvers"),
        ({"sign": {**QUORUM, "window_seconds": 59}}, "malformed_request", "sign.window_seconds"),
        ({"sign": {**QUORUM, "window_seconds": 604801}}, "malformed_request", "sign.window_seconds"),
        ({"decrypt": QUORUM}, "malformed_request", "decrypt"),
    ],
)
def test_a_rule_that_cannot_be_meant_is_refused(
    own_service: ServiceInProcess, rule: object, code: str, field: str | None
) -> None:
    approvers_there(own_service)
    if "user/gone" not in own_service.tokens:
        enrolled(own_service, "user/gone")
        own_service.made("user/admin", "DELETE", "/v1/principals/user/gone")
        # Made, and its code still in somebody's hands.
        own_service.made("user/admin", "POST", "/v1/principals", {"name": "user/fresh", "duty": "auditor"})
    key = own_service.make_key(f"k{uuid.uuid4().hex[:12]}")["id"]
    answer = own_service.call(ADMINISTRATOR, "PUT", f"/v1/keys/{key}/approval-rule", rule)
    assert_refused(answer, 422, code, field)
    assert own_service.made(ADMINISTRATOR, "GET", f"/v1/keys/{key}/approval-rule")["revision"] == 0


def test_the_break_glass_principal_is_held_too_and_never_approves(own_service: ServiceInProcess) -> None:
    enrolled(own_service, "user/root-like")
    keystore = own_service.services.keystore
    with keystore.store.transaction() as transaction:
        row = transaction.get("principals", "user/root-like")
        assert row is not None
        until = stored_time(datetime.now(UTC) + timedelta(hours=1))
        transaction.update(row, {"duty": "root", "enabled_until": until})
    guarded = guarded_key(own_service)
    assert_held(guarded.call("user/root-like", "DELETE", "approval-rule"))
    assert_held(guarded.call("user/root-like", "PUT", "policy", POLICY))
    made = guarded.ask()
    body = {"request_sha256": made["request_sha256"]}
    assert_refused(guarded.about("user/root-like", made, "approve", body), 403, "duty_forbids")
    key = own_service.make_key(f"k{uuid.uuid4().hex[:12]}")["id"]
    rule = {"sign": {**QUORUM, "approvers": ["user/root-like"], "needed": 1}}
    answer = own_service.call(ADMINISTRATOR, "PUT", f"/v1/keys/{key}/approval-rule", rule)
    assert_refused(answer, 422, "unsupported", "sign.approvers")


COVERED: Final[dict[str, tuple[str, str, Any]]] = {
    "policy": ("PUT", "policy", POLICY),
    "grants": ("POST", "grants", {"grantee": "role/other", "operations": ["SignArtifact"]}),
    "rotate": ("POST", "rotate", {}),
    "csr": ("POST", "csr", {"subject": "CN=release"}),
    "certificate/renew": ("POST", "certificate/renew", {"days": 30}),
    "certificate/revoke": ("POST", "certificate/revoke", {"reason": "superseded"}),
    "schedule-deletion": ("POST", "schedule-deletion", {"days": 7}),
    "approval-rule": ("PUT", "approval-rule", {"sign": {**QUORUM, "needed": 1}}),
    "approval-rule/remove": ("DELETE", "approval-rule", None),
}


@pytest.mark.parametrize("operation", COVERED)
def test_every_change_that_a_rule_covers_is_held_and_released(own_service: ServiceInProcess, operation: str) -> None:
    guarded = guarded_key(own_service)
    method, path, body = COVERED[operation]
    assert_held(guarded.call(ADMINISTRATOR, method, path, body))
    approval = guarded.approved(ADMINISTRATOR, operation, body or {})
    released = guarded.call(ADMINISTRATOR, method, path, body, approval)
    assert released.status_code in (200, 201), released.get_data(as_text=True)
    # A certificate that is issued with it is the service's own and has an intent of its own.
    assert approval in {intent["approval"] for intent in own_service.intents(released.headers["X-Request-Id"])}
    again = guarded.call(ADMINISTRATOR, method, path, body, approval)
    assert again.status_code in (403, 409)


def test_an_earlier_policy_is_restored_as_the_document_that_approvers_see(own_service: ServiceInProcess) -> None:
    guarded = guarded_key(own_service)
    restoration = guarded.call(ADMINISTRATOR, "POST", "policy/versions/1/restore", {})
    assert "`policy`" in assert_refused(restoration, 403, "approval_required")
    approval = guarded.approved(ADMINISTRATOR, "policy", POLICY)
    other = guarded.call(ADMINISTRATOR, "POST", "policy/versions/1/restore", {}, approval)
    assert_refused(other, 403, "approval_required")
    assert guarded.call(ADMINISTRATOR, "PUT", "policy", POLICY, approval).status_code == 200


def test_what_a_grant_gave_is_taken_away_without_asking(own_service: ServiceInProcess) -> None:
    """It only ever takes away; who was given the use of the key still signs with approval alone."""
    guarded = guarded_key(own_service)
    grant = COVERED["grants"][2]
    approval = guarded.approved(ADMINISTRATOR, "grants", grant)
    made = guarded.call(ADMINISTRATOR, "POST", "grants", grant, approval).get_json()
    assert_held(guarded.sign(who="role/other"))
    assert guarded.sign(approval=guarded.approved("role/other"), who="role/other").status_code == 200
    assert guarded.call(ADMINISTRATOR, "DELETE", f"grants/{made['id']}").status_code == 200


def test_installing_a_chain_and_enabling_are_held_and_braking_is_free(own_service: ServiceInProcess) -> None:
    guarded = guarded_key(own_service)
    (version,) = own_service.services.keystore.get_key(guarded.key).versions
    body = {"chain": outside_chain(version.public_key)}
    assert_held(guarded.call(ADMINISTRATOR, "PUT", "certificate", body))
    approval = guarded.approved(ADMINISTRATOR, "certificate", body)
    assert guarded.call(ADMINISTRATOR, "PUT", "certificate", body, approval).status_code == 200
    assert guarded.call(ADMINISTRATOR, "POST", "disable").status_code == 200
    assert_held(guarded.call(ADMINISTRATOR, "POST", "enable"))
    approval = guarded.approved(ADMINISTRATOR, "enable", {})
    assert guarded.call(ADMINISTRATOR, "POST", "enable", None, approval).status_code == 200
    own_service.services.keystore.schedule_deletion(guarded.key)
    assert guarded.call(ADMINISTRATOR, "POST", "cancel-deletion").status_code == 200
    assert own_service.services.keystore.get_key(guarded.key).state == "disabled"


@pytest.mark.parametrize(
    ("purpose", "path", "members", "body"),
    [
        ("general", "signatures", {}, {"message": "AAAA"}),
        ("jwt", "jwts", {"audiences": ["https://api.example"], "max_ttl": 600}, {"claims": {"sub": "x", "n": 1.5e300}}),
        (
            "saml",
            "assertions",
            {"audiences": ["https://sp.example"], "recipients": ["https://sp.example/acs"]},
            {"subject": "x", "audience": "https://sp.example", "recipient": "https://sp.example/acs"},
        ),
    ],
)
def test_the_other_signing_calls_are_held_too(
    own_service: ServiceInProcess, purpose: str, path: str, members: dict[str, object], body: dict[str, object]
) -> None:
    guarded = guarded_key(own_service, purpose=purpose, **members)
    assert_held(guarded.call(CI, "POST", path, body))
    approval = guarded.approved(CI, path, body)
    shown = own_service.made(ALICE, "GET", f"/v1/approval-requests/{approval}")
    assert shown["request"] == body
    assert guarded.call(CI, "POST", path, {**body, "context": {"x": "y"}}, approval).status_code == 403
    assert guarded.call(CI, "POST", path, body, approval).status_code == 200


def test_a_rule_is_changed_only_with_every_quorum_that_it_has(own_service: ServiceInProcess) -> None:
    """Else who meets the smaller one takes the greater one away."""
    approvers_there(own_service)
    weak = {"approvers": [enrolled(own_service, "user/dave")], "needed": 1, "window_seconds": 600}
    guarded = guarded_key(own_service, {"sign": QUORUM, "policy": weak})
    new = {"sign": weak}
    made = guarded.ask(ADMINISTRATOR, "approval-rule", new)
    guarded.approve("user/dave", made)
    assert_not_released(guarded.call(ADMINISTRATOR, "PUT", "approval-rule", new, made["id"]))
    guarded.approve(ALICE, made)
    guarded.approve(BOB, made)
    assert guarded.call(ADMINISTRATOR, "PUT", "approval-rule", new, made["id"]).status_code == 200


def test_what_was_changed_meanwhile_voids_an_approval(own_service: ServiceInProcess) -> None:
    guarded = guarded_key(own_service, {"sign": QUORUM, "policy": QUORUM})
    signature = guarded.approved()
    first, second = (guarded.approved(ADMINISTRATOR, "policy", POLICY) for _ in range(2))
    assert guarded.call(ADMINISTRATOR, "PUT", "policy", POLICY, first).status_code == 200
    assert "policy was changed" in assert_not_released(guarded.call(ADMINISTRATOR, "PUT", "policy", POLICY, second))
    assert guarded.call(ADMINISTRATOR, "POST", "rotate").status_code == 200  # not covered: another version signs now
    assert "rotated" in assert_not_released(guarded.sign(approval=signature))
    signature, rule = guarded.approved(), guarded.approved(ADMINISTRATOR, "approval-rule", EVERYTHING)
    assert guarded.call(ADMINISTRATOR, "PUT", "approval-rule", EVERYTHING, rule).status_code == 200
    assert "rule was changed" in assert_not_released(guarded.sign(approval=signature))
    seen = own_service.made(CI, "GET", f"/v1/approval-requests/{signature}")
    assert (seen["state"], seen["obstacle"]) == ("open", "rule_changed")
    vote = guarded.about(CAROL, seen, "approve", {"request_sha256": seen["request_sha256"]})
    assert_refused(vote, 409, "wrong_state")


def test_votes_of_who_is_gone_since_do_not_count(own_service: ServiceInProcess) -> None:
    dave = enrolled(own_service, f"user/dave-{uuid.uuid4().hex[:6]}")
    guarded = guarded_key(own_service, {"sign": {**QUORUM, "approvers": [ALICE, dave], "needed": 2}})
    made = guarded.ask()
    guarded.approve(ALICE, made)
    assert guarded.approve(dave, made)["obstacle"] is None
    keystore = own_service.services.keystore
    keystore.set_principal_state(dave, "disabled")
    assert_not_released(guarded.sign(approval=made["id"]))
    assert own_service.made(CI, "GET", f"/v1/approval-requests/{made['id']}")["approved_by"] == [ALICE]
    keystore.set_principal_state(dave, "enabled")
    own_service.made("user/admin", "DELETE", f"/v1/principals/{dave}")
    assert_not_released(guarded.sign(approval=made["id"]))


def test_rejected_and_withdrawn_requests_release_nothing(guarded: Guarded) -> None:
    made = guarded.ask()
    assert guarded.about(ALICE, made, "reject", {"reason": "not reviewed"}).get_json()["state"] == "open"
    guarded.approve(BOB, made)
    rejected = guarded.about(CAROL, made, "reject").get_json()
    assert (rejected["state"], rejected["closed_by"], rejected["rejected_by"]) == ("rejected", CAROL, [ALICE, CAROL])
    assert "rejected" in assert_not_released(guarded.sign(approval=made["id"]))
    late = guarded.about(ALICE, made, "approve", {"request_sha256": made["request_sha256"]})
    assert_refused(late, 409, "wrong_state")
    made = guarded.ask()
    guarded.approve(ALICE, made)
    guarded.approve(BOB, made)
    assert guarded.about(BOB, made, "reject").get_json()["approved_by"] == [ALICE]  # thought better of it
    guarded.approve(BOB, made)
    assert guarded.about(CI, made, "withdraw").get_json()["state"] == "withdrawn"
    assert "withdrawn" in assert_not_released(guarded.sign(approval=made["id"]))
    assert_refused(guarded.about(CI, made, "withdraw"), 409, "wrong_state")


def test_an_expired_request_releases_nothing(token: Token, tmp_path: Path) -> None:
    clock = MovedClock(datetime.now(UTC))
    with running_service(token, tmp_path, clock=clock) as service:
        guarded = guarded_key(service)
        ready, waiting = guarded.approved(), guarded.ask()
        clock.move(timedelta(seconds=600))
        assert "expired" in assert_not_released(guarded.sign(approval=ready))
        vote = guarded.about(ALICE, waiting, "approve", {"request_sha256": waiting["request_sha256"]})
        assert_refused(vote, 409, "wrong_state")
        assert service.made(CI, "GET", f"/v1/approval-requests/{ready}")["state"] == "expired"
        assert service.made(ALICE, "GET", "/v1/approval-requests?state=open")["approval_requests"] == []
        listed = service.made(ALICE, "GET", "/v1/approval-requests?limit=1")
        assert listed["approval_requests"][0]["id"] == ready
        rest = service.made(ALICE, "GET", f"/v1/approval-requests?cursor={listed['next_cursor']}")
        assert ([each["id"] for each in rest["approval_requests"]], rest["next_cursor"]) == ([waiting["id"]], None)
        answer = service.call(ALICE, "GET", "/v1/approval-requests?state=closed")
        assert_refused(answer, 422, "malformed_request", "state")


def test_the_same_call_again_is_answered_with_the_same_signature(guarded: Guarded) -> None:
    approval, name = guarded.approved(), str(uuid.uuid4())
    first = guarded.sign(approval=approval, **{"Idempotency-Key": name})
    again = guarded.sign(approval=approval, **{"Idempotency-Key": name})
    assert (first.status_code, again.status_code) == (200, 200)
    assert first.get_json() == again.get_json()
    assert_not_released(guarded.sign(approval=approval, **{"Idempotency-Key": str(uuid.uuid4())}))
    # A name that was refused is free again, and so is the call once it is approved.
    name = str(uuid.uuid4())
    assert_held(guarded.sign(**{"Idempotency-Key": name}))
    assert guarded.sign(approval=guarded.approved(), **{"Idempotency-Key": name}).status_code == 200


def test_a_fault_after_the_release_uses_the_approval_up(guarded: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether a signature was made is not known then; with the approval left, a second one could be."""
    approval = guarded.approved()

    def fail(*_: object) -> None:
        raise HsmUnavailable("the token is gone")

    with monkeypatch.context() as patched:
        patched.setattr(guarded.service.services.keystore, "open_key", fail)
        assert_refused(guarded.sign(approval=approval), 503, "hsm_unavailable")
    assert "used already" in assert_not_released(guarded.sign(approval=approval))


def test_of_callers_that_release_at_once_one_wins(guarded: Guarded) -> None:
    for _ in range(5):
        approval = guarded.approved()
        with ThreadPoolExecutor(4) as pool:
            answers = [pool.submit(sign_apart, guarded, approval) for _ in range(4)]
        assert sorted(answer.result() for answer in answers) == [200, 403, 403, 403]


def sign_apart(guarded: Guarded, approval: str) -> int:
    """With a client of its own: Flask's test client is one thread's."""
    client = guarded.service.client.application.test_client()
    headers = {"Authorization": f"Bearer {guarded.service.tokens[CI]}", "Sealmark-Approval": approval}
    return client.post(f"/v1/keys/{guarded.key}/artifacts", json=artifacts(), headers=headers).status_code


def withdraw_apart(guarded: Guarded, approval: str) -> int:
    client = guarded.service.client.application.test_client()
    headers = {"Authorization": f"Bearer {guarded.service.tokens[CI]}"}
    return client.post(f"/v1/approval-requests/{approval}/withdraw", headers=headers).status_code


def test_of_a_release_and_a_withdrawal_at_once_one_wins(guarded: Guarded) -> None:
    for _ in range(5):
        approval = guarded.approved()
        with ThreadPoolExecutor(2) as pool:
            signing = pool.submit(sign_apart, guarded, approval)
            withdrawing = pool.submit(withdraw_apart, guarded, approval)
        assert sorted((signing.result(), withdrawing.result())) in ([200, 403], [200, 409])
        state = guarded.service.made(CI, "GET", f"/v1/approval-requests/{approval}")["state"]
        assert state == ("released" if signing.result() == 200 else "withdrawn")


def test_signed_approvals_alone_count_where_the_rule_asks_for_them(
    own_service: ServiceInProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    guarded = guarded_key(own_service, {"sign": {**QUORUM, "signed": True}})
    made = guarded.ask()
    body = {"request_sha256": made["request_sha256"]}
    assert "RFC 9421" in assert_refused(guarded.about(ALICE, made, "approve", body), 403, "policy_forbids")
    real = own_service.services.pipeline.authenticate

    def signed(call: Any) -> Principal:
        found = real(call)
        return Principal(found.name, found.duty, "signature:1", CredentialKind.SIGNED_REQUEST, '{"signature":"…"}')

    with monkeypatch.context() as patched:
        patched.setattr(own_service.services.pipeline, "authenticate", signed)
        guarded.approve(ALICE, made)
        shown = guarded.approve(BOB, made)
    assert (shown["obstacle"], shown["votes"][0]["credential_kind"]) == (None, "signed-request")
    found = own_service.services.keystore.find_approval_request(made["id"])
    assert found is not None
    votes = own_service.services.keystore.approval_facts(found).votes
    assert {vote.proof for vote in votes} == {'{"signature":"…"}'}
    assert guarded.sign(approval=made["id"]).status_code == 200


def test_nobody_else_gives_an_approver_a_credential(guarded: Guarded) -> None:
    """Who could would approve in the approver's name."""
    keystore, moment = guarded.service.services.keystore, datetime.now(UTC)
    code = EnrolmentRecord("e-1", ALICE, b"c" * 32, "open", moment, moment + timedelta(hours=1))
    with pytest.raises(WrongState, match="approver of a key"):
        keystore.create_enrolment(code)
    credential = CredentialRecord("c-1", ALICE, b"h" * 32, "enabled", moment, None, created_by="user/admin")
    with pytest.raises(WrongState, match="approver of a key"):
        keystore.create_credential(credential)
    keystore.create_credential(replace(credential, created_by=ALICE))
    name = enrolled(guarded.service, f"user/free-{uuid.uuid4().hex[:6]}")
    assert (keystore.is_approver(ALICE), keystore.is_approver(name)) == (True, False)
    keystore.create_enrolment(EnrolmentRecord("e-2", name, b"c" * 32, "open", moment, moment + timedelta(hours=1)))
    rule = {"sign": {**QUORUM, "approvers": [name], "needed": 1}}
    key = guarded.service.make_key(f"k{uuid.uuid4().hex[:12]}")["id"]
    answer = guarded.service.call(ADMINISTRATOR, "PUT", f"/v1/keys/{key}/approval-rule", rule)
    assert_refused(answer, 422, "unsupported", "sign.approvers")


def test_a_key_without_a_rule_needs_no_more_statements(
    own_service: ServiceInProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rule comes with the key: a signing call asks the database no more questions for it."""
    key = own_service.make_key(f"k{uuid.uuid4().hex[:12]}", formats=["raw"])["id"]
    database = own_service.services.keystore.database
    path = f"/v1/keys/{key}/artifacts"
    assert own_service.call(CI, "POST", path, artifacts()).status_code == 200
    asked: list[str] = []
    fetch = database.fetch

    def counted(sql: str, *arguments: Any, **named: Any) -> Any:
        asked.append(sql)
        return fetch(sql, *arguments, **named)

    with monkeypatch.context() as patched:
        patched.setattr(database, "fetch", counted)
        assert own_service.call(CI, "POST", path, artifacts()).status_code == 200
    assert asked
    assert not [sql for sql in asked if "approval" in sql and "keys" not in sql]
