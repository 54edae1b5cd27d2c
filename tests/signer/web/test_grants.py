"""Grants: made, used, listed, retired, revoked; in force at once; never what would join administering and using."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any, Final

import pytest

from keystore.access import Change
from keystore.algorithms import CALLER_PURPOSES, PURPOSES, Purpose
from signer.access.duties import USERS_ACTIONS
from signer.access.grants import COMMON_OPERATIONS, USE_OPERATIONS, grantable
from signer.web.signing import OPERATIONS
from tests.signer.web.refusal import assert_refused

if TYPE_CHECKING:
    from tests.signer.service import ServiceInProcess

ADMINISTRATOR: Final = "user/key-admin"
MESSAGE: Final = {"message": "AAAA"}
ALL_OPERATIONS: Final = ["DescribeKey", "GetPublicKey", "RetireGrant", "Sign"]


@pytest.fixture
def key(service: ServiceInProcess) -> str:
    """A key that nobody uses."""
    made = service.make_key(f"g{uuid.uuid4().hex[:12]}", purpose="general", users=[])
    return str(made["id"])


def sign(service: ServiceInProcess, key: str, who: str = "role/ci") -> int:
    return service.call(who, "POST", f"/v1/keys/{key}/signatures", MESSAGE).status_code


def grant(service: ServiceInProcess, key: str, **members: object) -> Any:
    body = {"grantee": "role/ci", "operations": ["Sign"], **members}
    return service.made(ADMINISTRATOR, "POST", f"/v1/keys/{key}/grants", body)


def test_a_grant_allows_at_once_and_its_end_ends_it_at_once(service: ServiceInProcess, key: str) -> None:
    assert sign(service, key) == 404
    made = grant(service, key)
    assert (made["grantee"], made["operations"], made["state"]) == ("role/ci", ["Sign"], "active")
    assert (made["created_by"], made["constraints"], made["name"], made["retiring"]) == (
        ADMINISTRATOR,
        None,
        None,
        None,
    )
    assert sign(service, key) == 200
    assert sign(service, key, "role/other") == 404
    # What it does not carry is not allowed; but the key is no secret to its grantee any more.
    assert service.call("role/ci", "GET", f"/v1/keys/{key}").status_code == 403
    revoked = service.made(ADMINISTRATOR, "DELETE", f"/v1/keys/{key}/grants/{made['id']}")
    assert (revoked["state"], revoked["ended_by"]) == ("revoked", ADMINISTRATOR)
    assert sign(service, key) == 404
    again = service.call(ADMINISTRATOR, "DELETE", f"/v1/keys/{key}/grants/{made['id']}")
    assert_refused(again, 404, "not_found", "grant")


def test_the_record_names_the_grant(service: ServiceInProcess, key: str) -> None:
    made = grant(service, key)
    answer = service.call("role/ci", "POST", f"/v1/keys/{key}/signatures", MESSAGE)
    (intent,) = service.intents(answer.get_json()["results"][0]["request_id"])
    assert made["id"] in intent["decided_by"]


def test_a_granted_key_is_listed_where_it_may_be_described(service: ServiceInProcess, key: str) -> None:
    def listed() -> bool:
        return key in [found["id"] for found in service.made("role/ci", "GET", "/v1/keys?limit=1000")["keys"]]

    grant(service, key)
    assert not listed()
    made = grant(service, key, operations=["DescribeKey"])
    assert listed()
    assert service.call("role/ci", "GET", f"/v1/keys/{key}").status_code == 200
    service.made(ADMINISTRATOR, "DELETE", f"/v1/keys/{key}/grants/{made['id']}")
    assert not listed()


@pytest.mark.parametrize(
    ("constraints", "context", "status"),
    [
        ({"context_equals": {"branch": "main"}}, {"branch": "main"}, 200),
        ({"context_equals": {"branch": "main"}}, {"branch": "main", "run": "1"}, 403),
        ({"context_equals": {"branch": "main"}}, {"branch": "Main"}, 403),
        ({"context_equals": {"branch": "main"}}, None, 403),
        ({"context_subset": {"branch": "main"}}, {"branch": "main", "run": "1"}, 200),
        ({"context_subset": {"branch": "main"}}, {"run": "1"}, 403),
        ({"context_subset": {"branch": "main"}}, {"Branch": "main"}, 403),
        ({"context_subset": {"branch": "main"}}, None, 403),
    ],
)
def test_a_constraint_is_about_the_signing_context(
    service: ServiceInProcess, key: str, constraints: dict[str, object], context: object, status: int
) -> None:
    assert grant(service, key, constraints=constraints)["constraints"] == constraints
    body = MESSAGE if context is None else {**MESSAGE, "context": context}
    assert service.call("role/ci", "POST", f"/v1/keys/{key}/signatures", body).status_code == status


def test_a_batch_has_one_context_for_all_its_items(service: ServiceInProcess, key: str) -> None:
    grant(service, key, constraints={"context_subset": {"branch": "main"}})
    for branch, status in (("main", 200), ("feature", 403)):
        body = {"items": [MESSAGE, MESSAGE], "context": {"branch": branch}}
        assert service.call("role/ci", "POST", f"/v1/keys/{key}/signatures", body).status_code == status


def test_an_explicit_deny_beats_a_grant(service: ServiceInProcess, key: str) -> None:
    grant(service, key)
    keystore = service.services.keystore
    document = json.loads(keystore.get_key(key).policy.document)
    deny = {"Effect": "Deny", "Principal": {"AWS": "*"}, "Action": "kms:Sign", "Resource": "*"}
    document["Statement"].append(deny)
    service.made(ADMINISTRATOR, "PUT", f"/v1/keys/{key}/policy", document)
    assert sign(service, key) in (403, 404)
    document["Statement"].pop()
    service.made(ADMINISTRATOR, "PUT", f"/v1/keys/{key}/policy", document)
    assert sign(service, key) == 200


def test_the_same_name_and_parameters_give_the_same_grant(service: ServiceInProcess, key: str) -> None:
    first = grant(service, key, name="nightly")
    assert grant(service, key, name="nightly") == first
    assert grant(service, key, name="nightly", operations=["Sign", "Sign"])["id"] == first["id"]
    different = grant(service, key, name="nightly", operations=["Sign", "DescribeKey"])
    unnamed = [grant(service, key)["id"] for _ in range(2)]
    assert len({first["id"], different["id"], *unnamed}) == 4


def test_grants_are_listed_in_pages_and_by_grantee(service: ServiceInProcess, key: str) -> None:
    path = f"/v1/keys/{key}/grants"
    ids = {grant(service, key, grantee=who)["id"] for who in ("role/ci", "role/other", "role/ci")}
    page = service.made(ADMINISTRATOR, "GET", f"{path}?limit=2")
    rest = service.made(ADMINISTRATOR, "GET", f"{path}?limit=2&cursor={page['next_cursor']}")
    assert (len(page["grants"]), len(rest["grants"]), rest["next_cursor"]) == (2, 1, None)
    assert {found["id"] for found in page["grants"] + rest["grants"]} == ids
    (of_other,) = service.made(ADMINISTRATOR, "GET", f"{path}?grantee=role/other")["grants"]
    assert of_other["grantee"] == "role/other"
    service.made(ADMINISTRATOR, "DELETE", f"{path}/{of_other['id']}")
    assert len(service.made(ADMINISTRATOR, "GET", path)["grants"]) == 2
    everything = service.made(ADMINISTRATOR, "GET", f"{path}?state=all")["grants"]
    assert sorted(found["state"] for found in everything) == ["active", "active", "revoked"]
    for query, field in (("grantee=ci", "grantee"), ("state=ended", "state"), ("who=role/ci", "who")):
        assert_refused(service.call(ADMINISTRATOR, "GET", f"{path}?{query}"), 422, "malformed_request", field)


@pytest.mark.parametrize(
    ("members", "code", "field"),
    [
        ({"operations": ["CreateGrant"]}, "unprocessable", "operations[0]"),
        ({"operations": ["Sign", "PutKeyPolicy"]}, "unprocessable", "operations[1]"),
        ({"operations": ["SignArtifact"]}, "unprocessable", "operations[0]"),
        ({"operations": ["kms:Sign"]}, "unprocessable", "operations[0]"),
        ({"operations": ["sign"]}, "unprocessable", "operations[0]"),
        ({"operations": ["*"]}, "unprocessable", "operations[0]"),
        ({"operations": []}, "malformed_request", "operations"),
        ({"grantee": "role/nobody"}, "unprocessable", "grantee"),
        ({"grantee": "user/other-key-admin"}, "unprocessable", "grantee"),
        ({"grantee": "user/key-admin"}, "unprocessable", "grantee"),
        ({"grantee": "user/admin"}, "unprocessable", "grantee"),
        ({"grantee": "*"}, "malformed_request", "grantee"),
        ({"grantee": "role/ci\n"}, "malformed_request", "grantee"),
        ({"retiring": "role/nobody"}, "unprocessable", "retiring"),
        ({"retiring": "user/auditor"}, "unprocessable", "retiring"),
        ({"constraints": {}}, "unprocessable", "constraints"),
        ({"constraints": {"context_subset": {}}}, "malformed_request", "constraints.context_subset"),
        ({"constraints": {"context_equals": {"a": "1"}, "context_subset": {"a": "1"}}}, "unprocessable", "constraints"),
        ({"constraints": {"EncryptionContextEquals": {"a": "1"}}}, "malformed_request", None),
        (
            {"operations": ["Sign", "GetPublicKey"], "constraints": {"context_subset": {"a": "1"}}},
            "unprocessable",
            "operations[1]",
        ),
        ({"name": ""}, "malformed_request", "name"),
        ({"token": "x"}, "malformed_request", "token"),
    ],
)
def test_what_may_not_be_granted(
    service: ServiceInProcess, key: str, members: dict[str, object], code: str, field: str | None
) -> None:
    body = {"grantee": "role/ci", "operations": ["Sign"], **members}
    answer = service.call(ADMINISTRATOR, "POST", f"/v1/keys/{key}/grants", body)
    assert answer.status_code == 422
    assert answer.get_json()["code"] == code
    assert field is None or answer.get_json()["field"] == field
    assert service.made(ADMINISTRATOR, "GET", f"/v1/keys/{key}/grants")["grants"] == []


def test_a_refused_create_grant_says_why(service: ServiceInProcess, key: str) -> None:
    body = {"grantee": "role/ci", "operations": ["CreateGrant"]}
    answer = service.call(ADMINISTRATOR, "POST", f"/v1/keys/{key}/grants", body)
    assert "an administrator of the key makes each grant" in answer.get_json()["detail"]


def test_what_may_be_granted_is_what_keys_are_used_for() -> None:
    assert set(USE_OPERATIONS) == set(CALLER_PURPOSES)
    granted = {(purpose, spec): grantable(purpose, spec) for purpose in CALLER_PURPOSES for spec in PURPOSES[purpose]}
    assert frozenset().union(*granted.values()) == (
        COMMON_OPERATIONS | {action.value for action in USERS_ACTIONS} | {"Verify"}
    )
    assert all("CreateGrant" not in operations for operations in granted.values())
    for operation in OPERATIONS.values():
        for spec in PURPOSES[operation.purpose]:
            assert operation.action.value in granted[operation.purpose, spec]
    assert "GenerateDataKey" in granted[Purpose.ENCRYPT, "SYMMETRIC_DEFAULT"]
    assert "GenerateDataKey" not in granted[Purpose.ENCRYPT, "RSA_2048"]  # which makes none


def test_nothing_is_granted_on_a_key_that_is_to_be_deleted(service: ServiceInProcess, key: str) -> None:
    service.made(ADMINISTRATOR, "POST", f"/v1/keys/{key}/schedule-deletion", {"days": 7})
    body = {"grantee": "role/ci", "operations": ["Sign"]}
    assert_refused(service.call(ADMINISTRATOR, "POST", f"/v1/keys/{key}/grants", body), 409, "wrong_state")


def test_who_retires_a_grant(service: ServiceInProcess, key: str) -> None:
    """Its retiring principal, and its grantee if it carries RetireGrant: that grant alone."""

    def retire(who: str, made: dict[str, Any]) -> int:
        return service.call(who, "POST", f"/v1/keys/{key}/grants/{made['id']}/retire").status_code

    plain = grant(service, key)
    for who, status in (("role/ci", 403), ("role/other", 404), ("user/other-key-admin", 404), ("user/admin", 403)):
        assert retire(who, plain) == status
    own = grant(service, key, operations=ALL_OPERATIONS)
    assert retire("role/ci", plain) == 403  # the other grant's RetireGrant is for that one
    assert retire("role/ci", own) == 200
    assert retire("role/ci", own) in (403, 404)
    theirs = grant(service, key, retiring="role/other")
    assert retire("role/other", plain) == 404
    assert retire("role/other", theirs) == 200
    assert sign(service, key) == 200  # by the first one still
    keeper = grant(service, key, retiring="user/other-key-admin")
    assert retire("user/other-key-admin", keeper) == 200
    states = {found["id"]: found["state"] for found in listed(service, key)}
    assert states == {plain["id"]: "active", own["id"]: "retired", theirs["id"]: "retired", keeper["id"]: "retired"}
    ended = {found["id"]: found["ended_by"] for found in listed(service, key)}
    assert ended[theirs["id"]] == "role/other"


def listed(service: ServiceInProcess, key: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = service.made(ADMINISTRATOR, "GET", f"/v1/keys/{key}/grants?state=all")["grants"]
    return found


def test_an_administrator_of_the_key_retires_any_grant_on_it(service: ServiceInProcess, key: str) -> None:
    made = grant(service, key)
    retired = service.made(ADMINISTRATOR, "POST", f"/v1/keys/{key}/grants/{made['id']}/retire")
    assert (retired["state"], retired["ended_by"]) == ("retired", ADMINISTRATOR)


def test_a_grant_is_looked_for_on_its_own_key(service: ServiceInProcess, key: str) -> None:
    """A path that names another key must not get past that key's own policy."""
    other = service.make_key(f"g{uuid.uuid4().hex[:12]}", purpose="general", users=[])["id"]
    made = grant(service, key, operations=ALL_OPERATIONS, retiring="role/other")
    for method, path in (("DELETE", ""), ("POST", "/retire")):
        answer = service.call(ADMINISTRATOR, method, f"/v1/keys/{other}/grants/{made['id']}{path}")
        assert_refused(answer, 404, "not_found", "grant")
    for who in ("role/ci", "role/other"):
        answer = service.call(who, "POST", f"/v1/keys/{other}/grants/{made['id']}/retire")
        assert_refused(answer, 404, "not_found", "key")
    assert sign(service, key) == 200


