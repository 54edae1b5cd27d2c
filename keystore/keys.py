"""Keys as rows: one statement reads a key with its alias, policy and versions; small writes change them.

Knows nothing of the HSM beyond the names by which a backing key is reached.
"""

from __future__ import annotations

import re
import uuid
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from sqlalchemy import ColumnElement, literal_column

from keystore.algorithms import Origin, Protection, Purpose, use_of
from keystore.api import BackingKey, Key, KeyPolicy, KeyState, KeyVersion, RevocationReason, Storage, VersionCause
from keystore.approvals import rule_of
from keystore.db.schema import SEALED_TABLES
from keystore.errors import Conflict, IntegrityFailure, NotFound, Unsupported
from keystore.history import key_subject, record_version
from keystore.queries import Join, join, parameter
from keystore.sealing import SealedRow
from keystore.values import (
    multi_region_of,
    names_of,
    optional_time_of,
    rotation_of,
    settings_of,
    tags_of,
    time_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keystore.access import Change
    from keystore.journal import Head
    from keystore.queries import Records, SealedQuery
    from keystore.store import SealedStore
    from keystore.transactions import SealedTransaction

SOFTWARE_TAG: Final = {"sealmark:protection": "software"}  # of every key whose private half is used in this process
UUID_FORM: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
MULTI_REGION_FORM: Final = re.compile(r"mrk-[0-9a-f]{32}")  # as AWS KMS forms them: not a UUID
KEY_ID_FORM: Final = re.compile(rf"{UUID_FORM.pattern}|{MULTI_REGION_FORM.pattern}")


def domain_label(domain: str, version: int) -> str:
    """The label of a domain key's token object."""
    return f"domain/{domain}/{version}"


class KeyRepository:
    """Reads keys. Every method raises `IntegrityFailure`, `StoreUnavailable` and `HsmUnavailable` besides its own."""

    def __init__(self, store: SealedStore) -> None:
        self._store = store
        self._by_id: SealedQuery[Key | None] = store.query(_joins_by_id, _key_of)
        self._by_alias: SealedQuery[Key | None] = store.query(_joins_by_alias, _key_of)

    def get_key(self, reference: str) -> Key:
        """The key of this id or alias. Raises `NotFound`."""
        query = self._by_id if KEY_ID_FORM.fullmatch(reference) else self._by_alias
        key = self._store.read(query, (reference,) * len(query.names))
        if key is None:
            raise NotFound("there is no such key")
        return key

    def list_keys(self, after: str | None, limit: int) -> list[Key]:
        """Up to `limit` keys by id, those beyond the id `after`, deleted ones too."""
        return [self.get_key(row.id) for row in self._store.select("keys", after=after, limit=limit)]

    def find_keys_by_purpose(self, purpose: Purpose) -> list[Key]:
        """Every key of this purpose by id, deleted ones too."""
        return [self.get_key(row.id) for row in self._store.select("keys", {"purpose": purpose.value})]

    def list_policies(self, after: str | None, limit: int) -> list[tuple[str, str]]:
        """(key's id, its policy's text) of up to `limit` keys by id, beyond the id `after`; of deleted keys too."""
        return [(row.id, row.text("document")) for row in self._store.select("policies", after=after, limit=limit)]

    def set_policy(
        self, key_id: str, document: str, change: Change, *, revision: int | None = None, seen: Head | None = None
    ) -> Key:
        """Replace a key's policy, and keep the new version in its history.

        Raises: `NotFound`; `Conflict` if it is not at `revision`, where that is given; `Overtaken`, with `seen`.
        """
        with self._store.transaction(seen=seen) as transaction:
            row = existing(transaction, "policies", key_id)
            if revision is not None and row.revision != revision:
                raise Conflict(f"the policy is at revision {row.revision}, not {revision}")
            replaced = transaction.update(row, {"document": document})
            record_version(transaction, key_subject(key_id), replaced.revision, document, change)
        return self.get_key(key_id)


def new_key_id(*, multi_region: bool = False) -> str:
    """An id that no key has."""
    return f"mrk-{uuid.uuid4().hex}" if multi_region else str(uuid.uuid4())


def existing(transaction: SealedTransaction, table: str, row_id: str) -> SealedRow:
    """The row, in a transaction. Raises `NotFound`."""
    row = transaction.get(table, row_id)
    if row is None:
        raise NotFound(f"there is no such row in {table}")
    return row


def require_primary_here(transaction: SealedTransaction, key: SealedRow) -> None:
    """Raises `Unsupported` for a replica: what is the same in all regions of a key is changed on its primary key."""
    regions = multi_region_of(key.optional_text("multi_region"))
    if regions is None or regions.primary_region == existing(transaction, "deployment", "deployment").text("region"):
        return
    raise Unsupported(f"this is a replica: its primary key in {regions.primary_region} is what is rotated", field="key")


def _joins_by_id() -> list[Join]:
    key_id = parameter("key")
    alias = SEALED_TABLES["aliases"].table.alias()
    return [*_joins_of_key(key_id), Join(SEALED_TABLES["aliases"], alias, alias.c.id, alias.c.key_id == key_id)]


def _joins_by_alias() -> list[Join]:
    alias, other = SEALED_TABLES["aliases"].table.alias(), SEALED_TABLES["aliases"].table.alias()
    name = parameter("key")
    return [
        Join(SEALED_TABLES["aliases"], alias, name, alias.c.id == name),
        *_joins_of_key(alias.c.key_id),
        Join(SEALED_TABLES["aliases"], other, other.c.id, other.c.key_id == alias.c.key_id),
    ]


def _joins_of_key(key_id: ColumnElement[str]) -> list[Join]:
    version = SEALED_TABLES["key_versions"].table.alias()
    return [
        join("deployment", literal_column("'deployment'")),
        join("keys", key_id),
        join("policies", key_id),
        join("approval_rules", key_id),
        Join(SEALED_TABLES["key_versions"], version, version.c.id, version.c.key_id == key_id),
    ]


def _key_of(records: Records) -> Key | None:
    """The key whose rows these are, whatever their order; None if there is none."""
    found: dict[str, dict[str, SealedRow]] = {}
    for record in records:
        for row in record:
            if row is not None:
                found.setdefault(row.table, {})[row.id] = row
    if "keys" not in found:
        return None
    (key,) = found["keys"].values()
    versions = sorted(found.get("key_versions", {}).values(), key=lambda row: row.number("number"))
    if [row.number("number") for row in versions] != list(range(1, key.number("version_count") + 1)):
        raise IntegrityFailure(f"keys/{key.id}: not all of its versions are there")
    if "policies" not in found or "deployment" not in found:
        raise IntegrityFailure(f"keys/{key.id}: the policy or the deployment is missing")
    (policy,) = found["policies"].values()
    (deployment,) = found["deployment"].values()
    aliases = sorted(found.get("aliases", {}).values(), key=lambda row: row.id)
    return _assemble(key, policy, found.get("approval_rules", {}).get(key.id), deployment, aliases, versions)


def _assemble(
    key: SealedRow,
    policy: SealedRow,
    rule: SealedRow | None,
    deployment: SealedRow,
    aliases: list[SealedRow],
    versions: list[SealedRow],
) -> Key:
    region, account = deployment.text("region"), deployment.text("account")
    return Key(
        id=key.id,
        arn=f"arn:aws:kms:{region}:{account}:key/{key.id}",
        alias=_main_alias(aliases),
        spec=key.text("spec"),
        purpose=Purpose(key.text("purpose")),
        algorithm=key.text("algorithm"),
        formats=names_of(key.text("formats")),
        settings=settings_of(key.optional_text("settings")),
        domain=key.text("domain"),
        storage=Storage(key.text("storage")),
        state=KeyState(key.text("state")),
        description=key.text("description"),
        published=bool(key.number("published")),
        created_at=time_of(key.number("created_at")),
        created_by=key.text("created_by"),
        deletion_at=optional_time_of(key.optional_number("deletion_at")),
        policy=_policy_of(policy),
        versions=tuple(version_of(row, key) for row in versions),
        approval_rule=rule_of(rule),
        protection=Protection(key.text("protection")),
        origin=Origin(key.text("origin")),
        aliases=tuple(row.id for row in aliases),
        tags=_tags_of(key),
        rotation=rotation_of(key.optional_number("rotation_days"), key.optional_number("rotation_at")),
        multi_region=multi_region_of(key.optional_text("multi_region")),
    )


def _main_alias(aliases: list[SealedRow]) -> str | None:
    """The one that has named the key for the longest, among those that fit into a path of the HTTP API: a further one
    changes nothing of how the key is called where it has one name only."""
    fitting = [(row.number("updated_at"), row.id) for row in aliases if "/" not in row.id]
    return min(fitting)[1] if fitting else None


def _tags_of(key: SealedRow) -> Mapping[str, str]:
    """Its own, and what the service says of it where nobody can take it away."""
    tags = tags_of(key.text("tags"))
    if key.text("protection") != Protection.SOFTWARE.value:
        return tags
    return MappingProxyType({**tags, **SOFTWARE_TAG})


def _policy_of(row: SealedRow) -> KeyPolicy:
    return KeyPolicy(row.text("document"), row.revision)


def version_of(row: SealedRow, key: SealedRow) -> KeyVersion:
    """A version of a key. One that was deleted has a backing key with nothing in it."""
    wrapped = row.optional_octets("wrapped")
    label = None if wrapped is None else domain_label(key.text("domain"), row.number("domain_version"))
    reason = row.optional_text("revocation_reason")
    return KeyVersion(
        id=row.id,
        key_id=key.id,
        number=row.number("number"),
        created_at=time_of(row.number("created_at")),
        activate_at=time_of(row.number("activate_at")),
        public_key=row.octets("public_key"),
        backing=BackingKey(
            row.id,
            key.text("spec"),
            label,
            wrapped,
            row.optional_text("token_label"),
            use_of(Purpose(key.text("purpose"))),
            Protection(key.text("protection")),
        ),
        revoked_at=optional_time_of(row.optional_number("revoked_at")),
        revocation_reason=None if reason is None else RevocationReason(reason),
        material_id=row.optional_text("material_id"),
        expires_at=optional_time_of(row.optional_number("expires_at")),
        cause=VersionCause(row.text("cause")),
        material_description=row.optional_text("material_description"),
    )
