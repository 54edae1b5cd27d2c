"""A chain of certificates as a value: DER, leaf first, root last; its PEM, and whether each one issued the one before.

It decides nothing about trust: that is for verifiers, with their own roots.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from signer.errors import ServiceUnavailable
from signer.formats import publickey

if TYPE_CHECKING:
    from collections.abc import Sequence


def load(certificate: bytes) -> x509.Certificate:
    """The object of a DER certificate that the service keeps. Raises: `ServiceUnavailable` where it is not one."""
    try:
        return publickey.load_certificate(certificate)
    except ValueError as exc:
        message = "a certificate that the service keeps cannot be read"
        raise ServiceUnavailable(message) from exc


def pem(chain: Sequence[bytes]) -> str:
    """Bare PEM text of all certificates, in their order (RFC 7468 section 5)."""
    return "".join(publickey.pem(certificate, "CERTIFICATE") for certificate in chain)


def is_authority(certificate: x509.Certificate) -> bool:
    """Whether it may issue others: basicConstraints and keyUsage both say so (RFC 5280 section 4.2.1)."""
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return False
    return constraints.ca and usage.key_cert_sign


def require_linked(chain: Sequence[bytes]) -> None:
    """Pass if each certificate was issued by the next, by name and by signature, and the last one by itself.

    Raises: `ServiceUnavailable`, since the chain is the service's own.
    """
    certificates = [load(certificate) for certificate in chain]
    if not certificates:
        message = "the chain is empty"
        raise ServiceUnavailable(message)
    try:
        for certificate, issuer in zip(certificates, [*certificates[1:], certificates[-1]], strict=True):
            certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature) as exc:
        message = "the certificates kept for the key are not a chain"
        raise ServiceUnavailable(message) from exc
    if not all(is_authority(issuer) for issuer in certificates[1:]):
        message = "the chain runs through a certificate that is no CA's"
        raise ServiceUnavailable(message)
