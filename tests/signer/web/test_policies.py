"""Whole key policies over HTTP: what is stored, what is refused and with which words, and that conditions hold."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.signer.web.refusal import assert_refused

if TYPE_CHECKING:
    from tests.signer.service import ServiceInProcess

ACCOUNT: Final = "000000000000"
MESSAGE: Final[dict[str, object]] = {"message": base64.b64encode(b"hello").decode()}
DIGEST: Final[dict[str, object]] = {"digest": base64.b64encode(bytes(32)).decode()}
KEEPING: Final = {
    "Sid": "Keeping",
    "Effect": "Allow",
    "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:user/key-admin"},
    "Action": ["kms:DescribeKey", "kms:GetKeyPolicy", "kms:PutKeyPolicy", "kms:ScheduleKeyDeletion"],
    "Resource": "*",
}
DEFAULT_OF_AWS: Final = {
    "Sid": "Enable IAM User Permissions",
    "Effect": "Allow",
    "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"},
    "Action": "kms:*",
    "Resource": "*",
}
FILE: Final = {"name": "a.tar", "size": 1, "digests": {"sha256": "00" * 32}}


def using(action: object, condition: object = None, **elements: object) -> dict[str, object]:
    statement: dict[str, object] = {
        "Sid": "Using",
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:role/ci"},
        "Action": action,
        "Resource": "*",
        **elements,
    }
    return statement if condition is None else {**statement, "Condition": condition}


def document(*statements: object) -> dict[str, object]:
    return {"Version": "2012-10-17", "Statement": [KEEPING, *statements]}


def make(service: ServiceInProcess, purpose: str = "general", **members: object) -> str:
    body = {"spec": "ECC_NIST_P256", "purpose": purpose, "users": ["role/ci"], **members}
    return str(service.made("user/key-admin", "POST", "/v1/keys", body)["id"])


def put(service: ServiceInProcess, key: str, *statements: object, **members: object) -> Any:
    return service.call("user/key-admin", "PUT", f"/v1/keys/{key}/policy", {**document(*statements), **members})


@pytest.fixture(scope="module")
def general(service: ServiceInProcess) -> str:
    return make(service)


def test_a_document_is_shown_as_it_was_given(service: ServiceInProcess, general: str) -> None:
    given = document(using("kms:Sign", {"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}}))
    stored = service.made("user/key-admin", "PUT", f"/v1/keys/{general}/policy", given)
    assert stored["policy"] == given
    assert (stored["administrators"], stored["users"], stored["short_form"]) == (["user/key-admin"], ["role/ci"], False)
    assert service.made("user/key-admin", "GET", f"/v1/keys/{general}/policy") == stored


def test_a_key_may_be_made_with_a_whole_document(service: ServiceInProcess) -> None:
    body = {"spec": "ECC_NIST_P256", "purpose": "general", "policy": document(using("kms:Sign"))}
    key = service.made("user/key-admin", "POST", "/v1/keys", body)["id"]
    service.made("role/ci", "POST", f"/v1/keys/{key}/signatures", MESSAGE)
    assert service.call("role/ci", "GET", f"/v1/keys/{key}").status_code == 403  # seen, but DescribeKey was not allowed


@pytest.mark.parametrize(
    ("statement", "field", "words"),
    [
        (using("kms:Sing"), "policy/Statement/1/Action", "no action"),
        (using("kms:Sign", {"StringEqual": {"kms:KeySpec": "x"}}), "policy/Statement/1/Condition/StringEqual", ""),
        (
            using("kms:Sign", {"StringEquals": {"kms:Nonsense": "x"}}),
            "policy/Statement/1/Condition/StringEquals/kms:Nonsense",
            "",
        ),
        (using("kms:Sign", Colour="red"), "policy/Statement/1/Colour", "element"),
        (
            using("kms:Sign", Principal={"AWS": "role/nobody"}),
            "policy/Statement/1/Principal",
            "no principal role/nobody",
        ),
        (using("kms:Sign", Principal={"AWS": "user/auditor"}), "policy/Statement/1/Principal", "auditor"),
        (using("kms:Sign", {"StringEquals": {"aws:username": "${aws:username}"}}), None, "variable"),
    ],
)
def test_what_is_not_understood_is_refused_where_it_stands(
    service: ServiceInProcess, general: str, statement: dict[str, object], field: str | None, words: str
) -> None:
    before = service.made("user/key-admin", "GET", f"/v1/keys/{general}/policy")
    refused = put(service, general, statement)
    assert (refused.status_code, refused.get_json()["code"]) == (422, "unprocessable"), refused.get_data(as_text=True)
    assert words in refused.get_json()["detail"]
    if field is not None:
        assert refused.get_json()["field"] == field
    assert service.made("user/key-admin", "GET", f"/v1/keys/{general}/policy") == before


def test_a_member_that_is_given_twice_is_refused(service: ServiceInProcess, general: str) -> None:
    """Readers differ on which of two counts: a reviewer may have seen the other one."""
    text = json.dumps(document(using("kms:Sign"))).replace('"Effect": "Allow"', '"Effect": "Deny", "Effect": "Allow"')
    answer = service.client.put(
        f"/v1/keys/{general}/policy",
        data=text,
        headers={"Authorization": f"Bearer {service.tokens['user/key-admin']}", "Content-Type": "application/json"},
    )
    assert_refused(answer, 422, "malformed_request")
    assert "twice" in answer.get_json()["detail"]


@pytest.mark.parametrize(
    ("statements", "who"),
    [
        ([using("kms:*")], "role/ci"),
        ([using("kms:Sign"), using(["kms:PutKeyPolicy", "kms:DescribeKey"], Sid="More")], "role/ci"),
        ([using(["kms:Sign", "kms:ScheduleKeyDeletion"], {"Bool": {"aws:SecureTransport": "true"}})], "role/ci"),
        ([using("kms:*", Principal="*")], "role/"),  # the first of all by name, whoever that is
        ([using("kms:Sign", Principal={"AWS": "*"})], "user/key-admin"),
        ([using(["kms:Sign", "kms:GetPublicKey"], Principal={"AWS": ["user/key-admin", "role/ci"]})], "user/key-admin"),
    ],
)
def test_who_would_do_both_is_named(
    service: ServiceInProcess, general: str, statements: list[object], who: str
) -> None:
    refused = put(service, general, *statements)
    detail = assert_refused(refused, 409, "separation_of_duties", "policy")
    assert detail.startswith(who)
    assert " could administer the key (kms:" in detail
    assert "and use it (kms:" in detail


def test_delegation_to_the_account_is_no_overlap_by_itself(service: ServiceInProcess) -> None:
    key = make(service)
    stored = put(service, key, DEFAULT_OF_AWS)
    assert stored.status_code == 200, stored.get_data(as_text=True)
    assert service.call("role/ci", "POST", f"/v1/keys/{key}/signatures", MESSAGE).status_code == 404


def test_nobody_is_locked_out_but_by_saying_so(service: ServiceInProcess) -> None:
    key = make(service)
    path = f"/v1/keys/{key}/policy"
    body = {"Version": "2012-10-17", "Statement": [using("kms:Sign")]}
    refused = service.call("user/key-admin", "PUT", path, body)
    assert_refused(refused, 422, "unprocessable", "policy")
    assert "bypass_policy_lockout_safety_check" in refused.get_json()["detail"]
    service.made("user/key-admin", "PUT", path, {**body, "bypass_policy_lockout_safety_check": True})
    assert service.call("user/key-admin", "PUT", path, body).status_code == 404


def test_a_policy_may_forbid_the_bypass(service: ServiceInProcess) -> None:
    key = make(service)
    unless = {"Bool": {"kms:BypassPolicyLockoutSafetyCheck": "true"}}
    guard = {"Sid": "Guard", "Effect": "Deny", "Principal": "*", "Action": "kms:PutKeyPolicy", "Resource": "*"}
    assert put(service, key, {**guard, "Condition": unless}).status_code == 200
    assert put(service, key, bypass_policy_lockout_safety_check=True).status_code == 403
    assert put(service, key).status_code == 200


def test_a_policy_is_replaced_only_at_the_revision_that_was_seen(service: ServiceInProcess) -> None:
    key = make(service)
    assert put(service, key, using("kms:Sign"), revision=1).status_code == 200
    assert_refused(put(service, key, revision=1), 409, "conflict", "revision")


# The condition, a request that meets it and one that does not: (purpose, call, condition, good, bad)
CONTEXT: Final = {"StringEquals": {"sealmark:SigningContext:repository": "shop/app"}}
TOKEN_KEY: Final[dict[str, object]] = {"audiences": ["https://api.example", "https://admin.example"], "max_ttl": 600}
ASSERTION_KEY: Final[dict[str, object]] = {
    "audiences": ["https://sp.example", "https://other.example"],
    "recipients": ["https://sp.example/acs"],
}
ASSERTION: Final = {"subject": "alice", "recipient": "https://sp.example/acs"}
CONDITIONS: Final[list[tuple[str, str, object, dict[str, object], dict[str, object]]]] = [
    ("general", "signatures", {"StringEquals": {"kms:MessageType": "RAW"}}, MESSAGE, DIGEST),
    (
        "general",
        "signatures",
        {"StringEquals": {"kms:MessageType": "RAW"}},
        {"items": [MESSAGE, MESSAGE]},
        {"items": [MESSAGE, DIGEST]},  # one item of a batch is enough
    ),
    ("general", "signatures", CONTEXT, {**MESSAGE, "context": {"repository": "shop/app"}}, MESSAGE),
    (
        "general",
        "signatures",
        CONTEXT,
        {**MESSAGE, "context": {"repository": "shop/app", "run": "7"}},
        {**MESSAGE, "context": {"repository": "shop/app-evil"}},
    ),
    (
        "general",
        "signatures",
        {"ForAllValues:StringEquals": {"sealmark:SigningContextKeys": ["repository", "run"]}},
        {**MESSAGE, "context": {"run": "7"}},
        {**MESSAGE, "context": {"run": "7", "more": "x"}},
    ),
    (
        "artifact",
        "artifacts",
        {"ForAllValues:StringEquals": {"sealmark:Format": ["cms", "dsse"]}},
        {"artifacts": [FILE], "formats": ["dsse"]},
        {"artifacts": [FILE], "formats": ["dsse", "raw"]},
    ),
    (
        "jwt",
        "jwts",
        {"ForAllValues:StringEquals": {"sealmark:TokenAudience": "https://api.example"}},
        {"claims": {"sub": "alice"}},  # the first audience of the key
        {"claims": {"sub": "alice", "aud": ["https://api.example", "https://admin.example"]}},
    ),
    (
        "jwt",
        "jwts",
        {"NumericLessThanEquals": {"sealmark:TokenLifetime": "60"}},
        {"claims": {}, "ttl": 60},
        {"claims": {}},  # the default lifetime counts too
    ),
    (
        "saml",
        "assertions",
        {"StringEquals": {"sealmark:AssertionAudience": "https://sp.example"}},
        {**ASSERTION, "audience": "https://sp.example"},
        {**ASSERTION, "audience": "https://other.example"},
    ),
    ("general", "signatures", {"IpAddress": {"aws:SourceIp": "127.0.0.1/32"}}, MESSAGE, {}),
    ("general", "signatures", {"StringEquals": {"sealmark:CredentialKind": "token"}}, MESSAGE, {}),
    ("general", "signatures", {"DateGreaterThan": {"aws:CurrentTime": "2026-01-01T00:00:00Z"}}, MESSAGE, {}),
]
MEMBERS: Final[dict[str, dict[str, object]]] = {
    "general": {},
    "artifact": {"formats": ["cms", "dsse", "raw"]},
    "jwt": TOKEN_KEY,
    "saml": ASSERTION_KEY,
}
ACTIONS: Final = ["kms:Sign", "kms:SignArtifact", "kms:IssueToken", "kms:IssueAssertion"]


@pytest.fixture(scope="module")
def keys(service: ServiceInProcess) -> dict[str, str]:
    return {purpose: make(service, purpose, **members) for purpose, members in MEMBERS.items()}


@pytest.mark.parametrize(("purpose", "call", "condition", "good", "bad"), CONDITIONS)
def test_a_condition_holds(
    service: ServiceInProcess,
    keys: dict[str, str],
    purpose: str,
    call: str,
    condition: object,
    good: dict[str, object],
    bad: dict[str, object],
) -> None:
    path = f"/v1/keys/{keys[purpose]}"
    assert put(service, keys[purpose], using(ACTIONS, condition)).status_code == 200
    allowed = service.call("role/ci", "POST", f"{path}/{call}", good)
    assert allowed.status_code == 200, allowed.get_data(as_text=True)
    request_id = allowed.headers["X-Request-Id"]
    assert [intent["decided_by"] for intent in service.intents(request_id)] == ["allowed by key policy: Using"]
    if bad:
        assert_refused(service.call("role/ci", "POST", f"{path}/{call}", bad), 403, "policy_forbids")


@pytest.mark.parametrize(
    "condition",
    [
        {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}},
        {"StringEquals": {"sealmark:CredentialKind": "session"}},
        {"DateLessThan": {"aws:CurrentTime": "2026-01-01T00:00:00Z"}},
        {"Bool": {"aws:SecureTransport": "true"}},
        {"ArnLike": {"aws:PrincipalArn": f"arn:aws:iam::{ACCOUNT}:role/night*"}},
        {"StringEquals": {"kms:KeySpec": "RSA_2048"}},
    ],
)
def test_circumstances_that_are_not_met(service: ServiceInProcess, keys: dict[str, str], condition: object) -> None:
    assert put(service, keys["general"], using("kms:Sign", condition)).status_code == 200
    refused = service.call("role/ci", "POST", f"/v1/keys/{keys['general']}/signatures", MESSAGE)
    assert_refused(refused, 403, "policy_forbids")
    assert "Using" not in refused.get_data(as_text=True)  # what the policy says is not for its users


def test_a_deny_beats_the_allow_beside_it(service: ServiceInProcess, keys: dict[str, str]) -> None:
    deny = {**using("kms:Sign"), "Sid": "Stop", "Effect": "Deny"}
    assert put(service, keys["general"], using("kms:Sign"), deny).status_code == 200
    path = f"/v1/keys/{keys['general']}/signatures"
    refused = service.call("role/ci", "POST", path, MESSAGE)
    assert (refused.status_code, refused.get_json()["code"]) == (404, "not_found")  # nothing is left that it may do


def test_no_list_shows_a_key_past_a_deny(service: ServiceInProcess, keys: dict[str, str]) -> None:
    """A known fault of such services: the list asks another question than the call about one key."""
    deny = {**using(["kms:DescribeKey"]), "Sid": "Hidden", "Effect": "Deny"}
    assert put(service, keys["general"], using(["kms:Sign", "kms:DescribeKey"]), deny).status_code == 200
    listed: list[str] = []
    query: str | None = ""
    while query is not None:
        page = service.made("role/ci", "GET", f"/v1/keys?limit=100{query}")
        listed += [key["id"] for key in page["keys"]]
        query = None if page["next_cursor"] is None else f"&cursor={page['next_cursor']}"
    assert keys["general"] not in listed
    assert service.call("role/ci", "GET", f"/v1/keys/{keys['general']}").status_code == 403
    assert service.call("role/ci", "POST", f"/v1/keys/{keys['general']}/signatures", MESSAGE).status_code == 200


def test_the_waiting_period_can_be_conditioned(service: ServiceInProcess) -> None:
    key = make(service)
    short = {"NumericLessThan": {"kms:ScheduleKeyDeletionPendingWindowInDays": "30"}}
    deny = {"Sid": "Slow", "Effect": "Deny", "Principal": "*", "Action": "kms:ScheduleKeyDeletion", "Resource": "*"}
    assert put(service, key, {**deny, "Condition": short}).status_code == 200
    path = f"/v1/keys/{key}/schedule-deletion"
    assert_refused(service.call("user/key-admin", "POST", path, {"days": 7}), 403, "policy_forbids")
    assert service.call("user/key-admin", "POST", path, {"days": 30}).status_code == 200
