"""Holds what the service returned against the key that it publishes, with the verifier that third parties use.

A signature that was garbled on the way, made by another key or made over another file never reaches the disk.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from signer.cli.client import Client
from signer.cli.errors import CommandFailed, Unreachable

ArtifactFormat = Literal["cms", "raw"]

_BEGIN_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"


@dataclass(frozen=True, slots=True)
class PublishedKey:
    """One version of a key as the service publishes it: PEM, and the SHA-256 (hex) of its SubjectPublicKeyInfo."""

    public_key: bytes
    fingerprint: str


def fetch_published_key(client: Client, key: str, version: int) -> PublishedKey:
    """The public key of one version."""
    pem = client.get_bytes(f"/v1/keys/{key}/public-key", {"format": "pem", "version": str(version)})
    lines = pem.strip().splitlines()
    try:
        if lines[0].strip() != b"-----BEGIN PUBLIC KEY-----" or lines[-1].strip() != b"-----END PUBLIC KEY-----":
            raise ValueError("not a PEM public key")
        der = base64.b64decode(b"".join(line.strip() for line in lines[1:-1]), validate=True)
    except (ValueError, IndexError, binascii.Error) as exc:
        raise Unreachable("the published public key is not PEM: is this address Sealmark's?") from exc
    return PublishedKey(pem, hashlib.sha256(der).hexdigest())


def fetch_root(client: Client, key: str) -> bytes:
    """The last certificate, PEM, of the key's published chain: what its CMS signatures must lead to."""
    chain = client.get_bytes(f"/v1/keys/{key}/certificate")
    start = chain.rfind(_BEGIN_CERTIFICATE)
    if start < 0:
        raise Unreachable("the published certificate is not PEM: is this address Sealmark's?")
    return chain[start:]


def check_signature(
    file: Path,
    signature: bytes,
    signature_format: ArtifactFormat,
    *,
    key: PublishedKey,
    root: bytes | None,
    algorithm: str | None,
) -> None:
    """Verify one signature over a file: raw with the public key; CMS by its chain to `root`, made by the same key.

    Raises: CommandFailed (signature_not_verified) where it does not hold; then nothing must be kept of it.
    """
    # Imported here: the commands that verify nothing start without cryptography and XML libraries.
    from verifier import VerificationError, parse_trust, verify_artifact

    try:
        trust = parse_trust(key.public_key if signature_format == "raw" or root is None else root)
        facts = verify_artifact(file, signature, trust, algorithm=algorithm, signature_format=signature_format)
    except (VerificationError, ValueError) as exc:
        raise _not_verified(signature_format, str(exc)) from exc
    if facts.key.sha256 != key.fingerprint:
        raise _not_verified(signature_format, "it was made by another key than the one published")


def _not_verified(signature_format: str, reason: str) -> CommandFailed:
    return CommandFailed(
        f"the {signature_format} signature from the service does not verify and was not written: {reason}",
        code="signature_not_verified",
    )
