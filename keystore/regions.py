"""The primary side of multi-region keys: which regions have a key, which are to have it, and what each was told.

A step that two deployments take together is begun in a row here, taken there, and ended in the row: whatever is cut off
between is seen in the row and gone on with (`signer.regions`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from keystore.algorithms import KEY_SPECS, MAC_ALGORITHMS, KeyKind, Origin, algorithms_for
from keystore.api import BackingKey, KeyState, MultiRegion
from keystore.carried import CarriedKey, CarriedVersion, Replication
from keystore.errors import Conflict, Unsupported, WrongState
from keystore.hsm.labels import parse_domain_label
from keystore.keys import existing
from keystore.lifecycle import deletion_time, require_state
from keystore.sealing import encode_field
from keystore.values import (
    members_of,
    multi_region_of,
    names_of,
    stored_json,
    stored_multi_region,
    stored_names,
    stored_time,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from keystore.algorithms import Purpose
    from keystore.api import HardwareToken, Key, KeyVersion, NewKey
    from keystore.clock import Clock
    from keystore.db.engine import Value
    from keystore.keys import KeyRepository
    from keystore.sealing import SealedRow
    from keystore.store import SealedStore
    from keystore.transactions import SealedTransaction

NOTHING_UNDER_WAY: Final[Mapping[str, Value]] = {
    "serial": 0,
    "making": "[]",
    "moving_to": None,
    "deletion_days": None,
    "sent": "{}",
    "owes_notice": 0,
}
_STATEMENT: Final = b"sealmark replica statement v1"
_CHECK: Final = b"sealmark replica check v1"
IMPORTED: Final = "the material of this key is imported: it is not carried from region to region"
_NOT_ONE: Final = "the key is not a multi-region key: that is decided when a key is made"
_ONLY_ENABLED: Final = frozenset({KeyState.ENABLED})


def is_primary(key: Key, region: str) -> bool:
    """Whether a key of several regions is the one that changes are made on. A key of one region is not."""
    return key.multi_region is not None and key.multi_region.primary_region == region


def arn_in(arn: str, region: str) -> str:
    """The ARN of the same key in another region."""
    parts = arn.split(":")
    return ":".join([*parts[:3], region, *parts[4:]])


def may_be_rotated(key: Key, region: str) -> bool:
    """Whether it is not a replica, and stays what it is."""
    return (key.multi_region is None or is_primary(key, region)) and key.state is not KeyState.UPDATING


def require_primary(key: Key, region: str) -> None:
    """Raises `Unsupported` for a replica: its material, and when it is rotated, is its primary key's; `WrongState`
    while the primary region changes."""
    if key.multi_region is not None and not is_primary(key, region):
        msg = f"this is a replica: its primary key in {key.multi_region.primary_region} is what is rotated"
        raise Unsupported(msg, field="key")
    if key.state is KeyState.UPDATING:
        raise WrongState("the key's primary region is changing")


def check_of(token: HardwareToken, purpose: Purpose, backing: BackingKey, version_id: str) -> bytes:
    """The answer of an HMAC key to a question that no caller can ask: it tells the material of this very version."""
    algorithm = MAC_ALGORITHMS[algorithms_for(purpose, backing.spec)[0]]
    return token.mac(backing, algorithm, encode_field(_CHECK) + version_id.encode())


class Regions:
    """One per keystore. Every method raises `IntegrityFailure`, `StoreUnavailable` and `HsmUnavailable` besides its
    own, and `Unsupported` for a key that is not one of several regions."""

    def __init__(
        self, token: HardwareToken, store: SealedStore, keys: KeyRepository, region: str, clock: Clock
    ) -> None:
        self._token = token
        self._store = store
        self._keys = keys
        self._region = region
        self._clock = clock
        # Who tells the replicas of a version that somebody asked for, set by the service.
        self.on_new_version: Callable[[str], None] = _nobody

    def sealed(self, domain: str, statement: bytes) -> bytes:
        """The link key's seal over what one region says to another."""
        return self._token.link_seal(domain, encode_field(_STATEMENT) + encode_field(statement))

    def as_new(self, new: NewKey) -> NewKey:
        """A multi-region key about to be made: primary here, in the one domain of such keys unless one is named.

        Raises: `Unsupported`.
        """
        domain = new.domain
        if domain == "default":
            found = [row.id for row in self._store.select("domains") if row.optional_text("home_region") is not None]
            if len(found) != 1:
                what = "there is no domain" if not found else f"there are {len(found)} domains"
                msg = f"{what} of multi-region keys: a ceremony makes one (domain create NAME --multi-region); name it"
                raise Unsupported(msg, field="domain")
            (domain,) = found
        return replace(new, domain=domain, multi_region=MultiRegion(self._region))

    def get(self, key_id: str) -> Replication:
        """What is under way about a key. Raises: `Unsupported`."""
        row = self._store.get("replications", key_id)
        if row is None:
            raise Unsupported(_NOT_ONE, field="key")
        return _replication(row)

    def every(self) -> Iterator[Replication]:
        """Of every multi-region key, by id."""
        for row in self._store.select("replications"):
            yield _replication(row)

    def begin(self, key_id: str, region: str) -> None:
        """A replica is being made there. Raises: `Unsupported`, `WrongState`; `Conflict` if one is there."""
        with self._store.transaction() as transaction:
            row, key = self._primary(transaction, key_id)
            if key.text("origin") == Origin.EXTERNAL.value:
                raise Unsupported(IMPORTED, field="key")
            require_state(KeyState(key.text("state")), _ONLY_ENABLED)
            if region in _multi_region(key).replicas or region == self._region:
                raise Conflict(f"the key is in {region} already")
            under_way = _replication(row)
            if region not in under_way.making:
                transaction.update(row, {"making": stored_names((*under_way.making, region))})

    def made(self, key_id: str, region: str) -> None:
        """The replica is there. One that was made already is no error."""
        with self._store.transaction() as transaction:
            row, key = self._primary(transaction, key_id)
            under_way, regions = _replication(row), _multi_region(key)
            if region in under_way.making:
                making = tuple(each for each in under_way.making if each != region)
                transaction.update(row, {"making": stored_names(making)})
            if region not in regions.replicas:
                _set_regions(transaction, key, replace(regions, replicas=tuple(sorted({*regions.replicas, region}))))

    def forget(self, key_id: str, region: str, serial: int | None = None) -> None:
        """There is no replica there (any more). The last one to go lets the primary key's own deletion begin.

        `serial` is that of the region's own word. Raises: `Conflict` for one that was overtaken by another replica.
        """
        with self._store.transaction() as transaction:
            row, key = self._primary(transaction, key_id)
            under_way, regions = _replication(row), _multi_region(key)
            if serial is not None and serial <= under_way.sent.get(region, (0, ""))[0]:
                raise Conflict("a later replica of the key was made there")
            making = tuple(each for each in under_way.making if each != region)
            left = tuple(each for each in regions.replicas if each != region)
            sent = {name: told for name, told in under_way.sent.items() if name != region}
            changes: dict[str, Value] = {"making": stored_names(making), "sent": _stored_sent(sent)}
            changes["serial"] = max(under_way.serial, serial or 0)  # the next statement is later than that word
            if left != regions.replicas:
                key = _set_regions(transaction, key, replace(regions, replicas=left))
            if key.text("state") == KeyState.PENDING_REPLICA_DELETION.value and not left and not making:
                days = under_way.deletion_days or 0
                moment = stored_time(deletion_time(self._clock(), days))
                transaction.update(key, {"state": KeyState.PENDING_DELETION.value, "deletion_at": moment})
                changes["deletion_days"] = None
            transaction.update(row, changes)

    def begin_move(self, key_id: str, region: str) -> None:
        """From now on that region is becoming the primary one; uses of the key go on. Raises: `Unsupported`,
        `WrongState`, `Conflict` where no replica is."""
        with self._store.transaction() as transaction:
            row, key = self._primary(transaction, key_id)
            under_way = _replication(row)
            if under_way.moving_to == region:
                return
            require_state(KeyState(key.text("state")), _ONLY_ENABLED)
            if region not in _multi_region(key).replicas:
                raise Conflict(f"there is no replica of the key in {region}")
            if under_way.making:
                raise WrongState("a replica of the key is being made")
            transaction.update(row, {"moving_to": region})
            transaction.update(key, {"state": KeyState.UPDATING.value})

    def moved(self, key_id: str) -> None:
        """The other region has become the primary one: here is a replica from now on."""
        with self._store.transaction() as transaction:
            row, key = self._multi_region_key(transaction, key_id)
            under_way, regions = _replication(row), _multi_region(key)
            if under_way.moving_to is None:
                return  # the new primary region has said so itself meanwhile
            end_move(transaction, row, key, swapped(regions, under_way.moving_to))

    def stay(self, key_id: str) -> None:
        """The other region has refused: here the primary key stays."""
        with self._store.transaction() as transaction:
            row, key = self._multi_region_key(transaction, key_id)
            if _replication(row).moving_to is not None:
                end_move(transaction, row, key, _multi_region(key))

    def next_serial(self, key_id: str) -> int:
        """The number of the next statement about the key: no region takes an older one after it."""
        with self._store.transaction() as transaction:
            row, _ = self._multi_region_key(transaction, key_id)
            serial = row.number("serial") + 1
            transaction.update(row, {"serial": serial})
            return serial

    def told(self, key_id: str, region: str, serial: int, digest: str) -> None:
        """A region has taken the statement of this number, about what the digest is of."""
        with self._store.transaction() as transaction:
            row, _ = self._multi_region_key(transaction, key_id)
            sent = _replication(row).sent
            if serial > sent.get(region, (0, ""))[0]:
                transaction.update(row, {"sent": _stored_sent({**sent, region: (serial, digest)})})

    def noticed(self, key_id: str) -> None:
        """The primary region knows that the replica here is gone."""
        with self._store.transaction() as transaction:
            row, _ = self._multi_region_key(transaction, key_id)
            transaction.update(row, {"owes_notice": 0})

    def hold_deletion(self, key_id: str, days: int) -> bool:
        """Whether the key's deletion has to wait for its replicas': it is noted then. Raises: `NotFound`."""
        with self._store.transaction() as transaction:
            row, key = transaction.get("replications", key_id), existing(transaction, "keys", key_id)
            if row is None or _multi_region(key).primary_region != self._region:
                return False
            if not _multi_region(key).replicas and not _replication(row).making:
                return False
            require_state(KeyState(key.text("state")), frozenset({KeyState.ENABLED, KeyState.DISABLED}))
            transaction.update(row, {"deletion_days": days})
            transaction.update(key, {"state": KeyState.PENDING_REPLICA_DELETION.value})
            return True

    def carried(self, key: Key) -> CarriedKey:
        """The key as another region is to have it. Raises: `WrongState` while its domain's key is being rotated."""
        if key.multi_region is None:
            raise Unsupported(_NOT_ONE, field="key")
        labels = {version.backing.domain_label for version in key.versions}
        found = parse_domain_label(next(iter(labels)) or "") if len(labels) == 1 else None
        if found is None:
            raise WrongState(f"the key of domain {key.domain!r} is being rotated: the key is carried when that is done")
        return CarriedKey(
            id=key.id,
            spec=key.spec,
            purpose=key.purpose,
            algorithm=key.algorithm,
            formats=key.formats,
            settings=key.settings,
            published=key.published,
            protection=key.protection,
            origin=key.origin,
            domain=key.domain,
            domain_version=found[1],
            rotation=key.rotation,
            multi_region=key.multi_region,
            versions=tuple(self._carried_version(key, version) for version in key.versions),
        )

    def _carried_version(self, key: Key, version: KeyVersion) -> CarriedVersion:
        if version.backing.wrapped is None or version.backing.domain_label is None:
            raise WrongState(f"version {version.number} of the key has no material that could be carried")
        mac = KEY_SPECS[key.spec].kind is KeyKind.HMAC
        return CarriedVersion(
            id=version.id,
            number=version.number,
            created_at=version.created_at,
            activate_at=version.activate_at,
            public_key=version.public_key,
            wrapped=version.backing.wrapped,
            cause=version.cause,
            material_id=version.material_id,
            check=check_of(self._token, key.purpose, version.backing, version.id) if mac else None,
            revoked_at=version.revoked_at,
            revocation_reason=version.revocation_reason,
        )

    def _primary(self, transaction: SealedTransaction, key_id: str) -> tuple[SealedRow, SealedRow]:
        row, key = self._multi_region_key(transaction, key_id)
        primary = _multi_region(key).primary_region
        if primary != self._region:
            raise Unsupported(f"this is a replica: its primary key is in {primary}", field="key")
        return row, key

    @staticmethod
    def _multi_region_key(transaction: SealedTransaction, key_id: str) -> tuple[SealedRow, SealedRow]:
        row = transaction.get("replications", key_id)
        if row is None:
            raise Unsupported(_NOT_ONE, field="key")
        return row, existing(transaction, "keys", key_id)


