"""Grants as sealed rows: made, found for a caller, retired and revoked. An ended grant stays, and never comes back.

A grant only ever allows. So a row that a hand on the database leaves out of a selection takes something away from its
grantee, and gives nobody anything; one that is changed, or brought back, is refused like any other row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import and_, func, literal_column, select

from keystore.access import GrantRecord, GrantState
from keystore.api import KeyState
from keystore.db.schema import GRANTS, SEALED_TABLES
from keystore.errors import LimitExceeded, NotFound, WrongState
from keystore.keys import existing
from keystore.queries import Join, parameter
from keystore.values import (
    members_of,
    names_of,
    optional_stored_time,
    optional_time_of,
    stored_json,
    stored_time,
    time_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keystore.access import Change
    from keystore.db.engine import Value
    from keystore.journal import Head
    from keystore.queries import Records
    from keystore.sealing import SealedRow
    from keystore.store import SealedStore
    from keystore.transactions import SealedTransaction

MAXIMUM_GRANTS: Final = 1_000  # active ones of a key
_EQUALS: Final = "context_equals"
_SUBSET: Final = "context_subset"


def _joins_of_caller() -> list[Join]:
    rows = SEALED_TABLES["grants"].table.alias()
    of_caller = and_(
        rows.c.key_id == parameter("key"),
        rows.c.state == literal_column("'active'"),
        rows.c.grantee == parameter("grantee"),
    )
    return [Join(SEALED_TABLES["grants"], rows, rows.c.id, of_caller)]


class GrantRepository:
    """Reads and writes grants."""

    def __init__(self, store: SealedStore) -> None:
        self._store = store
        self._grants_of_caller = store.query(_joins_of_caller, _grants_of)

    def grants_for(self, key_id: str, grantee: str) -> tuple[GrantRecord, ...]:
        """The active grants on a key for one principal, by id: one statement."""
        query = self._grants_of_caller
        return self._store.read(query, query.bind({"key": key_id, "grantee": grantee}))

    def find_grant(self, grant_id: str) -> GrantRecord | None:
        """The grant of this id, ended or not."""
        row = self._store.get("grants", grant_id)
        return None if row is None else _grant(row)

    def list_grants(
        self,
        key_id: str,
        after: str | None = None,
        limit: int = MAXIMUM_GRANTS,
        *,
        grantee: str | None = None,
        state: GrantState | None = GrantState.ACTIVE,
    ) -> list[GrantRecord]:
        """Up to `limit` grants on a key by id, those beyond the id `after`; of any state where that is None."""
        where: dict[str, Value] = {"key_id": key_id}
        if state is not None:
            where["state"] = state.value
        if grantee is not None:
            where["grantee"] = grantee
        return [_grant(row) for row in self._store.select("grants", where, after=after, limit=limit)]

    def list_grants_of(self, grantee: str) -> list[GrantRecord]:
        """Every active grant for a principal, by id."""
        where: dict[str, Value] = {"grantee": grantee, "state": GrantState.ACTIVE.value}
        return [_grant(row) for row in self._store.select("grants", where)]

    def list_retirable_grants(self, retiring: str, after: str | None, limit: int) -> list[GrantRecord]:
        """Up to `limit` active grants, on whatever keys, that this principal is to retire: by id, those beyond
        `after`."""
        where: dict[str, Value] = {"retiring": retiring, "state": GrantState.ACTIVE.value}
        return [_grant(row) for row in self._store.select("grants", where, after=after, limit=limit)]

    def create_grant(self, grant: GrantRecord, *, seen: Head | None = None) -> GrantRecord:
        """Store a new grant; where an active one has the same name and says the same, that one is returned instead.

        Raises: `NotFound`; `WrongState` for a key that is deleted and a grantee that is not enabled; `LimitExceeded`;
        `Overtaken`, with `seen`.
        """
        with self._store.transaction(seen=seen) as transaction:
            key = existing(transaction, "keys", grant.key_id)
            if key.text("state") == KeyState.DELETED.value:
                raise WrongState("the key is deleted")
            if existing(transaction, "principals", grant.grantee).text("state") != "enabled":
                raise WrongState("the grantee is not enabled")
            same = _same_grant(transaction, grant)
            if same is not None:
                return same
            active = select(func.count()).select_from(GRANTS)
            active = active.where(GRANTS.c.key_id == grant.key_id, GRANTS.c.state == GrantState.ACTIVE.value)
            if transaction.connection.execute(active).scalar_one() >= MAXIMUM_GRANTS:
                raise LimitExceeded(f"the key has {MAXIMUM_GRANTS} active grants: retire or revoke some first")
            transaction.insert("grants", grant.id, _values(grant))
        return grant

    def end_grant(self, key_id: str, grant_id: str, state: GrantState, change: Change) -> GrantRecord:
        """Retire or revoke an active grant on this key. Raises `NotFound` if there is none."""
        with self._store.transaction() as transaction:
            row = existing(transaction, "grants", grant_id)
            if row.text("key_id") != key_id or row.text("state") != GrantState.ACTIVE.value:
                raise NotFound("there is no such active grant on this key")
            return _grant(_end(transaction, row, state, change))


def end_grants_of(transaction: SealedTransaction, grantee: str, change: Change) -> None:
    """Revoke every active grant for a principal, in the transaction in which the principal ends."""
    found = select(GRANTS.c.id).where(GRANTS.c.grantee == grantee, GRANTS.c.state == GrantState.ACTIVE.value)
    for (grant_id,) in transaction.connection.execute(found).all():
        _end(transaction, existing(transaction, "grants", grant_id), GrantState.REVOKED, change)


def end_grants_on(transaction: SealedTransaction, key_id: str, change: Change) -> None:
    """Revoke every active grant on a key, in the transaction in which the key becomes another one's to give."""
    found = select(GRANTS.c.id).where(GRANTS.c.key_id == key_id, GRANTS.c.state == GrantState.ACTIVE.value)
    for (grant_id,) in transaction.connection.execute(found).all():
        _end(transaction, existing(transaction, "grants", grant_id), GrantState.REVOKED, change)


