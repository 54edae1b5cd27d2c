"""The built-in issuing CA: its own certificate, and one leaf for each version of each published key (RFC 5280).

The CA's key is a `SigningKey` like every other and never leaves the HSM. What a purpose's leaf may say is one table
here. Each certificate is read back and checked before it is given out, because no library notices a garbage signature
or a certificate for another key. It keeps no state: storing, renewing and revoking are for whoever calls.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_der_public_key
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, NameOID

from keystore.algorithms import Purpose
from keystore.errors import HsmFault
from signer.certificates import chain as chains
from signer.certificates import constraints
from signer.errors import ServiceUnavailable, Unprocessable
from signer.formats.hsmkey import own_hash, own_padding, private_key_for

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keystore.api import SigningKey

CertifiablePublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey

_LONGEST_COMMON_NAME: Final = 64  # RFC 5280 appendix A.1, ub-common-name
_SERIAL_BITS: Final = 128
# RFC 9336 section 3 and RFC 9509 section 3; `cryptography` has no names for them.
DOCUMENT_SIGNING: Final = x509.ObjectIdentifier("1.3.6.1.5.5.7.3.36")
TOKEN_SIGNING: Final = x509.ObjectIdentifier("1.3.6.1.5.5.7.3.37")
# Clocks of verifiers run a little late: a certificate begins a little before it is made.
_CLOCK_ALLOWANCE: Final = timedelta(minutes=5)


KeyUsage = Literal["digital_signature", "key_encipherment", "key_agreement"]


@dataclass(frozen=True, slots=True)
class LeafProfile:
    """What the leaf of one purpose says of its use (RFC 5280 sections 4.2.1.3 and 4.2.1.12)."""

    extended_key_usages: tuple[x509.ObjectIdentifier, ...] = ()
    key_usage: KeyUsage = "digital_signature"


PROFILES: Final[Mapping[Purpose, LeafProfile]] = MappingProxyType(
    {
        Purpose.ARTIFACT: LeafProfile((ExtendedKeyUsageOID.CODE_SIGNING,)),
        Purpose.JWT: LeafProfile((TOKEN_SIGNING,)),
        Purpose.SAML: LeafProfile(),  # no usage is registered for assertions, and service providers expect none
        Purpose.GENERAL: LeafProfile((DOCUMENT_SIGNING,)),
        # None is registered for files that are encrypted to a key, nor for what is made of a shared secret.
        Purpose.ENCRYPT: LeafProfile(key_usage="key_encipherment"),
        Purpose.AGREE: LeafProfile(key_usage="key_agreement"),
    }
)


@dataclass(frozen=True, slots=True)
class LeafOptions:
    """What the operator chose for all leaves: their life, and where verifiers find the CA and its revocation list."""

    days: int = 365
    authority_url: str | None = None
    crl_url: str | None = None


def self_signed(
    key: SigningKey, *, common_name: str, now: datetime, days: int = 3650, within: x509.Name | None = None
) -> bytes:
    """The certificate of a CA that signs itself, DER. It issues leaves only (pathLenConstraint 0), and with `within`
    only for subjects below that name (RFC 5280 section 4.2.1.10).

    Raises: `Unprocessable` for a key that is not a CA's; `HsmFault` if what came out does not verify.
    """
    if key.info.purpose is not Purpose.CA:
        message = "only a key of purpose ca gets a CA certificate"
        raise Unprocessable(message, field="purpose")
    public_key = private_key_for(key).public_key()
    name = _name(common_name, key.info.key_id, within)
    builder = (
        _builder(public_key, name, now - _CLOCK_ALLOWANCE, now + timedelta(days=days))
        .issuer_name(name)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage("key_cert_sign", "crl_sign"), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public_key), critical=False)
    )
    if within is not None:
        builder = builder.add_extension(
            x509.NameConstraints(permitted_subtrees=[x509.DirectoryName(within)], excluded_subtrees=None), critical=True
        )
    return _signed(key, builder, public_key, issuer=None)


def issue_leaf(
    authority_key: SigningKey,
    authority_certificate: bytes,
    *,
    public_key: bytes,
    purpose: Purpose,
    common_name: str,
    key_id: str,
    now: datetime,
    options: LeafOptions = LeafOptions(),
) -> bytes:
    """The certificate of one key version, DER; it ends with the CA's own at the latest.

    `public_key` is DER SubjectPublicKeyInfo; `key_id` a UUID, which stands as `urn:uuid:` in the alternative names, and
    as common name where `common_name` is too long for one. The subject lies below the name that the CA is constrained
    to, if it is.
    Raises: `Unprocessable` for a purpose or a kind of key without certificates; `ServiceUnavailable` if the CA's
    certificate is not its key's, is no CA's or is out of its time; `HsmFault` if what came out does not verify.
    """
    profile = PROFILES.get(purpose)
    if profile is None:
        message = f"keys of purpose {purpose.value} get no leaf certificate"
        raise Unprocessable(message, field="purpose")
    issuer = _usable_authority(authority_key, authority_certificate, now)
    subject_key = _certifiable(public_key)
    not_before = max(now - _CLOCK_ALLOWANCE, issuer.not_valid_before_utc)
    not_after = min(now + timedelta(days=options.days), issuer.not_valid_after_utc)
    subject = _name(common_name, key_id, constraints.permitted_name(issuer))
    alternative_names = [x509.UniformResourceIdentifier(f"urn:uuid:{key_id}")]
    constraints.require_within(issuer, subject, alternative_names)
    builder = (
        _builder(subject_key, subject, not_before, not_after)
        .issuer_name(issuer.subject)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(profile.key_usage), critical=True)
        .add_extension(_authority_key_identifier(issuer), critical=False)
        .add_extension(x509.SubjectAlternativeName(alternative_names), critical=False)
    )
    if profile.extended_key_usages:
        builder = builder.add_extension(x509.ExtendedKeyUsage(profile.extended_key_usages), critical=False)
    builder = _with_addresses(builder, options)
    return _signed(authority_key, builder, subject_key, issuer=issuer)


def _certifiable(public_key: bytes) -> CertifiablePublicKey:
    try:
        loaded = load_der_public_key(public_key)
    except (ValueError, UnsupportedAlgorithm) as exc:
        message = "the public key is not a SubjectPublicKeyInfo that can be certified"
        raise Unprocessable(message, field="public_key") from exc
    if not isinstance(loaded, CertifiablePublicKey):
        message = "this kind of public key gets no certificate"
        raise Unprocessable(message, field="public_key")
    return loaded


def _with_addresses(builder: x509.CertificateBuilder, options: LeafOptions) -> x509.CertificateBuilder:
    """Where verifiers fetch the CA's certificate and its revocation list, as far as the operator says it."""
    if options.authority_url is not None:
        where = x509.UniformResourceIdentifier(options.authority_url)
        access = x509.AccessDescription(AuthorityInformationAccessOID.CA_ISSUERS, where)
        builder = builder.add_extension(x509.AuthorityInformationAccess([access]), critical=False)
    if options.crl_url is not None:
        point = x509.DistributionPoint([x509.UniformResourceIdentifier(options.crl_url)], None, None, None)
        builder = builder.add_extension(x509.CRLDistributionPoints([point]), critical=False)
    return builder


