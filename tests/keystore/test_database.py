"""The database: its schema and history, and what happens while it is locked, read-only, full or gone."""

from __future__ import annotations

import multiprocessing
import resource
import sqlite3
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import event, text

from keystore.algorithms import SIGNING_ALGORITHMS, KeyUse
from keystore.api import BackingKey
from keystore.db import Database, connect, create_database, migration, open_database, sqlite
from keystore.db.lock import WriteLock
from keystore.db.schema import AUDIT_EPOCHS, METADATA
from keystore.db.sqlite_database import SqliteDatabase
from keystore.errors import (
    ConfigurationError,
    Conflict,
    IntegrityFailure,
    KeystoreError,
    NotFound,
    StoreUnavailable,
)
from keystore.keystore import Keystore
from tests.databases import new_database, path_of, url_of
from tests.keystore.support import (
    CHANGE,
    Place,
    TokenProxy,
    intent_for,
    make_database,
    make_place,
    new_key,
    policy_for,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from multiprocessing.synchronize import Event

    from keystore.api import GeneratedKey
    from keystore.hsm import Token

    Fault = Callable[[Place], AbstractContextManager[None]]


pytestmark = pytest.mark.sqlite_only("SQLite's files and locks; test_postgresql.py has the like")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = new_database(tmp_path / "test.db")
    yield made
    made.close()


def test_the_history_ends_at_the_schema(database: Database) -> None:
    with database.read() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, METADATA) == []
        scripts = Path(migration.__file__).parent / "migrations"
        assert context.get_current_revision() == ScriptDirectory(str(scripts)).get_current_head() == migration.NEWEST


def test_a_database_is_made_once_and_for_its_owner_alone(database: Database) -> None:
    assert path_of(database).stat().st_mode & 0o777 == 0o600
    with pytest.raises(StoreUnavailable, match="cannot be created"):
        create_database(url_of(path_of(database)))


def test_commits_are_durable(database: Database) -> None:
    assert database.fetch("PRAGMA journal_mode", ()) == [("wal",)]
    assert database.fetch("PRAGMA synchronous", ()) == [(2,)]
    assert database.fetch("PRAGMA foreign_keys", ()) == [(1,)]


def test_a_database_of_another_version_is_refused(database: Database) -> None:
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ConfigurationError, match="9999"):
        open_database(url_of(path_of(database)))


def test_a_missing_database_is_an_error_and_never_made(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable):
        open_database(url_of(tmp_path / "none.db"))
    assert not (tmp_path / "none.db").exists()


@pytest.mark.parametrize("url", ["nonsense", "sqlite://", "sqlite:///:memory:", "sqlite:///x?mode=ro", "oracle://h/d"])
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"database\.url"):
        connect(url)


