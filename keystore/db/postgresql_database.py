"""A database of a PostgreSQL server, for any number of machines. Its advisory locks put the writers in line.

Two locks, for the transaction and gone with it however it ends: one for sealed rows (`write`), one for the log
(`append`), so that whoever seals rows in the HSM keeps nobody from logging; and a third for long checks (`change`).
Writers read at READ COMMITTED: each statement after the lock sees all that was committed under it before. Readers have
one snapshot (REPEATABLE READ, read only).
"""

from __future__ import annotations

import re
import threading
from collections import deque
from contextlib import contextmanager, suppress
from functools import lru_cache
from hashlib import sha256
from itertools import chain
from math import ceil
from time import monotonic
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import psycopg
from sqlalchemy import create_engine, text

from keystore.db import patience, postgresql
from keystore.db.engine import APPEND, CHANGE, CHANGE_SECONDS, LOCK_SECONDS, Appending, Database
from keystore.db.postgresql import FAST, READER, WRITER, PostgresqlConnection
from keystore.db.schema import METADATA
from keystore.errors import ConfigurationError, EpochClosed, StoreUnavailable
from keystore.measures import Timed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from sqlalchemy import Connection, Engine

    from keystore.db.engine import Prepared, RawRow
    from keystore.db.postgresql import Manner
    from keystore.errors import KeystoreError

# Advisory locks are of one database, and a deployment has a database of its own.
_LOCKS, _NAMED = 0x5EA1, 0x5EA2
_ROWS, _LOG, _CHANGES = 1, 2, 3
_CHUNKS: Final = (64, 16, 4, 1)  # rows a statement: few statements, and each is prepared once
_PARAMETER: Final = re.compile(r"\$(\d+)")
_ABORTED: Final = psycopg.pq.TransactionStatus.INERROR


@lru_cache(maxsize=256)
def _repeated(sql: str, rows: int) -> str:
    """The INSERT of one row as an INSERT of so many, its parameters numbered through."""
    head, separator, row = sql.rpartition("VALUES ")
    width = len(_PARAMETER.findall(row))

    def numbered(at: int) -> str:
        return _PARAMETER.sub(lambda found: f"${int(found[1]) + at * width}", row)

    return head + separator + ", ".join(numbered(at) for at in range(rows))


def _lock_statements(lock: int, seconds: float, kind: int = _LOCKS) -> str:
    milliseconds = max(1, ceil(seconds * 1000))
    return f"SET LOCAL lock_timeout = {milliseconds}; SELECT pg_advisory_xact_lock({kind}, {lock})"


class _FastRoad:
    """Connections that go past SQLAlchemy, the last one used first. As many as there are threads that want one."""

    def __init__(self, parameters: dict[str, str], password_file: Path | None) -> None:
        self._parameters = parameters
        self._password_file = password_file
        self._idle: deque[tuple[PostgresqlConnection, psycopg.RawCursor[tuple[Any, ...]]]] = deque()

    def take(self) -> tuple[Fast, bool]:
        """A connection, and whether it is a new one."""
        with suppress(IndexError):
            return self._idle.pop(), False
        connection = postgresql.open_connection(self._parameters, self._password_file, FAST)
        return (connection, psycopg.RawCursor(connection)), True

    def give_back(self, fast: Fast) -> None:
        """For the next one, unless it is broken or still within a transaction."""
        if fast[0].info.transaction_status == psycopg.pq.TransactionStatus.IDLE:
            self._idle.append(fast)
        else:
            fast[0].close()

    def put_aside(self, fast: Fast, is_new: bool, error: psycopg.Error) -> None:
        """After an error: an old connection that turned out to be broken is to be replaced; all else is raised."""
        broken = not isinstance(error, postgresql.Silent) and bool(fast[0].broken or fast[0].closed)
        self.give_back(fast)
        if not broken or is_new:
            raise postgresql.translate(error) from error
        self.forget()

    def forget(self) -> None:
        """Closes every idle connection: where one was broken, the server has most likely gone away from all."""
        with suppress(IndexError):
            while True:
                self._idle.pop()[0].close()


Fast = tuple[PostgresqlConnection, "psycopg.RawCursor[tuple[Any, ...]]"]


