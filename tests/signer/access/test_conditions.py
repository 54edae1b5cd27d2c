"""Every condition operator, with the keys that are there, that are not, and that hold many values."""

from __future__ import annotations

import pytest

from signer.access.condition_keys import CONDITION_KEYS
from signer.access.conditions import OPERATORS, compile_condition
from signer.access.model import Condition, ConditionValues

_STRING = "kms:SigningAlgorithm"
_NUMBER = "sealmark:TokenLifetime"
_DATE = "aws:CurrentTime"
_EPOCH = "aws:EpochTime"
_ARN = "aws:PrincipalArn"
_IP = "aws:SourceIp"
_BOOL = "aws:SecureTransport"
_ROLE = "arn:aws:iam::111122223333:role/ci"

# operator, key, values of the policy, value of the request (None: absent), whether it holds
TABLE: list[tuple[str, str, str | tuple[str, ...], str | None, bool]] = [
    ("StringEquals", _STRING, "ECDSA_SHA_256", "ECDSA_SHA_256", True),
    ("StringEquals", _STRING, "ECDSA_SHA_256", "ecdsa_sha_256", False),
    ("StringEquals", _STRING, ("A", "B"), "B", True),
    ("StringEquals", _STRING, "ECDSA*", "ECDSA_SHA_256", False),
    ("StringEquals", _STRING, "", "", True),
    ("StringEquals", _STRING, "A", None, False),
    ("StringNotEquals", _STRING, "A", "A", False),
    ("StringNotEquals", _STRING, ("A", "B"), "B", False),
    ("StringNotEquals", _STRING, ("A", "B"), "C", True),
    ("StringNotEquals", _STRING, "A", None, True),
    ("StringEqualsIgnoreCase", _STRING, "Abc", "aBC", True),
    ("StringEqualsIgnoreCase", _STRING, "Abc", "abd", False),
    ("StringEqualsIgnoreCase", _STRING, "K", "\N{KELVIN SIGN}", False),
    ("StringEqualsIgnoreCase", _STRING, "\N{KELVIN SIGN}", "k", False),
    ("StringEqualsIgnoreCase", _STRING, "s", "\N{LATIN SMALL LETTER LONG S}", False),
    ("StringEqualsIgnoreCase", _STRING, "A", None, False),
    ("StringNotEqualsIgnoreCase", _STRING, "Abc", "aBC", False),
    ("StringNotEqualsIgnoreCase", _STRING, "Abc", "other", True),
    ("StringNotEqualsIgnoreCase", _STRING, "Abc", None, True),
    ("StringLike", _STRING, "RSASSA_PSS*", "RSASSA_PSS_SHA_512", True),
    ("StringLike", _STRING, "RSASSA_PSS*", "RSASSA_PKCS1_V1_5_SHA_512", False),
    ("StringLike", _STRING, "RSASSA_PSS*", "rsassa_pss_sha_512", False),
    ("StringLike", _STRING, "?", "ab", False),
    ("StringLike", _STRING, "?b", "ab", True),
    ("StringLike", _STRING, "a*c*e", "abcde", True),
    ("StringLike", _STRING, "a*c*e", "abcdef", False),
    ("StringLike", _STRING, "a*", "a", True),
    ("StringLike", _STRING, "*aab", "aaab", True),
    ("StringLike", _STRING, "*a*b", "a", False),
    ("StringLike", _STRING, "*", "", True),
    ("StringLike", _STRING, "a.c", "abc", False),
    ("StringLike", _STRING, "[ab]*", "a", False),
    ("StringLike", _STRING, "a*b", "a\nb", True),
    ("StringLike", _STRING, "ab", "ab\n", False),
    ("StringLike", _STRING, "*", None, False),
    ("StringNotLike", _STRING, "RSASSA_PSS*", "RSASSA_PSS_SHA_512", False),
    ("StringNotLike", _STRING, "RSASSA_PSS*", "ECDSA_SHA_256", True),
    ("StringNotLike", _STRING, "RSASSA_PSS*", None, True),
    ("NumericEquals", _NUMBER, "900", "900.0", True),
    ("NumericEquals", _NUMBER, "900", "901", False),
    ("NumericEquals", _NUMBER, "900", "nine hundred", False),
    ("NumericEquals", _NUMBER, "900", None, False),
    ("NumericNotEquals", _NUMBER, "900", "900", False),
    ("NumericNotEquals", _NUMBER, "900", "901", True),
    ("NumericNotEquals", _NUMBER, ("900", "901"), "901", False),
    ("NumericNotEquals", _NUMBER, "900", None, True),
    ("NumericLessThan", _NUMBER, "900", "899.999", True),
    ("NumericLessThan", _NUMBER, "900", "900", False),
    ("NumericLessThan", _NUMBER, "900", "-1", True),
    ("NumericLessThan", _NUMBER, "900", "NaN", False),
    ("NumericLessThan", _NUMBER, "900", None, False),
    ("NumericLessThanEquals", _NUMBER, "900", "900", True),
    ("NumericLessThanEquals", _NUMBER, "900", "1000", False),
    ("NumericGreaterThan", _NUMBER, "900", "1000", True),
    ("NumericGreaterThan", _NUMBER, "900", "900", False),
    ("NumericGreaterThan", _NUMBER, "900", "Infinity", False),
    ("NumericGreaterThanEquals", _NUMBER, "900", "900", True),
    ("NumericGreaterThanEquals", _NUMBER, "900", "90", False),
    ("NumericGreaterThanEquals", _NUMBER, ("900", "80"), "90", True),
    ("NumericLessThanEquals", _EPOCH, "1546257599.0", "1546257599", True),
    ("DateEquals", _DATE, "2026-03-01T00:00:00Z", "2026-03-01T01:00:00+01:00", True),
    ("DateEquals", _DATE, "2026-03-01", "2026-03-01T00:00:00Z", True),
    ("DateEquals", _DATE, "2026-03-01T00:00:00Z", "2026-03-01T00:00:00.000001Z", False),
    ("DateEquals", _DATE, "2026-03-01T00:00:00Z", None, False),
    ("DateNotEquals", _DATE, "2026-03-01T00:00:00Z", "2026-03-01T00:00:00Z", False),
    ("DateNotEquals", _DATE, "2026-03-01T00:00:00Z", "2026-03-02T00:00:00Z", True),
    ("DateNotEquals", _DATE, "2026-03-01T00:00:00Z", None, True),
    ("DateLessThan", _DATE, "2026-03-01T00:00:00Z", "2026-02-28T23:59:59Z", True),
    ("DateLessThan", _DATE, "2026-03-01T00:00:00Z", "2026-03-01T00:00:00Z", False),
    ("DateLessThan", _EPOCH, "2026-03-01T00:00:00Z", "1", True),
    ("DateLessThan", _DATE, "2026-03-01T00:00:00Z", "yesterday", False),
    ("DateLessThanEquals", _DATE, "2026-03-01T00:00:00Z", "2026-03-01T00:00:00Z", True),
    ("DateLessThanEquals", _DATE, "100000", "2026-03-01T00:00:00Z", False),
    ("DateLessThan", _EPOCH, "2026", "1767225599", True),
    ("DateLessThan", _EPOCH, "2026", "1767225600", False),
    ("DateEquals", _DATE, "2026-03", "2026-03-01T00:00:00Z", True),
    ("DateGreaterThan", _DATE, "2026-03-01T00:00:00Z", "2026-03-01T00:00:00.5Z", True),
    ("DateGreaterThan", _DATE, "2026-03-01T00:00:00Z", "2026-03-01T00:00:00Z", False),
    ("DateGreaterThanEquals", _DATE, "2026-03-01T00:00:00Z", "2026-03-01T00:00:00Z", True),
    ("DateGreaterThanEquals", _DATE, "2026-03-01T00:00:00Z", "2025-03-01T00:00:00Z", False),
    ("DateGreaterThanEquals", _DATE, "2026-03-01T00:00:00Z", None, False),
    ("Bool", _BOOL, "true", "true", True),
    ("Bool", _BOOL, "true", "false", False),
    ("Bool", _BOOL, "false", "false", True),
    ("Bool", _BOOL, "false", "yes", False),
    ("Bool", _BOOL, "true", None, False),
    ("Bool", _BOOL, "false", None, False),
    ("IpAddress", _IP, "203.0.113.0/24", "203.0.113.255", True),
    ("IpAddress", _IP, "203.0.113.0/24", "203.0.114.0", False),
    ("IpAddress", _IP, "203.0.113.5", "203.0.113.5", True),
    ("IpAddress", _IP, "203.0.113.5", "203.0.113.6", False),
    ("IpAddress", _IP, "203.0.113.0/24", "::ffff:203.0.113.9", True),
    ("IpAddress", _IP, "203.0.113.0/24", "::ffff:cb00:7109", True),
    ("IpAddress", _IP, "::ffff:203.0.113.0/120", "203.0.113.9", True),
    ("IpAddress", _IP, "::ffff:203.0.113.0/120", "203.0.114.9", False),
    ("IpAddress", _IP, "2001:db8::/32", "2001:DB8:1::1", True),
    ("IpAddress", _IP, "2001:db8::/32", "2001:db9::1", False),
    ("IpAddress", _IP, "fe80::/10", "fe80::1%eth0", True),
    ("IpAddress", _IP, "0.0.0.0/0", "2001:db8::1", False),
    ("IpAddress", _IP, "::/0", "203.0.113.9", False),
    ("IpAddress", _IP, "::/0", "::ffff:203.0.113.9", False),
    ("IpAddress", _IP, ("10.0.0.0/8", "2001:db8::/32"), "10.1.2.3", True),
    ("IpAddress", _IP, "0.0.0.0/0", "not an address", False),
    ("IpAddress", _IP, "10.0.0.0/8", "010.0.0.1", False),
    ("IpAddress", _IP, "10.0.0.0/8", None, False),
    ("NotIpAddress", _IP, "203.0.113.0/24", "203.0.113.9", False),
    ("NotIpAddress", _IP, "203.0.113.0/24", "198.51.100.1", True),
    ("NotIpAddress", _IP, "203.0.113.0/24", "::ffff:203.0.113.9", False),
    ("NotIpAddress", _IP, "203.0.113.0/24", None, True),
    ("ArnEquals", _ARN, _ROLE, _ROLE, True),
    ("ArnEquals", _ARN, "arn:aws:iam::111122223333:role/*", _ROLE, True),
    ("ArnEquals", _ARN, _ROLE, _ROLE.upper(), False),
    ("ArnLike", _ARN, "arn:aws:iam::*:role/c?", _ROLE, True),
    ("ArnLike", _ARN, "arn:aws:iam::*:user/*", _ROLE, False),
    ("ArnLike", _ARN, "arn:aws:*:111122223333:role/ci", _ROLE, False),
    ("ArnLike", _ARN, "arn:aws:s:*:111122223333:finance/*", "arn:aws:s:r:999:store/a:111122223333:finance/d", False),
    ("ArnLike", _ARN, "arn:aws:iam::*:*", _ROLE, True),
    ("ArnLike", _ARN, "arn:aws:iam::*:role/*", "role/ci", False),
    ("ArnLike", _ARN, "arn:aws:iam::*:role/*", None, False),
    ("ArnNotEquals", _ARN, _ROLE, _ROLE, False),
    ("ArnNotEquals", _ARN, _ROLE, "arn:aws:iam::111122223333:role/cj", True),
    ("ArnNotLike", _ARN, "arn:aws:iam::*:role/*", _ROLE, False),
    ("ArnNotLike", _ARN, "arn:aws:iam::*:role/*", "arn:aws:iam::111122223333:user/ann", True),
    ("ArnNotLike", _ARN, "arn:aws:iam::*:role/*", None, True),
    ("Null", _STRING, "true", None, True),
    ("Null", _STRING, "false", None, False),
    ("Null", _STRING, "true", "x", False),
    ("Null", _STRING, "false", "x", True),
    ("Null", _STRING, "false", "", True),
]


