"""ReEncrypt: from one key to another, each with a permit of its own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from signer.access import Action
from signer.call import Answer, Call
from signer.cryptographic_requests import ReEncryption
from signer.kms.encryption import (
    SYMMETRIC,
    DryRunModifiers,
    ciphertext_of,
    end_where_ciphertexts_are_ignored,
    origin_hidden,
    require_origin,
    source_of,
)
from signer.kms.grant_tokens import require_grant_tokens
from signer.kms.operation import KmsOperation
from signer.kms.references import key_reference
from signer.kms.shapes import Ciphertext, EncryptionAlgorithm, EncryptionContext, KeyId, UseRequest
from signer.kms.translation import Translated, only_result, require_algorithm
from signer.operations.re_encryption import ReEncrypted, Transfer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from keystore.algorithms import Purpose
    from keystore.api import Key, KeyVersion
    from signer.access.model import ConditionValues
    from signer.operations.base import Subject, UseOfKey
    from signer.services import Services


class ReEncryptRequest(UseRequest, kw_only=True):
    """`ReEncrypt`"""

    destination_key_id: KeyId
    ciphertext_blob: Ciphertext | None = None
    source_encryption_context: EncryptionContext | None = None
    source_key_id: KeyId | None = None
    destination_encryption_context: EncryptionContext | None = None
    source_encryption_algorithm: EncryptionAlgorithm | None = None
    destination_encryption_algorithm: EncryptionAlgorithm | None = None
    dry_run_modifiers: DryRunModifiers | None = None


@dataclass(frozen=True, slots=True)
class _Side:
    """One of the two keys, as AWS refuses it: `check` sees the key once its use is permitted."""

    native: UseOfKey[ReEncryption]
    check: Callable[[Key], None]

    @property
    def action(self) -> Action:
        return self.native.action

    @property
    def purpose(self) -> Purpose:
        return self.native.purpose

    def version(self, key: Key, body: ReEncryption, now: datetime) -> KeyVersion:
        self.check(key)
        return self.native.version(key, body, now)


@dataclass(frozen=True, slots=True)
class _AsAws:
    """The native operation, with AWS's checks of both keys."""

    native: ReEncrypted
    source: _Side
    destination: _Side
    dry_run: Callable[[], bool]

    @property
    def body_type(self) -> type[ReEncryption]:
        return self.native.body_type

    def details(
        self, source: Key, destination: Key | None, body: ReEncryption
    ) -> tuple[Sequence[ConditionValues], Sequence[ConditionValues]]:
        return self.native.details(source, destination, body)

    def plan(self, source: Subject, destination: Subject, body: ReEncryption) -> Transfer:
        return replace(self.native.plan(source, destination, body), dry_run=self.dry_run())


def re_encrypt(services: Services, call: Call) -> Answer:
    """`ReEncrypt`"""
    keystore, native = services.keystore, ReEncrypted()

    def body(request: ReEncryptRequest) -> ReEncryption:
        return ReEncryption(
            ciphertext=ciphertext_of(request.ciphertext_blob, request.dry_run, request.dry_run_modifiers),
            destination=key_reference(request.destination_key_id, keystore, member="destinationKeyId"),
            algorithm=request.source_encryption_algorithm or SYMMETRIC,
            context=request.source_encryption_context,
            destination_algorithm=request.destination_encryption_algorithm or SYMMETRIC,
            destination_context=request.destination_encryption_context,
        )

    asked = Translated(ReEncryptRequest, body)

    def check_source(key: Key) -> None:
        request = asked.request
        require_grant_tokens(request.grant_tokens, keystore)
        require_algorithm(key, request.source_encryption_algorithm or SYMMETRIC, "sourceEncryptionAlgorithm")
        end_where_ciphertexts_are_ignored(request.dry_run, request.dry_run_modifiers)
        require_origin(request.ciphertext_blob or b"", key)

    def check_destination(key: Key) -> None:
        name = asked.request.destination_encryption_algorithm or SYMMETRIC
        require_algorithm(key, name, "destinationEncryptionAlgorithm")

    operation = _AsAws(
        native,
        _Side(native.source, check_source),
        _Side(native.destination, check_destination),
        lambda: bool(asked.request.dry_run),
    )
    with origin_hidden(lambda: asked.request.source_key_id is None and _is_about_the_source(call)):
        answer = services.pipeline.re_encrypt(
            asked.of(call),
            lambda native_body: source_of(
                asked.request.source_key_id,
                native_body.ciphertext,
                asked.request.source_encryption_algorithm,
                services,
            ),
            lambda native_body: native_body.destination,
            operation,
        )
    made = only_result(answer)
    source = made["source"]
    return Answer(
        {
            "CiphertextBlob": made["ciphertext"],
            "SourceKeyId": keystore.arn_of(source["key_id"]),
            "KeyId": keystore.arn_of(made["key_id"]),
            "SourceEncryptionAlgorithm": source["algorithm"],
            "DestinationEncryptionAlgorithm": made["algorithm"],
            "SourceKeyMaterialId": source.get("material_id"),
            "DestinationKeyMaterialId": made.get("material_id"),
        }
    )


def _is_about_the_source(call: Call) -> bool:
    return call.trace.action == Action.RE_ENCRYPT_FROM.policy_name


OPERATIONS: Final = (
    KmsOperation("ReEncrypt", ReEncryptRequest, re_encrypt, (Action.RE_ENCRYPT_FROM, Action.RE_ENCRYPT_TO)),
)
