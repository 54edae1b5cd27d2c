"""DER, read so strictly that one value has one encoding (X.690 sections 8 and 10), for the few types that CMS uses.

Tags are compared as whole bytes, so a constructed OCTET STRING or an indefinite length is simply not the expected tag
or length. Every reader must be emptied: what nobody asked for is an error.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

INTEGER: Final = 0x02
OCTET_STRING: Final = 0x04
NULL: Final = 0x05
OBJECT_IDENTIFIER: Final = 0x06
UTF8_STRING: Final = 0x0C
UTC_TIME: Final = 0x17
GENERALIZED_TIME: Final = 0x18
SEQUENCE: Final = 0x30
SET: Final = 0x31


class DerError(ValueError):
    """Not the one DER encoding of the expected structure."""


@dataclass(frozen=True, slots=True)
class Element:
    """One tag, length and content. `encoded` is all of it, as it stood in the input."""

    tag: int
    content: bytes
    encoded: bytes


def context(number: int) -> int:
    """The tag byte of a constructed context-specific tag: `[number]`."""
    return 0xA0 | number


def parse(data: bytes, tag: int) -> Element:
    """The one element that fills `data`. DerError if its tag differs or bytes follow."""
    reader = Reader(data)
    element = reader.take(tag)
    reader.finish()
    return element


def encode(tag: int, content: bytes) -> bytes:
    """Tag, shortest length, content."""
    return encode_head(tag, len(content)) + content


def encode_head(tag: int, length: int) -> bytes:
    """Tag and shortest length of a content that is written elsewhere: it may be larger than memory."""
    if length < 0x80:
        return bytes((tag, length))
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(octets))) + octets


def encode_integer(value: int) -> bytes:
    """A whole INTEGER that is not negative, in its shortest form (X.690 section 8.3)."""
    return encode(INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def encode_object_identifier(dotted: str) -> bytes:
    """A whole OBJECT IDENTIFIER (X.690 section 8.19)."""
    first, second, *rest = (int(arc) for arc in dotted.split("."))
    content = b""
    for arc in (first * 40 + second, *rest):
        octets = [arc & 0x7F]
        while arc := arc >> 7:
            octets.append(0x80 | arc & 0x7F)
        content += bytes(reversed(octets))
    return encode(OBJECT_IDENTIFIER, content)


class Reader:
    """Takes elements off the front of some content, one after the other."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._position = 0

    @property
    def empty(self) -> bool:
        """Whether everything was taken."""
        return self._position == len(self._content)

    def peek(self) -> int | None:
        """The next tag byte, None at the end."""
        return None if self.empty else self._content[self._position]

    def take(self, tag: int) -> Element:
        """The next element, which must have this tag."""
        if self.peek() != tag:
            raise DerError(f"expected tag 0x{tag:02x}")
        return self.take_any()

    def take_optional(self, tag: int) -> Element | None:
        """The next element if it has this tag."""
        return self.take(tag) if self.peek() == tag else None

    def take_any(self) -> Element:
        """The next element, whatever its tag (low tag numbers only)."""
        start = self._position
        header = self._content[start : start + 2]
        if len(header) < 2 or header[0] & 0x1F == 0x1F:
            raise DerError("truncated, or a high tag number")
        length, body = header[1], start + 2
        if length & 0x80:
            octets = self._content[body : body + (length & 0x7F)]
            length, body = int.from_bytes(octets, "big"), body + len(octets)
            if not 1 <= len(octets) <= 4 or len(octets) != header[1] & 0x7F or octets[0] == 0 or length < 0x80:
                raise DerError("a length is indefinite or not in its shortest form")
        end = body + length
        if end > len(self._content):
            raise DerError("truncated")
        self._position = end
        return Element(header[0], self._content[body:end], self._content[start:end])

    def finish(self) -> None:
        """DerError if anything is left."""
        if not self.empty:
            raise DerError("unexpected bytes at the end of a structure")

    def sequence(self) -> Reader:
        """A reader of the next element, a SEQUENCE."""
        return Reader(self.take(SEQUENCE).content)

    def integer(self) -> int:
        """The next element, an INTEGER in its shortest form."""
        return integer(self.take(INTEGER).content)

    def object_identifier(self) -> str:
        """The next element, an OBJECT IDENTIFIER, dotted."""
        return object_identifier(self.take(OBJECT_IDENTIFIER).content)

    def text(self) -> str:
        """The next element, a UTF8String (X.690 section 8.23)."""
        try:
            return self.take(UTF8_STRING).content.decode("utf-8")
        except UnicodeDecodeError:
            raise DerError("a text is not UTF-8") from None

    def octets(self) -> bytes:
        """The next element, an OCTET STRING."""
        return self.take(OCTET_STRING).content


def integer(content: bytes) -> int:
    """X.690 section 8.3: two's complement in as few octets as possible."""
    if not content or (len(content) > 1 and (content[0], content[1] >> 7) in ((0x00, 0), (0xFF, 1))):
        raise DerError("an integer is not in its shortest form")
    return int.from_bytes(content, "big", signed=True)


def object_identifier(content: bytes) -> str:
    """X.690 section 8.19: base-128 subidentifiers without leading zeros, the first two arcs joined."""
    arcs: list[int] = []
    value, fresh = 0, True
    for octet in content:
        if fresh and octet == 0x80:
            raise DerError("an object identifier is not in its shortest form")
        value, fresh = value << 7 | octet & 0x7F, not octet & 0x80
        if fresh:
            arcs.append(value)
            value = 0
    if not arcs or not fresh or len(content) > 64:
        raise DerError("an object identifier is truncated or too long")
    first = min(arcs[0] // 40, 2)
    return ".".join(str(arc) for arc in (first, arcs[0] - 40 * first, *arcs[1:]))


def set_of(content: bytes) -> tuple[Element, ...]:
    """The elements of a SET OF, which DER wants sorted by their encodings and distinct (X.690 section 11.6)."""
    reader = Reader(content)
    elements: list[Element] = []
    while not reader.empty:
        elements.append(reader.take_any())
        if len(elements) > 1 and elements[-2].encoded >= elements[-1].encoded:
            raise DerError("a set is not sorted, or holds something twice")
    return tuple(elements)


def time(element: Element) -> datetime:
    """CMS Time (RFC 5652 section 11.3): UTCTime until 2049, GeneralizedTime from 2050 on, in UTC to the second."""
    digits = {UTC_TIME: 12, GENERALIZED_TIME: 14}.get(element.tag)
    if digits is None or not re.fullmatch(rb"\d{%d}Z" % digits, element.content):
        raise DerError("a time is not in its DER form")
    text = element.content[:-1].decode()
    if digits == 12:
        text = ("20" if text < "50" else "19") + text
    try:
        moment = datetime.strptime(text, "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        raise DerError("a time does not exist") from None
    if (digits == 12) != (1950 <= moment.year < 2050):
        raise DerError("a time is not in its DER form")
    return moment
