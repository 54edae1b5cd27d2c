"""Encrypt and Decrypt.

A symmetric ciphertext says which key opens it, so Decrypt needs no KeyId; one that is given must be that key.
Ciphertexts of RSA say nothing of theirs.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Literal

from keystore.ciphertexts import describe
from signer.access import Action
from signer.call import Answer, Call
from signer.cryptographic_requests import Decryption, Encryption
from signer.errors import DryRun, NotFound
from signer.kms.errors import ACCESS_DENIED, Refusal, invalid
from signer.kms.operation import in_steps
from signer.kms.references import key_reference
from signer.kms.shapes import (
    Ciphertext,
    EncryptionAlgorithm,
    EncryptionContext,
    KeyId,
    Plaintext,
    Recipient,
    UseRequest,
    refuse_recipient,
)
from signer.kms.translation import Translated, require_algorithm, use_key
from signer.operations.encryption import Decrypted, Encrypted
from signer.pipeline import DRY_RUN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from keystore.api import Key
    from signer.audit.logged import Steps
    from signer.services import Services

DryRunModifiers = list[Literal["IGNORE_CIPHERTEXT"]]
SYMMETRIC: Final = "SYMMETRIC_DEFAULT"
UNKNOWN_ORIGIN: Final = (
    "The ciphertext refers to a customer master key that does not exist, does not exist in this region, or you are not "
    "allowed to access."
)
ANOTHER_KEY: Final = "The key ID in the request does not identify a CMK that can perform this operation."


class EncryptRequest(UseRequest, kw_only=True):
    """`Encrypt`"""

    key_id: KeyId
    plaintext: Plaintext
    encryption_context: EncryptionContext | None = None
    encryption_algorithm: EncryptionAlgorithm | None = None


class DecryptRequest(UseRequest, kw_only=True):
    """`Decrypt`"""

    ciphertext_blob: Ciphertext | None = None
    encryption_context: EncryptionContext | None = None
    key_id: KeyId | None = None
    encryption_algorithm: EncryptionAlgorithm | None = None
    recipient: Recipient | None = None
    dry_run_modifiers: DryRunModifiers | None = None


def encrypt(services: Services, call: Call) -> Steps[Answer]:
    """`Encrypt`"""

    def check(request: EncryptRequest, key: Key) -> None:
        _require_encryption_algorithm(key, request.encryption_algorithm, "encryptionAlgorithm")

    made = yield from use_key(
        services,
        call,
        Translated(EncryptRequest, _encryption),
        Encrypted(),
        reference=lambda request: key_reference(request.key_id, services.keystore),
        check=check,
    )
    return Answer(
        {
            "CiphertextBlob": made["ciphertext"],
            "KeyId": services.keystore.arn_of(made["key_id"]),
            "EncryptionAlgorithm": made["algorithm"],
        }
    )


def decrypt(services: Services, call: Call) -> Steps[Answer]:
    """`Decrypt`"""
    asked = Translated(DecryptRequest, _decryption)

    def check(request: DecryptRequest, key: Key) -> None:
        _require_encryption_algorithm(key, request.encryption_algorithm, "encryptionAlgorithm")
        end_where_ciphertexts_are_ignored(request.dry_run, request.dry_run_modifiers)
        require_origin(request.ciphertext_blob or b"", key)

    with origin_hidden(lambda: asked.request.key_id is None):
        made = yield from use_key(
            services,
            call,
            asked,
            Decrypted(),
            reference=lambda request: source_of(
                request.key_id, request.ciphertext_blob or b"", request.encryption_algorithm, services
            ),
            check=check,
        )
    return Answer(
        {
            "KeyId": services.keystore.arn_of(made["key_id"]),
            "Plaintext": made["plaintext"],
            "EncryptionAlgorithm": made["algorithm"],
            "KeyMaterialId": made.get("material_id"),
        }
    )


def _encryption(request: EncryptRequest) -> Encryption:
    return Encryption(
        plaintext=request.plaintext,
        algorithm=request.encryption_algorithm or SYMMETRIC,
        context=request.encryption_context,
    )


def _decryption(request: DecryptRequest) -> Decryption:
    refuse_recipient(request.recipient)
    return Decryption(
        ciphertext=ciphertext_of(request.ciphertext_blob, request.dry_run, request.dry_run_modifiers),
        algorithm=request.encryption_algorithm or SYMMETRIC,
        context=request.encryption_context,
    )


def _require_encryption_algorithm(key: Key, name: str | None, member: str) -> None:
    require_algorithm(key, name or SYMMETRIC, member)


def ciphertext_of(blob: bytes | None, dry_run: bool | None, modifiers: DryRunModifiers | None) -> bytes:
    """The ciphertext; empty where a dry run ignores it. Raises `ValidationException` where it is not there."""
    if blob is None and not (dry_run and modifiers):
        msg = "CiphertextBlob is required unless a dry run ignores it."
        raise invalid(msg, field="ciphertextBlob")
    return blob or b""


def end_where_ciphertexts_are_ignored(dry_run: bool | None, modifiers: DryRunModifiers | None) -> None:
    """A dry run that asks for permissions alone ends here, with what it asks for. Raises `DryRun`."""
    if dry_run and modifiers:
        raise DryRun(DRY_RUN)


def source_of(key_id: str | None, ciphertext: bytes, algorithm: str | None, services: Services) -> str:
    """The key that is to open a ciphertext: the one that is named, else the one that the ciphertext names.

    Raises: `Refusal`; `Undecipherable` for what names none.
    """
    if key_id is not None:
        return key_reference(key_id, services.keystore)
    if algorithm not in (None, SYMMETRIC):
        msg = f"KeyId is required with {algorithm}: such a ciphertext does not say which key opens it"
        raise invalid(msg, field="keyId")
    return describe(ciphertext).key_id


def require_origin(ciphertext: bytes, key: Key) -> None:
    """Raises `IncorrectKeyException` for a ciphertext of another key than the one that is to open it."""
    if key.spec == SYMMETRIC and describe(ciphertext).key_id != key.id:
        raise Refusal("IncorrectKeyException", ANOTHER_KEY, code="undecipherable", field="keyId")


@contextmanager
def origin_hidden(by_ciphertext: Callable[[], bool]) -> Iterator[None]:
    """Says of a key that only a ciphertext named, and that is not there or not the caller's to see, what AWS says."""
    try:
        yield
    except NotFound as hidden:
        if by_ciphertext():
            raise Refusal(ACCESS_DENIED, UNKNOWN_ORIGIN, code="not_found") from hidden
        raise


OPERATIONS: Final = (
    in_steps("Encrypt", EncryptRequest, encrypt, (Action.ENCRYPT,)),
    in_steps("Decrypt", DecryptRequest, decrypt, (Action.DECRYPT,)),
)
