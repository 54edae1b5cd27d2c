"""Key material that comes from outside: its wrapping key, its way in, and out again. Called with the permit for it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

import structlog

from keystore.materials import ImportType, MaterialRequest
from keystore.values import stored_time
from signer.errors import Unprocessable

if TYPE_CHECKING:
    from datetime import datetime

    from keystore.api import Key
    from keystore.imports import Imported, LostMaterial
    from keystore.keystore import Keystore
    from keystore.wrapping_keys import ImportParameters
    from signer.access import Permit
    from signer.access.model import ConditionValues
    from signer.request import ImportParametersBody, KeyMaterialBody

EXPIRES: Final = "KEY_MATERIAL_EXPIRES"
DOES_NOT_EXPIRE: Final = "KEY_MATERIAL_DOES_NOT_EXPIRE"
LONGEST_VALIDITY: Final = timedelta(days=365)
_log = structlog.get_logger("sealmark.keys")


def parameters_details(body: ImportParametersBody) -> ConditionValues:
    """What policies may ask of a request for a wrapping key."""
    return {
        "kms:wrappingalgorithm": (body.wrapping_algorithm,),
        "kms:wrappingkeyspec": (body.wrapping_key_spec,),
    }


def material_details(body: KeyMaterialBody) -> ConditionValues:
    """What policies may ask of an import."""
    model = {"kms:expirationmodel": (body.expiration_model,)}
    if body.valid_to is None:
        return model
    return model | {"kms:validto": (str(stored_time(body.valid_to) // 1_000_000),)}


class MaterialAdministration:
    """Every change of imported material."""

    def __init__(self, keystore: Keystore) -> None:
        self._keystore = keystore

    def parameters(self, key: Key, body: ImportParametersBody) -> ImportParameters:
        """A wrapping key and a token, good for 24 hours. Raises what the keystore raises."""
        return self._keystore.imports.parameters(key.id, body.wrapping_algorithm, body.wrapping_key_spec)

    def bring_in(self, permit: Permit, key: Key, body: KeyMaterialBody) -> Imported:
        """The material, wrapped by the key's domain. Raises `Unprocessable`, and what the keystore raises."""
        request = MaterialRequest(
            token=body.import_token,
            ciphertext=body.encrypted_key_material,
            expires_at=_expiry(body, self._keystore.clock()),
            import_type=None if body.import_type is None else ImportType(body.import_type),
            material_id=body.key_material_id,
            description=body.key_material_description,
        )
        imported = self._keystore.imports.bring_in(key.id, request, permit.principal.name)
        # An exception from what the hierarchy promises: said wherever it happens.
        _log.warning("key_material_imported", key_id=key.id, plaintext="was in this process", by=permit.principal.name)
        return imported

    def delete(self, key: Key, material_id: str | None) -> LostMaterial:
        """Raises what the keystore raises."""
        return self._keystore.imports.delete(key.id, material_id)


def _expiry(body: KeyMaterialBody, now: datetime) -> datetime | None:
    if body.expiration_model == DOES_NOT_EXPIRE:
        if body.valid_to is not None:
            msg = f"`valid_to` goes with {EXPIRES} alone"
            raise Unprocessable(msg, field="valid_to")
        return None
    if body.valid_to is None:
        msg = f"{EXPIRES} needs `valid_to`, when it expires"
        raise Unprocessable(msg, field="valid_to")
    if not now < body.valid_to <= now + LONGEST_VALIDITY:
        msg = f"`valid_to` is in the future, by {LONGEST_VALIDITY.days} days at most"
        raise Unprocessable(msg, field="valid_to")
    return body.valid_to
