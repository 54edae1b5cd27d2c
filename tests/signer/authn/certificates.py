"""Client certificates and their authority, made with cryptography; each part can be another one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from collections.abc import Sequence

NOW: Final = datetime(2026, 6, 1, tzinfo=UTC)
AUTHORITY: Final = ec.generate_private_key(ec.SECP256R1())
CLIENT: Final = ec.generate_private_key(ec.SECP256R1())


def key_usage(*, signs: bool = True, certifies: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(signs, False, not signs, False, False, certifies, False, False, False)


FOR_CLIENTS: Final = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])


def certificate(
    *extensions: x509.ExtensionType,
    key: ec.EllipticCurvePrivateKey = CLIENT,
    names: Sequence[x509.GeneralName] = (),
    begins: datetime = NOW - timedelta(days=1),
    ends: datetime = NOW + timedelta(days=1),
) -> x509.Certificate:
    """A client's, with these extensions beside its names."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ci")]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Client CA")]))
        .public_key(key.public_key())
        .serial_number(0x1234)
        .not_valid_before(begins)
        .not_valid_after(ends)
    )
    for extension in (*extensions, *([x509.SubjectAlternativeName(names)] if names else [])):
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(AUTHORITY, hashes.SHA256())


def der(made: x509.Certificate) -> bytes:
    return made.public_bytes(Encoding.DER)


def pem(made: x509.Certificate) -> str:
    return made.public_bytes(Encoding.PEM).decode()