def holds(
    operator: str, key: str, values: str | tuple[str, ...], context: ConditionValues, *, denies: bool = False
) -> bool:
    condition = Condition(operator, key, (values,) if isinstance(values, str) else values)
    return compile_condition(condition).holds(context, denies=denies)


@pytest.mark.parametrize(("operator", "key", "values", "value", "expected"), TABLE)
def test_an_operator_against_one_value_of_a_request(
    operator: str, key: str, values: str | tuple[str, ...], value: str | None, expected: bool
) -> None:
    context = {} if value is None else {key.lower(): (value,)}
    assert holds(operator, key, values, context) is expected
    assert holds(operator, key, values, context, denies=True) is expected
    if value is not None and operator != "Null":
        assert holds(f"{operator}IfExists", key, values, context) is expected
        assert holds(f"ForAnyValue:{operator}", key, values, context) is (expected and value != "")
        assert holds(f"ForAllValues:{operator}", key, values, context) is (expected or value == "")


def test_the_table_has_every_operator_and_both_its_answers() -> None:
    for name in OPERATORS:
        assert {expected for operator, *_, expected in TABLE if operator == name} == {True, False}, name


@pytest.mark.parametrize("name", [name for name in OPERATORS if name != "Null"])
def test_where_the_key_is_absent(name: str) -> None:
    values = {"Numeric": "1", "Date": "1", "Bool": "true", "Ip": "10.0.0.1", "NotIp": "10.0.0.1"}
    value = next((text for prefix, text in values.items() if name.startswith(prefix)), _ROLE)
    negated = "Not" in name
    for context in ({}, {_STRING.lower(): ()}):
        assert holds(name, _STRING, value, context) is negated
        assert holds(f"{name}IfExists", _STRING, value, context)
        assert holds(f"ForAllValues:{name}", _STRING, value, context)
        assert not holds(f"ForAnyValue:{name}", _STRING, value, context)
        assert holds(f"ForAllValues:{name}IfExists", _STRING, value, context)
        assert holds(f"ForAnyValue:{name}IfExists", _STRING, value, context)


