"""Imported materials as values: which version of a key one belongs to, and what is refused. Pure.

A key with symmetric material (SYMMETRIC_DEFAULT) may have several, one version each; a new one waits until the key is
rotated to it. Every other key has one for good, and takes back no other.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from keystore.algorithms import KEY_SPECS, KeyKind, Origin
from keystore.errors import IncorrectKeyMaterial, NotFound, Unsupported, WrongState
from keystore.lifecycle import IMPORTED_IN, require_state, waits_for_rotation

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from keystore.api import Key, KeyVersion


class ImportType(StrEnum):
    """What a caller says of the material that it brings, in AWS's words."""

    NEW = "NEW_KEY_MATERIAL"
    EXISTING = "EXISTING_KEY_MATERIAL"


@dataclass(frozen=True, slots=True)
class MaterialRequest:
    """Wrapped material on its way in. `expires_at` None: it does not expire. `import_type`, `material_id` and
    `description` are for keys that may have several materials alone."""

    token: bytes = field(repr=False)
    ciphertext: bytes = field(repr=False)
    expires_at: datetime | None
    import_type: ImportType | None = None
    material_id: str | None = None
    description: str | None = None


def has_several(key: Key) -> bool:
    """Whether the key may have several materials, and be rotated from one to the next."""
    return KEY_SPECS[key.spec].kind is KeyKind.AES


def require_external(key: Key) -> None:
    """Raises `Unsupported` for a key whose material was made here."""
    if key.origin is not Origin.EXTERNAL:
        raise Unsupported(f"the key's origin is {key.origin}: its material is not imported", field="key")


def check_request(key: Key, request: MaterialRequest) -> None:
    """Raises `Unsupported`, `WrongState` for what no material could make right."""
    require_external(key)
    require_state(key.state, IMPORTED_IN)
    if not has_several(key):
        for name in ("import_type", "material_id", "description"):
            if getattr(request, name) is not None:
                raise Unsupported(f"a {key.spec} key has one material alone: there is no {name} to give", field=name)
    if request.material_id is not None and request.import_type is ImportType.NEW:
        raise Unsupported("new material has no id yet", field="material_id")


def choose_version(key: Key, request: MaterialRequest, public_key: bytes, material_id: str | None) -> KeyVersion | None:
    """The version that this material belongs to; None: it is to be a new one. `material_id` is the material's own, of a
    secret key. Raises `IncorrectKeyMaterial`, `WrongState`."""
    if not has_several(key):
        return _only_version(key.versions, public_key, material_id)
    known = next((version for version in key.versions if version.material_id == material_id), None)
    wanted = request.import_type or (ImportType.EXISTING if key.versions else ImportType.NEW)
    if wanted is ImportType.EXISTING:
        if known is None or request.material_id not in (None, material_id):
            raise IncorrectKeyMaterial("this is not the material that the key had before")
        return known
    if known is not None:
        raise IncorrectKeyMaterial("the key has had this material already: it is not new")
    waiting = next((version for version in key.versions if waits_for_rotation(version)), None)
    if waiting is not None and waiting.has_material:
        raise WrongState("another material waits for its rotation already: rotate the key to it, or delete it")
    return waiting


def _only_version(versions: Sequence[KeyVersion], public_key: bytes, material_id: str | None) -> KeyVersion | None:
    if not versions:
        return None
    only = versions[0]
    if (only.public_key, only.material_id) != (public_key, material_id):
        raise IncorrectKeyMaterial("this is not the material that the key had before")
    return only


def named_version(key: Key, material_id: str | None, current: KeyVersion | None) -> KeyVersion:
    """The version whose material is to be deleted: the one named, or the current one. Raises `NotFound`."""
    if material_id is None:
        found = current or next(iter(key.versions), None)
    else:
        found = next((version for version in key.versions if version.material_id == material_id), None)
    if found is None:
        raise NotFound("the key has no such material")
    return found
