"""Ways in which a database stops taking writes, each of them real, and each of them ended again. For tests alone."""

from __future__ import annotations

import fcntl
import os
import resource
import sqlite3
import subprocess
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

import psycopg
from sqlalchemy import event

from keystore.db import sqlite
from keystore.db.postgresql_database import PostgresqlDatabase
from keystore.db.sqlite_database import SqliteDatabase
from tests.databases import ON_POSTGRESQL, name_of, path_of, server_url, url_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    import pytest

    from keystore.db import Database

PATIENCE: Final = 0.1  # seconds that the service waits for a lock in these tests

_HOLD: Final = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=60)
connection.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
sys.stdin.read()
"""
_HOLD_FILE: Final = """
import fcntl, sys
file = open(sys.argv[1], "r+b")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


def make_impatient(database: Database, patch: pytest.MonkeyPatch) -> None:
    """Shortens the waits for locks, so that tests need not sit through them."""
    if isinstance(database, SqliteDatabase):
        patch.setattr(database._lock, "_timeout", PATIENCE)
        patch.setattr(sqlite, "BUSY_SECONDS", PATIENCE)
    else:
        patch.setattr(database, "_lock_seconds", PATIENCE)


class _Spoken:
    """What is said to each connection of a database when it is taken from the pool: one listener for all faults, since
    other threads take connections while a fault begins and ends."""

    def __init__(self, database: SqliteDatabase) -> None:
        self.pragmas: dict[str, str] = {}
        event.listen(database._engine.pool, "checkout", self._say)

    def _say(self, connection: sqlite3.Connection, *_: object) -> None:
        for pragma in self.pragmas.values():
            connection.execute(pragma).fetchall()


_SPOKEN: WeakKeyDictionary[SqliteDatabase, _Spoken] = WeakKeyDictionary()


def _on_each_use(database: Database, pragma: str) -> None:
    """Says the pragma to each connection from now on when it is taken from the pool."""
    assert isinstance(database, SqliteDatabase)
    if database not in _SPOKEN:
        _SPOKEN[database] = _Spoken(database)
    spoken = _SPOKEN[database]
    spoken.pragmas = {**spoken.pragmas, pragma.partition("=")[0]: pragma}
    database._local = threading.local()  # every thread's own connection is taken anew, and told


@contextmanager
def read_only(database: Database) -> Iterator[None]:
    """SQLite answers every write with SQLITE_READONLY, PostgreSQL with read_only_sql_transaction."""
    if isinstance(database, PostgresqlDatabase):
        with server_says(path_of(database), "default_transaction_read_only = on"):
            yield
        return
    _on_each_use(database, "PRAGMA query_only=ON")
    try:
        yield
    finally:
        _on_each_use(database, "PRAGMA query_only=OFF")


@contextmanager
def out_of_space(database: Database) -> Iterator[None]:
    """The kernel refuses every write of this process to a file, as that of a full disk does.

    That goes for the test's own output too: capture the log.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def full(database: Database) -> Iterator[None]:
    """The database may not grow by a page (SQLITE_FULL). Small rows may still fit: ask with a large context."""
    with sqlite3.connect(path_of(database)) as connection:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.close()
    _on_each_use(database, f"PRAGMA max_page_count={pages}")
    try:
        yield
    finally:
        _on_each_use(database, "PRAGMA max_page_count=1000000000")


@contextmanager
def _held_by_another(program: str, path: os.PathLike[str]) -> Iterator[None]:
    command = [sys.executable, "-c", program, os.fspath(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        try:
            yield
        finally:
            other.communicate(timeout=10)


def write_lock_held(path: Path) -> AbstractContextManager[None]:
    """Another process holds SQLite's write lock on the database at this path."""
    return _held_by_another(_HOLD, path)


def file_lock_held(path: Path) -> AbstractContextManager[None]:
    """Another process holds the lock file of the database at this path."""
    return _held_by_another(_HOLD_FILE, path.with_name(path.name + ".lock"))


@contextmanager
def locked(database: Database) -> Iterator[None]:
    """Another process holds SQLite's write lock, without our lock file; or both of PostgreSQL's."""
    if isinstance(database, PostgresqlDatabase):
        with server_locked(database):
            yield
        return
    with write_lock_held(path_of(database)):
        yield


@contextmanager
def lock_file_held(database: Database) -> Iterator[None]:
    """Another process of the service holds the lock file and does not let go."""
    with file_lock_held(path_of(database)):
        yield


@contextmanager
def server_says(path: Path, setting: str) -> Iterator[None]:
    """Every session of this PostgreSQL database begins with a setting; those that there are end."""
    name = name_of(path)
    with psycopg.connect(server_url("postgres"), autocommit=True) as officer:

        def say(what: str) -> None:
            officer.execute(f"ALTER DATABASE {name} {what}".encode())
            officer.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))

        say(f"SET {setting}")
        try:
            yield
        finally:
            say(f"RESET {setting.partition(' ')[0]}")


@contextmanager
def server_locked(database: Database) -> Iterator[None]:
    """Another session holds both of the writers' locks, and does not let go."""
    with psycopg.connect(url_of(path_of(database)), autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(24225, 1), pg_advisory_lock(24225, 2)")
        yield


WAYS: Final = (read_only, server_locked) if ON_POSTGRESQL else (read_only, out_of_space, locked, lock_file_held)


def is_free(path: os.PathLike[str]) -> bool:
    """Whether nobody holds the lock file."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True