class PostgresqlAppending(Appending):
    """See `Appending`."""

    def __init__(self, road: _FastRoad, lock_seconds: float, epoch: str | None) -> None:
        self._road = road
        self._epoch = epoch
        self._lock_seconds = lock_seconds
        self._fast: Fast | None = None

    def __call__(self, prepared: Prepared, rows: Sequence[RawRow], alone: bool = False) -> None:
        """See `Appending`."""
        if not rows:
            return
        self.begin()
        start = 0
        for size in _CHUNKS:
            while len(rows) - start >= size:
                some = rows[start : start + size]
                self._execute(_repeated(prepared.sql, size), tuple(chain.from_iterable(some)))
                start += size

    def begin(self) -> None:
        """See `Appending`. An old connection that turns out to be broken is replaced: nothing was done on it."""
        while self._fast is None:
            fast, is_new = self._road.take()
            since = monotonic()
            seconds = patience.allowed(self._lock_seconds)
            try:
                fast[1].execute(f"BEGIN; {_lock_statements(_LOG, seconds)}{self._also}", prepare=False)
            except psycopg.Error as exc:
                patience.spend(since)
                self._road.put_aside(fast, is_new, exc)
            except BaseException:
                fast[0].close()
                raise
            else:
                self._fast = fast
                self._require_open()

    @property
    def _also(self) -> str:
        """Asked together with the lock, once it is held: no round trip of its own."""
        if self._epoch is None:
            return ""
        name = UUID(self._epoch)
        return f"; SELECT FROM audit_epochs WHERE id = '{name}' AND closed_at IS NULL AND beats >= 0"

    def _require_open(self) -> None:
        if self._epoch is None or self._fast is None:
            return
        cursor = self._fast[1]
        while cursor.nextset():
            pass
        if cursor.fetchone() is None:
            raise EpochClosed("another node has closed this worker's epoch: it was not heard of for too long")

    def fetch(self, prepared: Prepared, parameters: RawRow) -> list[RawRow]:
        """See `Appending`."""
        return self._execute(prepared.sql, parameters).fetchall()

    def run(self, prepared: Prepared, parameters: RawRow) -> int:
        """See `Appending`."""
        return self._execute(prepared.sql, parameters).rowcount

    def _execute(self, sql: str, parameters: RawRow) -> psycopg.RawCursor[tuple[Any, ...]]:
        self.begin()
        if self._fast is None:
            raise StoreUnavailable("the transaction did not begin")
        return self._fast[1].execute(sql, parameters, prepare=True, binary=True)

    def commit(self) -> None:
        """Ends the transaction, if it has begun. Raises `StoreUnavailable` where that did not come to a commit."""
        if self._fast is None:
            return
        fast = self._fast
        fast[1].execute("COMMIT", prepare=False)
        if fast[1].statusmessage != "COMMIT":
            raise StoreUnavailable("the database has rolled the transaction back")
        self._fast = None
        self._road.give_back(fast)

    def roll_back(self) -> None:
        """Ends the transaction without a trace, and never raises: what is closed is rolled back."""
        fast, self._fast = self._fast, None
        if fast is None:
            return
        try:
            fast[1].execute("ROLLBACK", prepare=False)
        except psycopg.Error:
            fast[0].close()
            self._road.forget()
        else:
            self._road.give_back(fast)


