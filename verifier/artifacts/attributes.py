"""The signed attributes of a CMS signature (RFC 5652 section 5.3 and 11): what the signer really signed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from verifier import der
from verifier.artifacts.cms_algorithms import digest_algorithm

if TYPE_CHECKING:
    from datetime import datetime

    from verifier.algorithms import HashName

_CONTENT_TYPE: Final = "1.2.840.113549.1.9.3"
_MESSAGE_DIGEST: Final = "1.2.840.113549.1.9.4"
_SIGNING_TIME: Final = "1.2.840.113549.1.9.5"
_ALGORITHM_PROTECTION: Final = "1.2.840.113549.1.9.52"
_SIGNING_CERTIFICATE_V2: Final = "1.2.840.113549.1.9.16.2.47"
_ID_DATA: Final = "1.2.840.113549.1.7.1"


@dataclass(frozen=True, slots=True)
class SigningCertificate:
    """The first ESSCertIDv2 of signing-certificate-v2 (RFC 5035 section 4). The issuer is its encoded Name."""

    hash_name: HashName
    digest: bytes
    issuer_and_serial: tuple[bytes, int] | None


@dataclass(frozen=True, slots=True)
class SignedAttributes:
    """What the attributes say. `encoded` is the SET OF that is signed; `protection` RFC 6211's attribute, encoded."""

    encoded: bytes
    message_digest: bytes
    signing_time: datetime | None
    signing_certificate: SigningCertificate | None
    protection: der.Element | None


def parse_signed_attributes(content: bytes) -> SignedAttributes:
    """Reads the content of the `[0] IMPLICIT` field. ValueError if it is not strict DER or lacks what must be there."""
    values = _single_values(content)
    if _CONTENT_TYPE not in values or _MESSAGE_DIGEST not in values:
        raise der.DerError("the signed attributes lack the content type or the message digest")
    content_type = der.parse(values[_CONTENT_TYPE].encoded, der.OBJECT_IDENTIFIER)
    if der.object_identifier(content_type.content) != _ID_DATA:
        raise der.DerError("the signed content type is not plain data")
    signing_time = values.get(_SIGNING_TIME)
    certificate = values.get(_SIGNING_CERTIFICATE_V2)
    return SignedAttributes(
        # RFC 5652 section 5.4: signed is the DER encoding with the tag of SET OF, not the implicit tag.
        encoded=der.encode(der.SET, content),
        message_digest=der.parse(values[_MESSAGE_DIGEST].encoded, der.OCTET_STRING).content,
        signing_time=None if signing_time is None else der.time(signing_time),
        signing_certificate=None if certificate is None else _signing_certificate(certificate),
        protection=values.get(_ALGORITHM_PROTECTION),
    )


def _single_values(content: bytes) -> dict[str, der.Element]:
    """The attributes by type, each there once. Those that this package reads have exactly one value.

    Other attributes (S/MIME capabilities, say) are signed but nothing is concluded from them.
    """
    known = {_CONTENT_TYPE, _MESSAGE_DIGEST, _SIGNING_TIME, _ALGORITHM_PROTECTION, _SIGNING_CERTIFICATE_V2}
    seen: dict[str, der.Element] = {}
    for attribute in der.set_of(content):
        fields = der.Reader(der.parse(attribute.encoded, der.SEQUENCE).content)
        name = fields.object_identifier()
        values = der.set_of(fields.take(der.SET).content)
        fields.finish()
        if name in seen or not values or (name in known and len(values) != 1):
            raise der.DerError(f"the signed attribute {name} is not there exactly once with one value")
        seen[name] = values[0]
    return seen


def check_unsigned_attributes(content: bytes) -> None:
    """ValueError unless it is a SET OF attributes (RFC 5652 section 5.3). What they say is nobody's word: not read."""
    attributes = der.set_of(content)
    if not attributes:
        raise der.DerError("the set of unsigned attributes is empty")
    for attribute in attributes:
        fields = der.Reader(der.parse(attribute.encoded, der.SEQUENCE).content)
        fields.object_identifier()
        fields.take(der.SET)
        fields.finish()


def _signing_certificate(value: der.Element) -> SigningCertificate:
    """RFC 5035 sections 3 and 4."""
    fields = der.Reader(der.parse(value.encoded, der.SEQUENCE).content)
    identifier = fields.sequence().sequence()
    fields.take_optional(der.SEQUENCE)  # policies: information only
    fields.finish()
    explicit_hash = identifier.take_optional(der.SEQUENCE)
    digest = identifier.octets()
    issuer_serial = None if identifier.empty else _issuer_and_serial(identifier.sequence())
    identifier.finish()
    hash_name: HashName = "sha256" if explicit_hash is None else digest_algorithm(explicit_hash)
    return SigningCertificate(hash_name, digest, issuer_serial)


def _issuer_and_serial(fields: der.Reader) -> tuple[bytes, int]:
    """IssuerSerial: GeneralNames with one directoryName, and the serial number."""
    names = fields.sequence()
    directory_name = names.take(der.context(4))
    names.finish()
    serial = fields.integer()
    fields.finish()
    return der.parse(directory_name.content, der.SEQUENCE).encoded, serial


def check_algorithm_protection(attributes: SignedAttributes, digest: der.Element, method: der.Element) -> None:
    """RFC 6211 section 2: the algorithms named in the signed attributes are those outside them. ValueError if not."""
    if attributes.protection is None:
        return
    expected = der.encode(der.SEQUENCE, digest.encoded + der.encode(der.context(1), method.content))
    if attributes.protection.encoded != expected:
        raise der.DerError("the signed attributes name other algorithms than the signature")
