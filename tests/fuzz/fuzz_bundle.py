"""Sigstore bundles: the whole verification, and the reader by itself."""

from __future__ import annotations

import contextlib
import io
import json

from tests.verifier import pki
from tests.verifier.bundle_builder import (
    bundle,
    certificate_material,
    encoded,
    envelope,
    message_signature,
    statement,
    subject,
)
from verifier import Trust, VerificationError, parse_trust, verify_artifact
from verifier.artifacts.bundle import parse_bundle

NAME = "bundle"
CONTENT = b"\x7fELF a release\n"
LEAF = pki.leaf()
TRUST = Trust(
    parse_trust(pki.public_pem(LEAF.private_key)).keys, parse_trust(pki.pem(pki.root().certificate)).authorities
)


def seeds() -> list[bytes]:
    """A digest and a statement, each by a hint and by a certificate."""
    by_certificate = certificate_material(LEAF.certificate)
    message = message_signature(LEAF.private_key, CONTENT)
    attested = envelope(LEAF.private_key, encoded(statement(subject(CONTENT))))
    made = [bundle(material, messageSignature=message) for material in (None, by_certificate)]
    made += [bundle(material, dsseEnvelope=attested) for material in (None, by_certificate)]
    return [json.dumps(each, separators=(",", ":")).encode() for each in made]


def one(data: bytes) -> None:
    """Nothing but the verifier's own exceptions may come out."""
    with contextlib.suppress(VerificationError):
        parse_bundle(data)
    with contextlib.suppress(VerificationError):
        verify_artifact(io.BytesIO(CONTENT), data, TRUST)
    with contextlib.suppress(VerificationError):
        verify_artifact(io.BytesIO(CONTENT), data, TRUST, signature_format="bundle")
