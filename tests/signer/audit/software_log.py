"""A log in a database of its own, whose key lies in software: what the HSM does for the service's."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from signer.audit.records import rows_entry
from signer.audit.sequencer import Sequencer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keystore.db import Database
    from signer.audit.records import Entry
    from signer.audit.sequencer import KeptHead


@dataclass
class Head:
    origin: str
    size: int
    root: bytes


@dataclass
class SoftwareAnchor:
    """Satisfies `signer.audit.sequencer.Anchor`."""

    private_key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    kept: Head | None = None

    @property
    def public_key(self) -> bytes:
        return self.private_key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    @property
    def origin(self) -> str:
        return f"sealmark/000000000000/us-east-1/{hashlib.sha256(self.public_key).hexdigest()[:16]}"

    def sign(self, text: bytes) -> bytes:
        return self.private_key.sign(text)

    def kept_head(self) -> KeptHead | None:
        return self.kept

    def keep_head(self, origin: str, size: int, root: bytes) -> None:
        self.kept = Head(origin, size, root)


def numbered(first: int, count: int) -> list[Entry]:
    """Entries whose leaves tell them apart."""
    return [
        rows_entry(at, hashlib.sha256(b"%d" % at).digest(), time=0) | {"kind": "decision"}
        for at in range(first, first + count)
    ]


def filled(database: Database, anchor: SoftwareAnchor, steps: Sequence[int], first: int = 0) -> list[Entry]:
    """Appends so many entries at each step; returns them all."""
    sequencer = Sequencer(database, anchor)
    entries: list[Entry] = []
    for count in steps:
        some = numbered(first + len(entries), count)
        sequencer.append(some)
        entries += some
    return entries
