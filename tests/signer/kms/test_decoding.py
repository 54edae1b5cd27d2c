"""Bodies that do not fit are refused in AWS's words; those that do are read as they are."""

from __future__ import annotations

from typing import Annotated

import pytest
from msgspec import Meta

from signer.kms import key_stores
from signer.kms.decoding import decode
from signer.kms.errors import Refusal
from signer.kms.shapes import EpochSeconds, Request, Shape, moment
from signer.kms.signing import SignRequest


class Tag(Shape):
    tag_key: Annotated[str, Meta(min_length=1, max_length=4)]
    tag_value: str


class Everything(Request):
    key_id: Annotated[str, Meta(min_length=1, max_length=8)]
    tags: list[Tag] | None = None
    names: Annotated[list[Annotated[str, Meta(max_length=3)]], Meta(max_length=2)] | None = None
    context: dict[str, str] | None = None
    count: Annotated[int, Meta(ge=1, le=5)] | None = None
    word: Annotated[str, Meta(pattern="^[a-z]+$(?!\\n)")] | None = None
    at: EpochSeconds | None = None
    really: bool = False


def refused(body: str, name: str) -> str:
    with pytest.raises(Refusal) as caught:
        decode(body.encode(), Everything)
    assert caught.value.exception == name
    return str(caught.value)


def test_what_fits() -> None:
    body = b'{"KeyId":"k","Unknown":{"a":[1]},"Tags":[{"TagKey":"a","TagValue":""}],"Really":null,"Count":null,"At":5}'
    found = decode(body, Everything)
    assert found == Everything(key_id="k", tags=[Tag(tag_key="a", tag_value="")], at=5.0)
    assert moment(found.at or 0, member="at").isoformat() == "1970-01-01T00:00:05+00:00"


@pytest.mark.parametrize("body", ["", "{}", '{"KeyId":null}'])
def test_a_member_that_must_be_there(body: str) -> None:
    assert refused(body, "ValidationException") == (
        "1 validation error detected: Value null at 'keyId' failed to satisfy constraint: Member must not be null"
    )


LENGTH = "Member must have length"
VALUE = "Member must have value"


@pytest.mark.parametrize(
    ("member", "value", "at", "constraint"),
    [
        ('"KeyId":""', "''", "keyId", f"{LENGTH} greater than or equal to 1"),
        ('"KeyId":"123456789"', "'123456789'", "keyId", f"{LENGTH} less than or equal to 8"),
        ('"Count":0', "'0'", "count", f"{VALUE} greater than or equal to 1"),
        ('"Count":6', "'6'", "count", f"{VALUE} less than or equal to 5"),
        ('"Word":"a\\n"', "'a\n'", "word", "Member must satisfy regular expression pattern: ^[a-z]+$"),
        ('"Tags":[{"TagKey":"a"}]', "null", "tags.1.member.tagValue", "Member must not be null"),
        (
            '"Tags":[{"TagKey":"a","TagValue":""},{"TagKey":"12345","TagValue":""}]',
            "'12345'",
            "tags.2.member.tagKey",
            f"{LENGTH} less than or equal to 4",
        ),
        (
            '"Names":["abcd"]',
            "'[abcd]'",
            "names",
            f"Member must satisfy constraint: [{LENGTH} less than or equal to 3, Member must not be null]",
        ),
        ('"Names":["a","b","c"]', "'[a, b, c]'", "names", f"{LENGTH} less than or equal to 2"),
        ('"Context":{"a":null}', "null", "context.a.member", "Member must not be null"),
    ],
)
def test_constraints_are_told_as_aws_tells_them(member: str, value: str, at: str, constraint: str) -> None:
    message = refused("{" + ('"KeyId":"k",' if "KeyId" not in member else "") + member + "}", "ValidationException")
    told = f"Value {value} at '{at}' failed to satisfy constraint: {constraint}"
    assert message == f"1 validation error detected: {told}"


def test_all_that_is_wrong_is_told_at_once() -> None:
    message = refused('{"Count":9,"Word":"A"}', "ValidationException")
    assert message.startswith("3 validation errors detected: Value null at 'keyId'")


@pytest.mark.parametrize(
    "body",
    [
        "{",
        "[]",
        "null",
        '"x"',
        '{"KeyId":1}',
        '{"KeyId":["k"]}',
        '{"KeyId":"k","Count":"1"}',
        '{"KeyId":"k","Count":true}',
        '{"KeyId":"k","Count":1.5}',
        '{"KeyId":"k","Really":"true"}',
        '{"KeyId":"k","Tags":{}}',
        '{"KeyId":"k","Context":{"a":1}}',
        '{"KeyId":"k","At":"2026-01-01T00:00:00Z"}',
        '{"KeyId":"k","KeyId":"l"}',
        '{"KeyId":"k","Context":{"a":"1","a":"2"}}',
        '{"KeyId":"k"} {}',
        '{"KeyId":"k","X":' + "[" * 100_000 + "}",
    ],
)
def test_what_is_of_another_form(body: str) -> None:
    refused(body, "SerializationException")


@pytest.mark.parametrize("blob", ["QQ", "Q-==", "QQ ==", "QUJD\\n", "QQ==QQ=="])
def test_blobs_are_strict_base64(blob: str) -> None:
    body = '{"KeyId":"k","SigningAlgorithm":"ECDSA_SHA_256","Message":"' + blob + '"}'
    with pytest.raises(Refusal) as caught:
        decode(body.encode(), SignRequest)
    assert caught.value.exception == "SerializationException"


def test_a_secret_is_not_shown() -> None:
    with pytest.raises(Refusal) as caught:
        decode(b'{"CustomKeyStoreName":"n","KeyStorePassword":"s3cr3"}', key_stores.CreateRequest)
    assert "s3cr3" not in str(caught.value)
    assert "at 'keyStorePassword'" in str(caught.value)


def test_values_and_blobs_are_shown_in_part_or_not_at_all() -> None:
    assert len(refused('{"KeyId":"' + "k" * 5000 + '"}', "ValidationException")) < 400
    with pytest.raises(Refusal) as caught:
        decode(b'{"KeyId":"k","SigningAlgorithm":"X","Message":""}', SignRequest)
    assert str(caught.value).startswith("2 validation errors detected: Value at 'message' failed")
    assert "enum value set: [" in str(caught.value)
