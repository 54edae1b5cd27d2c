"""Aliases and tags over AWS's protocol, and policies that ask for them."""

from __future__ import annotations

import json
import time
import uuid
from typing import TYPE_CHECKING, Any, Final

import pytest

from signer.access.short_form import document_of
from tests.signer.guarded import enrolled
from tests.signer.kms.asking import ADMIN, OTHER, USER, made_key, new_alias, pages, refused, told

if TYPE_CHECKING:
    from tests.signer.service import ServiceInProcess

ACCOUNT: Final = "000000000000"


@pytest.fixture(scope="module")
def key(service: ServiceInProcess) -> dict[str, Any]:
    return made_key(service)


def aliases_of(service: ServiceInProcess, key: dict[str, Any], who: str = ADMIN) -> list[str]:
    listed = told(service, who, "ListAliases", KeyId=key["KeyId"])["Aliases"]
    return [alias["AliasName"] for alias in listed]


def tags_of(service: ServiceInProcess, key: dict[str, Any]) -> dict[str, str]:
    listed = told(service, ADMIN, "ListResourceTags", KeyId=key["KeyId"])["Tags"]
    return {tag["TagKey"]: tag["TagValue"] for tag in listed}


def test_a_key_has_several_names_and_answers_to_each(service: ServiceInProcess) -> None:
    key = made_key(service)
    names = sorted(new_alias() for _ in range(3))
    for name in names:
        assert told(service, ADMIN, "CreateAlias", AliasName=name, TargetKeyId=key["Arn"]) == {}
        for reference in (name, key["Arn"].replace(f"key/{key['KeyId']}", name)):
            assert told(service, ADMIN, "DescribeKey", KeyId=reference)["KeyMetadata"]["KeyId"] == key["KeyId"]
    assert aliases_of(service, key) == names
    found = pages(service, ADMIN, "ListAliases", "Aliases", KeyId=key["KeyId"], Limit=2)
    assert [len(page) for page in found] == [2, 1]
    shown = found[0][0]
    assert shown["AliasArn"] == f"arn:aws:kms:us-east-1:{ACCOUNT}:{names[0]}"
    assert shown["TargetKeyId"] == key["KeyId"]
    assert shown["CreationDate"] == shown["LastUpdatedDate"] == pytest.approx(time.time(), abs=60)


def test_a_list_shows_aliases_of_keys_that_its_caller_may_describe(service: ServiceInProcess) -> None:
    mine, theirs = (made_key(service, who) for who in (ADMIN, OTHER))
    for who, key in ((ADMIN, mine), (OTHER, theirs)):
        told(service, who, "CreateAlias", AliasName=new_alias(), TargetKeyId=key["KeyId"])
    shown = [
        alias["TargetKeyId"] for page in pages(service, OTHER, "ListAliases", "Aliases", Limit=3) for alias in page
    ]
    assert theirs["KeyId"] in shown
    assert mine["KeyId"] not in shown
    hidden = refused(service, OTHER, "ListAliases", KeyId=mine["KeyId"])
    assert hidden == refused(service, OTHER, "ListAliases", KeyId="00000000-0000-4000-8000-00000000ffff")
    assert hidden[0] == "AccessDeniedException"


@pytest.mark.parametrize(
    ("name", "exception"),
    [
        ("release", "ValidationException"),
        ("alias/", "InvalidAliasNameException"),
        ("alias/a:b", "InvalidAliasNameException"),
        ("alias/aws/s3", "InvalidAliasNameException"),
        ("alias/00000000-0000-4000-8000-00000000ffff", "InvalidAliasNameException"),
        ("alias/" + "a" * 251, "ValidationException"),
        ("alias/ü", "ValidationException"),
    ],
)
def test_what_is_no_alias_is_refused(service: ServiceInProcess, key: dict[str, Any], name: str, exception: str) -> None:
    for operation in ("CreateAlias", "UpdateAlias"):
        assert refused(service, ADMIN, operation, AliasName=name, TargetKeyId=key["KeyId"])[0] == exception
    assert refused(service, ADMIN, "DeleteAlias", AliasName=name)[0] == exception


