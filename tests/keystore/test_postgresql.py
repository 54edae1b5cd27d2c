"""What is said of the database holds of PostgreSQL: a server of the tests' own, in every run of the suite."""

from __future__ import annotations

import secrets
import threading
import time
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from sqlalchemy import bindparam, select, text

from keystore.configuration import database_at, load_database_configuration
from keystore.db import connect, create_database, open_database
from keystore.db.postgresql import parse_url
from keystore.db.postgresql_database import PostgresqlDatabase
from keystore.db.schema import AUDIT_EPOCHS, METADATA
from keystore.db.snapshot import snapshot
from keystore.errors import ConfigurationError, Conflict, IntegrityFailure, StoreUnavailable
from keystore.queries import compile_query, row_by_id
from tests.databases import hand, name_of, new_database, on_postgresql, path_of, server_url, url_of
from tests.keystore.support import intent_for, make_place, new_key
from tests.postgresql_server import running_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from keystore.db import Database, Value
    from keystore.hsm import Token
    from tests.postgresql_server import Server


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running_server() as running, on_postgresql(running.url("{}")):
        yield running


@pytest.fixture
def database(server: Server, tmp_path: Path) -> Iterator[Database]:
    made = new_database(tmp_path / "test.db")
    yield made
    made.close()


def officer(statement: str, database: str = "postgres") -> None:
    with psycopg.connect(server_url(database), autocommit=True) as connection:
        connection.execute(statement.encode())


def end_sessions(database: Database) -> None:
    name = name_of(path_of(database))
    officer(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")  # noqa: S608


def put(database: Database, name: str) -> None:
    with database.write() as connection:
        connection.execute(text("INSERT INTO audit_epochs VALUES (:name, 1, NULL, 'x', 0)"), {"name": name})


def names(database: Database) -> list[str]:
    with database.read() as connection:
        return list(connection.execute(select(AUDIT_EPOCHS.c.id).order_by(AUDIT_EPOCHS.c.id)).scalars())


def connections(database: Database) -> PostgresqlDatabase:
    assert isinstance(database, PostgresqlDatabase)
    return database


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://me:secret@h/d", "no password stands in a URL"),
        ("postgresql://me@h/d?password=secret", "no password stands in a URL"),
        ("postgresql://me@h/d?sslpassword=secret", "no password stands in a URL"),
        ("postgresql://me@h/d?options=-c%20synchronous_commit%3Doff", "options= cannot be set here"),
        ("postgresql://me@h/d?client_encoding=LATIN1", "client_encoding= cannot be set here"),
        ("postgresql://me@h/", "names no database"),
        ("postgresql://me:secret@h:port/d?nonsense", "is not a URL of PostgreSQL"),
    ],
)
def test_a_url_that_is_not_taken_is_refused_without_repeating_it(url: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=r"database\.url") as refusal:
        connect(url)
    assert said in str(refusal.value)
    assert "secret" not in str(refusal.value)


def test_tls_and_libpqs_own_ways_to_a_password_are_taken() -> None:
    told = parse_url("postgresql://me@h/d?sslmode=verify-full&sslrootcert=/ca.pem&passfile=/p&connect_timeout=3")
    assert (told["sslmode"], told["passfile"]) == ("verify-full", "/p")
    assert parse_url("postgresql:///?service=sealmark")["service"] == "sealmark"


def test_a_password_comes_from_its_file_and_from_nowhere_else(server: Server, tmp_path: Path) -> None:
    database = new_database(tmp_path / "test.db")
    database.close()
    name, password = name_of(tmp_path / "test.db"), secrets.token_hex(8)
    officer(f"DROP ROLE IF EXISTS other; CREATE ROLE other LOGIN SUPERUSER PASSWORD '{password}'")
    file = tmp_path / "password"
    file.touch(mode=0o600)
    url = server.tcp_url(name, "other")
    for wrong in ("not this", password[:-1]):
        file.write_text(f"{wrong}\n")
        with pytest.raises(StoreUnavailable) as refusal:
            open_database(url, file)
        assert wrong not in str(refusal.value)
    file.write_text(f"{password}\n")
    open_database(url, file).close()
    file.chmod(0o640)
    with pytest.raises(ConfigurationError, match=r"database\.password_file: .* can be read by others"):
        open_database(url, file)
    with pytest.raises(ConfigurationError, match="only a PostgreSQL database has a password"):
        connect(f"sqlite:///{tmp_path}/x.db", file)


def test_the_configuration_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "sealmark.toml").write_text(
        '[database]\nurl = "postgresql://me@db.example/sealmark"\npassword_file = "db.password"\n'
    )
    told = load_database_configuration(tmp_path)
    assert (told.url, told.file) == ("postgresql://me@db.example/sealmark", None)
    assert told.password_file == tmp_path.resolve() / "db.password"