def _end(transaction: SealedTransaction, row: SealedRow, state: GrantState, change: Change) -> SealedRow:
    ended: dict[str, Value] = {"state": state.value, "ended_at": stored_time(change.at), "ended_by": change.by}
    return transaction.update(row, ended)


def _same_grant(transaction: SealedTransaction, grant: GrantRecord) -> GrantRecord | None:
    """An active grant of the same name that says the same (AWS KMS API Reference, CreateGrant, "Name")."""
    if grant.name is None:
        return None
    wanted = _values(grant)
    found = select(GRANTS.c.id).where(
        GRANTS.c.key_id == grant.key_id,
        GRANTS.c.state == GrantState.ACTIVE.value,
        GRANTS.c.grantee == grant.grantee,
        GRANTS.c.name == grant.name,
    )
    for (grant_id,) in transaction.connection.execute(found).all():
        row = existing(transaction, "grants", grant_id)
        if all(row.values[name] == wanted[name] for name in ("operations", "constraints", "retiring")):
            return _grant(row)
    return None


def _values(grant: GrantRecord) -> dict[str, Value]:
    return {
        "key_id": grant.key_id,
        "grantee": grant.grantee,
        "retiring": grant.retiring,
        "name": grant.name,
        "operations": stored_json(sorted(set(grant.operations))),
        "constraints": _stored_constraints(grant),
        "state": grant.state.value,
        "created_at": stored_time(grant.created_at),
        "created_by": grant.created_by,
        "ended_at": optional_stored_time(grant.ended_at),
        "ended_by": grant.ended_by,
    }


def _stored_constraints(grant: GrantRecord) -> str | None:
    constraints: dict[str, object] = {
        name: dict(context)
        for name, context in ((_EQUALS, grant.context_equals), (_SUBSET, grant.context_subset))
        if context is not None
    }
    return stored_json(constraints) if constraints else None


def _grants_of(records: Records) -> tuple[GrantRecord, ...]:
    found = (_grant(row) for (row,) in records if row is not None)
    return tuple(sorted(found, key=lambda grant: grant.id))


def _grant(row: SealedRow) -> GrantRecord:
    constraints = row.optional_text("constraints")
    members = {} if constraints is None else members_of(constraints)
    return GrantRecord(
        id=row.id,
        key_id=row.text("key_id"),
        grantee=row.text("grantee"),
        operations=names_of(row.text("operations")),
        created_at=time_of(row.number("created_at")),
        created_by=row.text("created_by"),
        context_equals=_context(members.get(_EQUALS)),
        context_subset=_context(members.get(_SUBSET)),
        retiring=row.optional_text("retiring"),
        name=row.optional_text("name"),
        state=GrantState(row.text("state")),
        ended_at=optional_time_of(row.optional_number("ended_at")),
        ended_by=row.optional_text("ended_by"),
    )


def _context(stored: object) -> Mapping[str, str] | None:
    return {str(name): str(value) for name, value in stored.items()} if isinstance(stored, dict) else None