def test_a_name_that_is_taken_is_not_given_again(service: ServiceInProcess, key: dict[str, Any]) -> None:
    name = new_alias()
    told(service, ADMIN, "CreateAlias", AliasName=name, TargetKeyId=key["KeyId"])
    exception, message = refused(service, ADMIN, "CreateAlias", AliasName=name, TargetKeyId=key["KeyId"])
    assert (exception, f"{ACCOUNT}:{name} already exists" in message) == ("AlreadyExistsException", True)
    assert refused(service, ADMIN, "CreateAlias", AliasName=new_alias(), TargetKeyId=name)[0] == "NotFoundException"
    assert told(service, ADMIN, "DeleteAlias", AliasName=name) == {}
    assert refused(service, ADMIN, "DeleteAlias", AliasName=name)[0] == "AccessDeniedException"  # as one of others'
    told(service, ADMIN, "CreateAlias", AliasName=name, TargetKeyId=key["KeyId"])


def test_an_alias_is_moved_by_who_may_change_both_keys(service: ServiceInProcess) -> None:
    one, other, foreign = made_key(service), made_key(service), made_key(service, OTHER)
    name = new_alias()
    told(service, ADMIN, "CreateAlias", AliasName=name, TargetKeyId=one["KeyId"])
    created = told(service, ADMIN, "ListAliases", KeyId=one["KeyId"])["Aliases"][0]
    assert told(service, ADMIN, "UpdateAlias", AliasName=name, TargetKeyId=other["Arn"]) == {}
    assert (aliases_of(service, one), aliases_of(service, other)) == ([], [name])
    moved = told(service, ADMIN, "ListAliases", KeyId=other["KeyId"])["Aliases"][0]
    assert moved["CreationDate"] == created["CreationDate"] < moved["LastUpdatedDate"]
    # neither from a key nor to a key that somebody else administers, and of neither is anything told
    absent = refused(service, OTHER, "UpdateAlias", AliasName=new_alias(), TargetKeyId=foreign["KeyId"])
    assert refused(service, OTHER, "UpdateAlias", AliasName=name, TargetKeyId=foreign["KeyId"]) == absent
    assert refused(service, ADMIN, "UpdateAlias", AliasName=name, TargetKeyId=foreign["KeyId"]) == (
        refused(service, ADMIN, "UpdateAlias", AliasName=name, TargetKeyId="00000000-0000-4000-8000-00000000ffff")
    )
    assert absent[0] == "AccessDeniedException"
    assert aliases_of(service, other) == [name]
    assert refused(service, OTHER, "DeleteAlias", AliasName=name)[0] == "AccessDeniedException"


def test_an_alias_is_moved_between_keys_that_do_the_same(service: ServiceInProcess, key: dict[str, Any]) -> None:
    name = new_alias()
    told(service, ADMIN, "CreateAlias", AliasName=name, TargetKeyId=key["KeyId"])
    for members in (
        {"KeySpec": "HMAC_256", "KeyUsage": "GENERATE_VERIFY_MAC"},
        {"KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY"},
    ):
        unlike = made_key(service, **members)
        exception, message = refused(service, ADMIN, "UpdateAlias", AliasName=name, TargetKeyId=unlike["KeyId"])
        assert (exception, "one purpose" in message) == ("ValidationException", True)


