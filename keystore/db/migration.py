"""Bring a database to the newest revision of its schema, or refuse one that is not there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import inspect, text

from keystore.db.engine import LOCK_SECONDS
from keystore.errors import ConfigurationError, IntegrityFailure, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keystore.db.engine import Database

NEWEST: Final = "0001"  # the last step under `migrations/versions`
HISTORY: Final = Path(__file__).parent / "migrations"
_POSTGRESQL: Final = "postgresql:"


def is_postgresql(url: str) -> bool:
    """Whether the URL is of a PostgreSQL database."""
    return url.startswith(_POSTGRESQL)


def connect(url: str, password_file: Path | None = None, *, lock_seconds: float = LOCK_SECONDS) -> Database:
    """The database behind a URL, which nothing is known of yet. Raises `ConfigurationError`.

    `sqlite:///PATH`, or `postgresql://USER@HOST:PORT/NAME` with the path of its password's file.
    """
    # Each engine is imported where it is used: a worker need not carry the other's driver in its memory.
    if is_postgresql(url):
        from keystore.db.postgresql_database import PostgresqlDatabase

        return PostgresqlDatabase(url, password_file=password_file, lock_seconds=lock_seconds)
    if password_file is not None:
        raise ConfigurationError("database.password_file: only a PostgreSQL database has a password")
    from keystore.db.sqlite_database import SqliteDatabase

    return SqliteDatabase(url, lock_seconds=lock_seconds)


def upgrade(database: Database, history: Path = HISTORY) -> None:
    """Run every migration that the database lacks, in one transaction, alone among all writers of sealed rows. Nodes of
    an older version may go on meanwhile and afterwards, as far as the new revision says so (ADR 0042)."""
    # Imported here: only ceremonies migrate, and a worker need not carry Alembic in its memory.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(history).replace("%", "%%"))
    with database.write() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def create_database(url: str, password_file: Path | None = None) -> Database:
    """Make the database with every table, empty: SQLite's file, which must not exist, mode 0600; on a server the tables
    of a database that is empty. Raises `StoreUnavailable`, `ConfigurationError`."""
    database = connect(url, password_file)
    try:
        database.create()
        upgrade(database)
    except BaseException:
        database.close()
        raise
    return database


def _require_fit(found: Sequence[str]) -> None:
    """A revision's name is its number, then that of the oldest version that works with it, where that is another:
    `0003_0002` is there for versions that know 0002 or 0003. Raises `ConfigurationError`."""
    if len(found) != 1:
        raise ConfigurationError(f"database.url: the database has {len(found)} revisions: an upgrade was cut short")
    number, _, oldest = found[0].partition("_")
    if number < NEWEST:
        raise ConfigurationError(
            f"database.url: the database is at revision {number}, this version needs {NEWEST}: "
            "run `sealmark node upgrade`, while the others go on"
        )
    if (oldest or number) > NEWEST:
        raise ConfigurationError(
            f"database.url: the database is at revision {number}, for versions that know {oldest or number} or later; "
            f"this one knows {NEWEST}"
        )


def open_database(url: str, password_file: Path | None = None) -> Database:
    """Open a database that this version works with. Raises `ConfigurationError` if it does not, `IntegrityFailure` if
    somebody's trigger or view is in it, `StoreUnavailable`."""
    database = connect(url, password_file)
    try:
        with database.read() as connection:
            if not inspect(connection).has_table("alembic_version"):
                raise ConfigurationError("database.url: this is no database of Sealmark: `sealmark init` makes one")
            found = connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all()
        _require_fit(found)
        foreign = database.foreign_objects()
        if foreign:
            raise IntegrityFailure(f"the database has {', '.join(foreign)}, which Sealmark did not make: drop it")
    except (ConfigurationError, IntegrityFailure, StoreUnavailable):
        database.close()
        raise
    return database