@pytest.mark.parametrize(
    ("operator", "values", "request_values", "expected"),
    [
        ("ForAnyValue:StringEquals", ("a", "b"), ("a", "z"), True),
        ("ForAnyValue:StringEquals", ("a", "b"), ("y", "z"), False),
        ("ForAllValues:StringEquals", ("a", "b"), ("a", "b", "a"), True),
        ("ForAllValues:StringEquals", ("a", "b"), ("a", "z"), False),
        ("ForAnyValue:StringNotEquals", ("a", "b"), ("a", "z"), True),
        ("ForAnyValue:StringNotEquals", ("a", "b"), ("a", "b"), False),
        ("ForAllValues:StringNotEquals", ("a", "b"), ("y", "z"), True),
        ("ForAllValues:StringNotEquals", ("a", "b"), ("a", "z"), False),
        ("ForAnyValue:StringLike", ("alias/*Test*",), ("alias/a", "alias/myTest1"), True),
        ("ForAllValues:StringLike", ("alias/*Test*",), ("alias/a", "alias/myTest1"), False),
        ("ForAllValues:StringNotLike", ("alias/*Test*",), ("alias/a", "alias/b"), True),
        ("ForAnyValue:StringNotLike", ("alias/*Test*",), ("alias/Test", "alias/b"), True),
    ],
)
def test_set_operators(operator: str, values: tuple[str, ...], request_values: tuple[str, ...], expected: bool) -> None:
    assert holds(operator, "kms:ResourceAliases", values, {"kms:resourcealiases": request_values}) is expected