def test_approvers_of_either_key_are_asked_about_its_aliases(service: ServiceInProcess) -> None:
    approver = f"user/of-labels-{uuid.uuid4().hex[:8]}"  # its own: whoever is named in a rule adds no credentials
    approving = service.tokens.pop(enrolled(service, approver))
    held, free = made_key(service), made_key(service)
    name, other = new_alias(), new_alias()
    told(service, ADMIN, "CreateAlias", AliasName=name, TargetKeyId=held["KeyId"])
    told(service, ADMIN, "CreateAlias", AliasName=other, TargetKeyId=free["KeyId"])
    rule = {"policy": {"approvers": [approver], "needed": 1, "window_seconds": 600}}
    service.made(ADMIN, "PUT", f"/v1/keys/{held['KeyId']}/approval-rule", rule)
    for operation, members in (
        ("CreateAlias", {"AliasName": new_alias(), "TargetKeyId": held["KeyId"]}),
        ("UpdateAlias", {"AliasName": other, "TargetKeyId": held["KeyId"]}),
        ("UpdateAlias", {"AliasName": name, "TargetKeyId": free["KeyId"]}),
        ("DeleteAlias", {"AliasName": name}),
        ("TagResource", {"KeyId": held["KeyId"], "Tags": [{"TagKey": "a", "TagValue": "b"}]}),
        ("UntagResource", {"KeyId": held["KeyId"], "TagKeys": ["a"]}),
    ):
        exception, message = refused(service, ADMIN, operation, **members)
        assert (exception, "approv" in message) == ("AccessDeniedException", True), (operation, message)
    assert aliases_of(service, held) == [name]
    path = f"/v1/keys/{held['KeyId']}/approval-requests"
    body = {"operation": "aliases/remove", "request": {"alias": name.removeprefix("alias/")}}
    request = service.made(ADMIN, "POST", path, body)
    vote = {"request_sha256": request["request_sha256"]}
    service.made(approving, "POST", f"/v1/approval-requests/{request['id']}/approve", vote)
    answer = service.kms(ADMIN, "DeleteAlias", {"AliasName": name}, {"Sealmark-Approval": request["id"]})
    assert answer.status_code == 200
    assert aliases_of(service, held) == []


def test_a_policy_may_ask_by_which_name_a_key_is_called(service: ServiceInProcess) -> None:
    document = document_of([ADMIN], [], ACCOUNT)
    name, hidden = new_alias(), new_alias()
    statement = {
        "Effect": "Allow",
        "Principal": {"AWS": USER},
        "Action": "kms:DescribeKey",
        "Resource": "*",
        "Condition": {"StringEquals": {"kms:RequestAlias": name}},
    }
    policy = json.dumps({**document, "Statement": [*document["Statement"], statement]})  # type: ignore[misc]
    key = made_key(service, Policy=policy)
    for each in (name, hidden):
        told(service, ADMIN, "CreateAlias", AliasName=each, TargetKeyId=key["KeyId"])
    assert told(service, USER, "DescribeKey", KeyId=name)["KeyMetadata"]["KeyId"] == key["KeyId"]
    assert refused(service, USER, "DescribeKey", KeyId=hidden)[0] == "AccessDeniedException"
    assert refused(service, USER, "DescribeKey", KeyId=key["KeyId"])[0] == "AccessDeniedException"


def test_a_policy_may_ask_for_tags_and_for_any_alias(service: ServiceInProcess) -> None:
    document = document_of([ADMIN], [], ACCOUNT)
    asked = {
        "kms:DescribeKey": {"StringEquals": {"aws:ResourceTag/STAGE": "prod"}},
        "kms:ListResourceTags": {"ForAnyValue:StringLike": {"kms:ResourceAliases": "alias/test/b*"}},
    }
    statements = [
        {"Effect": "Allow", "Principal": {"AWS": USER}, "Action": action, "Resource": "*", "Condition": condition}
        for action, condition in asked.items()
    ]
    policy = json.dumps({**document, "Statement": [*document["Statement"], *statements]})  # type: ignore[misc]
    key = made_key(service, Policy=policy)
    named = {"KeyId": key["KeyId"]}
    assert refused(service, USER, "DescribeKey", **named)[0] == "AccessDeniedException"
    told(service, ADMIN, "TagResource", **named, Tags=[{"TagKey": "Stage", "TagValue": "prod"}])
    told(service, USER, "DescribeKey", **named)
    told(service, ADMIN, "TagResource", **named, Tags=[{"TagKey": "stage", "TagValue": "test"}])
    assert refused(service, USER, "DescribeKey", **named)[0] == "AccessDeniedException"  # one name, two values
    assert refused(service, USER, "ListResourceTags", **named)[0] == "AccessDeniedException"
    for letter in "ab":  # the second is not the key's `alias`
        alias = new_alias().replace("test/", f"test/{letter}")
        told(service, ADMIN, "CreateAlias", AliasName=alias, TargetKeyId=key["KeyId"])
    told(service, USER, "ListResourceTags", **named)


