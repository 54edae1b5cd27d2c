"""Key material from outside: GetParametersForImport, ImportKeyMaterial, DeleteImportedKeyMaterial."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, Literal

from msgspec import Meta

from signer.access import Action
from signer.administration.importing import EXPIRES, material_details, parameters_details
from signer.call import Answer, Call
from signer.kms.operation import KmsOperation
from signer.kms.references import administered
from signer.kms.shapes import Ciphertext, EpochSeconds, KeyId, MaterialId, Request, moment
from signer.kms.translation import Translated
from signer.pipeline import present
from signer.request import ImportParametersBody, KeyMaterialBody, MaterialDeletion

if TYPE_CHECKING:
    from keystore.api import Key
    from signer.access import Permit
    from signer.services import Services

WrappingAlgorithm = Literal[
    "RSAES_PKCS1_V1_5",
    "RSAES_OAEP_SHA_1",
    "RSAES_OAEP_SHA_256",
    "RSA_AES_KEY_WRAP_SHA_1",
    "RSA_AES_KEY_WRAP_SHA_256",
    "SM2PKE",
]
WrappingKeySpec = Literal["RSA_2048", "RSA_3072", "RSA_4096", "SM2"]
ExpirationModel = Literal["KEY_MATERIAL_EXPIRES", "KEY_MATERIAL_DOES_NOT_EXPIRE"]
MaterialDescription = Annotated[str, Meta(max_length=256, pattern="^[a-zA-Z0-9:/_\\s.-]+$(?!\\n)")]


class GetParametersForImportRequest(Request):
    """`GetParametersForImport`"""

    key_id: KeyId
    wrapping_algorithm: WrappingAlgorithm
    wrapping_key_spec: WrappingKeySpec


class ImportKeyMaterialRequest(Request):
    """`ImportKeyMaterial`"""

    key_id: KeyId
    import_token: Ciphertext
    encrypted_key_material: Ciphertext
    valid_to: EpochSeconds | None = None
    expiration_model: ExpirationModel | None = None
    import_type: Literal["NEW_KEY_MATERIAL", "EXISTING_KEY_MATERIAL"] | None = None
    key_material_description: MaterialDescription | None = None
    key_material_id: MaterialId | None = None


class DeleteImportedKeyMaterialRequest(Request):
    """`DeleteImportedKeyMaterial`"""

    key_id: KeyId
    key_material_id: MaterialId | None = None


def get_parameters(services: Services, call: Call) -> Answer:
    """`GetParametersForImport`"""
    asked = Translated(
        GetParametersForImportRequest,
        lambda request: ImportParametersBody(
            wrapping_algorithm=request.wrapping_algorithm, wrapping_key_spec=request.wrapping_key_spec
        ),
    )

    def work(_permit: Permit, key: Key | None, body: ImportParametersBody) -> Answer:
        found = present(key)
        made = services.material.parameters(found, body)
        return Answer(
            {
                "KeyId": found.arn,
                "ImportToken": made.token,
                "PublicKey": made.public_key,
                "ParametersValidTo": made.expires_at,
            },
            recorded={"wrapping_algorithm": body.wrapping_algorithm, "wrapping_key_spec": body.wrapping_key_spec},
        )

    return services.pipeline.change(
        asked.of(call),
        Action.GET_PARAMETERS_FOR_IMPORT,
        ImportParametersBody,
        work,
        lambda _body: administered(asked.request.key_id, services.keystore),
        details=parameters_details,
    )


def import_material(services: Services, call: Call) -> Answer:
    """`ImportKeyMaterial`"""
    asked = Translated(ImportKeyMaterialRequest, _material)

    def work(permit: Permit, key: Key | None, body: KeyMaterialBody) -> Answer:
        found = present(key)
        imported = services.material.bring_in(permit, found, body)
        told = {"KeyId": found.arn, "KeyMaterialId": imported.material_id}
        return Answer(told, recorded=body.recorded() | {"key_material_id": imported.material_id})

    return services.pipeline.change(
        asked.of(call),
        Action.IMPORT_KEY_MATERIAL,
        KeyMaterialBody,
        work,
        lambda _body: administered(asked.request.key_id, services.keystore),
        details=material_details,
    )


def delete_material(services: Services, call: Call) -> Answer:
    """`DeleteImportedKeyMaterial`"""
    asked = Translated(
        DeleteImportedKeyMaterialRequest, lambda request: MaterialDeletion(key_material_id=request.key_material_id)
    )

    def work(_permit: Permit, key: Key | None, body: MaterialDeletion) -> Answer:
        found = present(key)
        lost = services.material.delete(found, body.key_material_id)
        return Answer(
            {"KeyId": found.arn, "KeyMaterialId": lost.material_id}, recorded={"key_material_id": lost.material_id}
        )

    return services.pipeline.change(
        asked.of(call),
        Action.DELETE_IMPORTED_KEY_MATERIAL,
        MaterialDeletion,
        work,
        lambda _body: administered(asked.request.key_id, services.keystore),
    )


def _material(request: ImportKeyMaterialRequest) -> KeyMaterialBody:
    return KeyMaterialBody(
        import_token=request.import_token,
        encrypted_key_material=request.encrypted_key_material,
        valid_to=None if request.valid_to is None else moment(request.valid_to, member="validTo"),
        expiration_model=request.expiration_model or EXPIRES,
        import_type=request.import_type,
        key_material_description=request.key_material_description,
        key_material_id=request.key_material_id,
    )


OPERATIONS: Final = (
    KmsOperation(
        "GetParametersForImport", GetParametersForImportRequest, get_parameters, (Action.GET_PARAMETERS_FOR_IMPORT,)
    ),
    KmsOperation("ImportKeyMaterial", ImportKeyMaterialRequest, import_material, (Action.IMPORT_KEY_MATERIAL,)),
    KmsOperation(
        "DeleteImportedKeyMaterial",
        DeleteImportedKeyMaterialRequest,
        delete_material,
        (Action.DELETE_IMPORTED_KEY_MATERIAL,),
    ),
)