def _nobody(_key_id: str) -> None:
    """Who waits for the service's upkeep."""


def swapped(regions: MultiRegion, primary: str) -> MultiRegion:
    """The same regions with another one as the primary."""
    others = {regions.primary_region, *regions.replicas} - {primary}
    return MultiRegion(primary, tuple(sorted(others)))


def end_move(transaction: SealedTransaction, row: SealedRow, key: SealedRow, regions: MultiRegion) -> None:
    """What began with `Regions.begin_move` is over, one way or the other."""
    transaction.update(row, {"moving_to": None, "sent": "{}"})
    changes: dict[str, Value] = {"multi_region": stored_multi_region(regions)}
    if key.text("state") == KeyState.UPDATING.value:
        changes["state"] = KeyState.ENABLED.value
    transaction.update(key, changes)


def _set_regions(transaction: SealedTransaction, key: SealedRow, regions: MultiRegion) -> SealedRow:
    return transaction.update(key, {"multi_region": stored_multi_region(regions)})


def _multi_region(key: SealedRow) -> MultiRegion:
    regions = multi_region_of(key.optional_text("multi_region"))
    if regions is None:
        raise Unsupported(_NOT_ONE, field="key")
    return regions


def _replication(row: SealedRow) -> Replication:
    return Replication(
        key_id=row.id,
        serial=row.number("serial"),
        making=names_of(row.text("making")),
        moving_to=row.optional_text("moving_to"),
        deletion_days=row.optional_number("deletion_days"),
        sent=_sent(row.text("sent")),
        owes_notice=bool(row.number("owes_notice")),
    )


def _stored_sent(sent: Mapping[str, tuple[int, str]]) -> str:
    return stored_json({region: f"{serial}:{digest}" for region, (serial, digest) in sent.items()})


def _sent(stored: str) -> dict[str, tuple[int, str]]:
    told = {region: str(text).partition(":") for region, text in members_of(stored).items()}
    return {region: (int(serial), digest) for region, (serial, _, digest) in told.items()}
