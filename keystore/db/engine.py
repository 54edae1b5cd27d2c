"""The one way into the database: transactions for writers, snapshots for readers, and a fast road for point reads.

Every driver's exception is translated here, once: `StoreUnavailable` when the database is locked, read-only, full or
gone, `Conflict` when a constraint refuses. Nothing is remembered of a failure, so the next call works again as soon as
the database does. Open it after `fork`, never before.
"""

from __future__ import annotations

import sqlite3
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from time import monotonic
from typing import TYPE_CHECKING, Final

from sqlalchemy import insert
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from keystore.db import patience, sqlite
from keystore.db.lock import WriteLock
from keystore.errors import StoreUnavailable
from keystore.measures import observe

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy import Connection, Select, Table, UpdateBase

Value = int | str | bytes | None
RawRow = tuple[Value, ...]

LOCK_SECONDS: Final = 5.0
CHANGE_SECONDS: Final = 10.0
_ROWS_A_STATEMENT: Final = 64


@dataclass(frozen=True, slots=True)
class Prepared:
    """A statement compiled once to the driver's own SQL, with its parameters' names in the order they are bound."""

    sql: str
    names: tuple[str, ...]


@lru_cache(maxsize=512)
def _repeated(sql: str, rows: int) -> str:
    """The INSERT of one row as an INSERT of so many."""
    head, separator, row = sql.rpartition("VALUES ")
    return head + separator + ", ".join([row] * rows)


class Appending:
    """The transaction that `Database.append` opens; it begins with the first call that needs one."""

    def __init__(self, connection: sqlite.SqliteConnection, busy_seconds: float) -> None:
        self._connection = connection
        self._busy_seconds = busy_seconds

    def __call__(self, prepared: Prepared, rows: Sequence[RawRow], alone: bool = False) -> None:
        """Insert rows by `prepare_insert`, in the order of its names; `alone`: all that the transaction has to do."""
        # Each call of SQLite gives the GIL away, and every worker waits while this one waits to have it back.
        # So many rows go into one statement, and one statement that is all there is needs no BEGIN and COMMIT.
        if not rows:
            return
        if alone and len(rows) <= _ROWS_A_STATEMENT:
            self._connection.write(
                _repeated(prepared.sql, len(rows)), tuple(chain.from_iterable(rows)), most=self._busy_seconds
            )
            return
        self.begin()
        for start in range(0, len(rows), _ROWS_A_STATEMENT):
            some = rows[start : start + _ROWS_A_STATEMENT]
            self._connection.execute(_repeated(prepared.sql, len(some)), tuple(chain.from_iterable(some)))

    def begin(self) -> None:
        """Be alone among writers from here on: what is read now holds until the commit."""
        if not self._connection.in_transaction:
            self._connection.write(sqlite.BEGIN_WRITE, most=self._busy_seconds)

    def fetch(self, prepared: Prepared, parameters: RawRow) -> list[RawRow]:
        """Every row of a prepared SELECT, as this transaction sees it."""
        rows: list[RawRow] = self._connection.execute(prepared.sql, parameters).fetchall()
        return rows

    def run(self, prepared: Prepared, parameters: RawRow) -> int:
        """Run a prepared UPDATE or INSERT; returns how many rows it has changed."""
        return self._connection.execute(prepared.sql, parameters).rowcount


