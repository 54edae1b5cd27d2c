"""Single certificates (RFC 5280 section 4): read strictly, described, held against a moment. `chains` joins them."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Final, TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import PublicKeyAlgorithmOID, SignatureAlgorithmOID

from verifier.errors import Rejected
from verifier.keys import PublicKey, WeakKeyError, check_public_key
from verifier.results import CertificateFacts, RevocationFacts
from verifier.times import format_time

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

MAXIMUM_CANDIDATES: Final = 10

_SIGNATURE_ALGORITHMS: Final = frozenset(
    {
        SignatureAlgorithmOID.RSA_WITH_SHA256,
        SignatureAlgorithmOID.RSA_WITH_SHA384,
        SignatureAlgorithmOID.RSA_WITH_SHA512,
        SignatureAlgorithmOID.RSASSA_PSS,
        SignatureAlgorithmOID.ECDSA_WITH_SHA256,
        SignatureAlgorithmOID.ECDSA_WITH_SHA384,
        SignatureAlgorithmOID.ECDSA_WITH_SHA512,
        SignatureAlgorithmOID.ED25519,
    }
)
_HASHES: Final = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
_Extension = TypeVar("_Extension", bound=x509.ExtensionType)


def load_certificate(data: bytes) -> x509.Certificate:
    """One DER certificate. ValueError if it is not one, extensions included."""
    certificate = _read(lambda: [x509.load_der_x509_certificate(data)])[0]
    if certificate.version is not x509.Version.v3 or not certificate.extensions:
        raise ValueError("not a version 3 certificate with extensions")
    return certificate


def load_pem_certificates(data: bytes) -> tuple[x509.Certificate, ...]:
    """The PEM certificates in `data`, at least one. ValueError if one of them is broken, extensions included."""
    return tuple(_read(lambda: x509.load_pem_x509_certificates(data)))


def _read(load: Callable[[], list[x509.Certificate]]) -> list[x509.Certificate]:
    """What `load` reads, every field of it decoded now. ValueError if that fails, however the library says so.

    The library decodes names, extensions and keys only when asked, and raises a dozen kinds of exception then: far from
    here, where nobody expects them.
    """
    with warnings.catch_warnings():
        # The library tolerates some broken encodings and names with a warning; this package does not.
        warnings.simplefilter("error")
        try:
            certificates = load()
            for certificate in certificates:
                describe_certificate(certificate)
                _ = certificate.version, certificate.extensions, certificate.signature_algorithm_oid
        except Exception as error:
            raise ValueError(f"not a well-formed certificate: {error}") from error
    return certificates


def name_of(certificate: x509.Certificate) -> str:
    """The subject as RFC 4514 text."""
    return certificate.subject.rfc4514_string()


def describe_certificate(certificate: x509.Certificate, revocation: RevocationFacts | None = None) -> CertificateFacts:
    """What a person needs to tell this certificate from another."""
    return CertificateFacts(
        subject=name_of(certificate),
        issuer=certificate.issuer.rfc4514_string(),
        serial=f"{certificate.serial_number:x}",
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        sha256=certificate.fingerprint(hashes.SHA256()).hex(),
        revocation=revocation,
    )


def identities_of(certificate: x509.Certificate) -> tuple[str, ...]:
    """The alternative names that an identity can be: URIs, host names and mail addresses, as they stand there."""
    names = extension(certificate, x509.SubjectAlternativeName) or ()
    kinds = (x509.UniformResourceIdentifier, x509.DNSName, x509.RFC822Name)
    return tuple(str(each.value) for each in names if isinstance(each, kinds))


def certified_key(certificate: x509.Certificate) -> PublicKey:
    """The certificate's public key, strong enough to be believed. WeakKeyError otherwise."""
    if certificate.public_key_algorithm_oid == PublicKeyAlgorithmOID.RSASSA_PSS:
        # RFC 4055 section 1.2 binds such a key to its parameters, which the library forgets.
        raise WeakKeyError("an RSA key that is bound to PSS parameters is not read")
    try:
        return check_public_key(certificate.public_key())
    except (UnsupportedAlgorithm, ValueError) as error:
        raise WeakKeyError(str(error)) from error


def extension(certificate: x509.Certificate, kind: type[_Extension]) -> _Extension | None:
    """The value of the extension, None where the certificate has none."""
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def is_strong_signature(signed: x509.Certificate | x509.CertificateRevocationList) -> bool:
    """Whether the algorithm that it is signed with is on this package's list. Does not check the signature."""
    if signed.signature_algorithm_oid not in _SIGNATURE_ALGORITHMS:
        return False
    digest = signed.signature_hash_algorithm
    return digest is None or isinstance(digest, _HASHES)


def check_authority(certificate: x509.Certificate) -> None:
    """ValueError unless the certificate is that of an authority that may sign certificates, with a strong key."""
    constraints = extension(certificate, x509.BasicConstraints)
    if constraints is None or not constraints.ca:
        raise ValueError(f"the certificate of {name_of(certificate)} is not that of an authority")
    usage = extension(certificate, x509.KeyUsage)
    if usage is not None and not usage.key_cert_sign:
        raise ValueError(f"the authority {name_of(certificate)} may not sign certificates")
    certified_key(certificate)


def check_validity(certificate: x509.Certificate, at: datetime) -> None:
    """Rejected unless `at` lies within the certificate's validity (RFC 5280 section 4.1.2.5, both ends included)."""
    who, when = name_of(certificate), format_time(at)
    if at < certificate.not_valid_before_utc:
        begin = format_time(certificate.not_valid_before_utc)
        raise Rejected("certificate_not_yet_valid", f"The certificate of {who} is valid from {begin}, not at {when}.")
    if at > certificate.not_valid_after_utc:
        end = format_time(certificate.not_valid_after_utc)
        raise Rejected("certificate_expired", f"The certificate of {who} expired at {end}, before {when}.")