def test_a_user_is_not_told_which_grants_there_are(service: ServiceInProcess, key: str) -> None:
    made = grant(service, key)
    answers = [
        service.call("role/ci", "POST", f"/v1/keys/{key}/grants/{grant_id}/retire").get_json()
        for grant_id in (made["id"], str(uuid.uuid4()))
    ]
    assert answers[0]["status"] == 403
    assert {**answers[0], "request_id": ""} == {**answers[1], "request_id": ""}


def test_a_grant_to_who_administers_by_documents_is_refused(service: ServiceInProcess, key: str) -> None:
    """The duty alone would stop it too; the documents must not say so in the first place."""
    keystore = service.services.keystore
    document = json.loads(keystore.get_key(key).policy.document)
    document["Statement"][0]["Principal"]["AWS"].append(f"arn:aws:iam::{keystore.account}:role/ci")
    keystore.set_policy(key, json.dumps(document), Change("test", keystore.clock()))
    body = {"grantee": "role/ci", "operations": ["Sign"]}
    answer = service.call(ADMINISTRATOR, "POST", f"/v1/keys/{key}/grants", body)
    assert_refused(answer, 409, "separation_of_duties", "grantee")
    detail = answer.get_json()["detail"]
    assert "role/ci" in detail
    assert "the key policy" in detail
    assert "the grant" in detail
    assert listed(service, key) == []


