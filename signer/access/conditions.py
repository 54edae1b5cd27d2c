"""Condition operators: a closed table, and one line of a Condition block made ready to be checked often.

Meaning as in the IAM User Guide, "IAM JSON policy elements: Condition operators" and "Set operators for multivalued
context keys". Of the values in the policy one must match; a negated operator asks that none does. A key that the
request has not: no match, so a negated operator holds; `…IfExists` holds, whatever the operator; `ForAllValues` holds,
`ForAnyValue` does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from signer.access.condition_keys import CONDITION_KEYS, family_of
from signer.access.condition_values import (
    arn_matcher,
    boolean_matcher,
    date_matcher,
    ip_matcher,
    number_matcher,
)
from signer.access.patterns import any_of, ascii_lower

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from signer.access.model import Condition, ConditionValues

    Matcher = Callable[[str], bool]  # does this value of the request match one of the policy's?


class Family(StrEnum):
    """What an operator compares."""

    STRING = "String"
    NUMERIC = "Numeric"
    DATE = "Date"
    BOOL = "Bool"
    ADDRESS = "IpAddress"
    ARN = "Arn"
    NULL = "Null"


class Quantifier(StrEnum):
    """How the many values of a request's key are taken together."""

    ALL = "ForAllValues"
    ANY = "ForAnyValue"


_QUANTIFIERS: Final[Mapping[str, Quantifier]] = MappingProxyType({row.value: row for row in Quantifier})


@dataclass(frozen=True, slots=True)
class Operator:
    """A row of the table. `matcher` makes, of a policy's values, the test of one value of a request."""

    name: str
    family: Family
    matcher: Callable[[tuple[str, ...]], Matcher]
    negated: bool = False


def _equal_texts(values: tuple[str, ...]) -> Matcher:
    return frozenset(values).__contains__


def _equal_texts_without_case(values: tuple[str, ...]) -> Matcher:
    wanted = frozenset(ascii_lower(value) for value in values)
    return lambda text: ascii_lower(text) in wanted


def _never(_: tuple[str, ...]) -> Matcher:
    return lambda _text: False


def _ordered(
    prefix: str, family: Family, matcher: Callable[[str], Callable[[tuple[str, ...]], Matcher]]
) -> tuple[Operator, ...]:
    comparisons = ("LessThan", "LessThanEquals", "GreaterThan", "GreaterThanEquals")
    return (
        Operator(f"{prefix}Equals", family, matcher("Equals")),
        Operator(f"{prefix}NotEquals", family, matcher("Equals"), negated=True),
        *(Operator(f"{prefix}{comparison}", family, matcher(comparison)) for comparison in comparisons),
    )


OPERATORS: Final[Mapping[str, Operator]] = MappingProxyType(
    {
        row.name: row
        for row in (
            Operator("StringEquals", Family.STRING, _equal_texts),
            Operator("StringNotEquals", Family.STRING, _equal_texts, negated=True),
            Operator("StringEqualsIgnoreCase", Family.STRING, _equal_texts_without_case),
            Operator("StringNotEqualsIgnoreCase", Family.STRING, _equal_texts_without_case, negated=True),
            Operator("StringLike", Family.STRING, any_of),
            Operator("StringNotLike", Family.STRING, any_of, negated=True),
            *_ordered("Numeric", Family.NUMERIC, number_matcher),
            *_ordered("Date", Family.DATE, date_matcher),
            Operator("Bool", Family.BOOL, boolean_matcher),
            Operator("IpAddress", Family.ADDRESS, ip_matcher),
            Operator("NotIpAddress", Family.ADDRESS, ip_matcher, negated=True),
            Operator("ArnEquals", Family.ARN, arn_matcher),
            Operator("ArnLike", Family.ARN, arn_matcher),
            Operator("ArnNotEquals", Family.ARN, arn_matcher, negated=True),
            Operator("ArnNotLike", Family.ARN, arn_matcher, negated=True),
            Operator("Null", Family.NULL, _never),
        )
    }
)


@dataclass(frozen=True, slots=True)
class QualifiedOperator:
    """An operator as a policy writes it: `ForAnyValue:StringLikeIfExists`."""

    operator: Operator
    quantifier: Quantifier | None
    if_exists: bool


def find_operator(text: str) -> QualifiedOperator | None:
    """The operator of that exact spelling, or None. `Null` takes neither a set operator nor `IfExists`."""
    qualifier, colon, name = text.rpartition(":")
    if colon and qualifier not in _QUANTIFIERS:
        return None
    plain = name.removesuffix("IfExists")
    operator = OPERATORS.get(plain)
    if operator is None or (operator.family is Family.NULL and text != operator.name):
        return None
    return QualifiedOperator(operator, _QUANTIFIERS.get(qualifier), plain != name)


@dataclass(frozen=True, slots=True)
class Check:
    """One line of a Condition block, ready. `words` names operator and key."""

    words: str
    key: str  # lower case
    in_family: bool  # the request's key keeps the case of its last part
    matches: Matcher
    negated: bool
    quantifier: Quantifier | None
    where_absent: bool
    null: frozenset[bool] | None  # for the operator Null alone: whether the key is to be absent

    def holds(self, context: ConditionValues, *, denies: bool) -> bool:
        """Whether the request's circumstances meet it. `denies`: the statement's effect, which decides what is done
        where a key that should have one value has several: an Allow needs it of all of them, a Deny of one."""
        values = self._values(context)
        if self.null is not None:
            return (not values) in self.null
        if not values:
            return self.where_absent
        if self.quantifier is not None and not any(values):  # empty texts are a set of nothing
            return self.quantifier is Quantifier.ALL
        met = (self.matches(value) != self.negated for value in values)
        if self.quantifier is None:
            return any(met) if denies else all(met)
        return all(met) if self.quantifier is Quantifier.ALL else any(met)

    @property
    def could_hold(self) -> bool:
        """Whether some circumstances could meet it: yes, but for a key that has one same value wherever it is."""
        row = CONDITION_KEYS.get(self.key)
        if row is None or row.fixed is None:
            return True
        return self.holds({self.key: (row.fixed,)}, denies=False) or self.holds({}, denies=False)

    def _values(self, context: ConditionValues) -> Sequence[str]:
        if not self.in_family:
            return context.get(self.key, ())
        return [value for name in context if ascii_lower(name) == self.key for value in context[name]]


def compile_condition(condition: Condition) -> Check:
    """A condition made ready. Raises `ValueError` for an operator that does not exist, which no stored document has."""
    qualified = find_operator(condition.operator)
    if qualified is None:
        msg = f"there is no condition operator {condition.operator}"
        raise ValueError(msg)
    operator, quantifier = qualified.operator, qualified.quantifier
    key = ascii_lower(condition.key)
    by_kind = {None: operator.negated, Quantifier.ALL: True, Quantifier.ANY: False}
    return Check(
        words=f"{condition.operator} {condition.key}",
        key=key,
        in_family=family_of(key) is not None,
        matches=operator.matcher(condition.values),
        negated=operator.negated,
        quantifier=quantifier,
        where_absent=qualified.if_exists or by_kind[quantifier],
        null=frozenset(ascii_lower(value) == "true" for value in condition.values)
        if operator.family is Family.NULL
        else None,
    )
