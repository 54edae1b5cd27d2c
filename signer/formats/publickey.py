"""Public keys as values: DER SubjectPublicKeyInfo to PEM, and the check that a certificate is for the key at hand.

Parsing costs more than signing, so what was parsed is cached by its bytes.
"""

from __future__ import annotations

import base64
import textwrap
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_der_public_key

from signer.errors import ServiceUnavailable, Unprocessable

if TYPE_CHECKING:
    from datetime import datetime

    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

    from keystore.api import SigningKey

_CACHED = 4096
# All that `cryptography` raises for a stranger's certificate: some of it when a part is looked at, and not all of it
# is a ValueError (a version that there is not, an extension that stands twice).
UNREADABLE: Final = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)


@lru_cache(maxsize=_CACHED)
def load(public_key: bytes) -> PublicKeyTypes:
    """The key object of a DER SubjectPublicKeyInfo. Raises: ValueError where the bytes are not one."""
    return load_der_public_key(public_key)


@lru_cache(maxsize=_CACHED)
def load_certificate(certificate: bytes) -> x509.Certificate:
    """The object of a DER certificate. Raises: ValueError where the bytes are not one."""
    return x509.load_der_x509_certificate(certificate)


@lru_cache(maxsize=_CACHED)
def certified_key(certificate: bytes) -> PublicKeyTypes:
    """The public key that a DER certificate is for."""
    return load_certificate(certificate).public_key()


def pem(der: bytes, label: str = "PUBLIC KEY") -> str:
    """The textual encoding of RFC 7468: `label` is PUBLIC KEY or CERTIFICATE."""
    body = "\n".join(textwrap.wrap(base64.b64encode(der).decode("ascii"), 64))
    return f"-----BEGIN {label}-----\n{body}\n-----END {label}-----\n"


def require_certified(key: SigningKey, certificate: bytes) -> None:
    """Pass if the DER certificate is for this very key: nothing downstream would notice another's.

    Raises: `ServiceUnavailable`, since the certificate is the service's own to get right, not the caller's.
    """
    if certified_key(certificate) != key.public_key:
        message = "the certificate kept for the key is not the key's; nothing was signed"
        raise ServiceUnavailable(message)


@lru_cache(maxsize=_CACHED)
def _validity(certificate: bytes) -> tuple[datetime, datetime]:
    parsed = load_certificate(certificate)
    return parsed.not_valid_before_utc, parsed.not_valid_after_utc


def require_valid(certificate: bytes, moment: datetime, *, field: str) -> None:
    """Pass if the DER certificate is valid at the moment. Raises: `Unprocessable` naming `field`."""
    not_before, not_after = _validity(certificate)
    if not not_before <= moment <= not_after:
        message = f"the key's certificate is valid from {not_before:%Y-%m-%d} to {not_after:%Y-%m-%d} only: renew it"
        raise Unprocessable(message, field=field)
