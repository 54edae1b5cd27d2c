"""Strings that callers put into XML: what XML 1.0 cannot carry, or a lenient reader would change, is refused by name.

Pure. Markup needs no refusal: texts are set as text nodes, and serialising escapes them.
"""

from __future__ import annotations

import re
from typing import Final

from signer.errors import Unprocessable

# XML 1.0 section 2.2: legal characters, here without the C0 and C1 controls (which parsers drop, normalise or refuse).
_ILLEGAL: Final = re.compile("[^\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ILLEGAL_IN_PARAGRAPHS: Final = re.compile("[^\t\n\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# XML Schema part 2 section 3.3.7 (NCName), ASCII only: an id that every party makes and compares alike.
_IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,255}")
_SPACE: Final = re.compile(r"\s")


def line(value: str, field: str) -> str:
    """`value`, if it is one line of legal characters, not empty, without white space at its ends.

    White space at the ends is refused because readers that trim and readers that do not would see two names.
    Raises: `Unprocessable` naming `field`.
    """
    if _ILLEGAL.search(value):
        message = "the text holds a control character, or one that XML cannot carry"
        raise Unprocessable(message, field=field)
    if not value or value != value.strip():
        message = "the text is empty, or begins or ends with white space"
        raise Unprocessable(message, field=field)
    return value


def paragraph(value: str, field: str) -> str:
    """`value`, if all its characters are legal; tabs and line feeds are. Raises: `Unprocessable` naming `field`."""
    if _ILLEGAL_IN_PARAGRAPHS.search(value):
        message = "the text holds a control character, or one that XML cannot carry"
        raise Unprocessable(message, field=field)
    return value


def uri(value: str, field: str) -> str:
    """`value`, if it is one line without white space that has a scheme. Raises: `Unprocessable` naming `field`."""
    if _SPACE.search(line(value, field)) or ":" not in value:
        message = "an absolute URI is needed here"
        raise Unprocessable(message, field=field)
    return value


def identifier(value: str, field: str) -> str:
    """`value`, if it can be an XML id: a letter or `_`, then letters, digits, `_`, `.`, `-`; 256 characters at most.

    Raises: `Unprocessable` naming `field`.
    """
    if not _IDENTIFIER.fullmatch(value):
        message = "an XML id is needed here: a letter or `_`, then letters, digits, `_`, `.` or `-`"
        raise Unprocessable(message, field=field)
    return value
