"""Certificate chains for signatures over files (RFC 5280 section 6, the parts that code signing uses).

A leaf, at most two intermediates that the message may carry, and an authority that the caller trusts. What a message
carries is only a candidate. Every check is explicit; an extension that is critical and not handled here refuses the
chain. Revocation is not looked at, and the results say so.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Final, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID, SignatureAlgorithmOID

from verifier.errors import Rejected
from verifier.keys import PublicKey, WeakKeyError, check_public_key
from verifier.results import CertificateFacts
from verifier.times import format_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime

MAXIMUM_CHAIN: Final = 4
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
_HANDLED_EXTENSIONS: Final = (x509.BasicConstraints, x509.KeyUsage, x509.ExtendedKeyUsage)


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


def describe_certificate(certificate: x509.Certificate) -> CertificateFacts:
    """What a person needs to tell this certificate from another."""
    return CertificateFacts(
        subject=name_of(certificate),
        issuer=certificate.issuer.rfc4514_string(),
        serial=f"{certificate.serial_number:x}",
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        sha256=certificate.fingerprint(hashes.SHA256()).hex(),
    )


def certified_key(certificate: x509.Certificate) -> PublicKey:
    """The certificate's public key, strong enough to be believed. WeakKeyError otherwise."""
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


def check_code_signing_chain(
    leaf: x509.Certificate, candidates: Sequence[x509.Certificate], anchors: Sequence[x509.Certificate], at: datetime
) -> tuple[x509.Certificate, ...]:
    """The chain from `leaf` to one of `anchors`, leaf first, all of it fit for code signing at the moment `at`.

    `candidates` are intermediates that the message carried. Rejected with the reason of the first chain that ends at an
    anchor and fails, or untrusted_signer where none does.
    """
    failure: Rejected | None = None
    for chain in _chains((leaf,), candidates, anchors):
        try:
            _check_chain(chain, at)
        except Rejected as error:
            failure = failure or error
        else:
            return chain
    raise failure or Rejected("untrusted_signer", f"No authority that you trust vouches for {name_of(leaf)}.")


def _chains(
    path: tuple[x509.Certificate, ...], candidates: Sequence[x509.Certificate], anchors: Sequence[x509.Certificate]
) -> Iterator[tuple[x509.Certificate, ...]]:
    """Every path from the last of `path` to an anchor, short ones first, of at most MAXIMUM_CHAIN certificates."""
    for anchor in anchors:
        if _issued(anchor, path[-1]):
            yield (*path, anchor)
    if len(path) + 2 > MAXIMUM_CHAIN:
        return
    for candidate in candidates:
        if candidate not in path and candidate not in anchors and _issued(candidate, path[-1]):
            yield from _chains((*path, candidate), candidates, anchors)


def _issued(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    """Whether the issuer's name and key are those that signed the certificate."""
    if issuer.subject != certificate.issuer or certificate.signature_algorithm_oid not in _SIGNATURE_ALGORITHMS:
        return False
    try:
        certified_key(issuer)
        digest = certificate.signature_hash_algorithm
        if digest is not None and not isinstance(digest, _HASHES):
            return False
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, TypeError, ValueError, UnsupportedAlgorithm):
        return False
    return True


def _check_chain(chain: tuple[x509.Certificate, ...], at: datetime) -> None:
    _check_leaf(chain[0])
    for below, authority in enumerate(chain[1:]):
        _check_issuer(authority, intermediates_below=below, is_anchor=below == len(chain) - 2)
    for certificate in chain:
        _check_critical_extensions(certificate)
        check_validity(certificate, at)


def _check_leaf(leaf: x509.Certificate) -> None:
    who = name_of(leaf)
    constraints = extension(leaf, x509.BasicConstraints)
    if constraints is not None and constraints.ca:
        raise Rejected("certificate_not_suitable", f"{who} is an authority: its certificate may not sign files.")
    usage = extension(leaf, x509.KeyUsage)
    if usage is None or not usage.digital_signature:
        raise Rejected("certificate_not_suitable", f"The certificate of {who} does not allow digital signatures.")
    purposes = extension(leaf, x509.ExtendedKeyUsage)
    if purposes is None or ExtendedKeyUsageOID.CODE_SIGNING not in purposes:
        raise Rejected("certificate_not_suitable", f"The certificate of {who} is not for code signing.")
    try:
        certified_key(leaf)
    except WeakKeyError as error:
        raise Rejected("weak_key", f"The key of {who} is refused: {error}.") from error


def _check_issuer(authority: x509.Certificate, *, intermediates_below: int, is_anchor: bool) -> None:
    who = name_of(authority)
    constraints = extension(authority, x509.BasicConstraints)
    if constraints is None or not constraints.ca:
        raise Rejected("certificate_not_suitable", f"{who} is not an authority and may not certify others.")
    if constraints.path_length is not None and intermediates_below > constraints.path_length:
        raise Rejected("certificate_not_suitable", f"The chain under {who} is longer than its certificate allows.")
    usage = extension(authority, x509.KeyUsage)
    if (usage is None and not is_anchor) or (usage is not None and not usage.key_cert_sign):
        raise Rejected("certificate_not_suitable", f"The certificate of {who} does not allow it to certify others.")
    purposes = extension(authority, x509.ExtendedKeyUsage)
    if purposes is not None and ExtendedKeyUsageOID.CODE_SIGNING not in purposes:
        raise Rejected("certificate_not_suitable", f"The authority {who} may not certify code signing.")


def _check_critical_extensions(certificate: x509.Certificate) -> None:
    for entry in certificate.extensions:
        if entry.critical and not isinstance(entry.value, _HANDLED_EXTENSIONS):
            message = f"The certificate of {name_of(certificate)} has a critical extension {entry.oid.dotted_string}"
            raise Rejected("certificate_not_suitable", f"{message} that this verifier does not handle.")
