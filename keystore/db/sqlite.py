"""What is particular to SQLite: how a connection is opened and set up, how a transaction begins, and its error texts.

The only file of the project that knows the dialect; everything else is portable SQL through SQLAlchemy.
"""

from __future__ import annotations

import os
import sqlite3
from math import ceil
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from sqlalchemy import Engine, QueuePool, create_engine, event, make_url
from sqlalchemy.dialects import sqlite as sqlalchemy_sqlite
from sqlalchemy.exc import ArgumentError, DisconnectionError

from keystore.db import patience
from keystore.errors import ConfigurationError, Conflict, IntegrityFailure, KeystoreError, StoreUnavailable
from keystore.measures import count

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, PoolProxiedConnection

BUSY_SECONDS: Final = 3.0  # at most, for writers that do not take the file lock, such as a backup tool
_PRAGMAS: Final = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",  # a commit that was answered survives a power cut
    "PRAGMA foreign_keys=ON",
    "PRAGMA secure_delete=ON",  # a wrapped key that was deleted does not linger in free pages
)
BEGIN_WRITE: Final = "BEGIN IMMEDIATE"
FOREIGN_OBJECTS: Final = "SELECT name FROM sqlite_schema WHERE type IN ('trigger', 'view') ORDER BY name"
DIALECT: Final = sqlalchemy_sqlite.dialect()
_BEGIN_OPTION: Final = "sealmark_begin"


class SqliteConnection(sqlite3.Connection):
    """A connection that knows its file, and how long it waits for a writer that does not take the file lock."""

    _waits: int | None = None  # tenths of a second
    file: tuple[int, int] | None = None  # device and inode

    def write(self, sql: str, parameters: tuple[int | str | bytes | None, ...] = (), *, most: float) -> None:
        """Runs the statement that takes SQLite's write lock; waits for it so many seconds at the most, rounded up to a
        tenth of one."""
        tenths = max(1, ceil(patience.allowed(most) * 10))
        if tenths != self._waits:  # nearly never
            self.execute(f"PRAGMA busy_timeout={tenths * 100}").fetchall()
            self._waits = tenths
        since = monotonic()
        try:
            self.execute(sql, parameters)
        except sqlite3.OperationalError:
            patience.spend(since)
            raise


def parse_url(url: str) -> URL:
    """A database URL of SQLite. Raises `ConfigurationError`."""
    try:
        parsed = make_url(url)
    except ArgumentError as exc:
        raise ConfigurationError("database.url is not a database URL") from exc
    if parsed.drivername != "sqlite":
        raise ConfigurationError(f"database.url: {parsed.drivername} is not supported, only sqlite is")
    return parsed


def database_path(url: URL) -> Path:
    """The file of a `sqlite:///PATH` URL. Raises `ConfigurationError` for a memory database and unknown options."""
    if not url.database or url.database == ":memory:" or url.query or url.host:
        raise ConfigurationError("database.url: sqlite needs a file and takes no options")
    return Path(url.database)


def create_file(path: Path) -> None:
    """Make an empty database file that only its owner can read. Raises `StoreUnavailable` if it is there already."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except OSError as exc:
        raise StoreUnavailable(f"the database cannot be created: {exc.strerror}") from exc


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def is_replaced(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether another file lies at the path than the one that the connection has open: what was written to that one
    would be lost. SQLite itself goes on with the file that it has."""
    return isinstance(connection, SqliteConnection) and connection.file != _identity(path)


def make_engine(url: URL) -> Engine:
    """An engine over an existing file: a database that vanished is an error, never a new and empty one."""
    path = database_path(url).absolute()
    location = f"file:{quote(str(path))}?mode=rw"

    def connect() -> SqliteConnection:
        connection: SqliteConnection = sqlite3.connect(
            location,
            uri=True,
            timeout=BUSY_SECONDS,
            factory=SqliteConnection,
            isolation_level=None,  # BEGIN is ours to say
            check_same_thread=False,  # the pool hands a connection to one thread at a time
            cached_statements=256,
        )
        try:
            connection.file = _identity(path)
            for pragma in _PRAGMAS:
                connection.execute(pragma).fetchall()
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    engine = create_engine("sqlite://", creator=connect, poolclass=QueuePool, pool_size=0, hide_parameters=True)

    @event.listens_for(engine, "checkout")
    def check_out(connection: sqlite3.Connection, *_: object) -> None:
        if is_replaced(connection, path):
            raise DisconnectionError  # the pool opens another one in its place

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        statement = connection.get_execution_options().get(_BEGIN_OPTION, "BEGIN")
        if statement == BEGIN_WRITE:
            driver_connection(connection.connection).write(statement, most=BUSY_SECONDS)
        else:
            connection.exec_driver_sql(statement)

    return engine


def open_read_only(path: Path) -> sqlite3.Connection:
    """A connection that can only read, in a transaction that has begun: all that it reads is of one moment.

    Raises: `sqlite3.Error`.
    """
    location = f"file:{quote(str(path.absolute()))}?mode=ro"
    try:
        return _begin_reading(location)
    except sqlite3.OperationalError:
        # Where nothing can be written, not even beside the file, SQLite reads it only if told that nobody else writes.
        if os.access(path.parent, os.W_OK) or path.with_name(path.name + "-wal").exists():
            raise
        return _begin_reading(f"{location}&immutable=1")


def _begin_reading(location: str) -> sqlite3.Connection:
    connection = sqlite3.connect(location, uri=True, timeout=BUSY_SECONDS, isolation_level=None)
    try:
        connection.execute("PRAGMA query_only=ON")
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()  # only a read takes the snapshot
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def writer(engine: Engine) -> Engine:
    """The same engine, whose transactions take SQLite's write lock when they begin rather than half-way."""
    return engine.execution_options(**{_BEGIN_OPTION: BEGIN_WRITE})


def driver_connection(proxied: PoolProxiedConnection) -> SqliteConnection:
    """The driver's own connection behind one of the pool's. Raises `StoreUnavailable`."""
    connection = proxied.driver_connection
    if not isinstance(connection, SqliteConnection):
        raise StoreUnavailable("the database gave no connection")
    return connection


def translate(exc: BaseException) -> KeystoreError:
    """The keystore's error for one of the driver's. The driver's texts name tables and columns, never values."""
    count(("database_errors", type(exc).__name__))
    if isinstance(exc, sqlite3.IntegrityError):
        return Conflict(f"the database refuses the row: {exc}")
    if is_undecodable(exc):  # only a hand that is not ours stores such text
        return IntegrityFailure("a text in the database is not UTF-8")
    return StoreUnavailable(f"the database cannot be used: {exc}")


def translate_damage(exc: sqlite3.Error) -> KeystoreError:
    """As `translate`, for whoever judges the file itself: one whose pages do not add up was changed, or has decayed."""
    if type(exc) is sqlite3.DatabaseError:  # its kinds are faults of a call
        return IntegrityFailure(f"the database's file is damaged: {exc}")
    return translate(exc)


def is_undecodable(exc: BaseException) -> bool:
    """Whether a text in the database is not UTF-8."""
    return "Could not decode to UTF-8" in str(exc)


def tolerant_text(octets: bytes) -> str:
    """A text that may not be UTF-8, so that it can be told from every one that is."""
    return octets.decode("utf-8", "surrogateescape")
