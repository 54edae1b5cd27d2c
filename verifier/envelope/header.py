"""What an envelope says before its content: which key wraps the data key, how, the wrapped data key, the context.

It is the `recipientInfos` of a CMS message (RFC 5652 section 6.2), so that stock tools find the content's key by the
standard's own means: an RSA key's as KeyTransRecipientInfo with OAEP, one wrapped by a data key as KEKRecipientInfo.
A second recipient, an OtherRecipientInfo that no tool but this package's readers uses, carries the rest. Of one header
there is one encoding, and `nonce_for` binds all of it to the content.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives import hashes

from verifier import der
from verifier.algorithms import ENCRYPTION_ALGORITHMS
from verifier.errors import Indeterminate, Rejected

if TYPE_CHECKING:
    from collections.abc import Mapping

    from verifier.strict_json import JsonValue

HEADER_VERSION: Final = 1
SYMMETRIC_DEFAULT: Final = "SYMMETRIC_DEFAULT"  # the AWS name of AES-256-GCM under a key that never leaves the service
MAXIMUM_HEADER_BYTES: Final = 32 * 1024
MAXIMUM_CONTEXT_BYTES: Final = 8192  # names and values in UTF-8; AWS KMS draws the same line
NONCE_BYTES: Final = 12
DATA_KEY_BYTES: Final = 32

# A UUID as an object identifier (ITU-T X.667 section 6.3), which nobody has to register.
HEADER_TYPE: Final = "2.25.330845468259351088996145053818460954869"
_NONCE_DOMAIN: Final = b"sealmark envelope 1\x00"
_KEY_ID: Final = re.compile(r"[!-~]{1,2048}")
_NOT_OURS: Final = "The envelope is not one of Sealmark's: it has no header of theirs."
_WRAPPED_CONTENT_KEY_BYTES: Final = DATA_KEY_BYTES + 8  # RFC 3394 section 2

_RSAES_OAEP: Final = der.encode_object_identifier("1.2.840.113549.1.1.7")
_MGF1: Final = der.encode_object_identifier("1.2.840.113549.1.1.8")
_SHA256: Final = der.encode(
    der.SEQUENCE, der.encode_object_identifier("2.16.840.1.101.3.4.2.1") + der.encode(der.NULL, b"")
)
_AES256_WRAP: Final = der.encode(der.SEQUENCE, der.encode_object_identifier("2.16.840.1.101.3.4.1.45"))
_KEY_IDENTIFIER: Final = 0x80  # [0] IMPLICIT SubjectKeyIdentifier of a RecipientIdentifier
_KEK_RECIPIENT: Final = der.context(2)
_OTHER_RECIPIENT: Final = der.context(4)


@dataclass(frozen=True, slots=True)
class EnvelopeHeader:
    """Which key opens an envelope. All of it is the maker's word until the content has opened under it.

    `algorithm` (an AWS name) says how the key wraps the data key: an OAEP of ENCRYPTION_ALGORITHMS, or
    SYMMETRIC_DEFAULT. `wrapped_data_key` is what the service's decrypt takes, as it stands. `key_sha256` is over an RSA
    key's SubjectPublicKeyInfo. `wrapped_content_key` is there where the data key wraps the content's key (RFC 3394, 40
    octets); None says that the data key is the content's key.
    """

    algorithm: str
    wrapped_data_key: bytes
    key_id: str | None
    key_version: int | None
    key_sha256: str | None
    context: Mapping[str, str]
    wrapped_content_key: bytes | None = None

    def as_json(self) -> dict[str, JsonValue]:
        """The header as JSON-compatible values; the wrapped data key is left out."""
        return {
            "algorithm": self.algorithm,
            "key_id": self.key_id,
            "key_version": self.key_version,
            "key_sha256": self.key_sha256,
            "context": dict(self.context),
        }


def check_context(context: Mapping[str, str]) -> Mapping[str, str]:
    """The context by the order of its names. ValueError for one that an envelope cannot hold."""
    pairs = sorted((_octets(name), _octets(value)) for name, value in context.items())
    if any(not name for name, _ in pairs):
        raise ValueError("a name in the context is empty")
    if sum(len(name) + len(value) for name, value in pairs) > MAXIMUM_CONTEXT_BYTES:
        raise ValueError(f"the context is larger than {MAXIMUM_CONTEXT_BYTES} bytes")
    return MappingProxyType({name.decode(): value.decode() for name, value in pairs})


def _octets(text: str) -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("the context has characters that no text has") from None


def nonce_for(recipients: bytes) -> bytes:
    """The nonce under which the content must be encrypted: a digest of all that stands before it, cut to 96 bits.

    Every content has a key of its own, so the nonce need not be random (SP 800-38D section 8.2 asks that no pair of key
    and nonce occurs twice). Whoever changes the header needs another nonce, under which the tag does not hold.
    """
    return hashlib.sha256(_NONCE_DOMAIN + recipients).digest()[:NONCE_BYTES]


def encode_recipients(header: EnvelopeHeader) -> bytes:
    """The whole SET of RecipientInfo. ValueError for a header that `parse_recipients` would not give back."""
    if header.key_id is not None and not _KEY_ID.fullmatch(header.key_id):
        raise ValueError("a key id must be 1 to 2048 printable ASCII characters without spaces")
    if header.key_version is not None and header.key_version < 1:
        raise ValueError("a key version must be positive")
    if not header.wrapped_data_key:
        raise ValueError("there is no wrapped data key")
    is_rsa = header.algorithm in ENCRYPTION_ALGORITHMS
    recipient = _key_transport(header) if is_rsa else _key_encryption(header)
    key_sha256 = b"" if header.key_sha256 is None else bytes.fromhex(header.key_sha256)
    context = check_context(header.context)
    fields = (
        der.encode_integer(HEADER_VERSION),
        _text(header.algorithm),
        _text(header.key_id or ""),
        der.encode_integer(header.key_version or 0),
        der.encode(der.OCTET_STRING, key_sha256),
        # An RSA key's stands in its KeyTransRecipientInfo, once.
        der.encode(der.OCTET_STRING, b"" if is_rsa else header.wrapped_data_key),
        _sequence(*(_sequence(_text(name), _text(value)) for name, value in context.items())),
    )
    other = der.encode(_OTHER_RECIPIENT, der.encode_object_identifier(HEADER_TYPE) + _sequence(*fields))
    recipients = der.encode(der.SET, recipient + other)
    if len(recipients) > MAXIMUM_HEADER_BYTES:
        raise ValueError(f"the header is larger than {MAXIMUM_HEADER_BYTES} bytes")
    return recipients


def _key_transport(header: EnvelopeHeader) -> bytes:
    """RFC 5652 section 6.2.1, version 2: the key is named by an identifier, that of RFC 7093 section 2 method 4."""
    if header.key_sha256 is None or header.wrapped_content_key is not None:
        raise ValueError("an RSA key is named by the SHA-256 of its SubjectPublicKeyInfo, and wraps the content's key")
    return _sequence(
        der.encode_integer(2),
        der.encode(_KEY_IDENTIFIER, bytes.fromhex(header.key_sha256)),
        _oaep(header.algorithm),
        der.encode(der.OCTET_STRING, header.wrapped_data_key),
    )


def _oaep(algorithm: str) -> bytes:
    """RFC 4055 section 4.1: what is the default (SHA-1) is left out."""
    if isinstance(ENCRYPTION_ALGORITHMS[algorithm].digest, hashes.SHA1):
        return _sequence(_RSAES_OAEP, _sequence())
    digest = der.encode(der.context(0), _SHA256)
    return _sequence(_RSAES_OAEP, _sequence(digest, der.encode(der.context(1), _sequence(_MGF1, _SHA256))))


def _key_encryption(header: EnvelopeHeader) -> bytes:
    """RFC 5652 section 6.2.3: the data key wraps the content's key, and is known by the key that it comes from."""
    if header.algorithm != SYMMETRIC_DEFAULT or header.key_sha256 is not None or header.key_id is None:
        raise ValueError(f"a data key comes from a key of {SYMMETRIC_DEFAULT} that has an id, or from an RSA key")
    if len(header.wrapped_content_key or b"") != _WRAPPED_CONTENT_KEY_BYTES:
        raise ValueError(f"the content's key is wrapped in {_WRAPPED_CONTENT_KEY_BYTES} octets")
    return der.encode(
        _KEK_RECIPIENT,
        der.encode_integer(4)
        + _sequence(der.encode(der.OCTET_STRING, header.key_id.encode()))
        + _AES256_WRAP
        + der.encode(der.OCTET_STRING, header.wrapped_content_key or b""),
    )


