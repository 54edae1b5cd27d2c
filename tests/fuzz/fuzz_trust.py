"""Trust files: `trust.json`, a PEM public key, PEM certificates."""

from __future__ import annotations

from tests.verifier import pki
from tests.verifier.trust_builder import authority_entry, bundle, key_entry
from verifier.errors import VerificationError
from verifier.trust import parse_trust

NAME = "trust"


def seeds() -> list[bytes]:
    """One of each, and a bundle with everything."""
    key = key_entry(pki.key("p256"), "ECDSA_SHA_256")
    rsa = key_entry(pki.key("rsa2048"), "RSASSA_PSS_SHA_256", "NEW", key_version=2, not_after="2030-01-01T00:00:00Z")
    return [
        bundle([key]),
        bundle([key, rsa], [authority_entry(pki.root().certificate, "artifact", "saml")]),
        pki.public_pem(pki.key("p256")),
        pki.pem(pki.root().certificate, pki.root("Other").certificate),
    ]


def one(data: bytes) -> None:
    """Parsed, and asked for what verification asks of it."""
    try:
        trust = parse_trust(data)
    except VerificationError:
        return
    for purpose in ("artifact", "jwt", "saml", "general", "other"):
        trust.keys_for(purpose)
        trust.authorities_for(purpose)
    trust.find_key(pki.key("p256").public_key())