def test_the_history_ends_at_the_schema(server: Server, tmp_path: Path) -> None:
    officer(f"CREATE DATABASE {name_of(tmp_path)} TEMPLATE template0")
    url = url_of(tmp_path)
    with pytest.raises(ConfigurationError, match="no database of Sealmark"):
        open_database(url)
    create_database(url).close()
    with pytest.raises(ConfigurationError, match="holds tables already"):
        create_database(url)
    database = open_database(url)
    with database.read() as connection:
        for table in METADATA.sorted_tables:
            assert connection.execute(table.select()).all() is not None
    database.discard()
    create_database(url).close()


def test_a_database_of_another_version_is_refused(database: Database) -> None:
    with hand(path_of(database)) as other:
        other.run("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(ConfigurationError, match="9999"):
        open_database(database.url)


@pytest.mark.parametrize(
    "made",
    ["LC_COLLATE 'C.UTF-8' LC_CTYPE 'C.UTF-8'", "ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'"],
)
def test_text_is_utf8_and_in_the_order_of_its_octets(server: Server, tmp_path: Path, made: str) -> None:
    name = name_of(tmp_path)
    officer(f"CREATE DATABASE {name} TEMPLATE template0 {made}")
    if "LATIN1" in made:
        with pytest.raises(ConfigurationError, match="encoding is LATIN1"):
            create_database(url_of(tmp_path))
        return
    database = create_database(url_of(tmp_path))
    for one in ("b", "B", "a", "Ä", "_"):
        put(database, one)
    assert names(database) == ["B", "_", "a", "b", "Ä"]
    database.close()


def test_every_connection_waits_for_the_disk(database: Database) -> None:
    """Whatever the database's owner has set."""
    officer(f"ALTER DATABASE {name_of(path_of(database))} SET synchronous_commit = off")
    other = open_database(database.url)
    shown = "SHOW synchronous_commit"
    assert other.fetch(shown, ()) == [("on",)]
    with other.write() as connection:
        assert connection.execute(text(shown)).scalar_one() == "on"
        assert connection.execute(text("SHOW transaction_isolation")).scalar_one() == "read committed"
    with other.read() as connection:
        assert connection.execute(text("SHOW transaction_isolation")).scalar_one() == "repeatable read"
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            connection.connection.cursor().execute("DELETE FROM audit_epochs")
    other.close()


TRIGGER = (
    "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$; "
    "CREATE TRIGGER planted BEFORE INSERT ON keys FOR EACH ROW EXECUTE FUNCTION f()"
)


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE VIEW planted AS SELECT * FROM keys",
        "CREATE TABLE planted () INHERITS (keys)",
        "CREATE RULE planted AS ON DELETE TO keys DO INSTEAD NOTHING",
        "CREATE POLICY planted ON keys USING (false)",
        TRIGGER,
    ],
)
def test_whatever_stands_between_a_statement_and_a_table_is_refused(database: Database, statement: str) -> None:
    officer(statement, name_of(path_of(database)))
    with pytest.raises(IntegrityFailure, match="planted"):
        open_database(database.url)
    with snapshot(database_at(database.url)) as found:
        assert found.foreign_objects() == ["planted"]


