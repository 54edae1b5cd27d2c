"""The leaves of the log: what anybody may see of a record, and can recompute from what a signature's holder has.

Canonical JSON: members sorted, no spaces, ASCII. A leaf says nothing of who did what: the record is there as the hash
of a random nonce and the record, so that it can be proved and cannot be guessed.
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

LEAF_VERSION: Final = 1
NONCE_SIZE: Final = 32
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class MadeSignature(msgspec.Struct, frozen=True, gc=False):
    """One signature: hex of the hash of what was signed (by the algorithm's own hash; SHA-512 for Ed25519), and of the
    SHA-256 of the signature as the key gave it (ECDSA: DER)."""

    digest: str
    sha256: str


class _DecisionLeaf(msgspec.Struct, frozen=True, gc=False):
    """Members in the order in which canonical JSON has them."""

    algorithm: str | None
    key_sha256: str | None  # of the key version's DER SubjectPublicKeyInfo
    key_version: int | None
    record_sha256: str
    signatures: Sequence[MadeSignature]
    time: str
    v: int = LEAF_VERSION


class _RowsLeaf(msgspec.Struct, frozen=True, gc=False):
    journal: int
    link: str
    v: int = LEAF_VERSION


_ENCODER: Final = msgspec.json.Encoder()


def format_time(microseconds: int) -> str:
    """RFC 3339 in UTC, always with six digits of a second."""
    return (_EPOCH + timedelta(microseconds=microseconds)).isoformat(timespec="microseconds").replace("+00:00", "Z")


def decision_leaf(
    record: bytes,
    nonce: bytes,
    *,
    time: int,
    algorithm: str | None = None,
    key_sha256: bytes | None = None,
    key_version: int | None = None,
    signatures: Sequence[MadeSignature] = (),
) -> bytes:
    """The leaf of a record (its canonical encoding); `time` in microseconds since 1970."""
    return _ENCODER.encode(
        _DecisionLeaf(
            algorithm,
            None if key_sha256 is None else key_sha256.hex(),
            key_version,
            hashlib.sha256(nonce + record).hexdigest(),
            signatures,
            format_time(time),
        )
    )


def rows_leaf(journal: int, link: bytes) -> bytes:
    """The leaf of one entry of the sealed rows' journal: the chained link covers table, id, revision and seal."""
    return _ENCODER.encode(_RowsLeaf(journal, link.hex()))


def former_leaf(origin: str, size: int, root: bytes, checkpoint: str | None) -> bytes:
    """Leaf 0 of a log that takes the place of another: the head at which that one ended, and its newest signed
    checkpoint (None: there was none), which may be over fewer leaves."""
    members = {"checkpoint": checkpoint, "former": origin, "root": root.hex(), "size": size, "v": LEAF_VERSION}
    # A note has characters beyond ASCII, which msgspec would write as they are.
    return json.dumps(members, sort_keys=True, separators=(",", ":")).encode("ascii")
