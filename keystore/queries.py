"""Prepared SELECTs over sealed tables: each row is the journal's head, then one slice per table with its newest entry.

Row, journal entry and head come from one statement and so from one snapshot. What is done with a result is the store's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from sqlalchemy import BindParameter, ColumnElement, and_, bindparam, func, literal_column, null, select, true

from keystore.db.schema import ROW_JOURNAL, ROW_JOURNAL_HEAD, SEALED_TABLES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import FromClause, Select
    from sqlalchemy.sql.selectable import NamedFromClause

    from keystore.db.engine import Database, Prepared, RawRow, Value
    from keystore.db.schema import SealedTable
    from keystore.journal import Head
    from keystore.sealing import SealedRow

T = TypeVar("T")
K = TypeVar("K")
V = TypeVar("V")

HEAD_WIDTH: Final = 2  # seq and link of the journal's head, at the front of every row
Records = tuple[tuple["SealedRow | None", ...], ...]


class BoundedCache(Generic[K, V]):
    """A dictionary that forgets its oldest entry when it is full. Reading takes no lock."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._entries: dict[K, V] = {}
        self._lock = threading.Lock()

    def get(self, key: K) -> V | None:
        """What was put last, if it is still there."""
        return self._entries.get(key)

    def put(self, key: K, value: V) -> None:
        """Remember `value`, forgetting the oldest entry if need be."""
        with self._lock:
            if key not in self._entries and len(self._entries) >= self._capacity:
                del self._entries[next(iter(self._entries))]
            self._entries[key] = value


@dataclass(frozen=True, slots=True)
class Join:
    """One more table of a query: `row_id` is what its id must be for the journal, `on` how its rows are found."""

    table: SealedTable
    rows: NamedFromClause
    row_id: ColumnElement[str]
    on: ColumnElement[bool]


Joins = Callable[[], "Sequence[Join]"]  # a function of the schema, and always the same one for the same query
_COMPILED: Final[dict[tuple[str, Joins], tuple[Prepared, tuple[SealedTable, ...]]]] = {}


@dataclass(frozen=True, slots=True)
class Verified(Generic[T]):
    """A result that was checked when the journal's head was `head`: the very rows read, and what was built of them."""

    head: Head
    rows: list[RawRow]
    seqs: tuple[int, ...]
    value: T


@dataclass(frozen=True, slots=True)
class SealedQuery(Generic[T]):
    """A compiled query, the tables of its slices, and how a result is built from their checked rows."""

    sql: str
    names: tuple[str, ...]
    tables: tuple[SealedTable, ...]
    build: Callable[[Records], T]
    cache: BoundedCache[RawRow, Verified[T]] = field(repr=False)

    def bind(self, values: Mapping[str, Value]) -> RawRow:
        """The parameters in the order in which the statement binds them."""
        return tuple(values[name] for name in self.names)


def width(table: SealedTable) -> int:
    """How many columns a slice of this table has: id, revision, seal, its own, and seq, revision, seal of its entry."""
    return 3 + len(table.columns) + 3


def join(table_name: str, row_id: ColumnElement[str], on: ColumnElement[bool] | None = None) -> Join:
    """A table joined by its primary key (or by `on`, for tables that have one row or more for the others)."""
    return _joined(SEALED_TABLES[table_name], SEALED_TABLES[table_name].table.alias(), row_id, on)


def _joined(
    table: SealedTable, rows: NamedFromClause, row_id: ColumnElement[str], on: ColumnElement[bool] | None
) -> Join:
    return Join(table, rows, row_id, rows.c.id == row_id if on is None else on)


@cache
def row_by_id(table_name: str) -> Joins:
    """The row of a table by the parameter `id`."""
    return lambda: [join(table_name, parameter("id"))]


def parameter(name: str) -> BindParameter[str]:
    """A named parameter of a query."""
    return bindparam(name)


def compile_query(database: Database, joins: Joins, build: Callable[[Records], T], *, capacity: int) -> SealedQuery[T]:
    """The query over what `joins` makes, in its order, remembering up to `capacity` checked results.

    `joins` follows from the schema alone, and so does what is compiled of it: that takes milliseconds, and is done once
    in a process however many databases it opens.
    """
    of = database.dialect.name, joins
    compiled = _COMPILED.get(of)
    if compiled is None:
        made = joins()
        compiled = _COMPILED[of] = (database.prepare(_statement(made)), tuple(item.table for item in made))
    prepared, tables = compiled
    return SealedQuery(prepared.sql, prepared.names, tables, build, BoundedCache(capacity))


def compile_page(
    database: Database, table: SealedTable, where: Sequence[str], order: str, *, page: bool
) -> SealedQuery[Records]:
    """Compile a selection of one table: columns equal to parameters of their names; `after` and `limit` if paged."""
    rows = table.table.alias()
    conditions = [rows.c[name] == bindparam(name) for name in where]
    if page:
        conditions.append(rows.c[order] > bindparam("after"))
    statement = _statement([Join(table, rows, rows.c.id, and_(true(), *conditions))]).order_by(rows.c[order])
    if page:
        statement = statement.limit(bindparam("limit")).offset(bindparam("offset"))
    prepared = database.prepare(statement)
    return SealedQuery(prepared.sql, prepared.names, (table,), lambda records: records, BoundedCache(1))


def _statement(joins: Sequence[Join]) -> Select[*tuple[Value, ...]]:
    source: FromClause = ROW_JOURNAL_HEAD
    columns: list[ColumnElement[Value] | ColumnElement[None]] = [ROW_JOURNAL_HEAD.c.seq, ROW_JOURNAL_HEAD.c.link]
    for item in joins:
        source = source.outerjoin(item.rows, item.on)
        columns += [item.rows.c[name] for name in ("id", "revision", "seal", *item.table.columns)]
        if not item.table.journaled:
            columns += [null(), null(), null()]
            continue
        entry = ROW_JOURNAL.alias()
        source = source.outerjoin(entry, _newest(item, entry))
        columns += [entry.c.seq, entry.c.revision, entry.c.seal]
    return select(*columns).select_from(source).where(ROW_JOURNAL_HEAD.c.id == literal_column("1"))


def _newest(item: Join, entry: NamedFromClause) -> ColumnElement[bool]:
    """That `entry` is the newest one of the row: two look-ups in the journal's unique index."""
    name: ColumnElement[str] = literal_column(f"'{item.table.name}'")  # from the closed table of the schema
    every = ROW_JOURNAL.alias()
    newest = select(func.max(every.c.revision)).where(every.c.table_name == name, every.c.row_id == item.row_id)
    return and_(entry.c.table_name == name, entry.c.row_id == item.row_id, entry.c.revision == newest.scalar_subquery())
