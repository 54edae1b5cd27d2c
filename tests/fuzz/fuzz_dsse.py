"""DSSE envelopes: the whole verification, and the statement by itself, behind a signature that would seldom hold."""

from __future__ import annotations

import contextlib
import io

from tests.verifier import pki
from tests.verifier.bundle_builder import encoded, envelope, statement, subject
from verifier import VerificationError, parse_trust, verify_artifact
from verifier.artifacts.dsse import parse_envelope
from verifier.artifacts.statement import parse_statement

NAME = "dsse"
CONTENT = b"\x7fELF a release\n"
KEY = pki.key("p256")
TRUST = parse_trust(pki.public_pem(KEY))
DIGESTS = {"sha256": bytes(32), "sha384": bytes(48), "sha512": bytes(64)}


def seeds() -> list[bytes]:
    """Envelopes over one and several files, and the statements by themselves."""
    statements = [
        encoded(statement(subject(CONTENT))),
        encoded(
            statement(subject(b"x", "x"), subject(CONTENT, "tool", "sha256", "sha512"), predicate={"a": [1, None]})
        ),
    ]
    return [*(encoded(envelope(KEY, payload)) for payload in statements), *statements]


def one(data: bytes) -> None:
    """Every step by itself: the signature would seldom let a damaged statement through."""
    with contextlib.suppress(VerificationError):
        verify_artifact(io.BytesIO(CONTENT), data, TRUST, signature_format="dsse")
    with contextlib.suppress(VerificationError):
        found = parse_statement(parse_envelope(data).payload)
        found.match({name: DIGESTS[name] for name in found.hash_names})
    with contextlib.suppress(VerificationError):
        found = parse_statement(data)
        found.match({name: DIGESTS[name] for name in found.hash_names})
