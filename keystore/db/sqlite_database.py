"""A database in one SQLite file, for the processes of one machine. A file lock puts its writers in line."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import contextmanager
from functools import lru_cache
from itertools import chain
from time import monotonic
from typing import TYPE_CHECKING, Final

from keystore.db import patience, sqlite
from keystore.db.engine import APPEND, CHANGE, CHANGE_SECONDS, LOCK_SECONDS, Appending, Database
from keystore.db.lock import WriteLock
from keystore.measures import Timed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from sqlalchemy import Connection

    from keystore.db.engine import Prepared, RawRow
    from keystore.errors import KeystoreError

_ROWS_A_STATEMENT: Final = 64


@lru_cache(maxsize=512)
def _repeated(sql: str, rows: int) -> str:
    """The INSERT of one row as an INSERT of so many."""
    head, separator, row = sql.rpartition("VALUES ")
    return head + separator + ", ".join([row] * rows)


class SqliteAppending(Appending):
    """See `Appending`."""

    def __init__(self, connection: sqlite.SqliteConnection, busy_seconds: float) -> None:
        self._connection = connection
        self._busy_seconds = busy_seconds

    def __call__(self, prepared: Prepared, rows: Sequence[RawRow], alone: bool = False) -> None:
        """See `Appending`."""
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
        """See `Appending`."""
        if not self._connection.in_transaction:
            self._connection.write(sqlite.BEGIN_WRITE, most=self._busy_seconds)

    def fetch(self, prepared: Prepared, parameters: RawRow) -> list[RawRow]:
        """See `Appending`."""
        rows: list[RawRow] = self._connection.execute(prepared.sql, parameters).fetchall()
        return rows

    def run(self, prepared: Prepared, parameters: RawRow) -> int:
        """See `Appending`."""
        return self._connection.execute(prepared.sql, parameters).rowcount


class SqliteDatabase(Database):
    """`url` is `sqlite:///PATH`."""

    def __init__(self, url: str, *, lock_seconds: float = LOCK_SECONDS) -> None:
        parsed = sqlite.parse_url(url)
        self.path = sqlite.database_path(parsed)
        self._engine = sqlite.make_engine(parsed)
        super().__init__(url, self._engine.dialect, self._engine)
        self._writer = sqlite.writer(self._engine)
        self._lock = WriteLock(self.path.with_name(self.path.name + ".lock"), timeout=lock_seconds)
        self._changes = WriteLock(
            self.path.with_name(self.path.name + ".changes.lock"), timeout=CHANGE_SECONDS, in_line=True
        )
        self._local = threading.local()
        self._named: dict[str, WriteLock] = {}
        self._locks_guard = threading.Lock()

    def fetch(self, sql: str, parameters: RawRow, *, inside: Connection | None = None) -> list[RawRow]:
        """See `Database`; the connection is this thread's own."""
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
        with self._translated():
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
    def write(self) -> Iterator[Connection]:
        """See `Database`."""
        with Timed(CHANGE), self._lock.held(), self._translated(), self._writer.begin() as connection:
            yield connection

    @contextmanager
    def change(self) -> Iterator[None]:
        """See `Database`."""
        with self._changes.held():
            yield

    def alone(self, name: str, seconds: float, directory: Path) -> AbstractContextManager[None]:
        """See `Database`."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._locks_guard:
            lock = self._named.get(name)
            if lock is None:
                lock = self._named[name] = WriteLock(
                    directory / f"{name}.lock", timeout=seconds, what=f"the lock {name!r} is held"
                )
        return lock.held(seconds)

    @contextmanager
    def append(self, lock_seconds: float | None = None) -> Iterator[SqliteAppending]:
        """See `Database`."""
        since = monotonic()
        with Timed(APPEND), self._lock.held(lock_seconds):
            connection = self._own_connection()
            busy_seconds = sqlite.BUSY_SECONDS
            if lock_seconds is not None:
                busy_seconds = min(busy_seconds, max(patience.LEAST, lock_seconds - (monotonic() - since)))
            try:
                yield SqliteAppending(connection, busy_seconds)
                if connection.in_transaction:
                    connection.execute("COMMIT")
            except sqlite3.Error as exc:
                self._roll_back(connection)
                raise sqlite.translate(exc) from exc
            except BaseException:
                self._roll_back(connection)
                raise

    def _roll_back(self, connection: sqlite3.Connection) -> None:
        """Leaves the thread's connection fit for the next call: on a full disk, reading still works."""
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.Error:
            self._forget_thread_connection()  # closing it rolls back too

    def foreign_objects(self) -> list[str]:
        """See `Database`."""
        return [str(name) for (name,) in self.fetch(sqlite.FOREIGN_OBJECTS, ())]

    def create(self) -> None:
        """Make the file, of mode 0600; it must not exist."""
        sqlite.create_file(self.path)

    def discard(self) -> None:
        """Remove the file and those beside it."""
        self.close()
        for path in self.path.parent.glob(f"{self.path.name}*"):
            path.unlink(missing_ok=True)

    def close(self) -> None:
        """See `Database`."""
        self._forget_thread_connection()
        self._engine.dispose()
        for named in self._named.values():
            named.close()
        self._lock.close()
        self._changes.close()

    def _translate(self, exc: BaseException) -> KeystoreError:
        return sqlite.translate(exc)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            with super()._translated():
                yield
        except sqlite3.Error as exc:
            raise sqlite.translate(exc) from exc
