"""Rows brought into a database that has none: those of a backup, or all of another SQLite file. All of them or none."""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager, suppress
from itertools import islice
from typing import TYPE_CHECKING, Final

from sqlalchemy import delete, insert

from keystore.configuration import DatabaseConfiguration
from keystore.db import create_database
from keystore.db.migration import NEWEST
from keystore.db.schema import METADATA
from keystore.errors import CeremonyError, Conflict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from keystore.backup_files import BackupFolder
    from keystore.configuration import StateDirectory
    from keystore.db import Database

_ROWS_A_STATEMENT: Final = 500


@contextmanager
def new_database(
    directory: StateDirectory, url: str | None, password_file: Path | None
) -> Iterator[tuple[Database, DatabaseConfiguration | None]]:
    """An empty database with every table, and what the configuration says of it (None: the file that it means anyway).

    What was made on a server is taken back if the block fails; a file goes with its directory. Raises: `CeremonyError`.
    """
    if url is None:
        if password_file is not None:
            raise CeremonyError("a database's password file is given, but no database (postgresql://...)")
        with closing(create_database(f"sqlite:///{directory.database}")) as database:
            yield database, None
        return
    if not url.startswith("postgresql:"):
        raise CeremonyError("a database is named by postgresql://USER@HOST:PORT/NAME; SQLite's file is in DIR")
    told = DatabaseConfiguration(url, None if password_file is None else password_file.resolve())
    with _taken_back(told) as database:
        yield database, told


@contextmanager
def database_in_its_place(place: DatabaseConfiguration) -> Iterator[Database]:
    """The database of a configuration, which is not there yet: whole when the block ends, or not there.

    Raises: `CeremonyError` if it is there.
    """
    path = place.file
    if path is None:
        with _taken_back(place) as database:
            yield database
        return
    if path.exists():
        raise CeremonyError(f"{path} is there already: nothing is overwritten; move it away first")
    # Beside its place, then renamed: what is killed meanwhile leaves no database that is not whole.
    part = path.with_name(f"{path.name}.part")
    _remove(part)
    try:
        with closing(create_database(f"sqlite:///{part}")) as database:
            yield database
        part.rename(path)
    finally:
        _remove(part)


@contextmanager
def _taken_back(place: DatabaseConfiguration) -> Iterator[Database]:
    with closing(create_database(place.url, place.password_file)) as database:
        try:
            yield database
        except BaseException:
            database.discard()
            raise


def _remove(part: Path) -> None:
    for left in part.parent.glob(f"{part.name}*"):
        with suppress(OSError):
            left.unlink()


def require_version(backup: BackupFolder) -> None:
    """Raises: `CeremonyError` if the backup's tables are not those of this version."""
    if backup.manifest.schema != NEWEST:
        raise CeremonyError(
            f"the backup's tables are of revision {backup.manifest.schema}, this version's of {NEWEST}: restore it "
            "with the version of Sealmark that made it"
        )


def load_tables(database: Database, backup: BackupFolder, progress: Callable[[int, int], None]) -> None:
    """Brings a backup's rows into a database that has none, in one transaction. `progress` is told (rows done, rows in
    all). Raises: `CeremonyError`, `StoreUnavailable`."""
    total, done = sum(file.rows for file in backup.manifest.files), 0
    try:
        with database.write() as connection:
            for table in reversed(METADATA.sorted_tables):  # what the migration itself has put there
                connection.execute(delete(table))
            for table in METADATA.sorted_tables:
                rows = backup.rows(table)
                while some := list(islice(rows, _ROWS_A_STATEMENT)):
                    connection.execute(insert(table), some)
                    done += len(some)
                    progress(done, total)
    except Conflict as error:
        raise CeremonyError(f"the backup's rows do not fit together: {error}") from error


def copy_database(source: Path, target: Path) -> None:
    """A consistent copy of a SQLite database, which may be in use. Raises: `CeremonyError`."""
    if not source.is_file():
        raise CeremonyError(f"{source} is no database file")
    target.touch(mode=0o600, exist_ok=False)
    try:
        with (
            closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True)) as old,
            closing(sqlite3.connect(target)) as new,
        ):
            old.backup(new)
    except sqlite3.Error as error:
        raise CeremonyError(f"{source} cannot be copied: {error}") from error
