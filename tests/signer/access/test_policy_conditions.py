"""What a Condition block may say, and for each thing that it may not the pointer and the words of the refusal."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from signer.access.circumstances import Circumstances, Surroundings
from signer.access.condition_keys import CONDITION_KEYS, find_condition_key
from signer.access.duties import Duty
from signer.access.policy_refusal import PolicyRefused
from signer.authn.principal import Principal
from tests.signer.access.policies import key_policy, statement
from tests.signer.access.test_decisions import key

_LIFETIME = "sealmark:TokenLifetime"
_TIME = "aws:CurrentTime"
_NAME = "aws:username"
_IP = "aws:SourceIp"

# the Condition block, the pointer within it, words of the message
REFUSED_BLOCKS: list[tuple[object, str, str]] = [
    ({}, "", "at least one"),
    ([], "", "must be an object"),
    ("x", "", "must be an object"),
    ({"StringEquals": {}}, "/StringEquals", "at least one"),
    ({"StringEquals": "x"}, "/StringEquals", "must be an object"),
    ({"StringEqual": {_NAME: "x"}}, "/StringEqual", "no condition operator StringEqual"),
    ({"stringEquals": {_NAME: "x"}}, "/stringEquals", "no condition operator"),
    ({"ForAll:StringEquals": {_NAME: "x"}}, "/ForAll:StringEquals", "ForAllValues:"),
    ({"StringEqualsifexists": {_NAME: "x"}}, "/StringEqualsifexists", "IfExists"),
    ({"BinaryEquals": {_NAME: "eA=="}}, "/BinaryEquals", "no condition key here holds bytes"),
    (
        {"ForAnyValue:BinaryEqualsIfExists": {}},
        "/ForAnyValue:BinaryEqualsIfExists",
        "no condition key here holds bytes",
    ),
    ({"NullIfExists": {_NAME: "true"}}, "/NullIfExists", "Null takes neither"),
    ({"ForAnyValue:Null": {_NAME: "true"}}, "/ForAnyValue:Null", "Null takes neither"),
    ({"StringEquals": {_NAME: "x", "AWS:UserName": "y"}}, "/StringEquals/AWS:UserName", "stands twice"),
    ({"StringEquals": {_NAME: "x"}, "Bool": {_NAME: "true"}}, f"/Bool/{_NAME}", "does not fit"),
]

# operator, key, values, which of the values is at fault (or None), words of the message
REFUSED_LINES: list[tuple[str, str, object, int | None, str]] = [
    # keys
    ("StringEquals", "kms:Foo", "x", None, "no condition key kms:Foo"),
    ("StringEquals", "username", "x", None, "no condition key"),
    ("StringEquals", "kms:EncryptionContext:", "x", None, "no condition key"),
    ("StringEquals", "kms:EncryptionContext", "x", None, "no condition key"),
    ("StringEquals", "aws:RequestTag/", "x", None, "no condition key"),
    ("StringEquals", "aws:\u017fourceIp", "x", None, "\\u017f"),
    # keys that an operator does not fit
    ("StringEquals", _IP, "10.0.0.1", None, "use IpAddress, NotIpAddress"),
    ("StringEquals", _LIFETIME, "900", None, "use NumericEquals"),
    ("NumericEquals", _NAME, "1", None, "use StringEquals"),
    ("NumericLessThan", _TIME, "1", None, "use DateEquals"),
    ("Bool", _NAME, "true", None, "does not fit"),
    ("IpAddress", _NAME, "10.0.0.1", None, "does not fit"),
    ("StringEquals", "kms:ResourceAliases", "a", None, "ForAnyValue:StringEquals or ForAllValues:StringEquals"),
    ("ForAllValues:StringEquals", "kms:EncryptionContext:App", "x", None, "OverlyPermissiveCondition"),
    ("ForAllValues:StringEqualsIfExists", _NAME, "x", None, "has one value"),
    # values
    ("StringEquals", _NAME, [], None, "at least one value"),
    ("StringEquals", _NAME, None, None, "a value must be a text"),
    ("StringEquals", _NAME, {}, None, "a value must be a text"),
    ("StringEquals", _NAME, ["x", {}], 1, "a value must be a text"),
    ("StringEquals", _NAME, "${aws:username}", None, "policy variables"),
    ("StringLike", _NAME, ["x", "${*}"], 1, "policy variables"),
    ("StringEquals", _NAME, "x" * 2049, None, "2048"),
    ("NumericEquals", _LIFETIME, "1e3", None, "such as 900"),
    ("NumericEquals", _LIFETIME, 1e30, None, "such as 900"),
    ("NumericEquals", _LIFETIME, ["1", True], 1, "must be a number"),
    ("NumericEquals", _LIFETIME, "\u0661", None, "must be a number"),
    ("NumericEquals", _LIFETIME, "", None, "must be a number"),
    ("DateLessThan", _TIME, "tomorrow", None, "RFC 3339"),
    ("DateLessThan", _TIME, "2026-02-30T00:00:00Z", None, "must be a date"),
    ("DateLessThan", _TIME, "2026-02-01T00:00:00", None, "must be a date"),
    ("DateLessThan", _TIME, "2026-02-01T00:00:00+99:00", None, "must be a date"),
    ("Bool", "aws:SecureTransport", "yes", None, "true or false"),
    ("Bool", "aws:SecureTransport", ["true", "false"], None, "contradict"),
    ("Null", _NAME, [True, "false"], None, "contradict"),
    ("Null", _NAME, "x", None, "true or false"),
    ("IpAddress", _IP, "10.0.0.0/33", None, "203.0.113.0/24"),
    ("IpAddress", _IP, ["10.0.0.0/8", "10.0.0.1/8"], 1, "without host bits"),
    ("NotIpAddress", _IP, "10.*", None, "must be an IP address"),
    ("IpAddress", _IP, "", None, "must be an IP address"),
    ("IpAddress", _IP, "fe80::1%eth0/64", None, "must be an IP address"),
    ("ArnLike", "aws:PrincipalArn", "role/ci", None, "must be an ARN"),
    ("ArnLike", "aws:PrincipalArn", "*", None, "must be an ARN"),
    ("ArnEquals", "aws:PrincipalArn", "arn:aws:iam::1:", None, "must be an ARN"),
]


def refusal_of(block: object) -> PolicyRefused:
    with pytest.raises(PolicyRefused) as refusal:
        key_policy(statement(Condition=block))
    return refusal.value


@pytest.mark.parametrize(("block", "pointer", "words"), REFUSED_BLOCKS)
def test_a_block_that_is_not_understood_is_refused(block: object, pointer: str, words: str) -> None:
    refusal = refusal_of(block)
    assert refusal.pointer == f"/Statement/0/Condition{pointer}"
    assert words in refusal.message


@pytest.mark.parametrize(("operator", "key", "values", "entry", "words"), REFUSED_LINES)
def test_a_line_that_would_not_do_what_it_seems_to_is_refused(
    operator: str, key: str, values: object, entry: int | None, words: str
) -> None:
    refusal = refusal_of({operator: {key: values}})
    pointer = f"/Statement/0/Condition/{operator}/{key.replace('/', '~1')}"
    assert refusal.pointer == (pointer if entry is None else f"{pointer}/{entry}")
    assert words in refusal.message
    assert refusal.message.replace("…", "").isascii()


def test_numbers_and_booleans_may_stand_unquoted() -> None:
    condition = {
        "Bool": {"kms:GrantIsForAWSResource": True, "aws:SecureTransport": "True"},
        "NumericLessThanEquals": {_LIFETIME: 900, "kms:ValidTo": 1546257599.5},
    }
    values = [entry.values for entry in key_policy(statement(Condition=condition)).statements[0].conditions]
    assert values == [("true",), ("true",), ("900",), ("1546257599.5",)]


def test_what_a_call_has_is_what_the_table_says_that_calls_have() -> None:
    surroundings = Surroundings("111122223333", datetime(2026, 1, 1, tzinfo=UTC), "10.0.0.1")
    circumstances = Circumstances(Principal("user/ann", Duty.KEY_USER, "bearer:1"), key(), surroundings)
    assert "aws:username" in circumstances
    for name in circumstances:
        row = find_condition_key(name)
        assert row is not None, name
        assert row.filled, name
        assert name == row.name.lower()
        assert row.many or len(circumstances[name]) == 1


def test_every_condition_key_can_be_stored_by_some_operator() -> None:
    for row in CONDITION_KEYS.values():
        assert key_policy(statement(Condition={"Null": {row.name: "false"}})), row.name
