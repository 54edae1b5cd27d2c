"""The other side of multi-region keys: a key that its primary region says should be here, checked and taken in.

What is said has been sealed by the link key of the shared domain; that it is true of the blobs is checked in the HSM
here: each has to unwrap to a key of its spec that answers for its public key, or for its material.
"""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from keystore.access import Change
from keystore.algorithms import (
    KEY_SPECS,
    SIGNING_ALGORITHMS,
    KeyKind,
    Origin,
    Protection,
    Purpose,
    algorithms_for,
    use_of,
)
from keystore.api import BackingKey, KeyState, SigningKeyInfo, Storage, UncertifiedVersion
from keystore.approvals import write_approval_rule
from keystore.certificates import insert_certificate, revoke_version
from keystore.errors import Conflict, HsmFault, NotFound, Unsupported, WrongState
from keystore.grants import end_grants_on
from keystore.history import key_subject, record_version
from keystore.hsm.labels import domain_label
from keystore.keys import MULTI_REGION_FORM, existing
from keystore.regions import IMPORTED, NOTHING_UNDER_WAY, check_of, end_move
from keystore.signing import HsmSigningKey
from keystore.software import inner_key
from keystore.values import (
    multi_region_of,
    optional_stored_time,
    stored_multi_region,
    stored_names,
    stored_settings,
    stored_tags,
    stored_time,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from keystore.api import CertificateRecord, Certify, HardwareToken, Key, MultiRegion
    from keystore.carried import CarriedKey, CarriedVersion, FirstReplica
    from keystore.clock import Clock
    from keystore.db.engine import Value
    from keystore.journal import Head
    from keystore.keys import KeyRepository
    from keystore.sealing import SealedRow
    from keystore.software import SoftwareKeys
    from keystore.store import SealedStore
    from keystore.transactions import SealedTransaction

_PROVED: Final = frozenset({KeyKind.RSA, KeyKind.EC})  # by a signature, whatever the key's own use is
_CHALLENGE: Final = b"sealmark replica: does this private key answer for its public key?"
# What a replica has in common with its primary key, by column.
_FIXED: Final = ("spec", "purpose", "algorithm", "formats", "settings", "published", "protection", "origin", "domain")


class Replicas:
    """One per keystore. Every method raises `IntegrityFailure`, `StoreUnavailable` and `HsmUnavailable` besides its
    own."""

    def __init__(
        self,
        token: HardwareToken,
        software: SoftwareKeys,
        store: SealedStore,
        keys: KeyRepository,
        region: str,
        clock: Clock,
        software_specs: Sequence[str],
    ) -> None:
        self._token = token
        self._software = software
        self._software_specs = software_specs
        self._store = store
        self._keys = keys
        self._region = region
        self._clock = clock

    def make(
        self,
        carried: CarriedKey,
        serial: int,
        first: FirstReplica,
        certify: Certify | None,
        check: Callable[[], None],
    ) -> Key:
        """A replica that cannot be used before the primary region has confirmed it. One that was begun before is made
        anew; one that was deleted comes back. Raises: `Conflict` if there is one; `Unsupported`, `WrongState`."""
        self._require_fit(carried)
        if self._region not in carried.multi_region.replicas:
            raise Unsupported(f"the statement does not say that {self._region} has a replica", field="replicas")
        self._require_material(carried, self._living_versions(carried.id))
        certificates = self._certificates(carried, certify)

        def attempt(head: Head) -> None:
            check()
            with self._store.transaction(seen=head) as transaction:
                self._require_domain(transaction.get("domains", carried.domain), carried)
                self._require_room(transaction, carried, serial)
                self._write_first(transaction, carried, serial, first, certificates)

        self._store.checked_change(attempt)
        return self._keys.get_key(carried.id)

    def update(self, carried: CarriedKey, sender: str, serial: int, certify: Certify | None) -> Key:
        """What the sender says of a key that is here: that it was made or is still so, further versions, revocations,
        the schedule of rotation, the regions, which of them is the primary one.

        Raises: `NotFound` if it is not here; `Conflict` for an older word, fewer versions or other properties;
        `WrongState` where it cannot become the primary key now; `Unsupported`.
        """
        self._require_fit(carried)
        known = self._living_versions(carried.id)
        if known is None:
            raise NotFound("there is no replica of the key here")
        self._require_material(carried, known)
        certificates = self._certificates(carried, certify, known)
        with self._store.transaction() as transaction:
            self._require_domain(transaction.get("domains", carried.domain), carried)
            key, under_way = (
                existing(transaction, "keys", carried.id),
                existing(transaction, "replications", carried.id),
            )
            if KeyState(key.text("state")) is KeyState.DELETED:
                raise NotFound("there is no replica of the key here")
            self._require_newer(key, under_way, carried, serial)
            regions = self._regions_after(key, under_way, carried, sender)
            self._write_versions(transaction, carried, key, certificates)
            self._write_update(transaction, carried, key, under_way, regions, serial)
        return self._keys.get_key(carried.id)

    def _living_versions(self, key_id: str) -> Mapping[int, bytes | None] | None:
        """The blob of each version that is here, by number; None if the key is not here."""
        try:
            key = self._keys.get_key(key_id)
        except NotFound:
            return None
        if key.state is KeyState.DELETED:
            return None
        return {version.number: version.backing.wrapped for version in key.versions}

    def _require_fit(self, carried: CarriedKey) -> None:
        """What can be said without the database."""
        if not MULTI_REGION_FORM.fullmatch(carried.id):
            raise Unsupported("the id of a multi-region key is mrk- and 32 hex digits", field="key_id")
        if carried.spec not in KEY_SPECS:
            raise Unsupported(f"there is no key spec {carried.spec!r} here", field="spec")
        if carried.protection is Protection.SOFTWARE and carried.spec not in self._software_specs:
            msg = f"[keys] software_specs in sealmark.toml does not list {carried.spec} in {self._region}"
            raise Unsupported(msg, field="spec")
        if carried.origin is Origin.EXTERNAL:
            raise Unsupported(IMPORTED, field="origin")
        if [version.number for version in carried.versions] != list(range(1, len(carried.versions) + 1)):
            raise Unsupported("versions are given all, in order, from 1", field="versions")
        regions = carried.multi_region
        if self._region not in (regions.primary_region, *regions.replicas):
            raise Unsupported(f"the statement does not name {self._region}", field="replicas")
        self._require_domain(self._store.get("domains", carried.domain), carried)

    @staticmethod
    def _require_domain(domain: SealedRow | None, carried: CarriedKey) -> None:
        if domain is None or domain.optional_text("home_region") is None:
            raise Unsupported(f"there is no domain {carried.domain!r} of multi-region keys here", field="domain")
        version = domain.number("current_version")
        if version != carried.domain_version:
            raise WrongState(
                f"domain {carried.domain!r} is at version {version} here and at {carried.domain_version} there: "
                "carry it anew (ceremony domain export and adopt)"
            )

    def _require_material(self, carried: CarriedKey, known: Mapping[int, bytes | None] | None) -> None:
        """Every blob that is not here yet unwraps to the key that it is said to be. Raises: `Unsupported`."""
        label = domain_label(carried.domain, carried.domain_version)
        for at, version in enumerate(carried.versions):
            if known is not None and known.get(version.number) == version.wrapped:
                continue
            if not self._answers(carried, version, label):
                msg = f"what is carried as version {version.number} is not the key that it is said to be"
                raise Unsupported(msg, field=f"versions[{at}].wrapped")

    def _answers(self, carried: CarriedKey, version: CarriedVersion, label: str) -> bool:
        """Whether the blob is of the spec, and the key in it answers for its public half or its material."""
        kind = KEY_SPECS[carried.spec].kind
        if carried.protection is Protection.SOFTWARE:
            return self._answers_in_software(carried, version, label)
        # Under a name of its own: what is only looked at must not be what a version of that id is used with.
        backing = BackingKey(f"carried/{secrets.token_hex(8)}", carried.spec, label, version.wrapped, None)
        if kind is KeyKind.AES:
            backing = replace(backing, use=use_of(carried.purpose))
        if not self._token.opens(backing):
            return False
        try:
            if kind in _PROVED:
                algorithm = SIGNING_ALGORITHMS[algorithms_for(Purpose.GENERAL, carried.spec)[0]]
                info = SigningKeyInfo(carried.id, version.id, version.number, carried.spec, carried.purpose, algorithm)
                key = HsmSigningKey(self._token, backing, info, version.public_key)
                key.sign(_CHALLENGE + secrets.token_bytes(32))
                return True
            if version.public_key:
                return False
            if kind is KeyKind.AES:
                return self._token.material_id(backing) == version.material_id
            return check_of(self._token, carried.purpose, backing, version.id) == version.check
        except HsmFault:
            return False
        finally:
            self._token.destroy(backing)

    def _answers_in_software(self, carried: CarriedKey, version: CarriedVersion, label: str) -> bool:
        """The same of a key that is encrypted under one in the HSM, together with its version's id."""
        backing = BackingKey(version.id, carried.spec, label, version.wrapped, None, protection=Protection.SOFTWARE)
        try:
            if not self._token.opens(inner_key(backing)):
                return False
            self._software.open(backing, version.public_key)
        except HsmFault:
            return False
        finally:
            self._software.forget(backing)
        return True

    def _certificates(
        self, carried: CarriedKey, certify: Certify | None, known: Mapping[int, bytes | None] | None = None
    ) -> list[CertificateRecord]:
        """This region's own certificates of the versions that are new here."""
        if certify is None:
            return []
        return [
            certify(UncertifiedVersion(carried.id, version.id, None, carried.purpose, version.public_key))
            for version in carried.versions
            if version.number not in (known or {}) and version.revoked_at is None
        ]

    def _require_room(self, transaction: SealedTransaction, carried: CarriedKey, serial: int) -> None:
        key, under_way = transaction.get("keys", carried.id), transaction.get("replications", carried.id)
        if key is None or under_way is None:
            return
        if KeyState(key.text("state")) not in (KeyState.CREATING, KeyState.DELETED):
            raise Conflict(f"the key is in {self._region} already")
        self._require_newer(key, under_way, carried, serial)

    def _require_newer(self, key: SealedRow, under_way: SealedRow, carried: CarriedKey, serial: int) -> None:
        if serial <= under_way.number("serial"):
            raise Conflict("a later statement about the key was taken before")
        said = _fixed(carried)
        for name in _FIXED:
            if key.values[name] != said[name]:
                raise Conflict(f"{name} of the key is another here: that is fixed when a key is made")
        if len(carried.versions) < key.number("version_count"):
            raise Conflict(f"{key.number('version_count')} versions are here, and {len(carried.versions)} are carried")

    def _regions_after(self, key: SealedRow, under_way: SealedRow, carried: CarriedKey, sender: str) -> MultiRegion:
        """The regions that count from now on: nobody takes the primary key from a region that has not given it."""
        regions, said = multi_region_of(key.optional_text("multi_region")), carried.multi_region
        if regions is None or sender not in {regions.primary_region, *regions.replicas}:
            raise Conflict(f"the key has nothing to do with {sender}")
        mine = regions.primary_region == self._region
        if mine and said.primary_region == self._region:
            return regions  # said once more by who has given it
        if mine and under_way.optional_text("moving_to") != said.primary_region:
            raise Conflict(f"{self._region} has the primary key, and it is not moving to {said.primary_region}")
        if said.primary_region not in (sender, regions.primary_region, self._region):
            raise Conflict(f"{sender} does not say where the primary key is")
        if said.primary_region == self._region and sender != regions.primary_region:
            raise Conflict(f"the primary key is in {regions.primary_region}, which has not given it")
        if said.primary_region == self._region and key.text("state") != KeyState.ENABLED.value:
            raise WrongState(f"the replica here is {key.text('state').replace('_', ' ')}: it cannot become primary")
        return said

    def _write_first(
        self,
        transaction: SealedTransaction,
        carried: CarriedKey,
        serial: int,
        first: FirstReplica,
        certificates: list[CertificateRecord],
    ) -> None:
        moment = self._clock()
        now = stored_time(moment)
        values: dict[str, Value] = {
            **_fixed(carried),
            "storage": Storage.WRAPPED.value,
            "state": KeyState.CREATING.value,
            "description": first.description,
            "version_count": len(carried.versions),
            "created_at": now,
            "created_by": first.created_by,
            "deletion_at": None,
            "tags": stored_tags(first.tags),
            **_rotation(carried),
            "multi_region": stored_multi_region(carried.multi_region),
        }
        change = Change(first.created_by, moment, "the replica was made")
        key = transaction.get("keys", carried.id)
        under_way: dict[str, Value] = {**NOTHING_UNDER_WAY, "serial": serial}
        if key is None:
            transaction.insert("keys", carried.id, values)
            transaction.insert("replications", carried.id, under_way)
            transaction.insert("policies", carried.id, {"document": first.policy.document})
            revision = 1
        else:
            # It was begun before, or deleted: what was granted on it then is over.
            end_grants_on(transaction, carried.id, change)
            transaction.update(key, values)
            transaction.update(existing(transaction, "replications", carried.id), under_way)
            policy = existing(transaction, "policies", carried.id)
            revision = transaction.update(policy, {"document": first.policy.document}).revision
        record_version(transaction, key_subject(carried.id), revision, first.policy.document, change)
        write_approval_rule(transaction, carried.id, first.approvals, moment)
        self._write_versions(transaction, carried, None, certificates)

    def _write_versions(
        self,
        transaction: SealedTransaction,
        carried: CarriedKey,
        key: SealedRow | None,
        certificates: list[CertificateRecord],
    ) -> None:
        """Those that are new here, or came back; revocations of those that are not."""
        moment = self._clock()
        count = 0 if key is None else key.number("version_count")
        for version in carried.versions:
            row = transaction.get("key_versions", version.id)
            values = _version(carried, version)
            if row is None:
                if version.number <= count:
                    raise Conflict(f"version {version.number} of the key is another here")
                transaction.insert("key_versions", version.id, values)
            elif row.text("key_id") != carried.id or row.number("number") != version.number:
                raise Conflict("the id of a version is another's here")
            elif row.octets("public_key") != version.public_key or row.values["material_id"] != version.material_id:
                raise Conflict(f"version {version.number} of the key is another here")
            elif row.optional_octets("wrapped") is None:
                kept = {name: row.values[name] for name in ("revoked_at", "revocation_reason")}
                transaction.update(row, values | kept)
            if version.revoked_at is not None and version.revocation_reason is not None:
                revoke_version(transaction, version.id, version.revocation_reason, moment)
        for certificate in certificates:
            insert_certificate(transaction, certificate)

    def _write_update(
        self,
        transaction: SealedTransaction,
        carried: CarriedKey,
        key: SealedRow,
        under_way: SealedRow,
        regions: MultiRegion,
        serial: int,
    ) -> None:
        changes: dict[str, Value] = {"version_count": len(carried.versions), **_rotation(carried)}
        state = KeyState(key.text("state"))
        if state is KeyState.CREATING:
            changes["state"] = KeyState.ENABLED.value
        changes["multi_region"] = stored_multi_region(regions)
        key = transaction.update(key, changes)
        under_way = transaction.update(under_way, {"serial": serial})
        if under_way.optional_text("moving_to") == regions.primary_region:
            end_move(transaction, under_way, key, regions)


def _fixed(carried: CarriedKey) -> dict[str, Value]:
    return {
        "spec": carried.spec,
        "purpose": carried.purpose.value,
        "algorithm": carried.algorithm,
        "formats": stored_names(carried.formats),
        "settings": stored_settings(carried.settings),
        "published": int(carried.published),
        "protection": carried.protection.value,
        "origin": carried.origin.value,
        "domain": carried.domain,
    }


def _rotation(carried: CarriedKey) -> dict[str, Value]:
    rotation = carried.rotation
    return {
        "rotation_days": None if rotation is None else rotation.period_days,
        "rotation_at": None if rotation is None else stored_time(rotation.next_at),
    }


def _version(carried: CarriedKey, version: CarriedVersion) -> dict[str, Value]:
    reason = version.revocation_reason
    return {
        "key_id": carried.id,
        "number": version.number,
        "created_at": stored_time(version.created_at),
        "created_by": carried.multi_region.primary_region,
        "activate_at": stored_time(version.activate_at),
        "public_key": version.public_key,
        "domain_version": carried.domain_version,
        "wrapped": version.wrapped,
        "token_label": None,
        "revoked_at": optional_stored_time(version.revoked_at),
        "revocation_reason": None if reason is None else reason.value,
        "cause": version.cause.value,
        "material_id": version.material_id,
        "material_description": None,
        "expires_at": None,
    }
