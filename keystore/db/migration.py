"""Bring a database to the newest revision of its schema, or refuse one that is not there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import make_url

from keystore.db import sqlite
from keystore.db.engine import Database
from keystore.errors import ConfigurationError

if TYPE_CHECKING:
    from sqlalchemy import Connection


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    return config


def upgrade(database: Database) -> None:
    """Run every migration that the database lacks, in one transaction."""
    with database.write() as connection:
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def create_database(url: str) -> Database:
    """Make the database (its file must not exist, mode 0600) with every table, empty. Raises `StoreUnavailable`."""
    database = Database(url)
    sqlite.create_file(sqlite.database_path(make_url(url)))
    upgrade(database)
    return database


def open_database(url: str) -> Database:
    """Open a database that is at the newest revision. Raises `ConfigurationError` if it is older or newer."""
    database = Database(url)
    with database.read() as connection:
        _require_newest(connection)
    return database


def _require_newest(connection: Connection) -> None:
    newest = ScriptDirectory.from_config(_config()).get_current_head()
    found = MigrationContext.configure(connection).get_current_revision()
    if found != newest:
        raise ConfigurationError(f"database.url: the database is at revision {found}, this version needs {newest}")