def test_a_policy_that_makes_a_grantee_an_administrator_is_refused(service: ServiceInProcess, key: str) -> None:
    grant(service, key)
    document = json.loads(service.services.keystore.get_key(key).policy.document)
    statement = {
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{service.services.keystore.account}:role/ci"},
        "Action": ["kms:DescribeKey", "kms:PutKeyPolicy"],
        "Resource": "*",
    }
    document["Statement"].append(statement)
    answer = service.call(ADMINISTRATOR, "PUT", f"/v1/keys/{key}/policy", document)
    assert_refused(answer, 409, "separation_of_duties", "policy")
    assert "the grant" in answer.get_json()["detail"]


def test_conditions_of_a_policy_may_say_what_may_be_granted(service: ServiceInProcess, key: str) -> None:
    document = json.loads(service.services.keystore.get_key(key).policy.document)
    account = service.services.keystore.account
    document["Statement"][0]["Action"].remove("kms:CreateGrant")
    document["Statement"].append(
        {
            "Effect": "Allow",
            "Principal": {"AWS": f"arn:aws:iam::{account}:{ADMINISTRATOR}"},
            "Action": "kms:CreateGrant",
            "Resource": "*",
            "Condition": {
                "StringEquals": {"kms:GranteePrincipal": f"arn:aws:iam::{account}:role/ci"},
                "ForAllValues:StringEquals": {"kms:GrantOperations": ["Sign", "RetireGrant"]},
            },
        }
    )
    service.made(ADMINISTRATOR, "PUT", f"/v1/keys/{key}/policy", document)
    path = f"/v1/keys/{key}/grants"
    for body, status in (
        ({"grantee": "role/ci", "operations": ["Sign"]}, 201),
        ({"grantee": "role/ci", "operations": ["Sign", "RetireGrant"]}, 201),
        ({"grantee": "role/ci", "operations": ["Sign", "DescribeKey"]}, 403),
        ({"grantee": "role/other", "operations": ["Sign"]}, 403),
    ):
        assert service.call(ADMINISTRATOR, "POST", path, body).status_code == status


