"""Keys over AWS's protocol: made with its defaults, described, listed, switched, to be deleted, last used."""

from __future__ import annotations

import base64
import json
import time
import uuid
from typing import TYPE_CHECKING, Any, Final

import pytest

from keystore.algorithms import Purpose
from signer.access.short_form import document_of
from signer.kms.metadata import key_metadata
from tests.signer.kms.asking import ADMIN, OTHER, USER, made_key, pages, refused, told

if TYPE_CHECKING:
    from tests.signer.service import ServiceInProcess

ABSENT: Final = "00000000-0000-4000-8000-00000000ffff"


def policy(*users: str, administrator: str = ADMIN) -> str:
    return json.dumps(document_of([administrator], users, "000000000000"))


def test_a_key_has_awss_defaults(service: ServiceInProcess) -> None:
    before = time.time()
    key = made_key(service)
    assert isinstance(key.pop("CreationDate"), float)
    assert len(key.pop("CurrentKeyMaterialId")) == 64
    assert key == {
        "AWSAccountId": "000000000000",
        "KeyId": key["KeyId"],
        "Arn": f"arn:aws:kms:us-east-1:000000000000:key/{key['KeyId']}",
        "Enabled": True,
        "Description": "",
        "KeyUsage": "ENCRYPT_DECRYPT",
        "KeyState": "Enabled",
        "Origin": "AWS_KMS",
        "KeyManager": "CUSTOMER",
        "CustomerMasterKeySpec": "SYMMETRIC_DEFAULT",
        "KeySpec": "SYMMETRIC_DEFAULT",
        "EncryptionAlgorithms": ["SYMMETRIC_DEFAULT"],
        "MultiRegion": False,
    }
    described = told(service, ADMIN, "DescribeKey", KeyId=key["KeyId"])["KeyMetadata"]
    assert described["CreationDate"] >= before - 1
    assert uuid.UUID(key["KeyId"])
    assert service.services.keystore.get_key(key["KeyId"]).created_by == ADMIN


@pytest.mark.parametrize(
    ("members", "purpose", "listed"),
    [
        ({"KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY"}, "general", ("SigningAlgorithms", ["ECDSA_SHA_256"])),
        (
            {"CustomerMasterKeySpec": "ECC_NIST_P384", "KeyUsage": "KEY_AGREEMENT"},
            "agree",
            ("KeyAgreementAlgorithms", ["ECDH"]),
        ),
        ({"KeySpec": "HMAC_256", "KeyUsage": "GENERATE_VERIFY_MAC"}, "mac", ("MacAlgorithms", ["HMAC_SHA_256"])),
    ],
)
def test_the_usage_is_the_purpose(
    service: ServiceInProcess, members: dict[str, str], purpose: str, listed: tuple[str, list[str]]
) -> None:
    key = made_key(service, **members)
    assert service.services.keystore.get_key(key["KeyId"]).purpose == purpose
    assert (key[listed[0]], key["KeyUsage"]) == (listed[1], members["KeyUsage"])
    assert [name for name in key if name.endswith("Algorithms")] == [listed[0]]