def test_a_deny_may_ask_which_tags_are_set(service: ServiceInProcess) -> None:
    document = document_of([ADMIN], [], ACCOUNT)
    denied = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": ["kms:TagResource", "kms:UntagResource"],
        "Resource": "*",
        "Condition": {"ForAnyValue:StringEquals": {"aws:TagKeys": ["owner"]}},
    }
    other = {**denied, "Condition": {"StringEquals": {"aws:RequestTag/stage": "prod"}}}
    policy = json.dumps({**document, "Statement": [*document["Statement"], denied, other]})  # type: ignore[misc]
    key = made_key(service, Policy=policy, Tags=[{"TagKey": "owner", "TagValue": "a"}])
    for operation, members in (
        ("TagResource", {"Tags": [{"TagKey": "x", "TagValue": "y"}, {"TagKey": "owner", "TagValue": "b"}]}),
        ("TagResource", {"Tags": [{"TagKey": "stage", "TagValue": "prod"}]}),
        ("UntagResource", {"TagKeys": ["x", "owner"]}),
    ):
        assert refused(service, ADMIN, operation, KeyId=key["KeyId"], **members)[0] == "AccessDeniedException"
    told(service, ADMIN, "TagResource", KeyId=key["KeyId"], Tags=[{"TagKey": "stage", "TagValue": "test"}])
    assert tags_of(service, key) == {"owner": "a", "stage": "test"}


def test_tags_are_added_replaced_taken_away_and_listed_in_pages(service: ServiceInProcess) -> None:
    key = made_key(service, Tags=[{"TagKey": "b", "TagValue": ""}])
    named = {"KeyId": key["Arn"]}
    added = [
        {"TagKey": "a", "TagValue": "1"},
        {"TagKey": "b", "TagValue": "2"},
        {"TagKey": "c d:=+-@", "TagValue": "ü"},
    ]
    assert told(service, ADMIN, "TagResource", **named, Tags=added) == {}
    found = pages(service, ADMIN, "ListResourceTags", "Tags", **named, Limit=2)
    assert found == [added[:2], added[2:]]
    assert told(service, ADMIN, "UntagResource", **named, TagKeys=["a", "not there"]) == {}
    assert tags_of(service, key) == {"b": "2", "c d:=+-@": "ü"}
    many = [{"TagKey": f"n{at}", "TagValue": ""} for at in range(49)]
    assert refused(service, ADMIN, "TagResource", **named, Tags=many)[0] == "LimitExceededException"
    for refusal in (
        [{"TagKey": "AWS:x", "TagValue": ""}],
        [{"TagKey": "a", "TagValue": "é\0"}],
        [{"TagKey": "a", "TagValue": ""}, {"TagKey": "a", "TagValue": "b"}],
    ):
        assert refused(service, ADMIN, "TagResource", **named, Tags=refusal)[0] == "TagException"
    assert refused(service, ADMIN, "UntagResource", **named, TagKeys=["aws:x"])[0] == "TagException"
    assert refused(service, ADMIN, "TagResource", **named, Tags=[{"TagKey": "", "TagValue": ""}])[0] == (
        "ValidationException"
    )
    assert tags_of(service, key) == {"b": "2", "c d:=+-@": "ü"}
