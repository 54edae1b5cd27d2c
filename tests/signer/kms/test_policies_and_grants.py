"""Key policies and grants over AWS's protocol."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any, Final

import pytest

from signer.access.short_form import document_of
from tests.signer.kms.asking import ADMIN, OTHER, USER, made_key, pages, refused, told

if TYPE_CHECKING:
    from tests.signer.service import ServiceInProcess

ACCOUNT: Final = "000000000000"
GRANTEE: Final = f"arn:aws:iam::{ACCOUNT}:role/other"


@pytest.fixture(scope="module")
def key(service: ServiceInProcess) -> dict[str, Any]:
    return made_key(service)


def test_a_policy_is_read_as_it_was_put(service: ServiceInProcess) -> None:
    key = made_key(service)
    named = {"KeyId": key["KeyId"]}
    assert told(service, ADMIN, "ListKeyPolicies", **named) == {"PolicyNames": ["default"], "Truncated": False}
    first = told(service, ADMIN, "GetKeyPolicy", **named, PolicyName="default")
    assert json.loads(first["Policy"]) == document_of([ADMIN], [], ACCOUNT)
    document = document_of([ADMIN, OTHER], [USER], ACCOUNT)
    assert told(service, ADMIN, "PutKeyPolicy", **named, PolicyName="default", Policy=json.dumps(document)) == {}
    assert json.loads(told(service, OTHER, "GetKeyPolicy", **named)["Policy"]) == document
    history = service.made(ADMIN, "GET", f"/v1/keys/{key['KeyId']}/policy/versions")
    assert [version["revision"] for version in history["versions"]] == [1, 2]
    for operation in ("GetKeyPolicy", "PutKeyPolicy"):
        members = {**named, "PolicyName": "other", "Policy": json.dumps(document)}
        assert refused(service, ADMIN, operation, **members)[0] == "NotFoundException"
    assert refused(service, USER, "PutKeyPolicy", **named, Policy=json.dumps(document))[0] == "AccessDeniedException"


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ("{", "not JSON"),
        ("[]", "Statement"),
        (json.dumps({"users": [USER], "administrators": [ADMIN]}), "Statement"),
        (json.dumps({"Statement": [{"Effect": "Allow"}], "Version": "2012-10-17"}), "Statement/0"),
        (json.dumps({**document_of([ADMIN], [], ACCOUNT), "Users": []}), "Users"),
        (json.dumps({**document_of([ADMIN], [], ACCOUNT), "Version": 5}), "Version"),
        (json.dumps(document_of([ADMIN], [ADMIN], ACCOUNT)), "user/key-admin"),
        (json.dumps(document_of(["user/nobody"], [], ACCOUNT)), "no principal"),
        (json.dumps(document_of([], [USER], ACCOUNT)), "change the key's policy again"),
    ],
)
def test_a_policy_that_cannot_be_stored_is_malformed(
    service: ServiceInProcess, key: dict[str, Any], policy: str, words: str
) -> None:
    exception, message = refused(service, ADMIN, "PutKeyPolicy", KeyId=key["KeyId"], Policy=policy)
    assert (exception, words in message) == ("MalformedPolicyDocumentException", True), message


def test_the_lockout_check_is_bypassed_by_name(service: ServiceInProcess) -> None:
    key = made_key(service)
    policy = json.dumps(document_of([], [USER], ACCOUNT))
    told(service, ADMIN, "PutKeyPolicy", KeyId=key["KeyId"], Policy=policy, BypassPolicyLockoutSafetyCheck=True)
    assert refused(service, ADMIN, "GetKeyPolicy", KeyId=key["KeyId"])[0] == "AccessDeniedException"


def grant(service: ServiceInProcess, key: dict[str, Any], **members: object) -> dict[str, Any]:
    asked = {"KeyId": key["KeyId"], "GranteePrincipal": GRANTEE, "Operations": ["Decrypt", "DescribeKey"], **members}
    return told(service, ADMIN, "CreateGrant", **asked)


def test_a_grant_is_in_force_at_once_and_its_token_is_accepted(service: ServiceInProcess) -> None:
    key = made_key(service)
    described = {"KeyId": key["KeyId"]}
    assert refused(service, "role/other", "DescribeKey", **described)[0] == "AccessDeniedException"
    made = grant(service, key)
    assert set(made) == {"GrantId", "GrantToken"}
    told(service, "role/other", "DescribeKey", **described)
    told(service, "role/other", "DescribeKey", **described, GrantTokens=[made["GrantToken"]])
    for token in ("x", "é", made["GrantToken"][:-4], made["GrantToken"] + "\n"):
        assert refused(service, "role/other", "DescribeKey", **described, GrantTokens=[token])[0] == (
            "InvalidGrantTokenException"
        )
    assert told(service, ADMIN, "RevokeGrant", KeyId=key["KeyId"], GrantId=made["GrantId"]) == {}
    assert refused(service, "role/other", "DescribeKey", **described)[0] == "AccessDeniedException"
    again = {"KeyId": key["KeyId"], "GrantId": made["GrantId"]}
    assert refused(service, ADMIN, "RevokeGrant", **again)[0] == "InvalidGrantIdException"


def test_grants_are_listed_whole_filtered_and_in_pages(service: ServiceInProcess) -> None:
    key = made_key(service)
    context = {"EncryptionContextSubset": {"app": "a"}}
    one = grant(service, key, Name="one", Constraints=context, RetiringPrincipal=f"arn:aws:iam::{ACCOUNT}:{USER}")
    two = grant(service, key, GranteePrincipal=USER, Operations=["Encrypt"])
    found = pages(service, ADMIN, "ListGrants", "Grants", KeyId=key["KeyId"], Limit=1)
    assert sorted(each["GrantId"] for page in found for each in page) == sorted([one["GrantId"], two["GrantId"]])
    (shown,) = told(service, ADMIN, "ListGrants", KeyId=key["KeyId"], GrantId=one["GrantId"])["Grants"]
    assert isinstance(shown.pop("CreationDate"), float)
    assert shown == {
        "KeyId": key["Arn"],
        "GrantId": one["GrantId"],
        "Name": "one",
        "GranteePrincipal": GRANTEE,
        "RetiringPrincipal": f"arn:aws:iam::{ACCOUNT}:{USER}",
        "IssuingAccount": f"arn:aws:iam::{ACCOUNT}:root",
        "Operations": ["Decrypt", "DescribeKey"],
        "Constraints": context,
    }
    (of_user,) = told(service, ADMIN, "ListGrants", KeyId=key["KeyId"], GranteePrincipal=USER)["Grants"]
    assert of_user["GrantId"] == two["GrantId"]
    for grant_id in (str(uuid.uuid4()), "x"):
        assert refused(service, ADMIN, "ListGrants", KeyId=key["KeyId"], GrantId=grant_id)[0] == (
            "InvalidGrantIdException"
        )


def test_the_same_grant_of_the_same_name_is_made_once(service: ServiceInProcess, key: dict[str, Any]) -> None:
    asked: dict[str, Any] = {"Name": "job", "Operations": ["Decrypt"]}
    first = grant(service, key, **asked)
    assert grant(service, key, **asked) == first
    assert grant(service, key, **{**asked, "Operations": ["Encrypt"]})["GrantId"] != first["GrantId"]
    assert grant(service, key, Operations=["Decrypt"])["GrantId"] != first["GrantId"]


@pytest.mark.parametrize(
    ("members", "exception"),
    [
        ({"GranteePrincipal": f"arn:aws:iam::{ACCOUNT}:role/nobody"}, "InvalidArnException"),
        ({"GranteePrincipal": "arn:aws:iam::111122223333:role/ci"}, "InvalidArnException"),
        ({"GranteePrincipal": f"arn:aws:iam::{ACCOUNT}:root"}, "InvalidArnException"),
        ({"GranteePrincipal": ADMIN}, "InvalidArnException"),  # of another duty
        ({"RetiringPrincipal": "user/nobody"}, "InvalidArnException"),
        ({"GranteePrincipal": None}, "ValidationException"),
        ({"GranteeServicePrincipal": "s3.amazonaws.com"}, "UnsupportedOperationException"),
        ({"Operations": ["CreateGrant"]}, "ValidationException"),
        ({"Operations": ["Sign"]}, "ValidationException"),
        ({"Operations": ["Fly"]}, "ValidationException"),
        (
            {"Constraints": {"EncryptionContextEquals": {"a": "b"}, "EncryptionContextSubset": {"a": "b"}}},
            "ValidationException",
        ),
        ({"Constraints": {"EncryptionContextEquals": {}}}, "ValidationException"),
        ({"Constraints": {"SourceArn": f"arn:aws:s3:us-east-1:{ACCOUNT}:bucket"}}, "UnsupportedOperationException"),
        ({"GrantTokens": ["x"]}, "InvalidGrantTokenException"),
    ],
)
def test_a_grant_that_cannot_be_made_is_refused_as_aws_does(
    service: ServiceInProcess, key: dict[str, Any], members: dict[str, Any], exception: str
) -> None:
    asked = {"KeyId": key["KeyId"], "GranteePrincipal": GRANTEE, "Operations": ["Decrypt"], **members}
    found, message = refused(service, ADMIN, "CreateGrant", **asked)
    assert found == exception, message


def test_a_dry_run_changes_nothing(service: ServiceInProcess) -> None:
    key = made_key(service)
    asked = {"KeyId": key["KeyId"], "GranteePrincipal": GRANTEE, "Operations": ["Decrypt"], "DryRun": True}
    assert refused(service, ADMIN, "CreateGrant", **asked)[0] == "DryRunOperationException"
    assert refused(service, OTHER, "CreateGrant", **asked)[0] == "AccessDeniedException"
    assert refused(service, ADMIN, "CreateGrant", **{**asked, "Operations": ["Sign"]})[0] == "ValidationException"
    assert told(service, ADMIN, "ListGrants", KeyId=key["KeyId"])["Grants"] == []
    made = grant(service, key)
    for operation in ("RevokeGrant", "RetireGrant"):
        named = {"KeyId": key["KeyId"], "GrantId": made["GrantId"], "DryRun": True}
        assert refused(service, ADMIN, operation, **named)[0] == "DryRunOperationException"
    assert len(told(service, ADMIN, "ListGrants", KeyId=key["KeyId"])["Grants"]) == 1


def test_a_disabled_key_is_granted_to_nobody(service: ServiceInProcess) -> None:
    key = made_key(service)
    told(service, ADMIN, "DisableKey", KeyId=key["KeyId"])
    asked = {"KeyId": key["KeyId"], "GranteePrincipal": GRANTEE, "Operations": ["Decrypt"]}
    assert refused(service, ADMIN, "CreateGrant", **asked)[0] == "DisabledException"


def test_a_grant_is_retired_by_who_was_named_for_it(service: ServiceInProcess) -> None:
    key = made_key(service)
    retiring = {"RetiringPrincipal": f"arn:aws:iam::{ACCOUNT}:{USER}"}
    one, two = grant(service, key, **retiring), grant(service, key, **retiring)
    listed = told(service, USER, "ListRetirableGrants", **retiring)["Grants"]
    assert {one["GrantId"], two["GrantId"]} <= {each["GrantId"] for each in listed}
    seen = pages(service, ADMIN, "ListRetirableGrants", "Grants", **retiring, Limit=1)
    assert {one["GrantId"], two["GrantId"]} <= {each["GrantId"] for page in seen for each in page}
    hidden = told(service, OTHER, "ListRetirableGrants", **retiring)["Grants"]
    assert key["Arn"] not in {each["KeyId"] for each in hidden}
    assert refused(service, OTHER, "RetireGrant", GrantToken=one["GrantToken"])[0] == "AccessDeniedException"
    assert told(service, USER, "RetireGrant", GrantToken=one["GrantToken"]) == {}
    named = {"KeyId": key["Arn"], "GrantId": two["GrantId"]}
    assert told(service, USER, "RetireGrant", **named) == {}
    assert refused(service, ADMIN, "RetireGrant", GrantToken=one["GrantToken"])[0] == "InvalidGrantIdException"
    for members in ({}, {"KeyId": key["Arn"]}, {**named, "GrantToken": one["GrantToken"]}):
        assert refused(service, USER, "RetireGrant", **members)[0] == "ValidationException"
    assert refused(service, USER, "RetireGrant", GrantToken="eA==")[0] == "InvalidGrantTokenException"
    assert refused(service, USER, "ListRetirableGrants")[0] == "ValidationException"
