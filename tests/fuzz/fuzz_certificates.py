"""Certificates: DER ones as a signature carries them, PEM ones as a caller gives them."""

from __future__ import annotations

import contextlib

from cryptography.hazmat.primitives.serialization import Encoding

from tests.verifier import pki
from verifier.certificates import check_authority, describe_certificate, load_certificate
from verifier.chains import check_chain
from verifier.errors import VerificationError
from verifier.revocation import RevocationPolicy
from verifier.trust import Authority, load_certificates

NAME = "certificates"
POLICY = RevocationPolicy(pki.NOW, pki.NOW)


def seeds() -> list[bytes]:
    """Leaves of each kind, an authority, and PEM."""
    leaves = [pki.leaf(kind).certificate for kind in ("p256", "rsa2048")]
    return [
        *(each.public_bytes(Encoding.DER) for each in (*leaves, pki.root().certificate)),
        pki.pem(*leaves),
    ]


def one(data: bytes) -> None:
    """`load_certificate` and `check_authority` promise ValueError, the others VerificationError."""
    with contextlib.suppress(VerificationError):
        load_certificates(data)
    try:
        certificate = load_certificate(data)
    except ValueError:
        return
    with contextlib.suppress(ValueError):
        check_authority(certificate)
    describe_certificate(certificate)
    for anchor in (pki.root().certificate, certificate):
        with contextlib.suppress(VerificationError):
            check_chain(certificate, (certificate,), (Authority(anchor),), POLICY)