@pytest.mark.parametrize(
    ("members", "name", "words"),
    [
        ({"KeySpec": "ECC_NIST_P256"}, "ValidationException", "must specify a KeyUsage"),
        ({"KeySpec": "ECC_NIST_P256", "KeyUsage": "ENCRYPT_DECRYPT"}, "ValidationException", "not compatible"),
        ({"KeySpec": "ECC_SECG_P256K1", "KeyUsage": "KEY_AGREEMENT"}, "ValidationException", "not compatible"),
        ({"KeyUsage": "SIGN_VERIFY"}, "ValidationException", "not compatible"),
        ({"KeySpec": "SM2", "KeyUsage": "SIGN_VERIFY"}, "UnsupportedOperationException", "SM2"),
        (
            {"KeySpec": "ML_KEM_512", "KeyUsage": "ENCAPSULATE_DECAPSULATE"},
            "UnsupportedOperationException",
            "ML_KEM_512",
        ),
        ({"KeySpec": "HMAC_256", "CustomerMasterKeySpec": "HMAC_256"}, "ValidationException", "same request"),
        ({"Origin": "AWS_CLOUDHSM"}, "UnsupportedOperationException", "Custom key stores"),
        ({"CustomKeyStoreId": "cks-1"}, "UnsupportedOperationException", "Custom key stores"),
        ({"Policy": "{"}, "MalformedPolicyDocumentException", "not JSON"),
        ({"Policy": '{"users": ["role/ci"], "administrators": []}'}, "MalformedPolicyDocumentException", "Statement"),
        ({"Policy": '{"Statement": [], "Version": "2012-10-17"}'}, "MalformedPolicyDocumentException", "at least one"),
        ({"Policy": policy(USER, administrator=USER)}, "MalformedPolicyDocumentException", "role/ci"),
        ({"Policy": policy(USER, administrator="user/nobody")}, "MalformedPolicyDocumentException", "no principal"),
        ({"Tags": [{"TagKey": "a", "TagValue": "1"}, {"TagKey": "a", "TagValue": "2"}]}, "TagException", "Duplicate"),
        ({"Tags": [{"TagKey": "aws:a", "TagValue": "1"}]}, "TagException", "reserved"),
        ({"Tags": [{"TagKey": "a\n", "TagValue": "1"}]}, "TagException", "name"),
        ({"Tags": [{"TagKey": f"a{at}", "TagValue": ""} for at in range(51)]}, "TagException", "at most 50"),
        ({"Description": "x" * 8193}, "ValidationException", "8192"),
    ],
)
def test_what_cannot_be_made_is_refused_as_aws_does(
    service: ServiceInProcess, members: dict[str, Any], name: str, words: str
) -> None:
    found, message = refused(service, ADMIN, "CreateKey", **members)
    assert found == name, message
    assert words in message
    assert found != "AccessDeniedException"
    assert refused(service, USER, "CreateKey", **members)[0] == "AccessDeniedException"  # its duty, before its body


def test_a_policy_without_a_keeper_needs_the_bypass(service: ServiceInProcess) -> None:
    lonely = json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": {"Effect": "Allow", "Principal": {"AWS": USER}, "Action": "kms:DescribeKey", "Resource": "*"},
        }
    )
    name, message = refused(service, ADMIN, "CreateKey", Policy=lonely)
    assert (name, "ever change the key's policy" in message) == ("MalformedPolicyDocumentException", True)
    key = made_key(service, Policy=lonely, BypassPolicyLockoutSafetyCheck=True)
    assert refused(service, ADMIN, "DescribeKey", KeyId=key["KeyId"])[0] == "AccessDeniedException"
    assert told(service, USER, "DescribeKey", KeyId=key["KeyId"])["KeyMetadata"]["KeyId"] == key["KeyId"]


