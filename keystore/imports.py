"""Keys whose material comes from outside (origin EXTERNAL), as AWS KMS has them: brought in, deleted, expired, and
brought in again.

The material is in the clear in this process between the unwrapping and the HSM's wrapping of it, because the modules
have no mechanism that does both at once (`docs/threat-model.md`).
"""

from __future__ import annotations

import hashlib
import uuid
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from sqlalchemy import select

from keystore.algorithms import KEY_SPECS, MAC_ALGORITHMS, KeyKind, Protection, Purpose, algorithms_for, use_of
from keystore.api import BackingKey, KeyState, VersionCause
from keystore.db.schema import KEY_VERSIONS
from keystore.errors import Conflict, NotFound, Unsupported, WrongState
from keystore.importable import check_wrapping, parse_material
from keystore.keys import domain_label, existing, version_of
from keystore.lifecycle import (
    IMPORTED_IN,
    MATERIAL_DELETED_IN,
    UNTIL_ROTATED,
    current_version,
    is_complete,
    require_enabled,
    require_state,
    state_at,
    waits_for_rotation,
)
from keystore.materials import (
    check_request,
    choose_version,
    has_several,
    named_version,
    require_external,
)
from keystore.software import rewrapped
from keystore.values import optional_stored_time, stored_time
from keystore.wrapping_keys import WrappingKeys

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from keystore.api import GeneratedKey, HardwareToken, Key, KeyVersion
    from keystore.clock import Clock
    from keystore.db.engine import Value
    from keystore.importable import Material
    from keystore.materials import MaterialRequest
    from keystore.software import SoftwareKeys
    from keystore.store import SealedStore
    from keystore.transactions import SealedTransaction
    from keystore.wrapping_keys import ImportParameters

# What an HMAC key's material is told by; whoever may make MACs may work it out, and learns nothing by it.
_TOLD_BY: Final = b"sealmark key material v1"
_GONE: Final[Mapping[str, Value]] = {"wrapped": None, "token_label": None, "domain_version": None, "expires_at": None}


@dataclass(frozen=True, slots=True)
class Imported:
    """A material that came in: the key as it is now, and the material's id where the key may have several."""

    key: Key
    material_id: str | None


@dataclass(frozen=True, slots=True)
class LostMaterial:
    """A material that is gone: of which key, and its id where the key may have several."""

    key_id: str
    material_id: str | None


@dataclass(frozen=True, slots=True)
class _Arrival:
    """A material wrapped by its domain key, and not in the database yet. `version_id` is for a version of its own."""

    version_id: str
    kept: GeneratedKey
    backing: BackingKey
    domain_version: int


