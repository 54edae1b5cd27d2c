"""Import tokens: which wrapping key, for which key, by which algorithm, until when; authenticated by the HSM.

Layout: version (1 octet), algorithm's code (1), end (8, microseconds since 1970, big-endian), the key's id and the
wrapping key's id (each with its length in 4 octets), tag (32): HMAC-SHA-256 by the integrity key. A token may be used
again until its end, as in AWS KMS.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from keystore.errors import ImportTokenExpired, InvalidImportToken
from keystore.importable import WRAPPING_ALGORITHMS
from keystore.sealing import encode_field, encode_value
from keystore.values import stored_time, time_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from keystore.importable import WrappingAlgorithm

_DOMAIN: Final = b"sealmark import token v1"
_VERSION: Final = b"\x01"
_TAG: Final = 32  # octets
_BY_CODE: Final = {row.code: row for row in WRAPPING_ALGORITHMS.values()}


@dataclass(frozen=True, slots=True)
class ImportToken:
    """What a token says. Ids are UUIDs; `expires_at` has whole microseconds."""

    key_id: str
    wrapping_id: str
    algorithm: WrappingAlgorithm
    expires_at: datetime

    def encoded(self, seal: Callable[[bytes], bytes], seal_key_id: str) -> bytes:
        """The token with its tag."""
        said = _said(self.algorithm, self.expires_at, self.key_id, self.wrapping_id)
        return said + _tag(said, seal, seal_key_id)


def read_token(
    octets: bytes, key_id: str, now: datetime, seal: Callable[[bytes], bytes], seal_key_id: str
) -> ImportToken:
    """The token of this key. Raises `InvalidImportToken` for everything that is wrong; `ImportTokenExpired`."""
    said, tag = octets[:-_TAG], octets[-_TAG:]
    if not said or not hmac.compare_digest(tag, _tag(said, seal, seal_key_id)):
        raise InvalidImportToken("the import token is not one of this service")
    algorithm = _BY_CODE.get(said[1]) if said[:1] == _VERSION else None
    if algorithm is None:
        raise InvalidImportToken("the import token is of another version of this service: get another")
    expires_at = time_of(int.from_bytes(said[2:10], "big"))
    first, second = _fields(said[10:])
    if first != key_id:
        raise InvalidImportToken("the import token belongs to another key")
    if now >= expires_at:
        raise ImportTokenExpired("the import token is older than 24 hours: get another")
    return ImportToken(key_id, second, algorithm, expires_at)


def _said(algorithm: WrappingAlgorithm, expires_at: datetime, key_id: str, wrapping_id: str) -> bytes:
    ids = encode_field(key_id.encode()) + encode_field(wrapping_id.encode())
    return _VERSION + bytes([algorithm.code]) + stored_time(expires_at).to_bytes(8, "big") + ids


def _fields(octets: bytes) -> tuple[str, str]:
    """Two texts; what the tag covers was encoded here."""
    end = 4 + int.from_bytes(octets[:4], "big")
    return octets[4:end].decode(), octets[end + 4 :].decode()


def _tag(said: bytes, seal: Callable[[bytes], bytes], seal_key_id: str) -> bytes:
    return seal(encode_field(_DOMAIN) + encode_value(seal_key_id) + encode_field(said))
