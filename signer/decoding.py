"""Bytes → typed body. What does not fit is refused with the path of the member at fault."""

from __future__ import annotations

import re
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from keystore.errors import Unsupported
from signer.errors import MalformedRequest, Unprocessable
from signer.request import FORMS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from msgspec.json import Decoder

_Body = TypeVar("_Body", bound=msgspec.Struct)
_AT_PATH = re.compile(r" - at (?:`key` in )?`\$\.?(?P<path>[^`]*)`$")
_MEMBER = re.compile(r"^Object (?:contains unknown|missing required) field `(?P<name>.*)`$", re.DOTALL)

_PATTERN = re.compile(r"Expected `str` matching regex (?P<pattern>.*)", re.DOTALL)
_WORDS = {repr(pattern): words for pattern, words in FORMS.items()}


@cache
def _decoder(body_type: type[Any]) -> Decoder[Any]:
    return msgspec.json.Decoder(body_type)


def decode(body: bytes, body_type: type[_Body]) -> _Body:
    """The body as its struct; an empty body counts as `{}`. Raises `MalformedRequest`."""
    try:
        decoded: _Body = _decoder(body_type).decode(body or b"{}")
    except msgspec.ValidationError as error:
        message = _AT_PATH.sub("", str(error))
        raise MalformedRequest(_in_words(message), field=_member_at_fault(str(error), message)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        msg = "the body is not JSON (RFC 8259) in UTF-8"
        raise MalformedRequest(msg) from error
    return decoded


@contextmanager
def within(member: str) -> Iterator[None]:
    """What is refused inside lies below this member of the call's own body."""
    try:
        yield
    except (MalformedRequest, Unprocessable, Unsupported) as refusal:
        refusal.field = member if refusal.field is None else f"{member}.{refusal.field}"
        raise


def _in_words(message: str) -> str:
    """A pattern tells a person little."""
    found = _PATTERN.fullmatch(message)
    return message if found is None else f"this must be {_WORDS.get(found['pattern'], 'of another form')}"


def _member_at_fault(described: str, message: str) -> str | None:
    """The JSON path of the member: msgspec tells of an unknown or missing one only in which object it is."""
    found = _AT_PATH.search(described)
    member = _MEMBER.match(message)
    return ".".join(part for part in (found and found["path"], member and member["name"]) if part) or None
