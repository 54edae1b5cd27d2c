"""Rows of plain tables, written in groups: intents and epochs. Leaves of the log go through `sequencer`."""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Any

from keystore.errors import KeystoreError, StoreUnavailable
from signer.audit.groups import Groups

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Table

    from keystore.db.engine import Database, Prepared, RawRow

Row = dict[str, Any]
_GROUP_LIMIT = 256
LOCK_SECONDS = 1.1  # whoever cannot write within that is told so, well within two seconds
_Insert = tuple["Prepared", list["RawRow"]]


class GroupCommitter:
    """Writes rows durably, many callers at once."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._inserts: dict[str, tuple[Prepared, Callable[[Row], RawRow]]] = {}
        # One statement for a table holds the database for a shorter time than a transaction over several.
        self._groups: Groups[_Insert, bool] = Groups(
            self._write, name="intents", limit=_GROUP_LIMIT, together=_same_table
        )

    def commit(self, table: Table, rows: Sequence[Row]) -> None:
        """Returns once the rows are durable. Raises `StoreUnavailable` if they are not."""
        insert = self._in_order(table, rows)  # before anybody waits for it
        try:
            self._groups.submit(insert)
        except StoreUnavailable:
            raise
        except KeystoreError as fault:
            raise StoreUnavailable(str(fault)) from fault

    def _write(self, gather: Callable[[], list[_Insert]]) -> Callable[[], Sequence[bool]]:
        with self._database.append(LOCK_SECONDS) as append:
            group = gather()
            append(group[0][0], [row for _, rows in group for row in rows], alone=True)
        return lambda: [True] * len(group)

    def _in_order(self, table: Table, rows: Sequence[Row]) -> _Insert:
        """The table's INSERT, compiled once, and the rows' values in its order."""
        known = self._inserts.get(table.name)
        if known is None:
            statement = self._database.prepare_insert(table)
            known = self._inserts[table.name] = statement, itemgetter(*statement.names)
        statement, values_of = known
        return statement, [values_of(row) for row in rows]


def _same_table(first: _Insert, other: _Insert) -> bool:
    return first[0].sql == other[0].sql
