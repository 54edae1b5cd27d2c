"""The third party's side of encryption: to a published key, without the service; and back, with its data key.

`encrypt_file` encrypts to an RSA key whose private half never leaves an HSM. What fits into one RSA ciphertext becomes
one, as every user of AWS KMS knows it; everything else becomes an envelope: the content under a fresh AES-256 key, and
that key encrypted to the RSA key. `seal_file` makes an envelope from a data key that the service generated.
`open_file` opens either, once the service has decrypted the wrapped data key.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal

from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from verifier.envelope.files import AnySource, Source, new_file, open_source
from verifier.envelope.header import (
    DATA_KEY_BYTES,
    SYMMETRIC_DEFAULT,
    EnvelopeHeader,
    check_context,
    encode_recipients,
    nonce_for,
)
from verifier.envelope.message import (
    MAXIMUM_CONTENT_BYTES,
    decrypt_content,
    encode_start,
    encrypt_content,
    looks_like_envelope,
    read_start,
)
from verifier.envelope.recipients import Recipient, certified_recipient, recipient_of
from verifier.errors import Indeterminate, Rejected

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from verifier.strict_json import JsonValue

__all__ = [
    "DATA_KEY_BYTES",
    "EncryptedFile",
    "EnvelopeHeader",
    "OpenedFile",
    "Recipient",
    "certified_recipient",
    "encrypt",
    "encrypt_file",
    "looks_like_envelope",
    "open_bytes",
    "open_file",
    "read_header",
    "recipient_of",
    "seal_bytes",
    "seal_file",
]

NO_CONTEXT: Final[Mapping[str, str]] = MappingProxyType({})
Form = Literal["ciphertext", "envelope"]


@dataclass(frozen=True, slots=True)
class EncryptedFile:
    """What was encrypted: how many octets, to which key, in which form, and what is bound to it."""

    form: Form
    size: int
    recipient: Recipient
    context: Mapping[str, str]

    def as_json(self) -> dict[str, JsonValue]:
        """The facts as JSON-compatible values."""
        return {
            "encrypted": True,
            "form": self.form,
            "size": self.size,
            "key": self.recipient.as_json(),
            "context": dict(self.context),
            "not_covered": list(self.recipient.not_covered),
        }


@dataclass(frozen=True, slots=True)
class OpenedFile:
    """An envelope that opened: its content's size, and its header, which is now known to be the maker's.

    Who the maker is, is not: anybody can encrypt to a public key.
    """

    size: int
    header: EnvelopeHeader
    not_covered: tuple[str, ...] = field(default=("who made the envelope: anybody can encrypt to a public key",))

    def as_json(self) -> dict[str, JsonValue]:
        """The facts as JSON-compatible values."""
        return {
            "opened": True,
            "size": self.size,
            **self.header.as_json(),
            "not_covered": list(self.not_covered),
        }


def encrypt(
    plaintext: bytes, recipient: Recipient, *, context: Mapping[str, str] = NO_CONTEXT, envelope: bool = False
) -> bytes:
    """The ciphertext of a few octets, in the form that `encrypt_file` would give it."""
    out = BytesIO()
    with open_source(BytesIO(plaintext)) as source:
        _encrypt(source, out.write, recipient, context, envelope=envelope)
    return out.getvalue()


def encrypt_file(
    file: AnySource,
    output: str | os.PathLike[str],
    recipient: Recipient,
    *,
    context: Mapping[str, str] = NO_CONTEXT,
    envelope: bool = False,
) -> EncryptedFile:
    """Encrypts a file to the recipient, in constant memory. `output` must not exist, and exists only once it is whole.

    A file of at most `recipient.maximum_plaintext` octets becomes a bare RSA ciphertext, unless there is a context
    (which only an envelope can bind) or `envelope` asks for one. `Indeterminate` (unreadable_file, unwritable_file,
    unsupported_size); ValueError for a context that cannot be bound.
    """
    with open_source(file) as source, new_file(Path(output)) as out:
        return _encrypt(source, out.write, recipient, context, envelope=envelope)


def _encrypt(
    source: Source,
    write: Callable[[bytes], object],
    recipient: Recipient,
    context: Mapping[str, str],
    *,
    envelope: bool,
) -> EncryptedFile:
    context = check_context(context)
    size = source.size()
    if not (envelope or context) and size <= recipient.maximum_plaintext:
        plaintext = _whole(source, size)
        write(recipient.encrypt(plaintext))
        return EncryptedFile("ciphertext", size, recipient, context)
    data_key = os.urandom(DATA_KEY_BYTES)
    header = EnvelopeHeader(
        algorithm=recipient.algorithm.name,
        wrapped_data_key=recipient.encrypt(data_key),
        key_id=recipient.key_id,
        key_version=recipient.key_version,
        key_sha256=recipient.sha256,
        context=context,
    )
    _write(source, size, write, header, data_key)
    return EncryptedFile("envelope", size, recipient, context)


def seal_file(
    file: AnySource,
    output: str | os.PathLike[str],
    *,
    data_key: bytes,
    wrapped_data_key: bytes,
    key_id: str,
    context: Mapping[str, str] = NO_CONTEXT,
) -> EnvelopeHeader:
    """Makes an envelope with a data key that the service generated (AES_256), in constant memory.

    `wrapped_data_key` is the service's ciphertext of it, `context` the one that it was generated with. The data key
    wraps a fresh key of the content's own, so one data key may seal many files. Raises as `encrypt_file` does.
    """
    header, content_key = _of_data_key(data_key, wrapped_data_key, key_id, context)
    with open_source(file) as source, new_file(Path(output)) as out:
        _write(source, source.size(), out.write, header, content_key)
    return header


def seal_bytes(
    content: bytes, *, data_key: bytes, wrapped_data_key: bytes, key_id: str, context: Mapping[str, str] = NO_CONTEXT
) -> bytes:
    """The same in memory."""
    header, content_key = _of_data_key(data_key, wrapped_data_key, key_id, context)
    out = BytesIO()
    with open_source(BytesIO(content)) as source:
        _write(source, len(content), out.write, header, content_key)
    return out.getvalue()


def _of_data_key(
    data_key: bytes, wrapped_data_key: bytes, key_id: str, context: Mapping[str, str]
) -> tuple[EnvelopeHeader, bytes]:
    """The header, and the content's key."""
    _check_data_key(data_key)
    content_key = os.urandom(DATA_KEY_BYTES)
    header = EnvelopeHeader(
        algorithm=SYMMETRIC_DEFAULT,
        wrapped_data_key=wrapped_data_key,
        key_id=key_id,
        key_version=None,
        key_sha256=None,
        context=check_context(context),
        wrapped_content_key=aes_key_wrap(data_key, content_key),
    )
    return header, content_key