def test_a_block_that_raises_writes_nothing(database: Database) -> None:
    def fail_half_way() -> None:
        with database.write() as connection:
            connection.execute(text("INSERT INTO audit_epochs VALUES ('one', 1, NULL, 'x', 0)"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_half_way()
    assert database.fetch("SELECT count(*) FROM audit_epochs", ()) == [(0,)]


def test_a_constraint_is_a_conflict_that_tells_no_values(database: Database) -> None:
    insert = text("INSERT INTO audit_epochs VALUES ('secret', 1, NULL, 'x', 0)")
    with database.write() as connection:
        connection.execute(insert)
    with pytest.raises(Conflict) as refusal, database.write() as connection:
        connection.execute(insert)
    assert "secret" not in str(refusal.value)


def put(database: Database, name: str) -> None:
    with database.write() as connection:
        connection.execute(text("INSERT INTO audit_epochs VALUES (:name, 1, NULL, 'x', 0)"), {"name": name})


def test_rows_are_appended_together_or_not_at_all(database: Database) -> None:
    prepared = database.prepare_insert(AUDIT_EPOCHS)
    assert prepared.names == ("id", "started_at", "closed_at", "node", "beats")
    with database.append() as append:
        append(prepared, [("one", 1, None, "x", 0), ("two", 2, 3, "x", 0)])

    def fail_half_way() -> None:
        with database.append() as append:
            append(prepared, [("three", 1, None, "x", 0)])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_half_way()
    with pytest.raises(Conflict), database.append() as append:
        append(prepared, [("four", 1, None, "x", 0), ("one", 1, None, "x", 0)])
    put(database, "five")
    assert database.fetch("SELECT id, started_at, closed_at FROM audit_epochs", ()) == [
        ("one", 1, None),
        ("two", 2, 3),
        ("five", 1, None),
    ]


def test_rows_that_are_a_transaction_by_themselves_are_written_together_or_not_at_all(database: Database) -> None:
    """The audit trail's road: one statement without BEGIN and COMMIT, or a transaction where one does not suffice."""
    prepared = database.prepare_insert(AUDIT_EPOCHS)
    put(database, "taken")
    with pytest.raises(Conflict), database.append() as append:
        append(prepared, [("one", 1, None, "x", 0), ("two", 1, None, "x", 0), ("taken", 1, None, "x", 0)], alone=True)
    many = [(f"many-{number}", 1, None, "x", 0) for number in range(100)]
    with pytest.raises(Conflict), database.append() as append:
        append(prepared, [*many, ("taken", 1, None, "x", 0)], alone=True)

    def fail_after_writing() -> None:
        with database.append() as append:
            append(prepared, many, alone=True)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_after_writing()
    assert database.fetch("SELECT id FROM audit_epochs", ()) == [("taken",)]
    with database.append() as append:
        append(prepared, many, alone=True)
    assert database.fetch("SELECT count(*) FROM audit_epochs", ()) == [(101,)]


def hold_file_lock(path: Path, held: Event, release: Event) -> None:
    """Another process, stopped at the worst moment."""
    with WriteLock(path, timeout=5).held():
        held.set()
        release.wait(20)


def test_a_stopped_process_that_holds_the_lock_does_not_hang_the_others(tmp_path: Path) -> None:
    new_database(tmp_path / "test.db").close()
    database = connect(url_of(tmp_path / "test.db"), lock_seconds=0.3)
    context = multiprocessing.get_context("spawn")
    held, release = context.Event(), context.Event()
    other = context.Process(target=hold_file_lock, args=(tmp_path / "test.db.lock", held, release))
    other.start()
    try:
        assert held.wait(20)
        for _ in range(3):
            with pytest.raises(StoreUnavailable, match="another process"):
                put(database, "refused")
        assert sum(thread.name == "sealmark-write-lock" for thread in threading.enumerate()) == 1
        release.set()
        other.join(20)
        put(database, "accepted")
        put(database, "accepted too")
    finally:
        release.set()
        other.join(20)
    assert database.fetch("SELECT id FROM audit_epochs ORDER BY id", ()) == [("accepted",), ("accepted too",)]
    database.close()


def test_a_thread_that_holds_the_lock_does_not_hang_the_others(tmp_path: Path) -> None:
    lock = WriteLock(tmp_path / "lock", timeout=0.1)
    with lock.held(), pytest.raises(StoreUnavailable, match="another thread"), lock.held():
        pass
    with lock.held():
        pass
    lock.close()


def test_a_lock_file_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="lock file"), WriteLock(tmp_path / "none" / "lock", timeout=1).held():
        pass


def test_threads_take_turns(database: Database) -> None:
    threads = [threading.Thread(target=put, args=(database, str(number))) for number in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert database.fetch("SELECT count(*) FROM audit_epochs", ()) == [(32,)]


# While the database cannot be written: each way is entered and left again while the keystore stays open.


@contextmanager
def locked(place: Place) -> Iterator[None]:
    """Another writer that does not know of our lock file."""
    connection = sqlite3.connect(place.path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    yield
    connection.execute("ROLLBACK")
    connection.close()


@contextmanager
def _with_pragma(place: Place, on: str, off: str) -> Iterator[None]:
    assert isinstance(place.warm.database, SqliteDatabase)
    engine = place.warm.database._engine

    def checkout(connection: sqlite3.Connection, *_: object) -> None:
        connection.execute(on)

    event.listen(engine, "checkout", checkout)
    try:
        yield
    finally:
        event.remove(engine, "checkout", checkout)
        with place.warm.database.read() as connection:
            connection.exec_driver_sql(off)


@contextmanager
def read_only(place: Place) -> Iterator[None]:
    with _with_pragma(place, "PRAGMA query_only=ON", "PRAGMA query_only=OFF"):
        yield


@contextmanager
def full(place: Place) -> Iterator[None]:
    with _with_pragma(place, "PRAGMA max_page_count=1", "PRAGMA max_page_count=1000000"):
        yield


@contextmanager
def full_disk(place: Place) -> Iterator[None]:
    """The operating system refuses to let the file grow."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = place.path.with_name(place.path.name + "-wal").stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def impatient(tmp_path: Path, token: Token, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """A place whose connections wait 0.2 s for a lock."""
    monkeypatch.setattr(sqlite, "BUSY_SECONDS", 0.2)
    with make_place(tmp_path, token) as place:
        yield place


@pytest.mark.parametrize("fault", [locked, read_only, full, full_disk])
def test_what_cannot_be_written_is_refused_and_works_again_without_restart(impatient: Place, fault: Fault) -> None:
    place = impatient
    key = place.warm.create_key(new_key("release"))
    enough = "x" * 20_000  # more than the page at hand
    with fault(place):
        for _ in range(2):
            began = time.monotonic()
            with pytest.raises(StoreUnavailable):
                place.warm.set_policy(key.id, policy_for(f"role/{enough}"), CHANGE)
            assert time.monotonic() - began < 5
        assert place.warm.get_key("release") == key
        assert place.warm.signing_key(intent_for(key)).sign(b"message")
    changed = place.warm.set_policy(key.id, policy_for(f"role/{enough}"), CHANGE)
    assert changed.policy.revision == 2
    assert place.warm.store.verify_everything()
    with place.fresh() as fresh:
        assert fresh.get_key("release") == changed


def test_a_failed_write_leaves_no_token_object_behind(impatient: Place) -> None:
    class Watched(TokenProxy):
        made: BackingKey | None = None

        def generate(self, spec: str, domain_label: str, token_label: str, use: KeyUse = KeyUse.SIGN) -> GeneratedKey:
            generated = super().generate(spec, domain_label, token_label, use)
            self.made = BackingKey(token_label.removeprefix("key/"), spec, None, None, generated.token_label)
            return generated

    watched = Watched(impatient.token)
    keystore = Keystore(watched, impatient.warm.database)
    with locked(impatient), pytest.raises(StoreUnavailable):
        keystore.create_key(new_key("edwards", spec="ECC_NIST_EDWARDS25519"))
    assert watched.made is not None
    with pytest.raises(KeystoreError):
        impatient.token.sign(watched.made, SIGNING_ALGORITHMS["ED25519_SHA_512"], b"message")


def test_an_uninitialised_database_is_refused(tmp_path: Path, token: Token) -> None:
    database = new_database(tmp_path / "test.db")
    with pytest.raises(NotFound, match="never initialised"):
        Keystore(token, database)
    database.close()


def test_a_damaged_file_is_unavailable(tmp_path: Path, token: Token) -> None:
    make_database(tmp_path / "test.db", token).close()
    path = tmp_path / "test.db"
    octets = path.read_bytes()
    path.write_bytes(octets[:100] + bytes(len(octets) - 100))
    for leftover in tmp_path.glob("test.db-*"):
        leftover.unlink()
    with pytest.raises((StoreUnavailable, IntegrityFailure)):
        open_database(url_of(path))
