"""Which database the tests run on, and how they make, copy and change one behind the service's back.

A test names a database by the path that its SQLite file has. On PostgreSQL (`make test DATABASE=postgresql`) that path
stands for a database of the session's own server: made from a template, dropped once the path's folder is gone.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakSet

import psycopg
from psycopg import sql as statements
from psycopg.types import numeric, string

from keystore.ceremony import InitOptions
from keystore.db import create_database, open_database
from keystore.db.sqlite_database import SqliteDatabase
from tools import service

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from keystore.db import Database, Value
    from signer.audit.trail import AuditTrail

VARIABLE: Final = "SEALMARK_TEST_POSTGRESQL"  # the session's server: its URL with {} for the database's name
ON_POSTGRESQL: Final = os.environ.get("DATABASE", "sqlite") == "postgresql"
_TEMPLATE: Final = "sealmark_template"
TRAILS: Final[WeakSet[AuditTrail]] = WeakSet()  # of this process, where the session runs on PostgreSQL
_made: dict[str, Path] = {}
_there: list[bool] = [ON_POSTGRESQL]


def is_postgresql() -> bool:
    """Whether databases are made on a server just now."""
    return _there[-1]


@contextmanager
def on_postgresql(url: str) -> Iterator[None]:
    """Databases are made on this server (its URL with {} for a database's name) until the end of the block, whatever
    the session runs on."""
    former, arguments = os.environ.get(VARIABLE), service.init_arguments
    os.environ[VARIABLE] = url
    _there.append(True)
    service.init_arguments = init_arguments
    try:
        make_template(url)
        yield
    finally:
        _there.pop()
        service.init_arguments = arguments
        for name in [name for name, path in _made.items() if server_url(name) == url.replace("{}", name)]:
            del _made[name]
        os.environ.pop(VARIABLE)
        if former is not None:
            os.environ[VARIABLE] = former


def server_url(name: str) -> str:
    """The URL of a database of the session's server."""
    return os.environ[VARIABLE].replace("{}", name)


def name_of(path: Path) -> str:
    """The name on the server of the database that a path stands for."""
    return f"test_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:24]}"


def url_of(path: Path) -> str:
    """The URL of the database that a path stands for."""
    return server_url(name_of(path)) if is_postgresql() else f"sqlite:///{path}"


def make_template(url: str) -> None:
    """Makes the database that those of the tests are copies of: every table, no row."""
    _run(f"CREATE DATABASE {_TEMPLATE} TEMPLATE template0")
    create_database(url.replace("{}", _TEMPLATE)).close()


def _run(statement: str) -> None:
    with psycopg.connect(server_url("postgres"), autocommit=True) as connection:
        connection.execute(statement.encode())


def _create(path: Path, template: str) -> None:
    name = name_of(path)
    _run(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
    _made[name] = path


def new_database(path: Path) -> Database:
    """A new database with every table and no row."""
    if not is_postgresql():
        return create_database(url_of(path))
    if name_of(path) in _made:  # as if its file had been lost
        drop(path)
    _create(path, _TEMPLATE)
    return open_database(url_of(path))


def empty_database(path: Path) -> str | None:
    """For a ceremony that makes a deployment whose SQLite file would be `path`: the URL of a database without a table.
    None: the ceremony makes the file itself."""
    if not is_postgresql():
        return None
    drop(path)
    _create(path, "template0")
    return url_of(path)


def init_options(state: Path, **options: Any) -> InitOptions:
    """What `initialise(state, ...)` is told: a database of its own for that state directory."""
    return InitOptions(database_url=empty_database(state / "sealmark.db"), **options)


def init_arguments(state: Path) -> tuple[str, ...]:
    """What `sealmark init --state STATE` is told besides."""
    url = empty_database(state / "sealmark.db")
    return () if url is None else ("--database-url", url)


def drop(path: Path) -> None:
    """The database goes, whoever uses it."""
    name = name_of(path)
    _run(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    _made.pop(name, None)


def drop_abandoned() -> None:
    """Drops the databases whose tests are over: pytest has removed their folders. Trails that were left open on them
    sweep no more: each would say in the midst of another test that its database is gone."""
    abandoned = [path for path in _made.values() if not path.parent.exists()]
    urls = {url_of(path) for path in abandoned}
    for trail in list(TRAILS):
        if trail._database.url in urls:
            trail._stopping.set()
    for path in abandoned:
        drop(path)


def exists(path: Path) -> bool:
    """Whether there is such a database."""
    if not is_postgresql():
        return path.is_file()
    with psycopg.connect(server_url("postgres")) as connection:
        return (
            connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name_of(path),)).fetchone() is not None
        )


def copy(source: Path, target: Path) -> None:
    """Puts the rows of one database, as they are at this moment, in the place of those of another; made if need be."""
    if not is_postgresql():
        with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(target)) as new:
            old.backup(new)
        return
    if not exists(target):
        _create(target, _TEMPLATE)
    with psycopg.connect(url_of(source)) as old, psycopg.connect(url_of(target)) as new:
        old.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        new.execute("SET session_replication_role = replica")  # no order among the tables
        listed = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        tables = [statements.Identifier(str(name)) for (name,) in old.execute(listed)]
        new.execute(statements.SQL("TRUNCATE {}").format(statements.SQL(", ").join(tables)))
        for table in tables:
            read = old.cursor().copy(statements.SQL("COPY {} TO STDOUT (FORMAT binary)").format(table))
            write = new.cursor().copy(statements.SQL("COPY {} FROM STDIN (FORMAT binary)").format(table))
            with read as rows, write as into:
                for some in rows:
                    into.write(some)


