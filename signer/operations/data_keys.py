"""`POST /v1/keys/{key}/data-keys` and `…/data-key-pairs`: what AWS KMS calls GenerateDataKey and GenerateDataKeyPair,
both with and without the plaintext."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from keystore.algorithms import Purpose
from keystore.ciphertexts import encode_context
from signer.access import Action
from signer.cryptographic_requests import DataKey, DataKeyPair
from signer.errors import Unprocessable, WrongPurpose
from signer.operations.base import OfActiveVersion, Output, Plan, Prepared, Subject
from signer.operations.encryption import material_of
from signer.operations.uses import SYMMETRIC, encryption_details, require_context

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keystore.api import DataKeySource, Key
    from signer.access.model import ConditionValues

_SIZES: Final = {"AES_256": 32, "AES_128": 16}  # octets


class DataKeys(OfActiveVersion):
    """A new key for the caller's own use, encrypted by this one, and in the clear unless that is left out."""

    purpose: Final = Purpose.ENCRYPT
    body_type: Final = DataKey

    def __init__(self, *, plaintext: bool) -> None:
        self.action: Final = Action.GENERATE_DATA_KEY if plaintext else Action.GENERATE_DATA_KEY_WITHOUT_PLAINTEXT
        self._plaintext = plaintext

    def details(self, key: Key, body: DataKey) -> Sequence[ConditionValues]:
        """Algorithm and context."""
        return [encryption_details(key, None, body.context)]

    def plan(self, subject: Subject, body: DataKey) -> Plan:
        """Raises `Unprocessable`; `WrongPurpose` for a key that is not symmetric."""
        require_symmetric(subject.key)
        size = _size(body)
        context = require_context(subject.key, body.context)
        associated = encode_context(context or {})

        def make(key: DataKeySource) -> Output:
            plaintext, ciphertext = key.data_key(size, associated)
            shown: Output = {"plaintext": plaintext} if self._plaintext else {}
            return {"ciphertext": ciphertext, **shown, **material_of(subject.version)}

        return Plan([Prepared(subject.key.algorithm, make)], True, context, secret=True)


class DataKeyPairs(OfActiveVersion):
    """A new key pair for the caller's own use: its public half, its private half encrypted by this key, and in the
    clear unless that is left out."""

    purpose: Final = Purpose.ENCRYPT
    body_type: Final = DataKeyPair

    def __init__(self, *, plaintext: bool) -> None:
        with_it, without = Action.GENERATE_DATA_KEY_PAIR, Action.GENERATE_DATA_KEY_PAIR_WITHOUT_PLAINTEXT
        self.action: Final = with_it if plaintext else without
        self._plaintext = plaintext

    def details(self, key: Key, body: DataKeyPair) -> Sequence[ConditionValues]:
        """The pair's spec, algorithm and context."""
        return [{**encryption_details(key, None, body.context), "kms:datakeypairspec": (body.spec,)}]

    def plan(self, subject: Subject, body: DataKeyPair) -> Plan:
        """Raises `Unprocessable`; `WrongPurpose` for a key that is not symmetric."""
        require_symmetric(subject.key)
        context = require_context(subject.key, body.context)
        associated = encode_context(context or {})

        def make(key: DataKeySource) -> Output:
            pair, ciphertext = key.data_key_pair(body.spec, associated)
            made: Output = {"spec": body.spec, "public_key": pair.public_key, "private_key_ciphertext": ciphertext}
            shown: Output = {"private_key": pair.private_key} if self._plaintext else {}
            return {**made, **shown, **material_of(subject.version)}

        prepared = Prepared(subject.key.algorithm, make, {"data_key_pair": body.spec})
        return Plan([prepared], True, context, secret=True)


def require_symmetric(key: Key) -> None:
    """Raises `WrongPurpose` for a key under which no data key can be made."""
    if key.spec != SYMMETRIC:
        msg = f"data keys are made under a key of the spec {SYMMETRIC}; this one is {key.spec}"
        raise WrongPurpose(msg)


def _size(body: DataKey) -> int:
    if body.spec is not None and body.number_of_bytes is not None:
        msg = "give either `spec` or `number_of_bytes`, not both"
        raise Unprocessable(msg, field="number_of_bytes")
    return body.number_of_bytes or _SIZES[body.spec or "AES_256"]
