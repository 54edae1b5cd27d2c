"""The CMS detached signature (RFC 5652) as bytes: one strict form of it, read into values. Decides no trust.

One signer, signed attributes, no content inside, and algorithms from this package's list only. Attributes that are not
signed are told of, and read no further than their frame.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding

from verifier import der
from verifier.artifacts import attributes
from verifier.artifacts.cms_algorithms import digest_algorithm, signature_algorithm
from verifier.certificates import MAXIMUM_CANDIDATES, certified_key, extension, load_certificate
from verifier.errors import Rejected
from verifier.keys import PublicKey, WeakKeyError, check_message

if TYPE_CHECKING:
    from verifier.algorithms import HashName, SignatureAlgorithm

MAXIMUM_CMS_BYTES: Final = 1024 * 1024
SIGNED_DATA: Final = "1.2.840.113549.1.7.2"
ID_DATA: Final = "1.2.840.113549.1.7.1"
# 1.2.840.113549.1: what the object identifier of every content type of CMS begins with, behind its tag and length.
_RSADSI_ARC: Final = bytes.fromhex("2a864886f70d01")

_SUBJECT_KEY_IDENTIFIER: Final = 0x80  # [0] IMPLICIT OCTET STRING


@dataclass(frozen=True, slots=True)
class DetachedSignature:
    """A CMS detached signature, well-formed and agreeing with itself, its signature not checked yet."""

    certificate: x509.Certificate
    candidates: tuple[x509.Certificate, ...]
    hash_name: HashName
    algorithm: SignatureAlgorithm
    attributes: attributes.SignedAttributes
    signature: bytes
    has_unsigned_attributes: bool

    def check_signature(self) -> PublicKey:
        """The signer's key, which signed the attributes, and so the digest in them. Rejected otherwise."""
        try:
            key = certified_key(self.certificate)
            check_message(self.algorithm, key, self.signature, self.attributes.encoded)
        except WeakKeyError as error:
            raise Rejected("weak_key", f"The signer's key is refused: {error}.") from error
        except InvalidSignature as error:
            raise Rejected("signature_invalid", "The signature does not belong to this signer's key.") from error
        return key


def looks_like_cms(data: bytes) -> bool:
    """Whether the bytes begin like a ContentInfo, of whatever type and in BER even. Decides which reader is asked.

    A bare ECDSA signature is a SEQUENCE too, but begins with an INTEGER.
    """
    return data[:1] == bytes((der.SEQUENCE,)) and _RSADSI_ARC in data[:17]


def parse_detached(data: bytes) -> DetachedSignature:
    """Reads the signature. Rejected if it is not this package's strict form of a CMS detached signature."""
    if len(data) > MAXIMUM_CMS_BYTES:
        raise Rejected("too_large", f"The signature is larger than {MAXIMUM_CMS_BYTES} bytes.")
    try:
        content_info = der.Reader(der.parse(data, der.SEQUENCE).content)
        if content_info.object_identifier() != SIGNED_DATA:
            raise der.DerError("not SignedData")
        explicit = content_info.take(der.context(0))
        content_info.finish()
        return _signed_data(der.Reader(der.parse(explicit.content, der.SEQUENCE).content))
    except ValueError as error:
        raise Rejected("malformed", f"The CMS signature is malformed: {error}.") from error


def _signed_data(fields: der.Reader) -> DetachedSignature:
    """RFC 5652 section 5.1."""
    version = fields.integer()
    digests = der.set_of(fields.take(der.SET).content)
    _check_content(fields.sequence())
    certificates = _certificates(fields.take_optional(der.context(0)))
    if fields.peek() == der.context(1):
        raise der.DerError("revocation lists inside the signature are not read")
    signers = der.set_of(fields.take(der.SET).content)
    fields.finish()
    if len(signers) != 1 or len(digests) != 1:
        raise der.DerError("there must be exactly one signer and one digest algorithm")
    signature = _signer_info(der.Reader(der.parse(signers[0].encoded, der.SEQUENCE).content), version, certificates)
    if digest_algorithm(digests[0]) != signature.hash_name:
        raise Rejected("algorithm_mismatch", "The signature names two different digest algorithms.")
    return signature


