"""Bring a database to the newest revision of its schema, or refuse one that is not there."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from sqlalchemy import make_url, text

from keystore.db import sqlite
from keystore.db.engine import Database
from keystore.errors import ConfigurationError, StoreUnavailable

NEWEST: Final = "0001"  # the last step under `migrations/versions`


def upgrade(database: Database) -> None:
    """Run every migration that the database lacks, in one transaction."""
    # Imported here: only ceremonies migrate, and a worker need not carry Alembic in its memory.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    with database.write() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def create_database(url: str) -> Database:
    """Make the database (its file must not exist, mode 0600) with every table, empty. Raises `StoreUnavailable`."""
    database = Database(url)
    sqlite.create_file(sqlite.database_path(make_url(url)))
    upgrade(database)
    return database


def open_database(url: str) -> Database:
    """Open a database that is at the newest revision. Raises `ConfigurationError` if it is not, `StoreUnavailable`."""
    database = Database(url)
    try:
        with database.read() as connection:
            found = connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all()
    except StoreUnavailable:
        database.close()
        raise
    if found != [NEWEST]:
        database.close()
        raise ConfigurationError(f"database.url: the database is at revision {found}, this version needs {NEWEST}")
    return database