class MaterialImports:
    """Every change of imported material. Raises, besides its own, what the store and the HSM do."""

    def __init__(
        self,
        token: HardwareToken,
        software: SoftwareKeys,
        store: SealedStore,
        clock: Clock,
        get_key: Callable[[str], Key],
    ) -> None:
        self._token = token
        self._software = software
        self._store = store
        self._clock = clock
        self._get_key = get_key
        self._wrapping_keys = WrappingKeys(token, store, clock)

    def parameters(self, key_id: str, algorithm: str, wrapping_spec: str) -> ImportParameters:
        """A wrapping key and a token, good for a day. Raises: `NotFound`, `Unsupported`, `WrongState`."""
        key = self._get_key(key_id)
        require_external(key)
        require_state(key.state, IMPORTED_IN)
        return self._wrapping_keys.make(key, check_wrapping(key.spec, algorithm, wrapping_spec), wrapping_spec)

    def bring_in(self, key_id: str, request: MaterialRequest, actor: str) -> Imported:
        """Bring material in; the key is enabled once it has all that it ever had.

        Raises: `NotFound`, `Unsupported`, `WrongState`; `InvalidImportToken`, `ImportTokenExpired`; `Undecipherable`;
        `IncorrectKeyMaterial`; `Conflict` if the key is changed meanwhile.
        """
        key = self._get_key(key_id)
        check_request(key, request)
        octets = self._wrapping_keys.open(key, request.token, request.ciphertext)
        material = parse_material(KEY_SPECS[key.spec], octets)
        try:
            arrival = self._kept(key, material)
        finally:
            material.wipe()
        version = choose_version(key, request, arrival.kept.public_key, arrival.kept.material_id)
        with self._store.transaction() as transaction:
            self._store_arrival(transaction, key, version, arrival, request, actor)
        return Imported(self._get_key(key_id), arrival.kept.material_id if has_several(key) else None)

    def _kept(self, key: Key, material: Material) -> _Arrival:
        """The material as the database may hold it, and the id of a secret key's."""
        domain = self._store.get("domains", key.domain)
        if domain is None:
            raise NotFound("there is no such domain")
        domain_version = domain.number("current_version")
        label = domain_label(key.domain, domain_version)
        version_id = str(uuid.uuid4()) if has_several(key) or not key.versions else key.versions[0].id
        if key.protection is Protection.SOFTWARE:
            kept = self._software.keep(version_id, key.spec, label, bytes(material.parts["value"]))
        else:
            kept = self._token.bring_in(material, label, use_of(key.purpose))
        backing = BackingKey(
            version_id, key.spec, label, kept.wrapped, None, use=use_of(key.purpose), protection=key.protection
        )
        if material.spec.kind is KeyKind.HMAC:
            kept = replace(kept, material_id=self._told(backing))
        return _Arrival(version_id, kept, backing, domain_version)

    def _told(self, backing: BackingKey) -> str:
        algorithm = MAC_ALGORITHMS[algorithms_for(Purpose.MAC, backing.spec)[0]]
        try:
            return hashlib.sha256(self._token.mac(backing, algorithm, _TOLD_BY)).hexdigest()
        finally:
            self._token.destroy(backing)

    def _store_arrival(
        self,
        transaction: SealedTransaction,
        key: Key,
        version: KeyVersion | None,
        arrival: _Arrival,
        request: MaterialRequest,
        actor: str,
    ) -> None:
        row = existing(transaction, "keys", key.id)
        state = KeyState(row.text("state"))
        require_state(state, IMPORTED_IN)
        if row.number("version_count") != len(key.versions):
            raise Conflict("the key was changed by somebody else meanwhile")
        now = self._clock()
        values: dict[str, Value] = {
            **self._followed(transaction, key, arrival),
            "public_key": arrival.kept.public_key,
            "token_label": None,
            "material_id": arrival.kept.material_id,
            "expires_at": optional_stored_time(request.expires_at),
        }
        if version is None:
            number = len(key.versions) + 1
            begins = now if number == 1 else UNTIL_ROTATED
            described = {"material_description": request.description}
            new = _new_version(key.id, number, begins, now, actor)
            made = transaction.insert("key_versions", arrival.version_id, new | values | described)
        else:
            found = existing(transaction, "key_versions", version.id)
            if found.optional_text("material_id") != version.material_id:
                raise Conflict("the key's material was changed by somebody else meanwhile")
            described = {} if request.description is None else {"material_description": request.description}
            made = transaction.update(found, values | described)
        versions = [one for one in key.versions if one.id != made.id] + [version_of(made, row)]
        transaction.update(row, {"version_count": len(versions), "state": _state_with(versions, state, now).value})

    def _followed(self, transaction: SealedTransaction, key: Key, arrival: _Arrival) -> dict[str, Value]:
        """Wrapped by the domain's key of now: its rotation has not seen this material."""
        current = existing(transaction, "domains", key.domain).number("current_version")
        wrapped = arrival.kept.wrapped
        if current != arrival.domain_version:
            wrapped = rewrapped(self._token, arrival.backing, domain_label(key.domain, current))
        return {"wrapped": wrapped, "domain_version": current}

    def delete(self, key_id: str, material_id: str | None = None) -> LostMaterial:
        """Take a material out: the one named, or the current one. Without it the key is of no use until it is back.

        One that is gone already is no error. Raises: `NotFound`, `Unsupported`, `WrongState`.
        """
        key, now = self._get_key(key_id), self._clock()
        require_external(key)
        require_state(key.state, MATERIAL_DELETED_IN)
        if material_id is not None and not has_several(key):
            raise Unsupported(f"a {key.spec} key has one material alone: it has no id to give", field="material_id")
        if not key.versions:
            return LostMaterial(key.id, None)
        version = named_version(key, material_id, _current(key, now))
        with self._store.transaction() as transaction:
            _lose(transaction, key, version)
        self._drop(version)
        return LostMaterial(key.id, version.material_id if has_several(key) else None)

    def expire_due(self, now: datetime) -> list[LostMaterial]:
        """Take out every material whose time is over. Whoever is told of one is the only one who is."""
        columns = KEY_VERSIONS.c
        over = select(columns.key_id, columns.id).where(columns.expires_at <= stored_time(now))
        with self._store.database.read() as connection:
            found = connection.execute(over).all()
        lost = []
        for key_id, version_id in found:
            key = self._get_key(key_id)
            version = next(one for one in key.versions if one.id == version_id)
            with self._store.transaction() as transaction:
                expired = _expired(transaction, version_id, now)
                if expired:
                    _lose(transaction, key, version)
            if expired:
                self._drop(version)
                lost.append(LostMaterial(key.id, version.material_id if has_several(key) else None))
        return lost

    def forget_parameters(self, now: datetime) -> None:
        """Delete wrapping keys whose day is over."""
        self._wrapping_keys.forget(now)

    def rotate(self, key_id: str, actor: str) -> None:
        """Make the material that waits for it the current one. Raises: `NotFound`, `Unsupported`, `WrongState`."""
        key, now = self._get_key(key_id), self._clock()
        require_external(key)
        require_enabled(state_at(key, now))
        waiting = next((version for version in key.versions if waits_for_rotation(version)), None)
        if waiting is None or not is_complete([replace(waiting, activate_at=now)], now):
            raise WrongState("no imported material waits for the rotation: import it first")
        with self._store.transaction() as transaction:
            require_enabled(KeyState(existing(transaction, "keys", key.id).text("state")))
            row = existing(transaction, "key_versions", waiting.id)
            if row.optional_octets("wrapped") is None or row.number("activate_at") != stored_time(UNTIL_ROTATED):
                raise Conflict("the key's material was changed by somebody else meanwhile")
            changes: dict[str, Value] = {
                "activate_at": stored_time(now),
                "cause": VersionCause.ON_DEMAND.value,
                "created_by": actor,
            }
            transaction.update(row, changes)

    def _drop(self, version: KeyVersion) -> None:
        """Nothing of it is left open in this process."""
        if version.backing.protection is Protection.SOFTWARE:
            self._software.forget(version.backing)
        else:
            self._token.destroy(version.backing)