class PostgresqlDatabase(Database):
    """`url` is `postgresql://USER@HOST:PORT/NAME`, with libpq's parameters for TLS; see `postgresql.parse_url`."""

    shared = True

    def __init__(self, url: str, *, password_file: Path | None = None, lock_seconds: float = LOCK_SECONDS) -> None:
        self._parameters = postgresql.parse_url(url)
        self._password_file = password_file
        self._lock_seconds = lock_seconds
        super().__init__(url, postgresql.DIALECT, self._engine(READER))
        self._writer = self._engine(WRITER)
        self._road = _FastRoad(self._parameters, password_file)
        # A process has one connection in line for each lock, not one for each of its threads.
        self._turn = threading.Lock()
        self._log_turn = threading.Lock()
        self._change_turn = threading.Lock()

    def _engine(self, manner: Manner) -> Engine:
        # SQLAlchemy's own pool: what is read and written through it comes from there anyway, and it needs no thread.
        return create_engine(
            "postgresql+psycopg://",
            creator=lambda: postgresql.open_connection(self._parameters, self._password_file, manner),
            pool_size=0,
            pool_pre_ping=True,
            pool_use_lifo=True,
            hide_parameters=True,
            use_native_hstore=False,
        )

    def fetch(self, sql: str, parameters: RawRow, *, inside: Connection | None = None) -> list[RawRow]:
        """See `Database`. Asked once more of a new connection where an old one turns out to be broken."""
        if any(isinstance(parameter, str) and "\0" in parameter for parameter in parameters):
            parameters = tuple(map(postgresql.comparable, parameters))
        if inside is not None:
            return postgresql.fetch(postgresql.driver_connection(inside.connection), sql, parameters)
        while True:
            with self._translated():
                fast, is_new = self._road.take()
            try:
                rows: list[RawRow] = fast[1].execute(sql, parameters, prepare=True, binary=True).fetchall()
            except psycopg.Error as exc:
                self._road.put_aside(fast, is_new, exc)
            except BaseException:
                fast[0].close()
                raise
            else:
                self._road.give_back(fast)
                return rows

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """See `Database`."""
        with (
            Timed(CHANGE),
            self._held(self._turn, patience.allowed(self._lock_seconds)) as seconds,
            self._translated(),
            self._writer.begin() as connection,
        ):
            self._lock(connection, _ROWS, seconds)
            yield connection
            if postgresql.driver_connection(connection.connection).info.transaction_status == _ABORTED:
                raise StoreUnavailable("the database has refused a statement of the transaction")

    @contextmanager
    def change(self) -> Iterator[None]:
        """See `Database`. Its turn is waited for whatever the thread's allowance is."""
        with self._held(self._change_turn, CHANGE_SECONDS) as seconds, self._translated():
            connection = self._reader.connect()
            try:
                self._lock(connection, _CHANGES, seconds)
                yield
            finally:
                connection.close()

    @contextmanager
    def alone(self, name: str, seconds: float, directory: Path) -> Iterator[None]:
        """See `Database`; two names that share a number of 32 bits would wait for each other, and no more."""
        number = int.from_bytes(sha256(name.encode()).digest()[:4], "big", signed=True)
        with self._translated():
            connection = self._reader.connect()
            try:
                self._lock(connection, number, seconds, _NAMED)
                yield
            finally:
                connection.close()

    @contextmanager
    def append(self, lock_seconds: float | None = None) -> Iterator[PostgresqlAppending]:
        """See `Database`."""
        seconds = self._lock_seconds if lock_seconds is None else min(lock_seconds, self._lock_seconds)
        with Timed(APPEND), self._held(self._log_turn, patience.allowed(seconds)) as left:
            appending = PostgresqlAppending(self._road, left, self.epoch)
            try:
                with self._translated():
                    yield appending
                    appending.commit()
            except BaseException:
                appending.roll_back()
                raise

    @contextmanager
    def _held(self, turn: threading.Lock, seconds: float) -> Iterator[float]:
        """Holds a lock of this process; gives the seconds that are left for the server's."""
        since = monotonic()
        if not turn.acquire(timeout=seconds):
            patience.spend(since)
            raise StoreUnavailable("the database is being written by another thread for too long")
        try:
            patience.spend(since)
            yield max(patience.LEAST, seconds - (monotonic() - since))
        finally:
            turn.release()

    def _lock(self, connection: Connection, lock: int, seconds: float, kind: int = _LOCKS) -> None:
        since = monotonic()
        driver = postgresql.driver_connection(connection.connection)
        try:
            driver.execute(_lock_statements(lock, seconds, kind), prepare=False)
        except psycopg.Error:
            patience.spend(since)
            raise

    def foreign_objects(self) -> list[str]:
        """See `Database`."""
        with self.read() as connection:
            return [str(name) for name in connection.execute(text(postgresql.FOREIGN_OBJECTS)).scalars()]

    def create(self) -> None:
        """See that the database is empty: an operator makes it, with a role that owns it."""
        with self.read() as connection:
            if connection.execute(text(postgresql.ANY_TABLE)).first() is not None:
                raise ConfigurationError("database.url: the database holds tables already: name an empty one")

    def discard(self) -> None:
        """Drop every table of the schema."""
        with self.write() as connection:
            METADATA.drop_all(connection)
            connection.execute(text("DROP TABLE IF EXISTS alembic_version"))
        self.close()

    def close(self) -> None:
        """See `Database`."""
        self._road.forget()
        self._reader.dispose()
        self._writer.dispose()

    def _translate(self, exc: BaseException) -> KeystoreError:
        return postgresql.translate(exc)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            with super()._translated():
                yield
        except psycopg.Error as exc:
            raise postgresql.translate(exc) from exc
