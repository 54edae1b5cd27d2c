"""The built-in CA's certificate revocation list, version 2 (RFC 5280 section 5), DER.

Built of values; keeping, renewing and publishing it are for `signer.revocation`.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding

from keystore.api import RevocationReason
from keystore.errors import HsmFault
from signer.certificates import chain as chains
from signer.certificates.authority import CertifiablePublicKey
from signer.errors import ServiceUnavailable
from signer.formats.hsmkey import own_hash, own_padding, private_key_for

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from keystore.api import SigningKey

# An unspecified reason is said by saying none (RFC 5280 section 5.3.1).
_FLAGS: Final[Mapping[RevocationReason, x509.ReasonFlags]] = MappingProxyType(
    {
        RevocationReason.KEY_COMPROMISE: x509.ReasonFlags.key_compromise,
        RevocationReason.AFFILIATION_CHANGED: x509.ReasonFlags.affiliation_changed,
        RevocationReason.SUPERSEDED: x509.ReasonFlags.superseded,
        RevocationReason.CESSATION_OF_OPERATION: x509.ReasonFlags.cessation_of_operation,
        RevocationReason.PRIVILEGE_WITHDRAWN: x509.ReasonFlags.privilege_withdrawn,
    }
)


@dataclass(frozen=True, slots=True)
class RevokedEntry:
    """One line of the list."""

    serial: int
    revoked_at: datetime
    reason: RevocationReason


def build(
    authority_key: SigningKey,
    authority_certificate: bytes,
    entries: Iterable[RevokedEntry],
    *,
    number: int,
    this_update: datetime,
    next_update: datetime,
) -> bytes:
    """The list, signed and read back, DER. `number` is the CRL number (section 5.2.3).

    Raises: `ServiceUnavailable` if the CA's certificate is not its key's; `HsmFault` if what came out does not verify.
    """
    issuer = chains.load(authority_certificate)
    if issuer.public_key() != authority_key.public_key or not chains.is_authority(issuer):
        message = "the CA's certificate is not that of its key, or is no CA's; no revocation list was made"
        raise ServiceUnavailable(message)
    identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.subject)
        .last_update(this_update)
        .next_update(next_update)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        .add_extension(x509.CRLNumber(number), critical=False)
    )
    for entry in sorted(entries, key=lambda entry: (entry.revoked_at, entry.serial)):
        builder = builder.add_revoked_certificate(_line(entry))
    algorithm = authority_key.info.algorithm
    built = builder.sign(
        private_key_for(authority_key), own_hash(algorithm), rsa_padding=own_padding(algorithm)
    ).public_bytes(Encoding.DER)
    _require_verified(built, issuer)
    return built


def load(document: bytes) -> x509.CertificateRevocationList:
    """The list that the service keeps. Raises: `ServiceUnavailable` where it is none."""
    try:
        return x509.load_der_x509_crl(document)
    except ValueError as exc:
        message = "the revocation list that the service keeps cannot be read"
        raise ServiceUnavailable(message) from exc


def number_of(document: bytes) -> int:
    """The CRL number of a list."""
    return load(document).extensions.get_extension_for_class(x509.CRLNumber).value.crl_number


def _line(entry: RevokedEntry) -> x509.RevokedCertificate:
    builder = x509.RevokedCertificateBuilder().serial_number(entry.serial).revocation_date(entry.revoked_at)
    if entry.reason in _FLAGS:
        builder = builder.add_extension(x509.CRLReason(_FLAGS[entry.reason]), critical=False)
    return builder.build()


def _require_verified(document: bytes, issuer: x509.Certificate) -> None:
    public_key = issuer.public_key()
    try:
        verified = isinstance(public_key, CertifiablePublicKey) and x509.load_der_x509_crl(document).is_signature_valid(
            public_key
        )
    except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
        message = "the revocation list that was made cannot be read; it is thrown away"
        raise HsmFault(message) from exc
    if not verified:
        message = "the revocation list that was made does not verify; it is thrown away"
        raise HsmFault(message)
