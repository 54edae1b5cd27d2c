"""Bring a database to the newest revision of its schema, or refuse one that is not there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import inspect, text

from keystore.db.engine import LOCK_SECONDS
from keystore.errors import ConfigurationError, IntegrityFailure, StoreUnavailable

if TYPE_CHECKING:
    from keystore.db.engine import Database

NEWEST: Final = "0001"  # the last step under `migrations/versions`
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


def upgrade(database: Database) -> None:
    """Run every migration that the database lacks, in one transaction, alone among all writers."""
    # Imported here: only ceremonies migrate, and a worker need not carry Alembic in its memory.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
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


def open_database(url: str, password_file: Path | None = None) -> Database:
    """Open a database that is at the newest revision. Raises `ConfigurationError` if it is not, `IntegrityFailure` if
    somebody's trigger or view is in it, `StoreUnavailable`."""
    database = connect(url, password_file)
    try:
        with database.read() as connection:
            if not inspect(connection).has_table("alembic_version"):
                raise ConfigurationError("database.url: this is no database of Sealmark: `sealmark init` makes one")
            found = connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all()
        if found != [NEWEST]:
            raise ConfigurationError(f"database.url: the database is at revision {found}, this version needs {NEWEST}")
        foreign = database.foreign_objects()
        if foreign:
            raise IntegrityFailure(f"the database has {', '.join(foreign)}, which Sealmark did not make: drop it")
    except (ConfigurationError, IntegrityFailure, StoreUnavailable):
        database.close()
        raise
    return database
