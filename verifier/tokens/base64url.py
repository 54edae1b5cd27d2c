"""base64url without padding, one text for each value (RFC 7515 section 2, RFC 4648 section 3.5)."""

from __future__ import annotations

import base64
import re
from typing import Final

# What a text of so many characters beyond a multiple of four can end in: 4 or 2 of the last one's bits say nothing.
_DIGITS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_LAST: Final = {0: {"", *_DIGITS}, 2: set(_DIGITS[::16]), 3: set(_DIGITS[::4])}
_ALPHABET: Final = re.compile(r"[A-Za-z0-9_-]*", re.ASCII)


def decode(text: str) -> bytes:
    """The bytes. ValueError for padding, white space, foreign characters or trailing bits that are not zero."""
    rest = len(text) % 4
    if not _ALPHABET.fullmatch(text) or rest == 1:
        raise ValueError("not base64url without padding")
    if text[-1:] not in _LAST[rest]:
        raise ValueError("base64url with trailing bits that are not zero")
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def encode(value: bytes) -> str:
    """The text, without padding."""
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode("ascii")
