"""The form of a symmetric ciphertext: a header that says what opens it, all of it authenticated. Pure.

    1 octet    version of the form: 1, or 2 for a multi-region key
    1 octet    algorithm, 1: AES-256-GCM (SP 800-38D) with a 96-bit nonce and a 128-bit tag
    16 octets  id of the key: a UUID's octets (RFC 9562); in form 2 those of the hex digits after `mrk-`
    16 octets  id of the key's version
    12 octets  nonce
    n octets   ciphertext, as long as the plaintext
    16 octets  tag

The associated data are the header (up to the nonce, which the tag covers by itself) and the encryption context in its
canonical encoding. Ciphertexts of RSA have no header: they are bare, as RFC 8017 has them.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from keystore.errors import Undecipherable

if TYPE_CHECKING:
    from collections.abc import Mapping

_FORM: Final = 1
_MULTI_REGION_FORM: Final = 2
_MULTI_REGION: Final = "mrk-"
_AES_256_GCM: Final = 1
_HEADER: Final = 2 + 16 + 16  # octets
_NONCE_AND_TAG: Final = 12 + 16
OVERHEAD: Final = _HEADER + _NONCE_AND_TAG  # octets that a ciphertext has more than its plaintext
UNDECIPHERABLE: Final = "this is no ciphertext of this key with this encryption context"


@dataclass(frozen=True, slots=True)
class Origin:
    """The key and version that made a ciphertext, as its header says: nothing is proved of it before it is opened."""

    key_id: str
    version_id: str


def header(key_id: str, version_id: str) -> bytes:
    """What a ciphertext of this version begins with."""
    digits = key_id.removeprefix(_MULTI_REGION)
    form = _FORM if digits == key_id else _MULTI_REGION_FORM
    return bytes((form, _AES_256_GCM)) + uuid.UUID(digits).bytes + uuid.UUID(version_id).bytes


def describe(ciphertext: bytes) -> Origin:
    """Which key and version to open it with. Raises: `Undecipherable` for what is not of this form."""
    if len(ciphertext) < OVERHEAD or ciphertext[0] not in (_FORM, _MULTI_REGION_FORM) or ciphertext[1] != _AES_256_GCM:
        raise Undecipherable(UNDECIPHERABLE)
    key_id, version_id = uuid.UUID(bytes=ciphertext[2:18]), uuid.UUID(bytes=ciphertext[18:_HEADER])
    is_multi_region = ciphertext[0] == _MULTI_REGION_FORM
    return Origin(f"{_MULTI_REGION}{key_id.hex}" if is_multi_region else str(key_id), str(version_id))


def sealed_part(ciphertext: bytes) -> bytes:
    """Nonce, ciphertext and tag: all that follows the header."""
    return ciphertext[_HEADER:]


def encode_context(context: Mapping[str, str]) -> bytes:
    """An encryption context, so that two that differ are never the same octets; empty for an empty one.

    The number of pairs, then for each, in the order of their names' UTF-8 octets, length and octets of name and value.
    Numbers and lengths are 4 octets, big-endian.
    """
    if not context:
        return b""
    pairs = sorted((name.encode(), value.encode()) for name, value in context.items())
    parts = [_number(len(pairs))]
    for name, value in pairs:
        parts += [_number(len(name)), name, _number(len(value)), value]
    return b"".join(parts)


def _number(value: int) -> bytes:
    return value.to_bytes(4, "big")
