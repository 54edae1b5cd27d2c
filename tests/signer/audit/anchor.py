"""The log's key and kept head in memory, for tests of what is built on them: no HSM."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from keystore.errors import HsmUnavailable, IntegrityFailure
from keystore.log_anchor import KeptHead
from signer.audit.tree import EMPTY_ROOT


@dataclass
class SoftwareAnchor:
    """As `keystore.log_anchor.LogAnchor`. `missing`: the key is gone for a while."""

    private_key: Ed25519PrivateKey
    origin: str
    public_key: bytes
    kept: KeptHead
    missing: bool = False
    signed: int = 0

    def sign(self, text: bytes) -> bytes:
        if self.missing:
            message = "the log key is missing"
            raise HsmUnavailable(message)
        self.signed += 1
        return self.private_key.sign(text)

    def kept_head(self) -> KeptHead:
        return self.kept

    def keep_head(self, origin: str, size: int, root: bytes) -> None:
        if origin != self.kept.origin or size < self.kept.size or (size == self.kept.size and root != self.kept.root):
            message = "the log went back"
            raise IntegrityFailure(message)
        self.kept = KeptHead(origin, size, root)


def software_anchor(private_key: Ed25519PrivateKey | None = None) -> SoftwareAnchor:
    private_key = private_key or Ed25519PrivateKey.generate()
    public_key = private_key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    origin = f"sealmark/000000000000/us-east-1/{hashlib.sha256(public_key).hexdigest()[:16]}"
    return SoftwareAnchor(private_key, origin, public_key, KeptHead(origin, 0, EMPTY_ROOT))
