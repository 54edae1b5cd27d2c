"""Data key pairs: the public half in the clear, the private one encrypted under a key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from signer.access import Action
from signer.call import Answer, Call
from signer.cryptographic_requests import DataKeyPair
from signer.kms.errors import unsupported
from signer.kms.operation import KmsOperation
from signer.kms.references import key_reference
from signer.kms.shapes import DataKeyPairSpec, EncryptionContext, KeyId, Recipient, UseRequest, refuse_recipient
from signer.kms.translation import Translated, use_key
from signer.operations.data_keys import DataKeyPairs

if TYPE_CHECKING:
    from signer.services import Services


class GenerateDataKeyPairWithoutPlaintextRequest(UseRequest, kw_only=True):
    """`GenerateDataKeyPairWithoutPlaintext`"""

    key_id: KeyId
    key_pair_spec: DataKeyPairSpec
    encryption_context: EncryptionContext | None = None


class GenerateDataKeyPairRequest(GenerateDataKeyPairWithoutPlaintextRequest, kw_only=True):
    """`GenerateDataKeyPair`"""

    recipient: Recipient | None = None


def generate_data_key_pair(services: Services, call: Call) -> Answer:
    """`GenerateDataKeyPair`"""
    made = _data_key_pair(services, call, GenerateDataKeyPairRequest, plaintext=True)
    return Answer(_data_key_pair_members(services, made) | {"PrivateKeyPlaintext": made["private_key"]})


def generate_data_key_pair_without_plaintext(services: Services, call: Call) -> Answer:
    """`GenerateDataKeyPairWithoutPlaintext`"""
    made = _data_key_pair(services, call, GenerateDataKeyPairWithoutPlaintextRequest, plaintext=False)
    return Answer(_data_key_pair_members(services, made))


def _data_key_pair(
    services: Services, call: Call, request_type: type[GenerateDataKeyPairWithoutPlaintextRequest], *, plaintext: bool
) -> dict[str, Any]:
    # One pair may take a second: it is nothing to be stepped together with other calls.
    return services.audit.run(
        use_key(
            services,
            call,
            Translated(request_type, _data_key_pair_body),
            DataKeyPairs(plaintext=plaintext),
            reference=lambda request: key_reference(request.key_id, services.keystore),
        )
    )


def _data_key_pair_members(services: Services, made: dict[str, Any]) -> dict[str, object]:
    return {
        "PrivateKeyCiphertextBlob": made["private_key_ciphertext"],
        "PublicKey": made["public_key"],
        "KeyId": services.keystore.arn_of(made["key_id"]),
        "KeyPairSpec": made["spec"],
        "KeyMaterialId": made.get("material_id"),
    }


def _data_key_pair_body(request: GenerateDataKeyPairWithoutPlaintextRequest) -> DataKeyPair:
    if isinstance(request, GenerateDataKeyPairRequest):
        refuse_recipient(request.recipient)
    spec = request.key_pair_spec
    # What no library here makes and gives out; one by one, so that the type checker follows.
    if spec == "SM2" or spec == "ML_KEM_512" or spec == "ML_KEM_768" or spec == "ML_KEM_1024":
        raise unsupported(f"KeyPairSpec {spec} is not supported.", field="keyPairSpec")
    return DataKeyPair(spec=spec, context=request.encryption_context)


OPERATIONS: Final = (
    KmsOperation(
        "GenerateDataKeyPair", GenerateDataKeyPairRequest, generate_data_key_pair, (Action.GENERATE_DATA_KEY_PAIR,)
    ),
    KmsOperation(
        "GenerateDataKeyPairWithoutPlaintext",
        GenerateDataKeyPairWithoutPlaintextRequest,
        generate_data_key_pair_without_plaintext,
        (Action.GENERATE_DATA_KEY_PAIR_WITHOUT_PLAINTEXT,),
    ),
)