def _current(key: Key, now: datetime) -> KeyVersion | None:
    with suppress(WrongState):
        return current_version(key.versions, now)
    return None


def _state_with(versions: Sequence[KeyVersion], state: KeyState, now: datetime) -> KeyState:
    """What the key's state becomes with these versions; a disabled key stays so."""
    if not is_complete(versions, now):
        return KeyState.PENDING_IMPORT
    return KeyState.ENABLED if state is KeyState.PENDING_IMPORT else state


def _lose(transaction: SealedTransaction, key: Key, version: KeyVersion) -> None:
    transaction.update(existing(transaction, "key_versions", version.id), _GONE)
    row = existing(transaction, "keys", key.id)
    if KeyState(row.text("state")) in (KeyState.ENABLED, KeyState.DISABLED) and not waits_for_rotation(version):
        transaction.update(row, {"state": KeyState.PENDING_IMPORT.value})


def _expired(transaction: SealedTransaction, version_id: str, now: datetime) -> bool:
    expires_at = existing(transaction, "key_versions", version_id).optional_number("expires_at")
    return expires_at is not None and expires_at <= stored_time(now)


def _new_version(key_id: str, number: int, begins: datetime, now: datetime, actor: str) -> dict[str, Value]:
    return {
        "key_id": key_id,
        "number": number,
        "created_at": stored_time(now),
        "created_by": actor,
        "activate_at": stored_time(begins),
        "revoked_at": None,
        "revocation_reason": None,
        "cause": VersionCause.IMPORTED.value,
    }
