"""A backup of a service that runs: everything but what only its HSM, its people and its machine have.

The rows of one moment, read in one snapshot: nobody who signs waits for it. No PIN of the officer and no share is
needed, and none is in it: it is worth nothing without an HSM of this deployment, or enough custodians' shares.
"""

from __future__ import annotations

import json
import tomllib
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from sqlalchemy import func, select

from keystore.api import KeyState
from keystore.backup_files import (
    CONFIGURATION,
    TABLES,
    BackedUpFile,
    LeftOut,
    LogEnd,
    Manifest,
    Writer,
    column_names,
    row_line,
    table_file,
    write_manifest,
)
from keystore.clock import system_clock
from keystore.configuration import load_keystore_configuration
from keystore.db import open_database
from keystore.db.migration import NEWEST
from keystore.db.schema import ALIASES, DEPLOYMENT, KEY_VERSIONS, KEYS, LOG_HEADS, METADATA
from keystore.errors import CeremonyError
from keystore.hsm import open_token

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from sqlalchemy import Connection, Table

    from keystore.configuration import KeystoreConfiguration

_ROWS_A_READ: Final = 1_000


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup that was made."""

    folder: Path
    manifest: Manifest


def back_up(state: Path, out: Path, progress: Callable[[int, int], None] | None = None) -> Backup:
    """Backs a deployment up into a new folder. `progress` is told (rows done, rows in all).

    Raises: `CeremonyError` if the folder is there and not empty, `ConfigurationError`, `StoreUnavailable`,
    `HsmUnavailable`, `IntegrityFailure`. Whatever fails leaves a folder without a manifest: that is no backup.
    """
    configuration = load_keystore_configuration(state)
    require_new(out)
    place = configuration.database
    with closing(open_database(place.url, place.password_file)) as database, database.read() as connection:
        token = open_token(configuration.hsm, sessions=1)  # before the folder is made: an HSM that is away leaves none
        try:
            _make_folder(out)
            files = [_copied_configuration(configuration, out)]
            files += _dumped(connection, out, progress or _silent)
            manifest = _manifest(connection, configuration, files).sealed(token.seal)
        finally:
            token.close()
    write_manifest(out, manifest)
    return Backup(out, manifest)


def require_new(out: Path) -> None:
    """Raises: `CeremonyError` unless a backup may be made in this folder."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise CeremonyError(f"{out} is there already and not an empty folder: a backup makes a new one")


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(mode=0o700, parents=True, exist_ok=True)
        out.chmod(0o700)
        (out / TABLES).mkdir(mode=0o700)
    except OSError as error:
        raise CeremonyError(f"{out} cannot be made: {error.strerror}") from error


def _copied_configuration(configuration: KeystoreConfiguration, out: Path) -> BackedUpFile:
    text = configuration.state.configuration.read_text(encoding="utf-8")
    with Writer(out, CONFIGURATION) as file:
        file.write(text.encode())
    return file.done(0)


def _dumped(connection: Connection, out: Path, progress: Callable[[int, int], None]) -> Iterator[BackedUpFile]:
    tables = METADATA.sorted_tables
    total = sum(connection.execute(select(func.count()).select_from(table)).scalar_one() for table in tables)
    done = 0
    for table in tables:
        file = _dump(connection, table, out, partial(_told, progress, done, total))
        done += file.rows
        yield file
    progress(done, done)


def _told(progress: Callable[[int, int], None], before: int, total: int, rows: int) -> None:
    progress(before + rows, total)


def _dump(connection: Connection, table: Table, out: Path, progress: Callable[[int], None]) -> BackedUpFile:
    wanted = select(table).order_by(*table.primary_key.columns)
    rows = 0
    with Writer(out, table_file(table)) as file:
        file.write(_names_line(table))
        for some in connection.execution_options(yield_per=_ROWS_A_READ).execute(wanted).partitions():
            file.write(b"".join(row_line(table, row, rows + at) for at, row in enumerate(some, 1)))
            rows += len(some)
            progress(rows)
    return file.done(rows)


def _names_line(table: Table) -> bytes:
    return json.dumps(column_names(table), separators=(",", ":")).encode() + b"\n"


def _manifest(connection: Connection, configuration: KeystoreConfiguration, files: list[BackedUpFile]) -> Manifest:
    deployment = connection.execute(
        select(DEPLOYMENT.c.account, DEPLOYMENT.c.region, DEPLOYMENT.c.seal_key_id)
    ).one_or_none()
    if deployment is None:
        raise CeremonyError("the database was never initialised: there is nothing to back up")
    left = _keys_on_token(connection)
    living = select(func.count()).select_from(KEYS).where(KEYS.c.state != KeyState.DELETED.value)
    head = connection.execute(
        select(LOG_HEADS.c.origin, LOG_HEADS.c.size, LOG_HEADS.c.root).order_by(LOG_HEADS.c.log.desc()).limit(1)
    ).one_or_none()
    return Manifest(
        account=deployment.account,
        region=deployment.region,
        made_at=system_clock().isoformat(timespec="seconds").replace("+00:00", "Z"),
        schema=NEWEST,
        seal_key_id=deployment.seal_key_id,
        log=None if head is None else LogEnd(head.origin, head.size, head.root.hex()),
        carried=connection.execute(living).scalar_one() - len(left),
        files=tuple(files),
        left_out=(*left, *_never_in_it(configuration, None if head is None else head.origin)),
    )


def _keys_on_token(connection: Connection) -> list[LeftOut]:
    """Keys with a version whose private half the HSM could not wrap."""
    rows = connection.execute(
        select(KEYS.c.id, KEYS.c.spec, func.min(ALIASES.c.id))
        .join(KEY_VERSIONS, KEY_VERSIONS.c.key_id == KEYS.c.id)
        .outerjoin(ALIASES, ALIASES.c.key_id == KEYS.c.id)
        .where(KEY_VERSIONS.c.token_label.is_not(None), KEYS.c.state != KeyState.DELETED.value)
        .group_by(KEYS.c.id, KEYS.c.spec)
        .order_by(KEYS.c.id)
    ).all()
    why = "the HSM cannot wrap a key of this spec: its private half is in this HSM alone"
    return [LeftOut("key", key_id, why, alias, spec) for key_id, spec, alias in rows]


def _never_in_it(configuration: KeystoreConfiguration, origin: str | None) -> Iterator[LeftOut]:
    yield LeftOut("log key", origin or "log", "it never leaves its HSM: another HSM begins another log")
    yield LeftOut("region key", "region", "the custodians have it, in shares")
    yield LeftOut("PIN", "the service's, the security officer's", "of the HSM that they are for")
    yield LeftOut("tokens", "admin.token and others", "whoever holds one has it; only its hash is in the database")
    document = tomllib.loads(configuration.state.configuration.read_text(encoding="utf-8"))
    for setting, named in _texts_of(document):
        if setting.partition(".")[0] != "hsm" and (configuration.state.path / named).is_file():
            yield LeftOut("file", named, f"{setting} names it: keep a copy where secrets are kept")


def _texts_of(document: Mapping[str, object], within: str = "") -> Iterator[tuple[str, str]]:
    """Every setting that is a text, by its name."""
    for name, value in document.items():
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, dict):
                yield from _texts_of(each, f"{within}{name}.")
            elif isinstance(each, str) and each:
                yield f"{within}{name}", each


def _silent(done: int, total: int) -> None:
    """Nobody wants to know how far it is."""
