"""Bare signatures: of every kind of key, over a file that none of them is over once it is changed."""

from __future__ import annotations

import io

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from tests.verifier import pki
from tests.verifier.trust_builder import bundle, key_entry
from verifier import VerificationError, parse_trust, verify_artifact

NAME = "raw"
CONTENT = b"content"
KINDS = {
    "p256": "ECDSA_SHA_256",
    "p521": "ECDSA_SHA_512",
    "ed25519": "ED25519_SHA_512",
    "rsa2048": "RSASSA_PKCS1_V1_5_SHA_256",
}
TRUST = parse_trust(
    bundle(
        [
            key_entry(pki.key(kind), algorithm, key_version=version)
            for version, (kind, algorithm) in enumerate(KINDS.items(), 1)
        ]
    )
)


def signature(kind: str) -> bytes:
    """A right one."""
    key = pki.key(kind)
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(CONTENT, padding.PKCS1v15(), hashes.SHA256())
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(CONTENT)
    return key.sign(CONTENT, ec.ECDSA(hashes.SHA512() if kind == "p521" else hashes.SHA256()))


def seeds() -> list[bytes]:
    """One of each kind of key."""
    return [signature(kind) for kind in KINDS]


def one(data: bytes) -> None:
    """Read as a bare signature, and as whatever it looks like."""
    for signature_format in ("raw", None):
        try:
            facts = verify_artifact(io.BytesIO(CONTENT), data, TRUST, signature_format=signature_format)
        except VerificationError:
            continue
        if facts.key.algorithm not in KINDS.values():
            raise AssertionError("verified with an algorithm that no key is trusted for")