def test_a_deleted_grantee_takes_its_grants_along(service: ServiceInProcess, key: str) -> None:
    name = f"role/x{uuid.uuid4().hex[:12]}"
    service.made("user/admin", "POST", "/v1/principals", {"name": name, "duty": "key-user"})
    grant(service, key, grantee=name)
    service.made("user/admin", "DELETE", f"/v1/principals/{name}")
    (ended,) = listed(service, key)
    assert (ended["state"], ended["ended_by"]) == ("revoked", "user/admin")


def test_who_was_permitted_by_a_policy_that_changed_meanwhile_writes_nothing(
    service: ServiceInProcess, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the decision and the write another administrator takes this one out of the policy."""
    keystore = service.services.keystore
    separation = service.services.grants._separation
    usual = type(separation).require_for_grant
    document = keystore.get_key(key).policy.document

    def meanwhile(*arguments: Any, **named: Any) -> None:
        monkeypatch.undo()
        keystore.set_policy(key, document, Change("user/other-key-admin", keystore.clock()))
        usual(*arguments, **named)

    monkeypatch.setattr(type(separation), "require_for_grant", meanwhile)
    body = {"grantee": "role/ci", "operations": ["Sign"]}
    answer = service.call(ADMINISTRATOR, "POST", f"/v1/keys/{key}/grants", body)
    assert_refused(answer, 409, "conflict")
    assert listed(service, key) == []
