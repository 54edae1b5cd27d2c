"""Bytes → a request's struct. What does not fit is refused as AWS refuses it.

What is no JSON, or JSON of another type than the member's, is a `SerializationException`; what breaks constraints is
one `ValidationException` that tells all of them, in AWS's words. A body that fits is read once, by msgspec; only of one
that does not is looked up what is wrong with it.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec
from msgspec import inspect

from signer.decoding import Repeated, decoder_of, require_unique_members
from signer.kms.errors import SERIALIZATION, Refusal, invalid

if TYPE_CHECKING:
    from collections.abc import Mapping

_Body = TypeVar("_Body", bound=msgspec.Struct)
_LONGEST_SHOWN: Final = 200
_NOT_BEFORE_END: Final = "(?!\\n)"
_NO_JSON: Final = "The request body is not JSON in UTF-8"


def decode(body: bytes, body_type: type[_Body]) -> _Body:
    """The request. Raises `Refusal`: `SerializationException`, `ValidationException`."""
    body = body or b"{}"
    try:
        require_unique_members(body)
    except Repeated as error:
        msg = f"The member {str(error)[:100]!r} is given twice in one structure"
        raise _unreadable(msg) from error
    except (ValueError, RecursionError) as error:
        raise _unreadable(_NO_JSON) from error
    try:
        decoded: _Body = decoder_of(body_type).decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return _looked_over(body, body_type)
    return decoded


def _looked_over(body: bytes, body_type: type[_Body]) -> _Body:
    """A body that does not fit as it stands: without its nulls it may."""
    try:
        given = msgspec.json.decode(body)
        found = list(_violations(inspect.type_info(body_type), given, ""))
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise _unreadable(_NO_JSON) from error
    if found:
        count = f"{len(found)} validation error{'s' if len(found) > 1 else ''} detected: "
        raise invalid(count + "; ".join(text for _, text in found), field=found[0][0])
    try:
        return msgspec.convert(_without_nulls(given), body_type)
    except (msgspec.ValidationError, ValueError) as error:
        raise _unreadable("The request does not fit the operation's input") from error


def _unreadable(message: str, member: str | None = None) -> Refusal:
    return Refusal(SERIALIZATION, message, code="malformed_request", field=member)


def _without_nulls(value: object) -> object:
    if isinstance(value, dict):
        return {name: _without_nulls(each) for name, each in value.items() if each is not None}
    return [_without_nulls(each) for each in value] if isinstance(value, list) else value


_Sized = inspect.StrType | inspect.BytesType | inspect.ListType | inspect.DictType
_Violations = Iterator[tuple[str, str]]  # the member, and the constraint that it does not satisfy in AWS's words
_KINDS: Final[Mapping[type, str]] = {
    str: "STRING_VALUE",
    bool: "TRUE_VALUE",
    int: "NUMBER_VALUE",
    float: "NUMBER_VALUE",
    dict: "START_OBJECT",
    list: "START_ARRAY",
    type(None): "NULL_VALUE",
}


def _violations(expected: inspect.Type, value: object, at: str) -> _Violations:
    """What is wrong with a value that is there. Raises `SerializationException` where it is of another JSON type."""
    if isinstance(expected, inspect.UnionType):
        (expected,) = (each for each in expected.types if not isinstance(each, inspect.NoneType))
    if isinstance(expected, inspect.Metadata):
        yield from _of_secret(expected.type, value, at)
        return
    check, json_type, name = _CHECKS[type(expected)]
    if not isinstance(value, json_type) or (isinstance(value, bool) and json_type is not bool):
        place = f" (at '{at}')" if at else ""
        raise _unreadable(f"{_KINDS[type(value)]} can not be converted to {name}{place}", at or None)
    yield from check(expected, value, at)


def _of_secret(expected: inspect.Type, value: object, at: str) -> _Violations:
    """Of what is marked `secret` nothing is shown but what it must be."""
    if any(_violations(expected, value, at)):
        yield at, _said("", at, f"Member must satisfy constraint: [{', '.join(_constraints(expected))}]")


def _of_structure(expected: inspect.StructType, value: dict[str, object], at: str) -> _Violations:
    for field in expected.fields:
        member = field.encode_name[0].lower() + field.encode_name[1:]
        path = f"{at}.{member}" if at else member
        given = value.get(field.encode_name)
        if given is not None:
            yield from _violations(field.type, given, path)
        elif field.required:
            yield path, _said("null", path, "Member must not be null")


def _of_list(expected: inspect.ListType, value: list[object], at: str) -> _Violations:
    yield from _length(expected, len(value), at, f"'{_shown(value)}'")
    item = expected.item_type
    if isinstance(item, inspect.StructType | inspect.ListType):
        for position, each in enumerate(value, 1):
            place = f"{at}.{position}.member"
            if each is None:
                yield place, _said("null", place, "Member must not be null")
            else:
                yield from _violations(item, each, place)
        return
    # AWS tells of the list as a whole, with every constraint that its members have.
    broken = [each for each in value if each is None or any(_violations(item, each, at))]
    if broken:
        constraints = ", ".join(_constraints(item))
        yield at, _said(f"'{_shown(value)}'", at, f"Member must satisfy constraint: [{constraints}]")


def _of_map(expected: inspect.DictType, value: dict[str, object], at: str) -> _Violations:
    yield from _length(expected, len(value), at, f"'{_shown(value)}'")
    for name, each in value.items():
        place = f"{at}.{name[:_LONGEST_SHOWN]}.member"
        if each is None:
            yield place, _said("null", place, "Member must not be null")
        else:
            yield from _violations(expected.value_type, each, place)


def _of_text(expected: inspect.StrType, value: str, at: str) -> _Violations:
    yield from _length(expected, len(value), at, f"'{value[:_LONGEST_SHOWN]}'")
    if expected.pattern is not None and not re.search(expected.pattern, value):
        yield at, _said(f"'{value[:_LONGEST_SHOWN]}'", at, _pattern(expected.pattern))


def _of_enum(expected: inspect.LiteralType, value: str, at: str) -> _Violations:
    if value not in expected.values:
        yield at, _said(f"'{value[:_LONGEST_SHOWN]}'", at, _enum(expected.values))


def _of_number(expected: inspect.IntType | inspect.FloatType, value: int, at: str) -> _Violations:
    if expected.ge is not None and value < expected.ge:
        yield at, _said(f"'{value}'", at, f"Member must have value greater than or equal to {expected.ge}")
    if expected.le is not None and value > expected.le:
        yield at, _said(f"'{value}'", at, f"Member must have value less than or equal to {expected.le}")


def _of_blob(expected: inspect.BytesType, value: str, at: str) -> _Violations:
    try:
        octets = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _unreadable(f"'{at}' is not base64 (RFC 4648 section 4)", at) from error
    yield from _length(expected, len(octets), at, "")  # what a blob holds is shown to nobody


def _anything(_expected: inspect.Type, _value: object, _at: str) -> _Violations:
    yield from ()


_CHECKS: Final[Mapping[type, tuple[Any, Any, str]]] = {
    inspect.StructType: (_of_structure, dict, "a structure"),
    inspect.ListType: (_of_list, list, "a list"),
    inspect.DictType: (_of_map, dict, "a map"),
    inspect.StrType: (_of_text, str, "String"),
    inspect.LiteralType: (_of_enum, str, "String"),
    inspect.IntType: (_of_number, int, "Integer"),
    inspect.FloatType: (_of_number, int | float, "Timestamp"),
    inspect.BoolType: (_anything, bool, "Boolean"),
    inspect.BytesType: (_of_blob, str, "Blob"),
}


def _said(value: str, at: str, constraint: str) -> str:
    shown = f"Value {value} at" if value else "Value at"
    return f"{shown} '{at}' failed to satisfy constraint: {constraint}"


def _length(expected: _Sized, length: int, at: str, shown: str) -> _Violations:
    for sentence in _lengths(expected, length):
        yield at, _said(shown, at, sentence)


def _lengths(expected: _Sized, length: int | None = None) -> Iterator[str]:
    """The bounds that a length breaks; without one, all there are."""
    if expected.max_length is not None and (length is None or length > expected.max_length):
        yield f"Member must have length less than or equal to {expected.max_length}"
    if expected.min_length is not None and (length is None or length < expected.min_length):
        yield f"Member must have length greater than or equal to {expected.min_length}"


def _constraints(expected: inspect.Type) -> Iterator[str]:
    if isinstance(expected, inspect.LiteralType):
        yield _enum(expected.values)
        return
    if isinstance(expected, inspect.StrType):
        yield from _lengths(expected)
        if expected.pattern is not None:
            yield _pattern(expected.pattern)
    yield "Member must not be null"


def _enum(values: tuple[Any, ...]) -> str:
    return f"Member must satisfy enum value set: [{', '.join(values)}]"


def _pattern(pattern: str) -> str:
    return f"Member must satisfy regular expression pattern: {pattern.removesuffix(_NOT_BEFORE_END)}"


def _shown(value: object) -> str:
    """A list or map as Java shows it, cut off where it grows long."""
    return _as_java(value)[:_LONGEST_SHOWN]


def _as_java(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}={_as_java(each)}" for name, each in list(value.items())[:32]) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_as_java(each) for each in value[:32]) + "]"
    return "null" if value is None else str(value)