def test_a_single_valued_key_that_has_several_values_is_taken_for_what_is_safe() -> None:
    context = {_STRING.lower(): ("A", "B")}
    assert not holds("StringEquals", _STRING, "A", context)
    assert holds("StringEquals", _STRING, "A", context, denies=True)
    assert not holds("StringNotEquals", _STRING, "A", context)
    assert holds("StringNotEquals", _STRING, "A", context, denies=True)


def test_condition_keys_do_not_depend_on_case_and_context_names_neither() -> None:
    assert holds("StringEquals", "KMS:signingALGORITHM", "A", {"kms:signingalgorithm": ("A",)})
    assert holds("StringEquals", "kms:EncryptionContext:Appname", "x", {"kms:encryptioncontext:AppName": ("x",)})
    assert not holds("StringEquals", "kms:EncryptionContext:kind", "x", {"kms:encryptioncontext:\u212aind": ("x",)})
    both = {"sealmark:signingcontext:Stage": ("test",), "sealmark:signingcontext:stage": ("live",)}
    assert holds("StringEquals", "sealmark:SigningContext:Stage", "live", both, denies=True)
    assert not holds("StringEquals", "sealmark:SigningContext:Stage", "live", both)


def test_the_table_of_keys_is_folded_by_ascii_alone() -> None:
    assert "aws:sourceip" in CONDITION_KEYS
    assert all(name.isascii() and name == name.lower() for name in CONDITION_KEYS)


@pytest.mark.parametrize("operator", ["StringEqual", "stringequals", "ForAllValues:Null", "NullIfExists", "Some:Bool"])
def test_an_operator_that_does_not_exist_cannot_be_made_ready(operator: str) -> None:
    with pytest.raises(ValueError, match="no condition operator"):
        compile_condition(Condition(operator, _STRING, ("true",)))