def parse_recipients(encoded: bytes) -> EnvelopeHeader:
    """The header in the SET of RecipientInfo. Rejected (malformed) if it is not exactly as `encode_recipients` writes.

    Indeterminate for recipients of another maker, and for a header of a later version.
    """
    try:
        fields = der.Reader(der.parse(encoded, der.SET).content)
        recipient = fields.take_any()
        if fields.peek() != _OTHER_RECIPIENT:
            raise Indeterminate(
                "unsupported_format", "The envelope was not made by Sealmark: it has no header of ours."
            )
        header = _header(recipient, der.Reader(fields.take(_OTHER_RECIPIENT).content))
        if encode_recipients(header) != encoded:
            raise ValueError("its header is not in the one encoding that is read")
    except ValueError as error:
        raise Rejected("malformed", f"The envelope is malformed: {error}.") from error
    return header


def _header(recipient: der.Element, other: der.Reader) -> EnvelopeHeader:
    """The values, wherever they stand; that nothing else stands there shows when they are written again."""
    if other.object_identifier() != HEADER_TYPE:
        raise Indeterminate("unsupported_format", _NOT_OURS)
    fields = other.sequence()
    if (version := fields.integer()) != HEADER_VERSION:
        raise Indeterminate("unsupported_format", f"The envelope's version is {version}, which is not read here.")
    algorithm, key_id, key_version = fields.text(), fields.text(), fields.integer()
    key_sha256, wrapped_data_key = fields.octets(), fields.octets()
    context = _context(fields.sequence())
    secret = _last_octets(recipient)
    is_rsa = algorithm in ENCRYPTION_ALGORITHMS
    return EnvelopeHeader(
        algorithm=algorithm,
        wrapped_data_key=secret if is_rsa else wrapped_data_key,
        key_id=key_id or None,
        key_version=key_version or None,
        key_sha256=key_sha256.hex() or None,
        context=context,
        wrapped_content_key=None if is_rsa else secret,
    )


def _context(fields: der.Reader) -> Mapping[str, str]:
    context: dict[str, str] = {}
    while not fields.empty:
        pair = fields.sequence()
        name = pair.text()
        context[name] = pair.text()
    return context


def _last_octets(recipient: der.Element) -> bytes:
    """The encrypted key, which ends both kinds of recipient."""
    fields = der.Reader(recipient.content)
    last = fields.take_any()
    while not fields.empty:
        last = fields.take_any()
    return last.content


def _text(value: str) -> bytes:
    return der.encode(der.UTF8_STRING, value.encode())


def _sequence(*elements: bytes) -> bytes:
    return der.encode(der.SEQUENCE, b"".join(elements))
