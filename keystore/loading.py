"""Rows brought into a database that has none: those of a backup, or all of another SQLite file. All of them or none."""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from itertools import islice
from typing import TYPE_CHECKING, Final

from sqlalchemy import delete, insert

from keystore.db import create_database
from keystore.db.migration import NEWEST
from keystore.db.schema import METADATA
from keystore.db.snapshot import database_path
from keystore.errors import CeremonyError, Conflict

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from keystore.backup_files import BackupFolder

_ROWS_A_STATEMENT: Final = 500
_SQLITE: Final = "sqlite:///"


def load_tables(url: str, backup: BackupFolder, progress: Callable[[int, int], None]) -> None:
    """Makes the database of this URL out of a backup's tables. `progress` is told (rows done, rows in all).

    Raises: `CeremonyError` if there is one, or the backup is of another version's tables; `StoreUnavailable`.
    """
    manifest = backup.manifest
    if manifest.schema != NEWEST:
        raise CeremonyError(
            f"the backup's tables are of revision {manifest.schema}, this version's of {NEWEST}: restore it with the "
            "version of Sealmark that made it"
        )
    if not url.startswith(_SQLITE):
        _load(url, backup, progress)
        return
    path = database_path(url)
    if path.exists():
        raise CeremonyError(f"{path} is there already: nothing is overwritten; move it away first")
    # Beside its place, then renamed: what is killed meanwhile leaves no database that is not whole.
    part = path.with_name(f"{path.name}.part")
    for left in path.parent.glob(f"{part.name}*"):
        left.unlink()
    try:
        _load(f"{_SQLITE}{part}", backup, progress)
        part.rename(path)
    finally:
        for left in path.parent.glob(f"{part.name}*"):
            with suppress(OSError):
                left.unlink()


def unload(url: str) -> None:
    """Takes away a database whose rows turned out not to be what they should: it was made a moment ago."""
    if url.startswith(_SQLITE):
        path = database_path(url)
        for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
            path.with_name(name).unlink(missing_ok=True)


def _load(url: str, backup: BackupFolder, progress: Callable[[int, int], None]) -> None:
    total, done = sum(file.rows for file in backup.manifest.files), 0
    try:
        with closing(create_database(url)) as database, database.write() as connection:
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
