"""A small test PKI in software: keys made once, certificates with every knob that a chain check looks at."""

from __future__ import annotations

import base64
import datetime as dt
from dataclasses import dataclass, field
from functools import cache
from typing import TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

PrivateKey: TypeAlias = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

NOW = dt.datetime.now(dt.UTC).replace(microsecond=0)
DAY = dt.timedelta(days=1)
CODE_SIGNING = (ExtendedKeyUsageOID.CODE_SIGNING,)


@cache
def key(kind: str, label: str = "") -> PrivateKey:
    """A key by kind (`rsa2048`, `p256`, `secp256k1`, `ed25519` ...); another label is another key."""
    curves = {
        "p256": ec.SECP256R1(),
        "p384": ec.SECP384R1(),
        "p521": ec.SECP521R1(),
        "p224": ec.SECP224R1(),
        "secp256k1": ec.SECP256K1(),
    }
    if kind.startswith("rsa"):
        return rsa.generate_private_key(65537, int(kind.removeprefix("rsa")))
    return ed25519.Ed25519PrivateKey.generate() if kind == "ed25519" else ec.generate_private_key(curves[kind])


def spki(private_key: PrivateKey) -> bytes:
    """DER SubjectPublicKeyInfo."""
    return spki_of(private_key.public_key())


def spki_of(public_key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey) -> bytes:
    """DER SubjectPublicKeyInfo."""
    return public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def public_pem(private_key: PrivateKey) -> bytes:
    """PEM SubjectPublicKeyInfo."""
    return private_key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def private_pem(private_key: PrivateKey) -> bytes:
    """PEM PKCS #8."""
    return private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def base64_of(data: bytes) -> str:
    """Standard base64, as in an x5c and in trust.json."""
    return base64.b64encode(data).decode("ascii")


def pem(*certificates: x509.Certificate) -> bytes:
    """The certificates, PEM."""
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)


def name(text: str) -> x509.Name:
    """A distinguished name with one common name."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


@dataclass(frozen=True)
class Profile:
    """What a certificate says. None leaves an extension away."""

    ca: bool | None = False
    path_length: int | None = None
    digital_signature: bool | None = True
    key_cert_sign: bool = False
    crl_sign: bool | None = None  # as key_cert_sign
    purposes: tuple[ObjectIdentifier, ...] | None = CODE_SIGNING
    not_before: dt.datetime = field(default_factory=lambda: NOW - DAY)
    not_after: dt.datetime = field(default_factory=lambda: NOW + 90 * DAY)
    extra: tuple[tuple[x509.ExtensionType, bool], ...] = ()
    digest: hashes.SHA224 | hashes.SHA256 | None = field(default_factory=hashes.SHA256)


AUTHORITY = Profile(ca=True, digital_signature=False, key_cert_sign=True, purposes=None)


@dataclass(frozen=True)
class Identity:
    """A certificate and its private key."""

    certificate: x509.Certificate
    private_key: PrivateKey


def issue(
    subject: str | x509.Name, private_key: PrivateKey, issuer: Identity | None = None, profile: Profile | None = None
) -> Identity:
    """A certificate for the key, by the issuer or by itself."""
    profile = profile or Profile()
    signer = private_key if issuer is None else issuer.private_key
    named = name(subject) if isinstance(subject, str) else subject
    builder = (
        x509.CertificateBuilder()
        .subject_name(named)
        .issuer_name(named if issuer is None else issuer.certificate.subject)
        .public_key(private_key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(profile.not_before)
        .not_valid_after(profile.not_after)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(private_key.public_key()), critical=False)
    )
    if profile.ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(profile.ca, profile.path_length), critical=True)
    if profile.digital_signature is not None:
        usage = x509.KeyUsage(
            digital_signature=profile.digital_signature,
            key_cert_sign=profile.key_cert_sign,
            crl_sign=profile.key_cert_sign if profile.crl_sign is None else profile.crl_sign,
            content_commitment=not profile.digital_signature and not profile.key_cert_sign,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            encipher_only=False,
            decipher_only=False,
        )
        builder = builder.add_extension(usage, critical=True)
    if profile.purposes is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage(profile.purposes), critical=False)
    for value, critical in profile.extra:
        builder = builder.add_extension(value, critical=critical)
    digest = None if isinstance(signer, ed25519.Ed25519PrivateKey) else profile.digest
    return Identity(builder.sign(signer, digest), private_key)


@cache
def root(label: str = "Test Root") -> Identity:
    """A self-signed P-384 authority, as the service has one."""
    return issue(label, key("p384", label), None, AUTHORITY)


@cache
def leaf(kind: str = "p256", label: str = "release") -> Identity:
    """A code-signing certificate by the root."""
    return issue(f"{label} {kind}", key(kind, label), root())


@dataclass(frozen=True)
class CrlProfile:
    """What a revocation list says beside the serial numbers."""

    this_update: dt.datetime = field(default_factory=lambda: NOW - DAY)
    next_update: dt.datetime = field(default_factory=lambda: NOW + 7 * DAY)
    extra: tuple[tuple[x509.ExtensionType, bool], ...] = ((x509.CRLNumber(1), False),)
    entry_extra: tuple[tuple[x509.ExtensionType, bool], ...] = ()
    digest: hashes.SHA224 | hashes.SHA256 = field(default_factory=hashes.SHA256)


def crl(
    issuer: Identity,
    *revoked: x509.Certificate,
    at: dt.datetime = NOW - DAY,
    reason: x509.ReasonFlags | None = x509.ReasonFlags.key_compromise,
    profile: CrlProfile | None = None,
) -> x509.CertificateRevocationList:
    """A revocation list by the issuer that names the certificates, revoked at the one time for the one reason."""
    profile = profile or CrlProfile()
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.certificate.subject)
        .last_update(profile.this_update)
        .next_update(profile.next_update)
    )
    for value, critical in profile.extra:
        builder = builder.add_extension(value, critical=critical)
    for certificate in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(certificate.serial_number).revocation_date(at)
        if reason is not None:
            entry = entry.add_extension(x509.CRLReason(reason), critical=False)
        for value, critical in profile.entry_extra:
            entry = entry.add_extension(value, critical=critical)
        builder = builder.add_revoked_certificate(entry.build())
    signer = issuer.private_key
    return builder.sign(signer, None if isinstance(signer, ed25519.Ed25519PrivateKey) else profile.digest)


def crl_der(crl_: x509.CertificateRevocationList) -> bytes:
    """DER."""
    return crl_.public_bytes(Encoding.DER)
