"""`POST /v1/keys/{key}/re-encrypt`: what AWS KMS calls ReEncrypt. Two keys, two permits, two intents, two records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from keystore.algorithms import Purpose
from keystore.ciphertexts import encode_context
from keystore.lifecycle import current_version
from signer.access import Action
from signer.cryptographic_requests import ReEncryption
from signer.operations.uses import chosen_algorithm, encryption_details, require_context, version_of_ciphertext

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from keystore.api import Key, KeyVersion
    from signer.access.model import ConditionValues
    from signer.operations.base import Subject, UseOfKey


@dataclass(frozen=True, slots=True)
class TransferSide:
    """How one of the two keys is used. `associated` is the canonical encoding of `context`."""

    algorithm: str
    context: dict[str, str] | None
    associated: bytes


@dataclass(frozen=True, slots=True)
class Transfer:
    """What is to be opened by one key and encrypted by the other."""

    source: TransferSide
    destination: TransferSide
    ciphertext: bytes
    dry_run: bool = False  # the caller asks only whether it might


class SourceOfReEncryption:
    """The key that decrypts."""

    action: Final = Action.RE_ENCRYPT_FROM
    purpose: Final = Purpose.ENCRYPT
    body_type: Final = ReEncryption

    def version(self, key: Key, body: ReEncryption, now: datetime) -> KeyVersion:
        """Raises `Undecipherable`, `WrongState`, `Unprocessable`."""
        return version_of_ciphertext(key, body.ciphertext, body.key_version, now)


class DestinationOfReEncryption:
    """The key that encrypts."""

    action: Final = Action.RE_ENCRYPT_TO
    purpose: Final = Purpose.ENCRYPT
    body_type: Final = ReEncryption

    def version(self, key: Key, _body: ReEncryption, now: datetime) -> KeyVersion:
        """Raises `WrongState`."""
        return current_version(key.versions, now)


class Moved(Protocol):
    """A re-encryption as the pipeline takes it."""

    @property
    def body_type(self) -> type[ReEncryption]: ...
    @property
    def source(self) -> UseOfKey[ReEncryption]: ...
    @property
    def destination(self) -> UseOfKey[ReEncryption]: ...
    def details(
        self, source: Key, destination: Key | None, body: ReEncryption
    ) -> tuple[Sequence[ConditionValues], Sequence[ConditionValues]]:
        """What policies may ask of the use of either key; `destination` is None where there is none."""
        ...

    def plan(self, source: Subject, destination: Subject, body: ReEncryption) -> Transfer: ...


class ReEncrypted:
    """From one key to another, or to the newest version of the same; the plaintext is seen by nobody."""

    body_type: Final = ReEncryption
    source: Final = SourceOfReEncryption()
    destination: Final = DestinationOfReEncryption()

    def details(
        self, source: Key, destination: Key | None, body: ReEncryption
    ) -> tuple[Sequence[ConditionValues], Sequence[ConditionValues]]:
        """Algorithm and context of each, and whether both are one key."""
        same = {"kms:reencryptonsamekey": ("true" if destination and source.id == destination.id else "false",)}
        return (
            [{**encryption_details(source, body.algorithm, body.context), **same}],
            []
            if destination is None
            else [{**encryption_details(destination, body.destination_algorithm, body.destination_context), **same}],
        )

    def plan(self, source: Subject, destination: Subject, body: ReEncryption) -> Transfer:
        """Raises `Unprocessable`."""
        return Transfer(
            _side(source, body.algorithm, body.context, ""),
            _side(destination, body.destination_algorithm, body.destination_context, "destination_"),
            body.ciphertext,
        )


def _side(subject: Subject, algorithm: str | None, context: dict[str, str] | None, prefix: str) -> TransferSide:
    name = chosen_algorithm(subject.key, algorithm, f"{prefix}algorithm")
    checked = require_context(subject.key, context, f"{prefix}context")
    return TransferSide(name, checked, encode_context(checked or {}))
