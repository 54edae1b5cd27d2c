"""The store of sealed rows: every read is checked, every write is sealed and journaled.

A row is used only if the HSM's seal fits its values AND its newest journal entry holds the same revision and seal, on a
chain that this process has followed since it started; otherwise `IntegrityFailure`, which names the row. A result that
was checked once is used again only while every octet that is read is the same, so that an edit is caught at next use.
What it cannot see: rows left out of a selection (`select`), and a database put back as a whole.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from sqlalchemy import bindparam, func, select

from keystore.db.schema import DEPLOYMENT, ROW_JOURNAL, ROW_JOURNAL_HEAD, SEALED_TABLES
from keystore.errors import IntegrityFailure, NotFound, Overtaken
from keystore.journal import Journal
from keystore.journal_snapshots import keep, resume
from keystore.queries import HEAD_WIDTH, BoundedCache, Verified, compile_page, compile_query, row_by_id, width
from keystore.sealing import SealedRow, Sealer, frozen
from keystore.transactions import SealedTransaction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from sqlalchemy import Connection

    from keystore.db.engine import Database, RawRow, Value
    from keystore.db.schema import SealedTable
    from keystore.journal import Head
    from keystore.queries import Joins, Records, SealedQuery

T = TypeVar("T")

_LAST_ENTRY: Final = select(
    ROW_JOURNAL_HEAD.c.seq, ROW_JOURNAL_HEAD.c.link, select(func.max(ROW_JOURNAL.c.seq)).scalar_subquery()
)
_JOURNALED_IDS: Final = select(ROW_JOURNAL.c.row_id).distinct().where(ROW_JOURNAL.c.table_name == bindparam("table"))
# Whatever decides who may do what: a check over these holds until one of their rows is written.
ACCESS_TABLES: Final = ("principals", "policies", "principal_policies", "grants")
ATTEMPTS: Final = 10  # at a change that others overtake
SNAPSHOT_ENTRIES: Final = 5_000  # that were followed when a store was made: some 50 ms
CACHE_SIZE: Final = 8_192  # checked rows remembered per process, and results per query


class SealedStore:
    """The sealed tables of one database, safe to use from many threads.

    Making one follows the journal from the last snapshot on. Raises: `IntegrityFailure`, `StoreUnavailable`,
    `HsmUnavailable`.
    """

    def __init__(self, database: Database, sealer: Sealer, *, cache_size: int = CACHE_SIZE) -> None:
        self.database = database
        self.sealer = sealer
        self.journal = Journal(database, sealer)
        begun = resume(self.journal, database, sealer)
        self._cache_size = cache_size
        self._verified: BoundedCache[tuple[str, Value], RawRow] = BoundedCache(cache_size)
        self._by_id: dict[str, SealedQuery[SealedRow | None]] = {}
        self._pages: dict[tuple[str, str, bool, tuple[str, ...]], SealedQuery[Records]] = {}
        self._last_entry = database.prepare(_LAST_ENTRY)
        self._journaled_ids = database.prepare(_JOURNALED_IDS)
        self._local = threading.local()
        self._check_head()
        if self.journal.head.seq - begun >= SNAPSHOT_ENTRIES:
            keep(self.journal, database, sealer)

    def query(self, joins: Joins, build: Callable[[Records], T]) -> SealedQuery[T]:
        """A query over several tables for `read`. `build` depends on the rows alone, `joins` on the schema alone."""
        return compile_query(self.database, joins, build, capacity=self._cache_size)

    def get(self, table: str, row_id: str) -> SealedRow | None:
        """The row of this id, or None if there never was one."""
        query = self._query_by_id(table)
        return self.read(query, (row_id,) * len(query.names))

    @contextmanager
    def moment(self) -> Iterator[None]:
        """Within the block this thread reads nothing twice: what `read` gave is given again, until it writes itself.

        For several requests that had all come before the block began: what is read in it is no older than any of them.
        """
        self._local.moment = {}
        try:
            yield
        finally:
            self._local.moment = None

    def read(self, query: SealedQuery[T], parameters: RawRow) -> T:
        """Run a query and return what its `build` makes of the checked rows."""
        moment: dict[tuple[int, RawRow], Any] | None = getattr(self._local, "moment", None)
        if moment is None:
            return self._read(query, parameters)
        known = moment.get((id(query), parameters), moment)
        if known is moment:
            known = moment[id(query), parameters] = self._read(query, parameters)
        return cast("T", known)

    def _read(self, query: SealedQuery[T], parameters: RawRow) -> T:
        rows = self.database.fetch(query.sql, parameters)
        known = query.cache.get(parameters)
        if known is not None and known.head is self.journal.head and known.rows == rows:
            return known.value
        if self._shows_nothing(rows):
            return query.build(self._check(query.tables, rows)[0])
        return self._read_checked(query, parameters)

    def _shows_nothing(self, rows: list[RawRow]) -> bool:
        """Whether there is no row and no journal entry of one, at the head that is followed already.

        What is not there is then read as quickly as what is known: one statement, no lock.
        """
        return (
            bool(rows)
            and rows[0][:HEAD_WIDTH] == self.journal.head
            and all(value is None for row in rows for value in row[HEAD_WIDTH:])
        )

    def select(
        self,
        table: str,
        where: Mapping[str, Value] | None = None,
        *,
        order: str = "id",
        after: Value = None,
        limit: int | None = None,
    ) -> list[SealedRow]:
        """The rows whose columns have these values, by `order`; with `limit`, those whose `order` is beyond `after`."""
        where = where or {}
        paged = limit is not None
        shape = (table, order, paged, tuple(where))
        query = self._pages.get(shape)
        if query is None:
            query = compile_page(self.database, SEALED_TABLES[table], tuple(where), order, page=paged)
            self._pages[shape] = query
        first: Value = "" if after is None else after
        records = self._read_checked(query, query.bind({**where, "after": first, "limit": limit, "offset": 0}))
        return [row for (row,) in records if row is not None]

    @contextmanager
    def transaction(self, *, seen: Head | None = None) -> Iterator[SealedTransaction]:
        """One durable transaction of sealed writes, alone among writers. Raises `Conflict`, `StoreUnavailable`.

        With `seen`, what `head` gave before something was checked: raises `Overtaken` if any row that decides who may
        do what was written since, so that the check still holds for what is written now.
        """
        if getattr(self._local, "moment", None) is not None:
            self._local.moment = {}
        with self.database.write() as connection:
            transaction = SealedTransaction(self, connection)
            if seen is not None and self.journal.newest_of(ACCESS_TABLES) > seen.seq:
                raise Overtaken("who may do what was changed by somebody else meanwhile; try again")
            yield transaction
            transaction.finish()

    def head(self) -> Head:
        """The journal's end as the database has it now: whatever is read after this call is no older."""
        with self.journal.lock:
            self._follow_head()
            return self.journal.head

    def checked_change(self, attempt: Callable[[Head], T]) -> T:
        """Check and write as one step, without keeping other writers waiting while it is checked.

        `attempt` is given the head, reads and checks whatever it needs, and writes in a `transaction(seen=head)`; it is
        called again where it was overtaken, a few times. Those who change so wait for one another, or each would be
        overtaken by all the others. Raises `Overtaken` if it always was, and what `attempt` does.
        """
        with self.database.change():
            for _ in range(ATTEMPTS - 1):
                try:
                    return attempt(self.head())
                except Overtaken:
                    continue
            return attempt(self.head())

    def get_inside(self, connection: Connection, table: str, row_id: str) -> SealedRow | None:
        """`get` as a writer's transaction sees it, whose beginning has followed the journal."""
        query = self._query_by_id(table)
        rows = self.database.fetch(query.sql, (row_id,) * len(query.names), inside=connection)
        with self.journal.lock:
            return query.build(self._check(query.tables, rows)[0])

    def verify_everything(self) -> int:
        """Check every sealed row and that no journaled row is missing; returns the number of rows."""
        self._check_head()
        count = 0
        for name, table in SEALED_TABLES.items():
            # The journal is asked first: a row that is made meanwhile is not missed.
            known = self.database.fetch(self._journaled_ids.sql, (name,)) if table.journaled else ()
            ids = {row.id for row in self.select(name)}
            count += len(ids)
            if table.journaled:
                missing = {str(row[0]) for row in known} - ids
                if missing:
                    raise IntegrityFailure(f"{name}/{min(missing)}: the row is missing")
        return count

    def _query_by_id(self, table: str) -> SealedQuery[SealedRow | None]:
        """Compiled when it is first asked for: all of them at once would be a third of a worker's start."""
        query = self._by_id.get(table)
        if query is None:
            query = self._by_id.setdefault(table, self.query(row_by_id(table), _one))
        return query

    def _check_head(self) -> None:
        with self.journal.lock:
            self._follow_head()

    def _follow_head(self) -> None:
        """Follow the journal to its end (under its lock: else another thread may be further than what is read here)."""
        found = self.database.fetch(self._last_entry.sql, ())
        if not found or (found[0][2] or 0) != found[0][0]:
            raise IntegrityFailure("row_journal_head: is missing, or is not at the journal's end")
        self.journal.advance(*found[0][:HEAD_WIDTH])

    def _read_checked(self, query: SealedQuery[T], parameters: RawRow) -> T:
        """Read again while the journal's view stands still, follow the journal, check every row, and remember."""
        with self.journal.lock:
            rows = self.database.fetch(query.sql, parameters)
            if not rows:
                raise IntegrityFailure("row_journal_head: is missing")
            self.journal.advance(*rows[0][:HEAD_WIDTH])
            records, seqs = self._check(query.tables, rows)
            value = query.build(records)
            if any(row is not None for record in records for row in record):
                query.cache.put(parameters, Verified(self.journal.head, rows, seqs, value))
            return value

    def _check(self, tables: tuple[SealedTable, ...], rows: list[RawRow]) -> tuple[Records, tuple[int, ...]]:
        """Split each row into its tables' slices and check each of them (the journal's lock is held)."""
        records: list[tuple[SealedRow | None, ...]] = []
        for row in rows:
            record: list[SealedRow | None] = []
            start = HEAD_WIDTH
            for table in tables:
                end = start + width(table)
                record.append(self._check_slice(table, row[start:end]))
                start = end
            records.append(tuple(record))
        seqs = {row.seq for record in records for row in record if row is not None}
        return tuple(records), tuple(seqs)

    def _check_slice(self, table: SealedTable, raw: RawRow) -> SealedRow | None:
        row_id, revision, seal = raw[:3]
        seq = raw[-3]
        if row_id is None:
            if seq is not None:
                raise IntegrityFailure(f"{table.name}: the row of journal entry {seq!r} is missing")
            return None
        if not isinstance(row_id, str) or not isinstance(revision, int) or not isinstance(seal, bytes):
            raise IntegrityFailure(f"{table.name}/{row_id!r}: id, revision or seal is of another type")
        values = dict(zip(table.columns, raw[3:-3], strict=True))
        if self._verified.get((table.name, row_id)) != raw:
            if not self.sealer.is_row(seal, table.name, row_id, revision, tuple(values.items())):
                raise IntegrityFailure(f"{table.name}/{row_id}: the seal does not fit the row")
            if table.journaled and not self._is_journaled(table.name, raw):
                raise IntegrityFailure(f"{table.name}/{row_id}: the row is not what the journal says last")
            self._verified.put((table.name, row_id), raw)
        if table.journaled and not self.journal.is_newest(seq):
            raise IntegrityFailure(f"{table.name}/{row_id}: an older copy of the row")
        return SealedRow(table.name, row_id, revision, frozen(values), seal, seq if isinstance(seq, int) else 0)

    def _is_journaled(self, table: str, raw: RawRow) -> bool:
        row_id, revision, seal = raw[:3]
        seq, journal_revision, journal_seal = raw[-3:]
        return (
            (revision, seal) == (journal_revision, journal_seal)
            and isinstance(seq, int)
            and isinstance(row_id, str)
            and isinstance(revision, int)
            and isinstance(seal, bytes)
            and self.journal.vouches(seq, table, row_id, revision, seal)
        )


def _one(records: Records) -> SealedRow | None:
    return records[0][0]


def open_store(database: Database, seal: Callable[[bytes], bytes]) -> SealedStore:
    """The store of an initialised database, whose `deployment` row names the integrity key behind `seal`."""
    with database.read() as connection:
        key_id = connection.execute(select(DEPLOYMENT.c.seal_key_id)).scalar_one_or_none()
    if key_id is None:
        raise NotFound("deployment: the database was never initialised")
    store = SealedStore(database, Sealer(seal, key_id))
    if store.get("deployment", "deployment") is None:
        raise NotFound("deployment: the database was never initialised")
    return store
