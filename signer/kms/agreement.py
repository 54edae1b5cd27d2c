"""Secrets that two sides share: DeriveSharedSecret (ECDH), Encapsulate and Decapsulate (ML-KEM)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from signer.access import Action
from signer.call import Answer, Call
from signer.cryptographic_requests import Agreement, Decapsulation, Encapsulation
from signer.kms.operation import in_steps
from signer.kms.references import key_reference
from signer.kms.shapes import (
    Ciphertext,
    EncapsulationAlgorithm,
    KeyAgreementAlgorithm,
    KeyId,
    PublicKeyBlob,
    Recipient,
    UseRequest,
    refuse_recipient,
)
from signer.kms.translation import Translated, require_algorithm, use_key
from signer.operations.agreement import SharedSecrets
from signer.operations.encapsulation import Decapsulations, Encapsulations

if TYPE_CHECKING:
    from keystore.api import Key
    from signer.audit.logged import Steps
    from signer.services import Services


class DeriveSharedSecretRequest(UseRequest, kw_only=True):
    """`DeriveSharedSecret`"""

    key_id: KeyId
    key_agreement_algorithm: KeyAgreementAlgorithm
    public_key: PublicKeyBlob
    recipient: Recipient | None = None


class EncapsulateRequest(UseRequest, kw_only=True):
    """`Encapsulate`"""

    key_id: KeyId
    encapsulation_algorithm: EncapsulationAlgorithm


class DecapsulateRequest(EncapsulateRequest, kw_only=True):
    """`Decapsulate`"""

    shared_secret_ciphertext_blob: Ciphertext


def derive_shared_secret(services: Services, call: Call) -> Steps[Answer]:
    """`DeriveSharedSecret`"""
    origins: list[str] = []

    def check(request: DeriveSharedSecretRequest, key: Key) -> None:
        require_algorithm(key, request.key_agreement_algorithm, "keyAgreementAlgorithm")
        origins.append(key.origin.value)

    made = yield from use_key(
        services,
        call,
        Translated(DeriveSharedSecretRequest, _agreement),
        SharedSecrets(),
        reference=lambda request: key_reference(request.key_id, services.keystore),
        check=check,
    )
    return Answer(
        {
            "KeyId": services.keystore.arn_of(made["key_id"]),
            "SharedSecret": made["shared_secret"],
            "KeyAgreementAlgorithm": made["algorithm"],
            "KeyOrigin": origins[-1],
        }
    )


def encapsulate(services: Services, call: Call) -> Steps[Answer]:
    """`Encapsulate`"""
    made = yield from use_key(
        services,
        call,
        Translated(EncapsulateRequest, lambda request: Encapsulation(algorithm=request.encapsulation_algorithm)),
        Encapsulations(),
        reference=lambda request: key_reference(request.key_id, services.keystore),
        check=_require_encapsulation,
    )
    return Answer(
        {
            "KeyId": services.keystore.arn_of(made["key_id"]),
            "SharedSecret": made["shared_secret"],
            "SharedSecretCiphertextBlob": made["ciphertext"],
            "EncapsulationAlgorithm": made["algorithm"],
        }
    )


def decapsulate(services: Services, call: Call) -> Steps[Answer]:
    """`Decapsulate`"""
    made = yield from use_key(
        services,
        call,
        Translated(DecapsulateRequest, _decapsulation),
        Decapsulations(),
        reference=lambda request: key_reference(request.key_id, services.keystore),
        check=_require_encapsulation,
    )
    return Answer(
        {
            "KeyId": services.keystore.arn_of(made["key_id"]),
            "SharedSecret": made["shared_secret"],
            "EncapsulationAlgorithm": made["algorithm"],
        }
    )


def _agreement(request: DeriveSharedSecretRequest) -> Agreement:
    refuse_recipient(request.recipient)
    return Agreement(public_key=request.public_key, algorithm=request.key_agreement_algorithm)


def _decapsulation(request: DecapsulateRequest) -> Decapsulation:
    return Decapsulation(ciphertext=request.shared_secret_ciphertext_blob, algorithm=request.encapsulation_algorithm)


def _require_encapsulation(request: EncapsulateRequest, key: Key) -> None:
    require_algorithm(key, request.encapsulation_algorithm, "encapsulationAlgorithm")


OPERATIONS: Final = (
    in_steps("DeriveSharedSecret", DeriveSharedSecretRequest, derive_shared_secret, (Action.DERIVE_SHARED_SECRET,)),
    in_steps("Encapsulate", EncapsulateRequest, encapsulate, (Action.ENCAPSULATE,)),
    in_steps("Decapsulate", DecapsulateRequest, decapsulate, (Action.DECAPSULATE,)),
)
