"""Bytes → typed body. What does not fit is refused with the path of the member at fault."""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from keystore.errors import Unsupported
from signer.audit_questions import QUERY_FORMS
from signer.errors import MalformedRequest, SeparationOfDuties, Unprocessable
from signer.request import FORMS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from msgspec.json import Decoder

_Body = TypeVar("_Body", bound=msgspec.Struct)
_AT_PATH = re.compile(r" - at (?:`key` in )?`\$\.?(?P<path>[^`]*)`$")
_MEMBER = re.compile(r"^Object (?:contains unknown|missing required) field `(?P<name>.*)`$", re.DOTALL)

_PATTERN = re.compile(r"Expected `str` matching regex (?P<pattern>.*)", re.DOTALL)
_WORDS = {repr(pattern): words for pattern, words in {**FORMS, **QUERY_FORMS}.items()}


_BUILDING: Final = threading.Lock()


@cache
def decoder_of(body_type: type[Any]) -> Decoder[Any]:
    """The decoder of a type, for all threads.

    msgspec makes what it knows of a struct when the struct is first asked for, and shows it to other threads half-made:
    a decoder that uses it then ends the process. So one thread at a time makes decoders.
    """
    with _BUILDING:
        return msgspec.json.Decoder(body_type)


def decode(body: bytes, body_type: type[_Body]) -> _Body:
    """The body as its struct; an empty body counts as `{}`. Raises `MalformedRequest`."""
    try:
        decoded: _Body = decoder_of(body_type).decode(body or b"{}")
        require_unique_members(body or b"{}")
    except msgspec.ValidationError as error:
        message = _AT_PATH.sub("", str(error))
        raise MalformedRequest(_in_words(message), field=_member_at_fault(str(error), message)) from error
    except Repeated as error:
        msg = f"the member {str(error)[:100]!r} is given twice in one object: readers would differ on which one counts"
        raise MalformedRequest(msg, field=None) from error
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        msg = "the body is not JSON (RFC 8259) in UTF-8"
        raise MalformedRequest(msg) from error
    return decoded


def decode_query(parameters: Mapping[str, str], query_type: type[_Body]) -> _Body:
    """The query's parameters as their struct. Raises `MalformedRequest`, which names the parameter."""
    decoder_of(query_type)  # what msgspec knows of the type is whole from here on
    try:
        return msgspec.convert(parameters, query_type, strict=False)
    except msgspec.ValidationError as error:
        message = _AT_PATH.sub("", str(error))
        raise MalformedRequest(_in_words(message), field=_member_at_fault(str(error), message)) from error


@contextmanager
def within(member: str) -> Iterator[None]:
    """What is refused inside lies below this member of the call's own body."""
    try:
        yield
    except (MalformedRequest, Unprocessable, Unsupported, SeparationOfDuties) as refusal:
        refusal.field = member if refusal.field is None else f"{member}.{refusal.field}"
        raise


class Repeated(Exception):
    """An object has two members of one name (RFC 8259 section 4: behaviour of readers differs)."""


def require_unique_members(body: bytes) -> None:
    """Raises `Repeated`; `ValueError` for what is no JSON in UTF-8."""
    _MEMBERS.decode(body.decode())


def _unique(pairs: list[tuple[str, object]]) -> None:
    counted = Counter(name for name, _ in pairs) if len(pairs) > 1 else Counter()
    for name, times in counted.items():
        if times > 1:
            raise Repeated(name)


def _ignored(_digits: str) -> None:
    return None


_MEMBERS: Final = json.JSONDecoder(object_pairs_hook=_unique, parse_float=_ignored, parse_int=_ignored)


def _in_words(message: str) -> str:
    """A pattern tells a person little."""
    found = _PATTERN.fullmatch(message)
    return message if found is None else f"this must be {_WORDS.get(found['pattern'], 'of another form')}"


def _member_at_fault(described: str, message: str) -> str | None:
    """The JSON path of the member: msgspec tells of an unknown or missing one only in which object it is."""
    found = _AT_PATH.search(described)
    member = _MEMBER.match(message)
    return ".".join(part for part in (found and found["path"], member and member["name"]) if part) or None
