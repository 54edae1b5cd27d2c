"""What an outside CA's chain must be before it may stand for one of our keys: refused unless all of it holds.

It decides nothing about trust: whether anybody trusts that CA is for verifiers. Revocation is theirs to ask for, too.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from keystore.algorithms import Purpose
from signer.errors import Unprocessable
from signer.formats import publickey

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from cryptography.x509.extensions import ExtensionType

LONGEST_CHAIN: Final = 8
_PEM: Final = re.compile(r"(-----BEGIN CERTIFICATE-----\s[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----\s*)+")
_HANDLED: Final = (x509.BasicConstraints, x509.KeyUsage, x509.ExtendedKeyUsage, x509.SubjectAlternativeName)
# Constraints on names are checked by verifiers; here the chain need only be one that they can follow.
_HANDLED_IN_AUTHORITIES: Final = (*_HANDLED, x509.NameConstraints, x509.PolicyConstraints, x509.CertificatePolicies)
# The key usage that a leaf must have, by its name in RFC 5280 section 4.2.1.3; for all others digitalSignature.
_USAGES: Final = {Purpose.ENCRYPT: "keyEncipherment", Purpose.AGREE: "keyAgreement"}
_REQUIRED: Final = {Purpose.ARTIFACT: (ExtendedKeyUsageOID.CODE_SIGNING, "code signing")}
_SMALLEST_RSA: Final = 2048


def parse(text: str, field: str) -> list[x509.Certificate]:
    """The certificates of bare PEM text. Raises `Unprocessable` for anything else in it."""
    if not _PEM.fullmatch(text.strip()):
        message = f"{field} is PEM text of certificates, leaf first, and nothing else"
        raise Unprocessable(message, field=field)
    try:
        found = x509.load_pem_x509_certificates(text.encode("ascii"))
        for certificate in found:
            _ = (certificate.extensions, certificate.public_key(), certificate.signature_hash_algorithm)
            _ = (certificate.subject.rfc4514_string(), certificate.issuer.rfc4514_string())
    except publickey.UNREADABLE as exc:
        message = f"{field} holds something that is not a well-formed certificate"
        raise Unprocessable(message, field=field) from exc
    if len(found) > LONGEST_CHAIN:
        message = f"{field} holds {len(found)} certificates; the most is {LONGEST_CHAIN}"
        raise Unprocessable(message, field=field)
    return found


def checked_chain(
    chain: str, anchor: str | None, *, public_key: bytes, purpose: Purpose, now: datetime
) -> tuple[bytes, ...]:
    """The chain as DER, leaf first, its end last: a root that signs itself, or the `anchor` that the caller states.

    `public_key` is DER SubjectPublicKeyInfo of the key version. Raises `Unprocessable` with the reason.
    """
    certificates = parse(chain, "chain")
    if anchor is not None:
        stated = parse(anchor, "anchor")
        if len(stated) != 1:
            message = "anchor is one certificate"
            raise Unprocessable(message, field="anchor")
        if certificates[-1] != stated[0]:
            certificates += stated
    if certificates[0].public_key() != publickey.load(public_key):
        _refuse("the first certificate is for another public key than this version's")
    _require_leaf(certificates[0], purpose)
    if len(certificates) == 1:
        _refuse("the chain holds no issuer: give the certificates up to the root")
    for depth, certificate in enumerate(certificates):
        _require_sound(certificate, now)
        if depth:
            _require_authority(certificate, depth, is_last=depth == len(certificates) - 1)
            _require_extended(certificate, purpose)
    for certificate, issuer in pairwise(certificates):
        _require_issued(certificate, issuer)
    if anchor is None:
        if certificates[-1].issuer != certificates[-1].subject:
            _refuse("the chain ends before a root that signs itself: add it, or state the anchor")
        _require_issued(certificates[-1], certificates[-1])
    return tuple(certificate.public_bytes(Encoding.DER) for certificate in certificates)


def _refuse(reason: str) -> None:
    raise Unprocessable(reason, field="chain")


def _who(certificate: x509.Certificate) -> str:
    return certificate.subject.rfc4514_string() or f"serial {certificate.serial_number:x}"


def _require_sound(certificate: x509.Certificate, now: datetime) -> None:
    """Its time, its algorithms, its critical extensions."""
    who = _who(certificate)
    if not certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc:
        _refuse(f"the certificate of {who} is out of its time")
    if isinstance(certificate.signature_hash_algorithm, hashes.SHA1 | hashes.MD5):
        _refuse(f"the certificate of {who} is signed with {certificate.signature_hash_algorithm.name}")
    key = certificate.public_key()
    if not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey):
        _refuse(f"the certificate of {who} is for a kind of key that is not used here")
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < _SMALLEST_RSA:
        _refuse(f"the certificate of {who} is for an RSA key of less than {_SMALLEST_RSA} bits")


def _require_issued(certificate: x509.Certificate, issuer: x509.Certificate) -> None:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        _refuse(f"the certificate of {_who(certificate)} was not issued by that of {_who(issuer)}, which follows it")


def _require_known_extensions(certificate: x509.Certificate, handled: Sequence[type[ExtensionType]]) -> None:
    """RFC 5280 section 4.2: what is critical and not understood makes a certificate unusable."""
    for extension in certificate.extensions:
        if extension.critical and not isinstance(extension.value, tuple(handled)):
            _refuse(f"the certificate of {_who(certificate)} has a critical extension {extension.oid.dotted_string}")


def _require_leaf(certificate: x509.Certificate, purpose: Purpose) -> None:
    _require_known_extensions(certificate, _HANDLED)
    found = {type(extension.value): extension.value for extension in certificate.extensions}
    constraints, usage = found.get(x509.BasicConstraints), found.get(x509.KeyUsage)
    if isinstance(constraints, x509.BasicConstraints) and constraints.ca:
        _refuse("the first certificate is a CA's: a key that callers use issues no certificates")
    needed = _USAGES.get(purpose, "digitalSignature")
    if not isinstance(usage, x509.KeyUsage) or not _allows(usage, needed):
        _refuse(f"the first certificate does not have the key usage {needed}")
    if isinstance(usage, x509.KeyUsage) and (usage.key_cert_sign or usage.crl_sign):
        _refuse("the first certificate has key usages of a CA")
    if purpose in _REQUIRED:
        required, name = _REQUIRED[purpose]
        extended = found.get(x509.ExtendedKeyUsage)
        if not isinstance(extended, x509.ExtendedKeyUsage) or required not in extended:
            _refuse(f"the first certificate does not have the extended key usage {name}, which {purpose} keys need")


def _allows(usage: x509.KeyUsage, name: str) -> bool:
    allowed = {
        "digitalSignature": usage.digital_signature,
        "keyEncipherment": usage.key_encipherment,
        "keyAgreement": usage.key_agreement,
    }
    return allowed[name]


def _require_extended(authority: x509.Certificate, purpose: Purpose) -> None:
    """A CA that is limited to some usages passes on no others; one that names none is not limited."""
    for extension in authority.extensions:
        usages = extension.value
        if isinstance(usages, x509.ExtendedKeyUsage) and purpose in _REQUIRED:
            required, name = _REQUIRED[purpose]
            if required not in usages and ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE not in usages:
                _refuse(f"the certificate of {_who(authority)} is not for {name}")


def _require_authority(certificate: x509.Certificate, depth: int, *, is_last: bool) -> None:
    """`depth` is the number of certificates before it; those between it and the leaf count (section 4.2.1.9). Old roots
    have no key usage: where it is absent it limits nothing (section 4.2.1.3)."""
    _require_known_extensions(certificate, _HANDLED_IN_AUTHORITIES)
    found = {type(extension.value): extension.value for extension in certificate.extensions}
    constraints, usage = found.get(x509.BasicConstraints), found.get(x509.KeyUsage)
    if not isinstance(constraints, x509.BasicConstraints) or not constraints.ca:
        _refuse(f"the certificate of {_who(certificate)} is no CA's")
    absent = usage is None and is_last
    if not absent and (not isinstance(usage, x509.KeyUsage) or not usage.key_cert_sign):
        _refuse(f"the certificate of {_who(certificate)} does not have the key usage keyCertSign")
    if isinstance(constraints, x509.BasicConstraints):
        limit = constraints.path_length
        if limit is not None and depth - 1 > limit:
            _refuse(f"the certificate of {_who(certificate)} allows {limit} CAs below it; there are {depth - 1}")