def test_one_makes_and_another_uses(service: ServiceInProcess) -> None:
    key = made_key(service, KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY", Policy=policy(USER))
    asked = {
        "KeyId": key["Arn"],
        "Message": base64.b64encode(b"release").decode(),
        "SigningAlgorithm": "ECDSA_SHA_256",
    }
    assert refused(service, ADMIN, "Sign", **asked)[0] == "AccessDeniedException"
    unused = told(service, ADMIN, "GetKeyLastUsage", KeyId=key["KeyId"])
    assert (unused["KeyLastUsage"], unused["KeyId"]) == ({}, key["KeyId"])
    assert unused["TrackingStartDate"] == unused["KeyCreationDate"] == key["CreationDate"]
    answer = service.kms(USER, "Sign", asked)
    assert answer.status_code == 200
    used = told(service, ADMIN, "GetKeyLastUsage", KeyId=key["KeyId"])["KeyLastUsage"]
    request_id = answer.headers["x-amzn-RequestId"]
    (leaf,) = service.outcomes(request_id)
    assert used["Operation"] == "Sign"
    assert (used["KmsRequestId"], used["CloudTrailEventId"]) == (request_id, leaf["intent_id"])
    assert used["Timestamp"] == pytest.approx(leaf["time"] / 1e6)
    assert refused(service, USER, "GetKeyLastUsage", KeyId=key["KeyId"])[0] == "AccessDeniedException"
    told(service, "user/auditor", "GetKeyLastUsage", KeyId=key["KeyId"])


def test_a_list_has_what_its_caller_may_describe_in_pages(service: ServiceInProcess) -> None:
    mine = {made_key(service, OTHER)["KeyId"] for _ in range(3)}
    found = pages(service, OTHER, "ListKeys", "Keys", Limit=2)
    assert all(len(page) <= 2 for page in found)
    ids = [key["KeyId"] for page in found for key in page]
    assert len(ids) == len(set(ids))
    assert mine <= set(ids)
    assert all(key["KeyArn"].endswith(f"key/{key['KeyId']}") for page in found for key in page)
    others = [key["KeyId"] for page in pages(service, "role/other", "ListKeys", "Keys") for key in page]
    assert not mine & set(others)
    assert told(service, OTHER, "ListKeys", ResourceOwners=["OTHER_ACCOUNTS_VIA_RAM"])["Keys"] == []
    for marker in ("x", "QWxpYXNlczph", base64.b64encode(b"Aliases:a").decode()):
        assert refused(service, OTHER, "ListKeys", Marker=marker)[0] == "InvalidMarkerException"
    assert refused(service, OTHER, "ListKeys", Limit=1001)[0] == "ValidationException"


def test_a_key_is_switched_off_and_on_again_as_often_as_asked(service: ServiceInProcess) -> None:
    key = made_key(service)
    for operation, state in (("DisableKey", "Disabled"), ("EnableKey", "Enabled")):
        for _ in range(2):
            assert told(service, ADMIN, operation, KeyId=key["Arn"]) == {}
            metadata = told(service, ADMIN, "DescribeKey", KeyId=key["KeyId"])["KeyMetadata"]
            assert (metadata["KeyState"], metadata["Enabled"]) == (state, state == "Enabled")


def test_a_key_that_is_to_be_deleted_is_left_alone(service: ServiceInProcess) -> None:
    key = made_key(service)
    named = {"KeyId": key["KeyId"]}
    assert refused(service, ADMIN, "CancelKeyDeletion", **named)[0] == "KMSInvalidStateException"
    for days in (6, 31):
        assert (
            refused(service, ADMIN, "ScheduleKeyDeletion", **named, PendingWindowInDays=days)[0]
            == "ValidationException"
        )
    scheduled = told(service, ADMIN, "ScheduleKeyDeletion", **named, PendingWindowInDays=7)
    assert scheduled.pop("DeletionDate") == pytest.approx(time.time() + 7 * 86400, abs=60)
    assert scheduled == {"KeyId": key["Arn"], "KeyState": "PendingDeletion", "PendingWindowInDays": 7}
    metadata = told(service, ADMIN, "DescribeKey", **named)["KeyMetadata"]
    assert {"DeletionDate", "CurrentKeyMaterialId"} <= set(metadata)
    assert (metadata["KeyState"], metadata["Enabled"]) == ("PendingDeletion", False)
    for operation, members in (
        ("EnableKey", {}),
        ("DisableKey", {}),
        ("ScheduleKeyDeletion", {}),
        ("UpdateKeyDescription", {"Description": "late"}),
        ("TagResource", {"Tags": [{"TagKey": "a", "TagValue": "b"}]}),
        ("UntagResource", {"TagKeys": ["a"]}),
        ("EnableKeyRotation", {}),
        ("DisableKeyRotation", {}),
        ("RotateKeyOnDemand", {}),
        ("CreateGrant", {"GranteePrincipal": USER, "Operations": ["Decrypt"]}),
    ):
        name, message = refused(service, ADMIN, operation, **named, **members)
        assert (name, "pending deletion" in message) == ("KMSInvalidStateException", True), (operation, message)
    late = {"AliasName": "alias/late", "TargetKeyId": key["KeyId"]}
    assert refused(service, ADMIN, "CreateAlias", **late)[0] == "KMSInvalidStateException"
    assert told(service, ADMIN, "CancelKeyDeletion", **named) == {"KeyId": key["Arn"]}
    assert told(service, ADMIN, "DescribeKey", **named)["KeyMetadata"]["KeyState"] == "Disabled"


def test_the_services_own_keys_are_awss_and_nobodys_to_administer(service: ServiceInProcess) -> None:
    keystore = service.services.keystore
    (authority,) = keystore.find_keys_by_purpose(Purpose.CA)
    assert key_metadata(authority, keystore.clock())["KeyManager"] == "AWS"
    for who in (ADMIN, USER):
        name, message = refused(service, who, "DescribeKey", KeyId=authority.id)
        assert (name, message) == refused(service, who, "DescribeKey", KeyId=ABSENT)
    for operation, members in (
        ("DisableKey", {}),
        ("ScheduleKeyDeletion", {}),
        ("PutKeyPolicy", {"Policy": policy()}),
        ("CreateGrant", {"GranteePrincipal": USER, "Operations": ["Sign"]}),
    ):
        assert refused(service, ADMIN, operation, KeyId=authority.id, **members)[0] == "AccessDeniedException"
    alias = {"AliasName": "alias/mine", "TargetKeyId": authority.id}
    assert refused(service, ADMIN, "CreateAlias", **alias)[0] == "AccessDeniedException"


def test_a_description_is_changed(service: ServiceInProcess) -> None:
    key = made_key(service, Description="first")
    assert told(service, ADMIN, "UpdateKeyDescription", KeyId=key["KeyId"], Description="ü" * 8192) == {}
    assert told(service, ADMIN, "DescribeKey", KeyId=key["KeyId"])["KeyMetadata"]["Description"] == "ü" * 8192
    assert told(service, ADMIN, "UpdateKeyDescription", KeyId=key["KeyId"], Description="") == {}


@pytest.mark.parametrize(
    ("operation", "members"),
    [
        ("EnableKey", {}),
        ("DisableKey", {}),
        ("ScheduleKeyDeletion", {}),
        ("CancelKeyDeletion", {}),
        ("UpdateKeyDescription", {"Description": "x"}),
        ("TagResource", {"Tags": [{"TagKey": "a", "TagValue": "b"}]}),
        ("UntagResource", {"TagKeys": ["a"]}),
        ("ListResourceTags", {}),
        ("GetKeyPolicy", {}),
        ("PutKeyPolicy", {"Policy": policy()}),
        ("ListKeyPolicies", {}),
        ("CreateGrant", {"GranteePrincipal": USER, "Operations": ["Decrypt"]}),
        ("ListGrants", {}),
        ("RevokeGrant", {"GrantId": ABSENT}),
        ("RetireGrant", {"GrantId": ABSENT}),
        ("EnableKeyRotation", {}),
        ("DisableKeyRotation", {}),
        ("GetKeyRotationStatus", {}),
        ("ListKeyRotations", {}),
        ("RotateKeyOnDemand", {}),
        ("GetKeyLastUsage", {}),
    ],
)
def test_another_keys_administrator_is_told_nothing_of_a_key(
    service: ServiceInProcess, key: dict[str, Any], operation: str, members: dict[str, Any]
) -> None:
    there = refused(service, OTHER, operation, KeyId=key["KeyId"], **members)
    assert there == refused(service, OTHER, operation, KeyId=ABSENT, **members)
    assert there[0] == "AccessDeniedException"
    assert refused(service, ADMIN, operation, KeyId="alias/none", **members)[0] == "NotFoundException"
    arn = key["Arn"].replace("000000000000", "111122223333")
    assert refused(service, ADMIN, operation, KeyId=arn, **members)[0] == "NotFoundException"
    assert refused(service, ADMIN, operation, KeyId=f"{key['Arn']}/x", **members)[0] in (
        "NotFoundException",
        "InvalidArnException",
    )


@pytest.fixture(scope="module")
def key(service: ServiceInProcess) -> dict[str, Any]:
    return made_key(service)