def _write(
    source: Source, size: int, write: Callable[[bytes], object], header: EnvelopeHeader, content_key: bytes
) -> None:
    if size > MAXIMUM_CONTENT_BYTES:
        message = f"The file is larger than {MAXIMUM_CONTENT_BYTES} bytes, which is all that one envelope can hold."
        raise Indeterminate("unsupported_size", message)
    recipients = encode_recipients(header)
    write(encode_start(recipients, size))
    encrypt_content(source, size, write, content_key, nonce_for(recipients))


def read_header(file: AnySource) -> EnvelopeHeader:
    """What an envelope says of itself: which key wraps its data key, the wrapped data key, the context.

    Nothing of it is proven before the envelope opens. Rejected (malformed), Indeterminate (unsupported_format).
    """
    with open_source(file) as source:
        return read_start(source).header


def open_file(
    file: AnySource,
    output: str | os.PathLike[str],
    data_key: bytes,
    *,
    context: Mapping[str, str] | None = None,
) -> OpenedFile:
    """Opens an envelope with its plaintext data key, in constant memory.

    `output` must not exist, and exists only once all of the envelope was found unchanged. `context`, if given, is the
    one that it must have been made with. Rejected (malformed, decryption_failed, context_mismatch), `Indeterminate`,
    and ValueError for a data key of another length than 32 octets.
    """
    with open_source(file) as source, new_file(Path(output)) as out:
        return _open(source, out.write, data_key, context)


def open_bytes(
    data: bytes, data_key: bytes, *, context: Mapping[str, str] | None = None
) -> tuple[bytes, EnvelopeHeader]:
    """The same for an envelope in memory: its content, and its header."""
    out = BytesIO()
    with open_source(BytesIO(data)) as source:
        opened = _open(source, out.write, data_key, context)
    return out.getvalue(), opened.header


def _open(
    source: Source, write: Callable[[bytes], object], data_key: bytes, context: Mapping[str, str] | None
) -> OpenedFile:
    _check_data_key(data_key)
    message = read_start(source)
    header = message.header
    if context is not None and dict(check_context(context)) != dict(header.context):
        raise Rejected("context_mismatch", "The envelope was made with another context than the one that you expect.")
    decrypt_content(source, message, write, _content_key(header, data_key))
    return OpenedFile(message.size, header)


def _content_key(header: EnvelopeHeader, data_key: bytes) -> bytes:
    if header.wrapped_content_key is None:
        return data_key
    try:
        return aes_key_unwrap(data_key, header.wrapped_content_key)
    except InvalidUnwrap:
        message = "The envelope does not open: it was changed, or this is not its data key."
        raise Rejected("decryption_failed", message) from None


def _check_data_key(data_key: bytes) -> None:
    if len(data_key) != DATA_KEY_BYTES:
        raise ValueError(f"a data key has {DATA_KEY_BYTES} octets (AES_256), not {len(data_key)}")


def _whole(source: Source, size: int) -> bytes:
    data = b""
    while len(data) <= size and (chunk := source.read(size + 1 - len(data))):
        data += chunk
    if len(data) != size:
        raise Indeterminate("unreadable_file", "The file changed its size while it was read.")
    return data