class Database:
    """An open database. Safe to use from many threads. `url` is `sqlite:///PATH` in this version."""

    def __init__(self, url: str, *, lock_seconds: float = LOCK_SECONDS) -> None:
        parsed = sqlite.parse_url(url)
        self.path = sqlite.database_path(parsed)
        self._engine = sqlite.make_engine(parsed)
        self._writer = sqlite.writer(self._engine)
        self._lock = WriteLock(self.path.with_name(self.path.name + ".lock"), timeout=lock_seconds)
        self._changes = WriteLock(
            self.path.with_name(self.path.name + ".changes.lock"), timeout=CHANGE_SECONDS, in_line=True
        )
        self._local = threading.local()

    def prepare(self, statement: Select[*tuple[Value, ...]]) -> Prepared:
        """Compile a SELECT for `fetch`. All its bound values must be named parameters."""
        compiled = statement.compile(dialect=self._engine.dialect)
        return Prepared(str(compiled), tuple(compiled.positiontup or ()))

    def prepare_change(self, statement: UpdateBase) -> Prepared:
        """Compile an INSERT or UPDATE for `Appending.run`. All its bound values must be named parameters."""
        compiled = statement.compile(dialect=self._engine.dialect)
        return Prepared(str(compiled), tuple(compiled.positiontup or ()))

    def prepare_insert(self, table: Table) -> Prepared:
        """Compile an INSERT of whole rows for `append`."""
        names = [column.name for column in table.columns]
        compiled = insert(table).compile(dialect=self._engine.dialect, column_keys=names)
        return Prepared(str(compiled), tuple(compiled.positiontup or ()))

    def fetch(self, sql: str, parameters: RawRow, *, inside: Connection | None = None) -> list[RawRow]:
        """Run a prepared SELECT on this thread's own connection (or inside a transaction) and return every row.

        One statement sees one snapshot. Costs microseconds: it goes past SQLAlchemy to the driver.
        """
        try:
            connection = self._own_connection() if inside is None else sqlite.driver_connection(inside.connection)
            cursor = connection.cursor()
            cursor.execute(sql, parameters)
            rows: list[RawRow] = cursor.fetchall()
            return rows
        except sqlite3.Error as exc:
            self._forget_thread_connection()
            raise sqlite.translate(exc) from exc

    def _own_connection(self) -> sqlite.SqliteConnection:
        """This thread's connection; a new one where another file was put in the database's place."""
        connection: sqlite.SqliteConnection | None = getattr(self._local, "connection", None)
        if connection is not None and sqlite.is_replaced(connection, self.path):
            self._forget_thread_connection()
            connection = None
        return connection or self._thread_connection()

    def _thread_connection(self) -> sqlite.SqliteConnection:
        with _translated():
            proxied = self._engine.raw_connection()
        connection = sqlite.driver_connection(proxied)
        self._local.proxied = proxied  # goes back to the pool when the thread ends
        self._local.connection = connection
        return connection

    def _forget_thread_connection(self) -> None:
        proxied = getattr(self._local, "proxied", None)
        self._local.connection = self._local.proxied = None
        if proxied is not None:
            proxied.invalidate()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that sees one snapshot and is rolled back at the end. Raises `StoreUnavailable`."""
        with _translated(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction, alone among all writers, committed durably at the end and rolled back if the block raises.

        Raises `StoreUnavailable` (also when the lock is not had within seconds) and `Conflict`. Not to be nested.
        """
        since = monotonic()
        try:
            with self._lock.held(), _translated(), self._writer.begin() as connection:
                yield connection
        finally:
            observe(("database_seconds", "change"), monotonic() - since)

    @contextmanager
    def change(self) -> Iterator[None]:
        """One at a time among those who check for long before they write; keeps nobody else from writing.

        Raises `StoreUnavailable` when its turn does not come within seconds. Not to be nested, nor within `write`.
        """
        with self._changes.held():
            yield

    @contextmanager
    def append(self, lock_seconds: float | None = None) -> Iterator[Appending]:
        """A transaction like that of `write`, past SQLAlchemy: for what every request writes.

        Raises as `write` does, `StoreUnavailable` too when it cannot begin within `lock_seconds`.
        """
        since = monotonic()
        with self._lock.held(lock_seconds):
            connection = self._own_connection()
            busy_seconds = sqlite.BUSY_SECONDS
            if lock_seconds is not None:
                busy_seconds = min(busy_seconds, max(patience.LEAST, lock_seconds - (monotonic() - since)))
            try:
                yield Appending(connection, busy_seconds)
                if connection.in_transaction:
                    connection.execute("COMMIT")
            except sqlite3.Error as exc:
                self._roll_back(connection)
                raise sqlite.translate(exc) from exc
            except BaseException:
                self._roll_back(connection)
                raise
            finally:
                observe(("database_seconds", "append"), monotonic() - since)

    def _roll_back(self, connection: sqlite3.Connection) -> None:
        """Leaves the thread's connection fit for the next call: on a full disk, reading still works."""
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.Error:
            self._forget_thread_connection()  # closing it rolls back too

    def close(self) -> None:
        """Close what this process holds open. The database can be opened again."""
        self._forget_thread_connection()
        self._engine.dispose()
        self._lock.close()
        self._changes.close()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except DBAPIError as exc:
        raise sqlite.translate(exc.orig or exc) from exc
    except sqlite3.Error as exc:
        raise sqlite.translate(exc) from exc
    except SQLAlchemyError as exc:
        raise StoreUnavailable(f"the database cannot be used: {type(exc).__name__}") from exc
