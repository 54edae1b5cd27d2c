"""Aliases as sealed rows: made, moved from one key to another, taken away. A key may have several.

A row stays when its alias names no key any more, so that its revisions go on: an older copy of it is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import func, select

from keystore.api import KeyState
from keystore.db.schema import ALIASES
from keystore.errors import Conflict, LimitExceeded, NotFound, Unsupported
from keystore.keys import KEY_ID_FORM, existing
from keystore.lifecycle import LABELLED_IN, require_state
from keystore.values import stored_time, time_of

if TYPE_CHECKING:
    from datetime import datetime

    from keystore.db.engine import Value
    from keystore.sealing import SealedRow
    from keystore.store import SealedStore
    from keystore.transactions import SealedTransaction

MOST_ALIASES: Final = 50  # of one key (AWS KMS Developer Guide, "Resource quotas")
ALIAS_FORM: Final = re.compile(r"[A-Za-z0-9/_-]{1,250}")
RESERVED: Final = "aws/"  # as in AWS: no caller's alias begins so


@dataclass(frozen=True, slots=True)
class AliasRecord:
    """An alias that names a key. `name` is without AWS's `alias/`; `created_at`: since when it names any key,
    `updated_at`: since when it names this one."""

    name: str
    key_id: str
    created_at: datetime
    updated_at: datetime


def check_alias(name: str) -> None:
    """Raises `Unsupported` for what no alias may be."""
    if not ALIAS_FORM.fullmatch(name) or KEY_ID_FORM.fullmatch(name):
        raise Unsupported("an alias is 1 to 250 of A-Z, a-z, 0-9, /, _ and -, not of an id's form", field="alias")
    if name.startswith(RESERVED):
        raise Unsupported(f"aliases that begin with {RESERVED} are reserved", field="alias")


class AliasRepository:
    """Reads and writes aliases."""

    def __init__(self, store: SealedStore) -> None:
        self._store = store

    def find_alias(self, name: str) -> AliasRecord | None:
        """The alias of this name, if it names a key."""
        row = self._store.get("aliases", name)
        return None if row is None else _alias(row)

    def list_aliases(self, after: str | None, limit: int) -> list[AliasRecord]:
        """Up to `limit` aliases by name, those beyond `after`. Fewer only where there are no more."""
        found: list[AliasRecord] = []
        while len(found) < limit:
            rows = self._store.select("aliases", after=after, limit=limit)
            found += [alias for row in rows if (alias := _alias(row)) is not None]
            if len(rows) < limit:
                break
            after = rows[-1].id
        return found[:limit]

    def list_aliases_of(self, key_id: str) -> list[AliasRecord]:
        """Every alias of a key, by name."""
        rows = self._store.select("aliases", {"key_id": key_id})
        return [alias for row in rows if (alias := _alias(row)) is not None]

    def create_alias(self, name: str, key_id: str, now: datetime) -> AliasRecord:
        """Give a key a further name.

        Raises: `Unsupported`; `Conflict` if it is taken; `NotFound`; `WrongState` for a key that is to be deleted;
        `LimitExceeded`.
        """
        check_alias(name)
        with self._store.transaction() as transaction:
            _require_labelled(transaction, key_id)
            _require_room(transaction, key_id)
            return _made(take_alias(transaction, name, key_id, now))

    def move_alias(self, name: str, from_key: str, to_key: str, now: datetime) -> AliasRecord:
        """Let an alias of one key name another one.

        Raises: `NotFound` if it does not name `from_key` (any more); `WrongState` if `to_key` is to be deleted;
        `LimitExceeded`.
        """
        with self._store.transaction() as transaction:
            row = _named(transaction, name, from_key)
            _require_labelled(transaction, to_key)
            if to_key == from_key:
                return _made(row)
            _require_room(transaction, to_key)
            return _made(transaction.update(row, {"key_id": to_key, "updated_at": stored_time(now)}))

    def delete_alias(self, name: str, key_id: str, now: datetime) -> None:
        """Take a name away from a key. Raises `NotFound` if it does not name it (any more)."""
        with self._store.transaction() as transaction:
            _free(transaction, _named(transaction, name, key_id), now)


def take_alias(transaction: SealedTransaction, name: str, key_id: str, now: datetime) -> SealedRow:
    """Let a free name name a key. Raises `Conflict` if it is taken."""
    named: dict[str, Value] = {"key_id": key_id, "created_at": stored_time(now), "updated_at": stored_time(now)}
    row = transaction.get("aliases", name)
    if row is None:
        return transaction.insert("aliases", name, named)
    if row.optional_text("key_id") is not None:
        raise Conflict("the alias is taken")
    return transaction.update(row, named)


def free_alias_of(transaction: SealedTransaction, name: str, key_id: str, now: datetime) -> None:
    """Let a name name nothing, in the transaction in which its key ends; unless it names another key by now."""
    row = existing(transaction, "aliases", name)
    if row.optional_text("key_id") == key_id:
        _free(transaction, row, now)


def _free(transaction: SealedTransaction, row: SealedRow, now: datetime) -> None:
    transaction.update(row, {"key_id": None, "updated_at": stored_time(now)})


def _named(transaction: SealedTransaction, name: str, key_id: str) -> SealedRow:
    row = transaction.get("aliases", name)
    if row is None or row.optional_text("key_id") != key_id:
        raise NotFound("there is no such alias of this key")
    return row


def _require_labelled(transaction: SealedTransaction, key_id: str) -> None:
    require_state(KeyState(existing(transaction, "keys", key_id).text("state")), LABELLED_IN)


def _require_room(transaction: SealedTransaction, key_id: str) -> None:
    counted = select(func.count()).select_from(ALIASES).where(ALIASES.c.key_id == key_id)
    if transaction.connection.execute(counted).scalar_one() >= MOST_ALIASES:
        raise LimitExceeded(f"the key has {MOST_ALIASES} aliases: take one away first")


def _alias(row: SealedRow) -> AliasRecord | None:
    return None if row.optional_text("key_id") is None else _made(row)


def _made(row: SealedRow) -> AliasRecord:
    return AliasRecord(row.id, row.text("key_id"), time_of(row.number("created_at")), time_of(row.number("updated_at")))
