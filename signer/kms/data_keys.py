"""Data keys, which are used outside and kept encrypted under a key; and random octets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from signer.access import Action
from signer.call import Answer, Call
from signer.cryptographic_requests import DataKey, RandomOctets
from signer.kms.errors import invalid, unsupported
from signer.kms.operation import KmsOperation, in_steps
from signer.kms.references import key_reference
from signer.kms.shapes import (
    CustomKeyStoreId,
    DataKeySpec,
    EncryptionContext,
    KeyId,
    NumberOfBytes,
    Recipient,
    Request,
    UseRequest,
    refuse_recipient,
)
from signer.kms.translation import Translated, use_key
from signer.operations.data_keys import DataKeys
from signer.operations.random_octets import random_octets

if TYPE_CHECKING:
    from signer.audit.logged import Steps
    from signer.services import Services


class GenerateDataKeyWithoutPlaintextRequest(UseRequest, kw_only=True):
    """`GenerateDataKeyWithoutPlaintext`"""

    key_id: KeyId
    encryption_context: EncryptionContext | None = None
    number_of_bytes: NumberOfBytes | None = None
    key_spec: DataKeySpec | None = None


class GenerateDataKeyRequest(GenerateDataKeyWithoutPlaintextRequest, kw_only=True):
    """`GenerateDataKey`"""

    recipient: Recipient | None = None


class GenerateRandomRequest(Request):
    """`GenerateRandom`"""

    number_of_bytes: NumberOfBytes | None = None
    custom_key_store_id: CustomKeyStoreId | None = None
    recipient: Recipient | None = None


def generate_data_key(services: Services, call: Call) -> Steps[Answer]:
    """`GenerateDataKey`"""
    made = yield from _data_key(services, call, GenerateDataKeyRequest, plaintext=True)
    return Answer(_data_key_members(services, made) | {"Plaintext": made["plaintext"]})


def generate_data_key_without_plaintext(services: Services, call: Call) -> Steps[Answer]:
    """`GenerateDataKeyWithoutPlaintext`"""
    made = yield from _data_key(services, call, GenerateDataKeyWithoutPlaintextRequest, plaintext=False)
    return Answer(_data_key_members(services, made))


def generate_random(services: Services, call: Call) -> Answer:
    """`GenerateRandom`"""
    answer: Any = random_octets(
        services.pipeline, services.keystore, Translated(GenerateRandomRequest, _random_octets).of(call)
    )
    return Answer({"Plaintext": answer.content["random"]})


def _data_key(
    services: Services, call: Call, request_type: type[GenerateDataKeyWithoutPlaintextRequest], *, plaintext: bool
) -> Steps[dict[str, Any]]:
    return use_key(
        services,
        call,
        Translated(request_type, _data_key_body),
        DataKeys(plaintext=plaintext),
        reference=lambda request: key_reference(request.key_id, services.keystore),
    )


def _data_key_members(services: Services, made: dict[str, Any]) -> dict[str, object]:
    return {
        "CiphertextBlob": made["ciphertext"],
        "KeyId": services.keystore.arn_of(made["key_id"]),
        "KeyMaterialId": made.get("material_id"),
    }


def _data_key_body(request: GenerateDataKeyWithoutPlaintextRequest) -> DataKey:
    if isinstance(request, GenerateDataKeyRequest):
        refuse_recipient(request.recipient)
    if (request.key_spec is None) == (request.number_of_bytes is None):
        raise invalid("Please specify either number of bytes or key spec.", field="keySpec")
    return DataKey(spec=request.key_spec, number_of_bytes=request.number_of_bytes, context=request.encryption_context)


def _random_octets(request: GenerateRandomRequest) -> RandomOctets:
    refuse_recipient(request.recipient)
    if request.custom_key_store_id is not None:
        raise unsupported("This service has no custom key stores.", field="customKeyStoreId")
    if request.number_of_bytes is None:
        raise invalid("NumberOfBytes is required.", field="numberOfBytes")
    return RandomOctets(number_of_bytes=request.number_of_bytes)


OPERATIONS: Final = (
    in_steps("GenerateDataKey", GenerateDataKeyRequest, generate_data_key, (Action.GENERATE_DATA_KEY,)),
    in_steps(
        "GenerateDataKeyWithoutPlaintext",
        GenerateDataKeyWithoutPlaintextRequest,
        generate_data_key_without_plaintext,
        (Action.GENERATE_DATA_KEY_WITHOUT_PLAINTEXT,),
    ),
    KmsOperation("GenerateRandom", GenerateRandomRequest, generate_random, (Action.GENERATE_RANDOM,)),
)
