"""The Condition block of a policy's statement: known operators and keys that fit each other, values of their types."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from signer.access.condition_keys import ValueType, find_condition_key
from signer.access.condition_values import parse_arn, parse_boolean, parse_date, parse_network, parse_number
from signer.access.conditions import OPERATORS, Family, Quantifier, find_operator
from signer.access.model import Condition
from signer.access.patterns import ascii_lower
from signer.access.policy_refusal import PolicyRefused, one_of, pointer_to, refuse_variables, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from signer.access.condition_keys import ConditionKey
    from signer.access.conditions import QualifiedOperator

_MOST_VALUE: Final = 2048  # characters of one value

# Which families of operators make sense for which type of key. Text operators also read what is written as text.
_FITTING: Final[Mapping[ValueType, tuple[Family, ...]]] = MappingProxyType(
    {
        ValueType.STRING: (Family.STRING, Family.ARN, Family.NULL),
        ValueType.ARN: (Family.ARN, Family.STRING, Family.NULL),
        ValueType.NUMBER: (Family.NUMERIC, Family.NULL),
        ValueType.DATE: (Family.DATE, Family.NULL),
        ValueType.EPOCH: (Family.DATE, Family.NUMERIC, Family.NULL),
        ValueType.BOOLEAN: (Family.BOOL, Family.STRING, Family.NULL),
        ValueType.ADDRESS: (Family.ADDRESS, Family.NULL),
    }
)
_PARSERS: Final[Mapping[Family, Callable[[str], object]]] = MappingProxyType(
    {
        Family.NUMERIC: parse_number,
        Family.DATE: parse_date,
        Family.BOOL: parse_boolean,
        Family.NULL: parse_boolean,
        Family.ADDRESS: parse_network,
        Family.ARN: parse_arn,
    }
)


def parse_conditions(value: object, pointer: str) -> tuple[Condition, ...]:
    """Operator → key → values, each line a `Condition`. Raises `PolicyRefused`."""
    return tuple(
        _parse_line(operator_text, qualified, key, values, at)
        for operator_text, block, operator_at in _entries(value, pointer, "Condition")
        for qualified in [_qualified(operator_text, operator_at)]
        for key, values, at in _unique(_entries(block, operator_at, "an operator"))
    )


def _entries(value: object, pointer: str, what: str) -> list[tuple[str, object, str]]:
    if not isinstance(value, dict) or not value:
        msg = f"{what} must be an object of at least one member"
        raise PolicyRefused(msg, pointer)
    return [(str(name), member, pointer_to(pointer, str(name))) for name, member in value.items()]


def _unique(entries: list[tuple[str, object, str]]) -> list[tuple[str, object, str]]:
    seen = set()
    for key, _, at in entries:
        folded = ascii_lower(key)
        if folded in seen:
            msg = f"{shown(key)} stands twice here, and condition keys do not depend on case: write one list of values"
            raise PolicyRefused(msg, at)
        seen.add(folded)
    return entries


def _qualified(text: str, pointer: str) -> QualifiedOperator:
    qualified = find_operator(text)
    if qualified is not None:
        return qualified
    if text.rpartition(":")[2].removesuffix("IfExists") == "BinaryEquals":
        msg = "BinaryEquals is not supported: no condition key here holds bytes"
    elif text.removesuffix("IfExists").endswith("Null"):
        msg = "Null takes neither ForAllValues:, ForAnyValue: nor IfExists"
    else:
        msg = (
            f"there is no condition operator {shown(text)}: it must be {one_of(OPERATORS)}, maybe with ForAllValues: "
            "or ForAnyValue: before it and IfExists (not for Null) after it"
        )
    raise PolicyRefused(msg, pointer)


def _parse_line(text: str, qualified: QualifiedOperator, key: str, values: object, pointer: str) -> Condition:
    row = find_condition_key(key)
    if row is None:
        msg = f"there is no condition key {shown(key)} here"
        raise PolicyRefused(msg, pointer)
    _check_fit(qualified, row, pointer)
    return Condition(text, key, _parse_values(qualified.operator.family, values, pointer))


def _check_fit(qualified: QualifiedOperator, row: ConditionKey, pointer: str) -> None:
    family, name = qualified.operator.family, qualified.operator.name
    fitting = _FITTING[row.type]
    if family not in fitting:
        right = one_of([operator.name for operator in OPERATORS.values() if operator.family is fitting[0]])
        msg = f"{name} does not fit {row.name}, whose values are of the type {row.type}: use {right}"
        raise PolicyRefused(msg, pointer)
    if family is Family.NULL:
        return
    if row.many and qualified.quantifier is None:
        msg = f"{row.name} has many values: write ForAnyValue:{name} or ForAllValues:{name}"
        raise PolicyRefused(msg, pointer)
    if not row.many and qualified.quantifier is Quantifier.ALL:
        msg = (
            f"{row.name} has one value, and ForAllValues: also holds for requests that have none of it "
            f"(AWS KMS: OverlyPermissiveCondition): write {name}"
        )
        raise PolicyRefused(msg, pointer)


def _parse_values(family: Family, value: object, pointer: str) -> tuple[str, ...]:
    if isinstance(value, list):
        if not value:
            msg = "name at least one value"
            raise PolicyRefused(msg, pointer)
        entries = [(entry, pointer_to(pointer, index)) for index, entry in enumerate(value)]
    else:
        entries = [(value, pointer)]
    found = tuple(_parse_value(family, entry, at) for entry, at in entries)
    if family in (Family.BOOL, Family.NULL) and len(set(found)) > 1:
        msg = "true and false contradict each other: name one"
        raise PolicyRefused(msg, pointer)
    return found


def _parse_value(family: Family, value: object, pointer: str) -> str:
    text = _as_text(value, pointer)
    refuse_variables(text, pointer)
    if len(text) > _MOST_VALUE:
        msg = f"a value has at most {_MOST_VALUE} characters"
        raise PolicyRefused(msg, pointer)
    parser = _PARSERS.get(family)
    if parser is not None:
        try:
            parser(text)
        except ValueError as error:
            raise PolicyRefused(str(error), pointer) from None
    return ascii_lower(text) if family in (Family.BOOL, Family.NULL) else text


def _as_text(value: object, pointer: str) -> str:
    """JSON numbers and booleans are quoted or not, as one likes (IAM User Guide, "Grammar of the IAM JSON policy
    language")."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, str):
        return value
    msg = "a value must be a text, a number, true or false"
    raise PolicyRefused(msg, pointer)
