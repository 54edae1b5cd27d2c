"""The envelope as bytes: CMS AuthEnvelopedData (RFC 5083) with AES-256-GCM (RFC 5084), read and written as a stream.

DER throughout, so every length is known before the content and nothing can follow it. The tag at the end covers the
content and, by its nonce, the header: a message that is cut, extended, spliced or changed anywhere fails. What was
decrypted on the way there is worth nothing until then, and whoever calls must not let it out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from verifier import der
from verifier.envelope.header import MAXIMUM_HEADER_BYTES, EnvelopeHeader, nonce_for, parse_recipients
from verifier.errors import Indeterminate, Rejected

if TYPE_CHECKING:
    from collections.abc import Callable

    from verifier.envelope.files import Readable

MAXIMUM_CONTENT_BYTES: Final = 2**36 - 32  # SP 800-38D section 5.2.1.1: what one nonce may encrypt
CHUNK_BYTES: Final = 256 * 1024
TAG_BYTES: Final = 16

_AUTH_ENVELOPED_DATA: Final = der.encode_object_identifier("1.2.840.113549.1.9.16.1.23")
_ID_DATA: Final = der.encode_object_identifier("1.2.840.113549.1.7.1")
_AES256_GCM: Final = der.encode_object_identifier("2.16.840.1.101.3.4.1.46")
_VERSION: Final = der.encode_integer(0)  # RFC 5083 section 2.1
_CONTENT: Final = 0x80  # [0] IMPLICIT OCTET STRING, primitive
_MAC_HEAD: Final = der.encode_head(der.OCTET_STRING, TAG_BYTES)
_LONGEST_HEAD: Final = 10  # a tag, and a length of at most 8 octets behind its own
_NOT_ONE: Final = "The file is not an envelope: it does not begin as CMS AuthEnvelopedData does."


@dataclass(frozen=True, slots=True)
class Message:
    """What stands before the content: the header, the nonce, and how many octets of content come."""

    header: EnvelopeHeader
    nonce: bytes
    size: int


def encode_start(recipients: bytes, size: int) -> bytes:
    """Everything before the content, of which `size` octets come."""
    rest = size
    data = _ID_DATA + _content_encryption(recipients) + der.encode_head(_CONTENT, size)
    data = der.encode_head(der.SEQUENCE, len(data) + rest) + data
    data = _VERSION + recipients + data
    rest += len(_MAC_HEAD) + TAG_BYTES
    for tag in (der.SEQUENCE, der.context(0)):
        data = der.encode_head(tag, len(data) + rest) + data
    data = _AUTH_ENVELOPED_DATA + data
    return der.encode_head(der.SEQUENCE, len(data) + rest) + data


def _content_encryption(recipients: bytes) -> bytes:
    """RFC 5084 section 3.2; the length of the tag is not the default (12)."""
    nonce = der.encode(der.OCTET_STRING, nonce_for(recipients))
    return der.encode(der.SEQUENCE, _AES256_GCM + der.encode(der.SEQUENCE, nonce + der.encode_integer(TAG_BYTES)))


def looks_like_envelope(start: bytes) -> bool:
    """Whether the first 32 octets of a file begin an AuthEnvelopedData: that decides which reader is asked."""
    return start[:1] == bytes((der.SEQUENCE,)) and _AUTH_ENVELOPED_DATA in start[: _LONGEST_HEAD + 13]


def read_start(stream: Readable) -> Message:
    """Reads everything before the content. Rejected (malformed) or Indeterminate (unsupported_format) otherwise."""
    taker = _Taker(stream)
    if taker.read(1) != bytes((der.SEQUENCE,)):
        raise Indeterminate("unsupported_format", _NOT_ONE)
    taker.length()
    if taker.read(len(_AUTH_ENVELOPED_DATA)) != _AUTH_ENVELOPED_DATA:
        raise Indeterminate("unsupported_format", _NOT_ONE)
    taker.head(der.context(0))
    taker.head(der.SEQUENCE)
    taker.expect(_VERSION, "its version is not the one that the standard gives it")
    begin = len(taker.taken)
    taker.read(taker.head(der.SET, at_most=MAXIMUM_HEADER_BYTES))
    recipients = bytes(taker.taken[begin:])
    header = parse_recipients(recipients)
    taker.head(der.SEQUENCE)
    taker.expect(_ID_DATA, "its content is not plain data")
    taker.expect(_content_encryption(recipients), "its nonce is not the one of its header, or its cipher another")
    size = taker.head(_CONTENT)
    if size > MAXIMUM_CONTENT_BYTES or encode_start(recipients, size) != taker.taken:
        raise _malformed("its lengths do not fit each other")
    return Message(header, nonce_for(recipients), size)


def encrypt_content(source: Readable, size: int, write: Callable[[bytes], object], key: bytes, nonce: bytes) -> None:
    """Writes the encrypted content and the tag. Indeterminate (unreadable_file) unless `read` gives `size` octets."""
    encryptor = Cipher(algorithms.AES256(key), modes.GCM(nonce)).encryptor()
    left = size
    while chunk := source.read(CHUNK_BYTES):
        left -= len(chunk)
        if left < 0:
            break
        write(encryptor.update(chunk))
    if left:
        raise Indeterminate("unreadable_file", "The file changed its size while it was read.")
    encryptor.finalize()
    write(_MAC_HEAD + encryptor.tag)


def decrypt_content(stream: Readable, message: Message, write: Callable[[bytes], object], key: bytes) -> None:
    """Writes the content, which counts only if this returns. Rejected (decryption_failed, malformed) otherwise."""
    decryptor = Cipher(algorithms.AES256(key), modes.GCM(message.nonce)).decryptor()
    left = message.size
    while left:
        chunk = stream.read(min(left, CHUNK_BYTES))
        if not chunk:
            raise _malformed("it is cut off within its content")
        left -= len(chunk)
        write(decryptor.update(chunk))
    end = _Taker(stream)
    end.expect(_MAC_HEAD, "its content is not followed by its tag")
    tag = end.read(TAG_BYTES)
    if stream.read(1):
        raise _malformed("something follows its end")
    try:
        decryptor.finalize_with_tag(tag)
    except InvalidTag:
        message_ = "The envelope does not open: it was changed, or this is not its data key."
        raise Rejected("decryption_failed", message_) from None


class _Taker:
    """Takes octets off a stream, and keeps what it took."""

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self.taken = bytearray()

    def read(self, count: int) -> bytes:
        """So many octets. Rejected if there are fewer."""
        found = b""
        while len(found) < count and (chunk := self._stream.read(count - len(found))):
            found += chunk
        if len(found) < count:
            raise _malformed("it is cut off")
        self.taken += found
        return found

    def expect(self, octets: bytes, otherwise: str) -> None:
        """Exactly these octets next."""
        if self.read(len(octets)) != octets:
            raise _malformed(otherwise)

    def head(self, tag: int, at_most: int = 2**40) -> int:
        """This tag, and the length behind it."""
        self.expect(bytes((tag,)), f"expected tag 0x{tag:02x}")
        length = self.length()
        if length > at_most:
            raise _malformed("a length is too large")
        return length

    def length(self) -> int:
        """A length of at most 8 octets; that it is in its shortest form shows when it is written again."""
        first = self.read(1)[0]
        if first < 0x80:
            return first
        if not 1 <= first & 0x7F <= 8:
            raise _malformed("a length is indefinite or too large")
        return int.from_bytes(self.read(first & 0x7F), "big")


def _malformed(why: str) -> Rejected:
    return Rejected("malformed", f"The envelope is malformed: {why}.")