def _usable_authority(key: SigningKey, certificate: bytes, now: datetime) -> x509.Certificate:
    issuer = chains.load(certificate)
    if issuer.public_key() != key.public_key or not chains.is_authority(issuer):
        message = "the CA's certificate is not that of its key, or is no CA's; nothing was issued"
        raise ServiceUnavailable(message)
    if not issuer.not_valid_before_utc <= now < issuer.not_valid_after_utc:
        message = "the CA's certificate is out of its time; nothing was issued"
        raise ServiceUnavailable(message)
    return issuer


def _name(common_name: str, key_id: str, within: x509.Name | None) -> x509.Name:
    text = common_name if 1 <= len(common_name) <= _LONGEST_COMMON_NAME else key_id
    own = x509.RelativeDistinguishedName([x509.NameAttribute(NameOID.COMMON_NAME, text)])
    return x509.Name([*(within.rdns if within else ()), own])


def _authority_key_identifier(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)


def _key_usage(*allowed: KeyUsage | Literal["key_cert_sign", "crl_sign"]) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature="digital_signature" in allowed,
        content_commitment=False,
        key_encipherment="key_encipherment" in allowed,
        data_encipherment=False,
        key_agreement="key_agreement" in allowed,
        key_cert_sign="key_cert_sign" in allowed,
        crl_sign="crl_sign" in allowed,
        encipher_only=False,
        decipher_only=False,
    )


def _builder(
    public_key: CertifiablePublicKey, subject: x509.Name, not_before: datetime, not_after: datetime
) -> x509.CertificateBuilder:
    """What every certificate has; the serial number is one bit, to be positive, and 128 random ones."""
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(public_key)
        .serial_number(1 << _SERIAL_BITS | secrets.randbits(_SERIAL_BITS))
        .not_valid_before(not_before.astimezone(UTC))
        .not_valid_after(not_after.astimezone(UTC))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _signed(
    key: SigningKey,
    builder: x509.CertificateBuilder,
    subject_key: CertifiablePublicKey,
    *,
    issuer: x509.Certificate | None,
) -> bytes:
    """Sign in the HSM, read the bytes back and check them against the issuer; None: the certificate is its own."""
    algorithm = key.info.algorithm
    built = builder.sign(private_key_for(key), own_hash(algorithm), rsa_padding=own_padding(algorithm))
    der = built.public_bytes(Encoding.DER)
    try:
        certificate = x509.load_der_x509_certificate(der)
        if certificate.public_key() != subject_key:
            message = "the certificate holds another public key"
            raise ValueError(message)
        certificate.verify_directly_issued_by(certificate if issuer is None else issuer)
    except (ValueError, TypeError, InvalidSignature) as exc:
        message = "the certificate that was made does not verify; it is thrown away"
        raise HsmFault(message) from exc
    return der
