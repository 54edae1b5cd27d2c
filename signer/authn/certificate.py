"""A client certificate → `Principal`. That it chains to the configured authority and that the caller holds its key was
shown in TLS, here or at a proxy that the configuration names; here it is decided whose it is, if anybody's.

Exactly one usable binding matches, or the certificate is refused.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, Protocol

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from keystore.api import CredentialMatch
from keystore.values import stored_json
from signer.authn.owners import principal_of
from signer.authn.principal import CredentialKind
from signer.authn.refused import Refused
from signer.formats import publickey

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from keystore.api import PrincipalRecord, PublicCredentialRecord
    from signer.authn.principal import Principal

_MOST_NAMES: Final = 32  # of one certificate; each is a look-up


class Bindings(Protocol):
    """The look-ups that this kind of credential needs."""

    def matching_public_credentials(self, match: CredentialMatch, value: str) -> tuple[PublicCredentialRecord, ...]: ...
    def find_principal(self, name: str) -> PrincipalRecord | None: ...


def authenticate(der: bytes, bindings: Bindings, now: datetime) -> Principal:
    """The principal to whom the certificate (DER) is bound. Raises `Refused`."""
    try:
        certificate = x509.load_der_x509_certificate(der)
        require_client_certificate(certificate, now)
        recognised_by = list(_recognised_by(certificate))
    except publickey.UNREADABLE as error:
        raise Refused("the certificate cannot be read") from error
    if len(recognised_by) > _MOST_NAMES:
        raise Refused(f"the certificate has more than {_MOST_NAMES} names")
    found = {
        record.id: record
        for match, value in recognised_by
        for record in bindings.matching_public_credentials(match, value)
        if is_usable(record, now)
    }
    if len(found) != 1:
        raise Refused(f"{len(found)} usable bindings match the certificate; exactly one must")
    (record,) = found.values()
    proof = stored_json(
        {
            "certificate_sha256": hashlib.sha256(der).hexdigest(),
            "credential": record.id,
            "issuer": certificate.issuer.rfc4514_string(),
            "matched": f"{record.match.value}:{record.value}",
            "serial": f"{certificate.serial_number:x}",
        }
    )
    owner = bindings.find_principal(record.principal)
    return principal_of(owner, now, f"certificate:{record.id}", CredentialKind.CERTIFICATE, proof)


def is_usable(record: PublicCredentialRecord, now: datetime) -> bool:
    """Whether a public credential is enabled and not over."""
    return record.state == "enabled" and (record.expires_at is None or now < record.expires_at)


def public_key_of(certificate: x509.Certificate) -> bytes:
    """Its DER SubjectPublicKeyInfo."""
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _recognised_by(certificate: x509.Certificate) -> Iterator[tuple[CredentialMatch, str]]:
    """Everything that a binding may go by. Names count as they are written, octet for octet."""
    yield CredentialMatch.PUBLIC_KEY, hashlib.sha256(public_key_of(certificate)).hexdigest()
    yield CredentialMatch.CERTIFICATE, hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return
    for uri in names.get_values_for_type(x509.UniformResourceIdentifier):
        yield CredentialMatch.URI, uri
    for name in names.get_values_for_type(x509.DNSName):
        yield CredentialMatch.DNS, name


def require_client_certificate(certificate: x509.Certificate, now: datetime) -> None:
    """RFC 5280: in its time (4.1.2.5), for clients (4.2.1.12), able to sign (4.2.1.3), no authority's (4.2.1.9).

    Raises `Refused`, and what `cryptography` raises for what it cannot read.
    """
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        raise Refused("the certificate is not in its time")
    extensions = {extension.oid: extension.value for extension in certificate.extensions}
    constraints = extensions.get(ExtensionOID.BASIC_CONSTRAINTS)
    if isinstance(constraints, x509.BasicConstraints) and constraints.ca:
        raise Refused("the certificate is an authority's")
    usage = extensions.get(ExtensionOID.KEY_USAGE)
    if isinstance(usage, x509.KeyUsage) and (usage.key_cert_sign or not usage.digital_signature):
        raise Refused("the certificate's key usage is not that of a client")
    purposes = extensions.get(ExtensionOID.EXTENDED_KEY_USAGE)
    if isinstance(purposes, x509.ExtendedKeyUsage) and ExtendedKeyUsageOID.CLIENT_AUTH not in purposes:
        raise Refused("the certificate is not for TLS clients")