def test_a_block_that_raises_writes_nothing_and_a_conflict_tells_no_values(database: Database) -> None:
    put(database, "secret")

    def fail_half_way() -> None:
        with database.write() as connection:
            connection.execute(text("DELETE FROM audit_epochs"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_half_way()
    with pytest.raises(Conflict) as refusal:
        put(database, "secret")
    assert "secret" not in str(refusal.value)
    prepared = database.prepare_insert(AUDIT_EPOCHS)
    many = [(f"many-{number:03}", 1, None, "x", 0) for number in range(100)]
    with pytest.raises(Conflict) as refusal, database.append() as append:
        append(prepared, [*many, ("secret", 1, None, "x", 0)], alone=True)
    assert "secret" not in str(refusal.value)
    assert names(database) == ["secret"]
    with database.append() as append:
        append(prepared, many)
    assert len(names(database)) == 101


def test_a_name_with_a_nul_is_nobodys(database: Database) -> None:
    put(database, "known")
    found = database.prepare(select(AUDIT_EPOCHS.c.id, AUDIT_EPOCHS.c.node).where(AUDIT_EPOCHS.c.id == bindparam("id")))
    assert database.fetch(found.sql, ("known",)) == [("known", "x")]
    for name in ("known\0", "\0", "kn\0own"):
        assert database.fetch(found.sql, (name,)) == []
        with database.read() as connection:
            assert database.fetch(found.sql, (name,), inside=connection) == []


def test_a_transaction_with_a_refused_statement_is_not_taken_for_a_commit(database: Database) -> None:
    """PostgreSQL answers its COMMIT without an error, with ROLLBACK."""

    def go_on_after_a_refusal() -> None:
        with database.write() as connection:
            driver: Any = connection.connection.driver_connection
            with pytest.raises(psycopg.Error):
                driver.execute("SELECT 1 / 0")

    with pytest.raises(StoreUnavailable):
        go_on_after_a_refusal()


def test_writers_take_turns_and_nobody_waits_for_ever(database: Database) -> None:
    other = connect(database.url, lock_seconds=0.2)
    prepared = database.prepare_insert(AUDIT_EPOCHS)
    with database.append() as append:
        append.begin()
        put(other, "rows are sealed while the log is written")
        began = time.monotonic()
        with pytest.raises(StoreUnavailable, match="lock timeout"), other.append() as second:
            second(prepared, [("late", 1, None, "x", 0)])
        assert time.monotonic() - began < 3
    done: list[int] = []

    count = database.prepare(select(AUDIT_EPOCHS.c.beats).where(AUDIT_EPOCHS.c.id == bindparam("this")))
    write = database.prepare_change(
        AUDIT_EPOCHS.update().where(AUDIT_EPOCHS.c.id == bindparam("this")).values(beats=bindparam("found"))
    )
    put(database, "counted")

    def work(number: int) -> None:
        for turn in range(5):
            with database.append() as append:
                append.begin()
                ((found,),) = append.fetch(count, ("counted",))
                assert isinstance(found, int)
                values: dict[str, Value] = {"this": "counted", "found": found + 1}
                append.run(write, tuple(values[name] for name in write.names))
            done.append(turn)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 20
    assert database.fetch("SELECT beats FROM audit_epochs WHERE id = 'counted'", ()) == [(20,)]
    other.close()


def test_what_is_broken_is_replaced_and_the_next_call_works(database: Database) -> None:
    """The server ends all sessions: those that lie idle are thrown away, without a failure of anybody's."""
    shown = "SELECT count(*) FROM audit_epochs"
    assert database.fetch(shown, ()) == [(0,)]
    put(database, "one")
    for _ in range(2):
        end_sessions(database)
        assert database.fetch(shown, ()) == [(1,)]
        end_sessions(database)
        with database.append() as append:
            append.begin()
        end_sessions(database)
        assert names(database) == ["one"]
        with database.change():
            pass


def test_a_session_that_ends_within_a_transaction_is_a_failure(database: Database) -> None:
    prepared = database.prepare_insert(AUDIT_EPOCHS)

    def lose_the_log() -> None:
        with database.append() as append:
            append(prepared, [("lost", 1, None, "x", 0)])
            end_sessions(database)

    def lose_the_rows() -> None:
        with database.write() as connection:
            connection.execute(text("INSERT INTO audit_epochs VALUES ('lost', 1, NULL, 'x', 0)"))
            end_sessions(database)

    for lose in (lose_the_log, lose_the_rows):
        with pytest.raises(StoreUnavailable):
            lose()
    assert names(database) == []


def test_a_server_that_is_killed_and_started_again(server: Server, tmp_path: Path, token: Token) -> None:
    with make_place(tmp_path, token) as place:
        key = place.warm.create_key(new_key("release"))
        server.kill()
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                place.warm.get_key("release")
        server.start()
        assert place.warm.get_key("release") == key
        assert place.warm.signing_key(intent_for(key)).sign(b"message")
        assert place.warm.store.verify_everything()


def test_a_server_that_stands_still_is_one_that_is_gone(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    database.fetch("SELECT 1", ())
    fast, _ = connections(database)._road.take()
    monkeypatch.setattr(fast[0], "answer_seconds", 0.2)
    connections(database)._road.give_back(fast)
    began = time.monotonic()

    def wait_in_vain() -> None:
        database.fetch("SELECT pg_sleep(4)", ())

    with pytest.raises(StoreUnavailable, match="does not answer"):
        wait_in_vain()
    assert time.monotonic() - began < 3
    assert database.fetch("SELECT 1", ()) == [(1,)]


def test_both_engines_serve_in_one_process(database: Database, tmp_path: Path) -> None:
    """What is compiled once in a process is compiled for each of them."""
    file = create_database(f"sqlite:///{tmp_path}/file.db")
    for one in (file, database, file):
        query = compile_query(one, row_by_id("keys"), lambda records: records, capacity=1)
        assert len(one.fetch(query.sql, ("none",) * len(query.names))) == 1
    file.close()