def _check_content(content: der.Reader) -> None:
    """RFC 5652 section 5.2: id-data, and the content itself absent."""
    if content.object_identifier() != ID_DATA:
        raise der.DerError("the content is not plain data")
    if not content.empty:
        raise der.DerError("the content must be detached, but something is inside")


def _certificates(element: der.Element | None) -> tuple[x509.Certificate, ...]:
    """RFC 5652 section 10.2.3, X.509 certificates only. Their order carries no meaning."""
    reader = der.Reader(b"" if element is None else element.content)
    certificates: list[x509.Certificate] = []
    while not reader.empty:
        certificates.append(load_certificate(reader.take(der.SEQUENCE).encoded))
    if not certificates or len(certificates) > MAXIMUM_CANDIDATES or len(set(certificates)) != len(certificates):
        raise der.DerError(f"it must carry 1 to {MAXIMUM_CANDIDATES} certificates, each once")
    return tuple(certificates)


def _signer_info(
    fields: der.Reader, data_version: int, certificates: tuple[x509.Certificate, ...]
) -> DetachedSignature:
    """RFC 5652 section 5.3."""
    version = fields.integer()
    identifier = fields.take_any()
    digest = fields.take(der.SEQUENCE)
    signed = fields.take(der.context(0))
    method = fields.take(der.SEQUENCE)
    signature = fields.octets()
    unsigned = fields.take_optional(der.context(1))
    if unsigned is not None:
        attributes.check_unsigned_attributes(unsigned.content)
    fields.finish()
    # Version 3 is that of a signer named by key identifier, for the signer and the whole (sections 5.1 and 5.3).
    if (version, data_version) != ((3, 3) if identifier.tag == _SUBJECT_KEY_IDENTIFIER else (1, 1)):
        raise der.DerError("its version numbers do not fit its contents")
    hash_name = digest_algorithm(digest)
    algorithm = signature_algorithm(method, hash_name)
    certificate = _find_signer(identifier, certificates)
    facts = attributes.parse_signed_attributes(signed.content)
    attributes.check_algorithm_protection(facts, digest, method)
    _check_signing_certificate(facts.signing_certificate, certificate)
    candidates = tuple(other for other in certificates if other != certificate)
    return DetachedSignature(
        certificate, candidates, hash_name, algorithm, facts, signature, has_unsigned_attributes=unsigned is not None
    )


def _find_signer(identifier: der.Element, certificates: tuple[x509.Certificate, ...]) -> x509.Certificate:
    """The one embedded certificate that the SignerIdentifier names."""
    if identifier.tag == _SUBJECT_KEY_IDENTIFIER:
        found = [each for each in certificates if _key_identifier(each) == identifier.content]
    else:
        fields = der.Reader(der.parse(identifier.encoded, der.SEQUENCE).content)
        name, serial = fields.take(der.SEQUENCE).encoded, fields.integer()
        fields.finish()
        found = [each for each in certificates if _issuer_and_serial(each) == (name, serial)]
    if len(found) != 1:
        raise Rejected("signer_mismatch", "The signature does not carry exactly one certificate of its signer.")
    return found[0]


def _key_identifier(certificate: x509.Certificate) -> bytes | None:
    identifier = extension(certificate, x509.SubjectKeyIdentifier)
    return None if identifier is None else identifier.digest


def _issuer_and_serial(certificate: x509.Certificate) -> tuple[bytes, int]:
    """The issuer's name as it is encoded in the certificate, and the serial number (RFC 5280 section 4.1)."""
    fields = der.Reader(certificate.tbs_certificate_bytes).sequence()
    fields.take(der.context(0))  # version
    serial = fields.integer()
    fields.take(der.SEQUENCE)  # signature algorithm
    return fields.take(der.SEQUENCE).encoded, serial


def _check_signing_certificate(claimed: attributes.SigningCertificate | None, certificate: x509.Certificate) -> None:
    """RFC 5035 section 3: the certificate named inside the signed attributes is the one that the signer is named by."""
    if claimed is None:
        return
    digest = hashlib.new(claimed.hash_name, certificate.public_bytes(Encoding.DER)).digest()
    if digest != claimed.digest or claimed.issuer_and_serial not in (None, _issuer_and_serial(certificate)):
        raise Rejected("signer_mismatch", "The signed attributes name another certificate than the signer's.")
