"""One transaction of sealed writes: each is sealed, journaled, and follows from a revision that its writer has seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import insert, select, update

from keystore.db.schema import ROW_JOURNAL, ROW_JOURNAL_HEAD, SEALED_TABLES
from keystore.errors import Conflict, IntegrityFailure
from keystore.journal import Head, JournalEntry, chain
from keystore.sealing import SealedRow, frozen

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection

    from keystore.db.engine import Value
    from keystore.db.schema import SealedTable
    from keystore.store import SealedStore


class SealedTransaction:
    """Made by `SealedStore.transaction`; not to be kept. `connection` runs other statements in the same transaction."""

    def __init__(self, store: SealedStore, connection: Connection) -> None:
        self.connection = connection
        self._store = store
        self._written: dict[tuple[str, str], SealedRow] = {}
        self._entries: list[JournalEntry] = []
        self._base = self._head = self._take_head()

    def _take_head(self) -> Head:
        """Lock the head's row where the database locks rows, and follow the journal to it."""
        head = ROW_JOURNAL_HEAD.c
        found = self.connection.execute(select(head.seq, head.link).where(head.id == 1).with_for_update()).one_or_none()
        if found is None:
            raise IntegrityFailure("row_journal_head: is missing")
        with self._store.journal.lock:
            self._store.journal.advance(found.seq, found.link, inside=self.connection)
            return self._store.journal.head

    def get(self, table: str, row_id: str) -> SealedRow | None:
        """The row as this transaction sees it, or None. Raises `IntegrityFailure`."""
        written = self._written.get((table, row_id))
        return written or self._store.get_inside(self.connection, table, row_id)

    def insert(self, table: str, row_id: str, values: Mapping[str, Value]) -> SealedRow:
        """Write a new row; `values` names every column. Raises `Conflict` if the id, or a unique value, is taken."""
        shape = SEALED_TABLES[table]
        row = self._seal(shape, row_id, 1, values, previous=0)
        self.connection.execute(
            insert(shape.table).values(id=row.id, revision=row.revision, seal=row.seal, **row.values)
        )
        return row

    def update(self, row: SealedRow, changes: Mapping[str, Value]) -> SealedRow:
        """Write the row's next revision. Raises `Conflict` if the row is no longer the one given."""
        shape = SEALED_TABLES[row.table]
        new = self._seal(shape, row.id, row.revision + 1, {**row.values, **changes}, previous=row.seq)
        columns = shape.table.c
        result = self.connection.execute(
            update(shape.table)
            .where(columns.id == row.id, columns.revision == row.revision, columns.seal == row.seal)
            .values(revision=new.revision, seal=new.seal, **new.values)
        )
        if result.rowcount != 1:
            raise Conflict(f"{row.table}/{row.id}: was changed by somebody else")
        return new

    def _seal(
        self, shape: SealedTable, row_id: str, revision: int, values: Mapping[str, Value], *, previous: int
    ) -> SealedRow:
        if set(values) != set(shape.columns):
            raise ValueError(f"{shape.name}: columns {sorted(set(values) ^ set(shape.columns))}")
        columns = tuple((name, values[name]) for name in shape.columns)
        seal = self._store.sealer.row(shape.name, row_id, revision, columns)
        seq = self._append(shape.name, row_id, revision, seal, previous) if shape.journaled else 0
        row = SealedRow(shape.name, row_id, revision, frozen(dict(columns)), seal, seq)
        self._written[shape.name, row_id] = row
        return row

    def _append(self, table: str, row_id: str, revision: int, seal: bytes, previous: int) -> int:
        seq = self._head.seq + 1
        link = chain(self._head.link, seq, table, row_id, revision, seal, previous)
        entry = JournalEntry(seq, table, row_id, revision, seal, previous, link, self._store.sealer.link(link))
        self._entries.append(entry)
        self._head = Head(seq, link)
        return seq

    def finish(self) -> None:
        """Write the journal's entries and move its head, just before the commit. Raises `Conflict`."""
        if not self._entries:
            return
        self.connection.execute(insert(ROW_JOURNAL), [entry._asdict() for entry in self._entries])
        head = ROW_JOURNAL_HEAD.c
        moved = self.connection.execute(
            update(ROW_JOURNAL_HEAD)
            .where(head.id == 1, head.seq == self._base.seq, head.link == self._base.link)
            .values(seq=self._head.seq, link=self._head.link)
        )
        if moved.rowcount != 1:
            raise Conflict("row_journal_head: was moved by somebody else")
