"""Trust bundles in the form that the service publishes."""

from __future__ import annotations

import base64
import json
import uuid
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.serialization import Encoding

from tests.verifier.pki import PrivateKey, spki

if TYPE_CHECKING:
    from cryptography import x509

KEY_ID = str(uuid.UUID(int=7))


def key_entry(private_key: PrivateKey, *algorithms: str, **changes: object) -> dict[str, object]:
    """One listed key."""
    entry: dict[str, object] = {
        "key_id": KEY_ID,
        "key_version": 1,
        "name": "release",
        "purpose": "artifact",
        "issuer": None,
        "algorithms": list(algorithms),
        "public_key": base64.b64encode(spki(private_key)).decode(),
        "not_before": "2020-01-01T00:00:00Z",
        "not_after": None,
        "revoked_at": None,
    }
    return entry | changes


def authority_entry(certificate: x509.Certificate, *purposes: str, **changes: object) -> dict[str, object]:
    """One listed authority."""
    entry: dict[str, object] = {
        "purposes": list(purposes or ("artifact",)),
        "certificate": base64.b64encode(certificate.public_bytes(Encoding.DER)).decode(),
        "identities": None,
        "issuer": None,
        "not_before": None,
        "not_after": None,
        "crl": None,
    }
    return entry | changes


def bundle(
    keys: list[dict[str, object]] | None = None, authorities: list[dict[str, object]] | None = None, **changes: object
) -> bytes:
    """trust.json."""
    document: dict[str, object] = {
        "version": 1,
        "generated_at": "2026-01-01T00:00:00Z",
        "keys": keys or [],
        "authorities": authorities or [],
    }
    return json.dumps(document | changes).encode()
