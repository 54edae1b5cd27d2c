"""Revocation lists, DER and PEM, held against the certificates that they might name."""

from __future__ import annotations

import contextlib

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from tests.verifier import pki
from verifier.errors import VerificationError
from verifier.revocation import RevocationPolicy, check_revocation, load_revocation_lists

NAME = "crl"


def seeds() -> list[bytes]:
    """An empty list, and one with two lines, a reason and a number."""
    empty = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(pki.root().certificate.subject)
        .last_update(pki.NOW - pki.DAY)
        .next_update(pki.NOW + pki.DAY)
    )
    full = empty.add_extension(x509.CRLNumber(7), critical=False)
    for serial in (5, pki.leaf().certificate.serial_number):
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(pki.NOW - pki.DAY)
        entry = entry.add_extension(x509.CRLReason(x509.ReasonFlags.key_compromise), critical=False)
        full = full.add_revoked_certificate(entry.build())
    lists = [each.sign(pki.root().private_key, hashes.SHA384()) for each in (empty, full)]
    return [*(each.public_bytes(Encoding.DER) for each in lists), lists[1].public_bytes(Encoding.PEM) * 2]


def one(data: bytes) -> None:
    """Parsed, and asked about a certificate."""
    try:
        lists = load_revocation_lists(data)
    except VerificationError:
        return
    for each in lists:
        each.is_by(pki.root().certificate)
        each.is_current(pki.NOW)
    policy = RevocationPolicy(pki.NOW, pki.NOW, lists, demanded=True)
    with contextlib.suppress(VerificationError):
        check_revocation(pki.leaf().certificate, pki.root().certificate, policy)