def remove(path: Path) -> None:
    """The database is lost."""
    if is_postgresql():
        drop(path)
    else:
        path.unlink()


def octets(path: Path) -> bytes:
    """All that the database holds, as it lies there: for a look whether something is among it."""
    if not is_postgresql():
        return b"".join(file.read_bytes() for file in sorted(path.parent.glob(f"{path.name}*")))
    found = bytearray()
    with psycopg.connect(url_of(path)) as connection:
        listed = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        for (name,) in listed:
            table = statements.Identifier(str(name))
            with connection.cursor().copy(statements.SQL("COPY {} TO STDOUT (FORMAT binary)").format(table)) as rows:
                for some in rows:
                    found += some
    return bytes(found)


@contextmanager
def away(path: Path) -> Iterator[None]:
    """The database is not there until the end of the block; nobody may have it open at either end."""
    if is_postgresql():
        name = name_of(path)
        _run(f"ALTER DATABASE {name} RENAME TO {name}_away")
    else:
        path.rename(path.with_suffix(".away"))
    try:
        yield
    finally:
        if is_postgresql():
            _run(f"ALTER DATABASE {name}_away RENAME TO {name}")
        else:
            path.with_suffix(".away").rename(path)


class Hand:
    """Somebody who writes to the database and has no HSM: statements with `?` for their values, each by itself."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._sqlite: sqlite3.Connection | None = None
        self._postgresql: psycopg.Connection[tuple[Any, ...]] | None = None
        if is_postgresql():
            connection = psycopg.connect(url_of(path), autocommit=True)
            connection.adapters.register_dumper(int, numeric.Int8BinaryDumper)
            connection.adapters.register_dumper(str, string.StrBinaryDumper)
            connection.execute(
                "SET session_replication_role = replica"
            )  # as with SQLite: foreign keys are not looked at
            self._postgresql = connection
        else:
            self._sqlite = sqlite3.connect(path, isolation_level=None, timeout=10)

    def _execute(self, statement: str, values: Sequence[Value]) -> Any:
        if self._sqlite is not None:
            return self._sqlite.execute(statement, tuple(values))
        assert self._postgresql is not None
        number = iter(range(1, statement.count("?") + 1))
        numbered = "".join(f"${next(number)}" if letter == "?" else letter for letter in statement)
        return psycopg.RawCursor(self._postgresql).execute(numbered, tuple(values) or None)

    def run(self, statement: str, *values: Value) -> None:
        """A statement without an answer."""
        self._execute(statement, values)

    def rows(self, statement: str, *values: Value) -> list[tuple[Any, ...]]:
        """Every row of a SELECT."""
        found: list[tuple[Any, ...]] = self._execute(statement, values).fetchall()
        return found

    def records(self, statement: str, *values: Value) -> list[dict[str, Any]]:
        """Every row of a SELECT, by its columns' names."""
        cursor = self._execute(statement, values)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def value(self, statement: str, *values: Value) -> Any:
        """The first column of the only row."""
        ((found, *_),) = self.rows(statement, *values)
        return found

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Many statements at once."""
        self.run("BEGIN" if is_postgresql() else "BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self.run("ROLLBACK")
            raise
        self.run("COMMIT")

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Many SELECTs of one moment."""
        self.run("BEGIN ISOLATION LEVEL REPEATABLE READ" if is_postgresql() else "BEGIN")
        try:
            yield
        finally:
            self.run("ROLLBACK")

    def close(self) -> None:
        """Whatever was not committed is not done."""
        for connection in (self._sqlite, self._postgresql):
            if connection is not None:
                connection.close()


@contextmanager
def hand(path: Path) -> Iterator[Hand]:
    """A hand for a while."""
    with closing(Hand(path)) as made:
        yield made


def path_of(database: Database) -> Path:
    """The path that a database of the tests is named by."""
    if isinstance(database, SqliteDatabase):
        return database.path
    (path,) = (path for name, path in _made.items() if database.url == server_url(name))
    return path
