"""base64url without padding, one text for each value (RFC 7515 section 2, RFC 4648 section 3.5)."""

from __future__ import annotations

import base64
import re
from typing import Final

_ALPHABET: Final = re.compile(r"[A-Za-z0-9_-]*", re.ASCII)


def decode(text: str) -> bytes:
    """The bytes. ValueError for padding, white space, foreign characters or trailing bits that are not zero."""
    if not _ALPHABET.fullmatch(text) or len(text) % 4 == 1:
        raise ValueError("not base64url without padding")
    value = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if encode(value) != text:
        raise ValueError("base64url with trailing bits that are not zero")
    return value


def encode(value: bytes) -> str:
    """The text, without padding."""
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode("ascii")
