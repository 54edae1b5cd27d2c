"""Group commit: many requests' rows in one durable transaction, without a thread of its own.

The first request to come while nobody commits leads: it takes the database's write lock, then gathers every row that is
waiting by then (later ones too: the batch is filled after the lock is held), writes and commits once, and wakes the
rest. One of those still waiting leads next. So a lone request pays no hand-over between threads, and a crowd shares
commits.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from keystore.errors import KeystoreError, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Table

    from keystore.db.engine import Database, Prepared, RawRow

Row = dict[str, Any]
Rows = tuple["Table", list[Row]]
_BATCH_LIMIT = 256


@dataclass(slots=True, eq=False)
class _Ticket:
    rows: Sequence[tuple[Prepared, list[RawRow]]]
    woken: threading.Lock = field(default_factory=threading.Lock)
    done: bool = False
    error: KeystoreError | None = None

    @property
    def statement(self) -> str:
        """The INSERT of its first rows."""
        return self.rows[0][0].sql


class GroupCommitter:
    """Writes rows durably, many callers at once."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._guard = threading.Lock()
        self._waiting: deque[_Ticket] = deque()
        self._led = False
        self._inserts: dict[str, tuple[Prepared, Callable[[Row], RawRow]]] = {}

    def commit(self, rows: Sequence[Rows]) -> None:
        """Returns once the rows are durable. Raises `StoreUnavailable` if they are not."""
        ticket = _Ticket([self._in_order(table, given) for table, given in rows])  # before anybody waits for it
        ticket.woken.acquire()
        with self._guard:
            self._waiting.append(ticket)
            leads = not self._led
            self._led = True
        if not leads:
            ticket.woken.acquire()  # released when the row is durable, or when it is this thread's turn to lead
        if not ticket.done:
            self._lead()
        if ticket.error is not None:
            raise StoreUnavailable(str(ticket.error)) from ticket.error

    def _lead(self) -> None:
        batch: list[_Ticket] = []
        error: KeystoreError | None = StoreUnavailable("the rows were not committed")
        try:
            with self._database.append() as append:
                batch = self._gather()
                merged = _merged(batch)
                for statement, rows in merged:
                    append(statement, rows, alone=len(merged) == 1)
            error = None
        except KeystoreError as fault:
            error = fault
        finally:
            # Whatever happened, nobody waits for ever and nobody takes an uncommitted row for a durable one.
            self._finish(batch or self._gather(), error)

    def _in_order(self, table: Table, rows: list[Row]) -> tuple[Prepared, list[RawRow]]:
        """The table's INSERT, compiled once, and the rows' values in its order."""
        known = self._inserts.get(table.name)
        if known is None:
            statement = self._database.prepare_insert(table)
            known = self._inserts[table.name] = statement, itemgetter(*statement.names)
        statement, values_of = known
        return statement, [values_of(row) for row in rows]

    def _gather(self) -> list[_Ticket]:
        """Those that wait for the same table as the first: one statement holds the database for a shorter time."""
        with self._guard:
            batch: list[_Ticket] = []
            others: list[_Ticket] = []
            first = self._waiting[0].statement
            for ticket in self._waiting:
                fits = ticket.statement == first and len(batch) < _BATCH_LIMIT
                (batch if fits else others).append(ticket)
            self._waiting = deque(others)
            return batch

    def _finish(self, batch: list[_Ticket], error: KeystoreError | None) -> None:
        for ticket in batch:
            ticket.error = error
            ticket.done = True
        with self._guard:
            next_leader = self._waiting[0] if self._waiting else None
            self._led = next_leader is not None
        for ticket in batch:
            ticket.woken.release()
        if next_leader is not None:
            next_leader.woken.release()


def _merged(batch: list[_Ticket]) -> list[tuple[Prepared, list[RawRow]]]:
    """All rows of each table together, in the order in which tables first appear."""
    by_table: dict[str, tuple[Prepared, list[RawRow]]] = {}
    for ticket in batch:
        for statement, rows in ticket.rows:
            by_table.setdefault(statement.sql, (statement, []))[1].extend(rows)
    return list(by_table.values())
