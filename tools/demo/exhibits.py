"""What the demonstration signs: each exhibit is a set of files, and a twin of it with one byte changed.

A twin differs from its original in one byte of what is signed, chosen so that it still parses: whoever refuses it does
so for its signature.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Exhibit:
    """Something signed. `subject` is the file that a judge reads; `detached` is the signature beside it."""

    title: str
    kind: str  # raw, cms, bundle, dsse, jwt, saml
    key: str  # the key's alias
    algorithm: str  # by its JWS name, whatever the format
    subject: Path
    tampered: Path
    detached: Path | None = None
    signed: tuple[str, ...] = ()  # of a SAML response: assertion, response

    @property
    def signature(self) -> Path:
        """The file of a detached signature. Raises: `ValueError` for formats that have none."""
        if self.detached is None:
            raise ValueError(f"{self.kind} has no detached signature")
        return self.detached


def flipped(data: bytes, position: int) -> bytes:
    """The same bytes but one."""
    return data[:position] + bytes([data[position] ^ 0x01]) + data[position + 1 :]


def tamper_file(original: Path, twin: Path) -> None:
    """A copy of a file, one byte in its middle changed."""
    data = original.read_bytes()
    twin.write_bytes(flipped(data, len(data) // 2))


def tamper_token(token: str, genuine: bytes) -> str:
    """The token with one byte of the claim `genuine` changed, everything else, the signature too, left as it was."""
    header, payload, signature = token.split(".")
    claims = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
    changed = flipped(claims, _only(claims, genuine))
    return ".".join((header, base64.urlsafe_b64encode(changed).rstrip(b"=").decode(), signature))


def tamper_xml(document: bytes, genuine: bytes) -> bytes:
    """The document with one byte of the text `genuine` changed."""
    return flipped(document, _only(document, genuine))


def _only(data: bytes, needle: bytes) -> int:
    """Where the needle's last byte is; it must be there exactly once."""
    if data.count(needle) != 1:
        raise ValueError(f"{needle!r} is there {data.count(needle)} times")
    return data.index(needle) + len(needle) - 1
