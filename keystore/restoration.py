"""Bringing a deployment back: from a backup or a database's copy, to another HSM, or to the one that it had.

To another HSM the custodians bring the region key, in shares; everything else comes out of what was kept. The token
then holds the same region, domain, link and integrity keys, so that every wrapped key and every seal is good there.
Keys that the old HSM could not wrap stay behind; the report lists them, and they are disabled.

The log is not gone on with by itself: another HSM has no key of it, and a database that is older than what the HSM or a
witness has seen must not be signed for. Another log is begun by an officer's decision (`keystore.ceremony.renew_log`).
"""

from __future__ import annotations

from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import select

from keystore import shares as custody
from keystore.api import KeyState
from keystore.backup_files import BackupFolder
from keystore.configuration import load_keystore_configuration
from keystore.db import open_database
from keystore.db.schema import SEALED_TABLES
from keystore.errors import CeremonyError, HsmFault, HsmUnavailable
from keystore.hierarchy import restore_hierarchy
from keystore.hsm import open_token
from keystore.hsm.connection import read_pin
from keystore.hsm.labels import INTEGRITY
from keystore.hsm.officer import open_ceremony
from keystore.keys import KeyRepository, existing
from keystore.loading import copy_database, database_in_its_place, load_tables, new_database, require_version
from keystore.roots import ACTIVE, TABLE, unchecked_roots
from keystore.software import rewrapped
from keystore.state_files import new_state_directory, prepare_token, write_configuration
from keystore.store import open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from keystore.api import Key
    from keystore.configuration import DatabaseConfiguration, HsmConfiguration, StateDirectory
    from keystore.db import Database
    from keystore.hierarchy import WrappedRoot
    from keystore.hsm import Token
    from keystore.store import SealedStore

    Progress = Callable[[str, int, int], None]  # what is being done, how much of it, of how much

_PAGE: Final = 500


@dataclass(frozen=True, slots=True)
class RestoreOptions:
    """`hsm_uri` names an initialised token of another HSM, with its officer's PIN in a file; a SoftHSM otherwise.
    `database_url` is an empty database of a PostgreSQL server, with its password in a file; a SQLite file otherwise."""

    hsm_uri: str | None = None
    officer_pin_source: Path | None = None
    database_url: str | None = None
    database_password_file: Path | None = None


@dataclass(frozen=True, slots=True)
class NotCarried:
    """A key whose private half is still in the old HSM alone. It is disabled."""

    key_id: str
    alias: str | None
    spec: str


@dataclass(frozen=True, slots=True)
class RestoreReport:
    """`carried` counts keys all of whose versions open on the token; `rows` the sealed rows that were checked."""

    state: StateDirectory
    domains: tuple[str, ...]
    carried: int
    not_carried: tuple[NotCarried, ...]
    rows: int


def restore(
    state_new: Path, source: Path, shares: Sequence[str], options: RestoreOptions, progress: Progress | None = None
) -> RestoreReport:
    """Makes a state directory, missing or empty before, of a backup (its folder) and enough custodians' shares.

    A copy of a SQLite database (its file) will do too; it may be in use. Nothing is left behind on failure; one that
    was killed is run again. Raises: `CeremonyError` if the backup is not as it was made, or the shares are too few or
    of another deployment; `IntegrityFailure` if a sealed row does not bear its seal.
    """
    region_key = custody.combine(shares)
    told = progress or _silent
    try:
        backup = _checked_backup(source)
        with new_state_directory(state_new) as state, _brought_in(state, source, backup, options, told) as brought:
            database, place = brought
            roots = _read_roots(database)
            uri, configuration, officer_pin = prepare_token(state, options.hsm_uri, options.officer_pin_source)
            with open_ceremony(configuration, officer_pin=officer_pin, user_pin=read_pin(configuration)) as ceremony:
                restore_hierarchy(ceremony, region_key, roots, _check_of(backup))
            report = _check_everything(state, configuration, database, told)
            write_configuration(state, uri, place, None if backup is None else backup.configuration())
            return report
    finally:
        region_key[:] = bytes(len(region_key))


def restore_database(state: Path, source: Path, progress: Progress | None = None) -> RestoreReport:
    """Brings a backup's rows into a state directory that is there, with its HSM, and whose database is not.

    The HSM is the one that the backup is of, and has all its keys: no share and no officer is needed. Raises as
    `restore`; `CeremonyError` if there is a database, or the HSM has another deployment's keys, or not all of them.
    """
    told = progress or _silent
    configuration = load_keystore_configuration(state)
    backup = _checked_backup(source)
    if backup is None:
        raise CeremonyError(f"{source} is no folder of a backup: name what `sealmark backup --out` has made")
    with database_in_its_place(configuration.database) as database:
        token = open_token(configuration.hsm)
        try:
            backup.require_seal(token.seal)
            _require_roots(token, backup)
        finally:
            token.close()
        load_tables(database, backup, lambda done, rows: told("rows", done, rows))
        return _check_everything(configuration.state, configuration.hsm, database, told)


def _checked_backup(source: Path) -> BackupFolder | None:
    """The backup, every file of which is as its manifest says; None for a database's file. Raises: `CeremonyError`."""
    if source.is_file():
        return None
    backup = BackupFolder(source)
    require_version(backup)
    backup.check()
    return backup


@contextmanager
def _brought_in(
    state: StateDirectory, source: Path, backup: BackupFolder | None, options: RestoreOptions, told: Progress
) -> Iterator[tuple[Database, DatabaseConfiguration | None]]:
    if backup is None:
        if options.database_url is not None:
            raise CeremonyError("a copy of a SQLite database is restored to a file; a backup's folder, to a server too")
        copy_database(source, state.database)
        with closing(open_database(f"sqlite:///{state.database}")) as copied:
            yield copied, None
        return
    with new_database(state, options.database_url, options.database_password_file) as (database, place):
        load_tables(database, backup, lambda done, rows: told("rows", done, rows))
        yield database, place


def _check_of(backup: BackupFolder | None) -> Callable[[Callable[[bytes], bytes]], None]:
    return (lambda _: None) if backup is None else backup.require_seal


def _read_roots(database: Database) -> list[WrappedRoot]:
    table = SEALED_TABLES[TABLE].table
    with database.read() as connection:
        rows = connection.execute(select(table.c.token_label, table.c.wrapped).where(table.c.state == ACTIVE)).all()
    roots = unchecked_roots([(label, wrapped) for label, wrapped in rows])
    if [root.label for root in roots if root.domain is None and root.link is None] != [INTEGRITY]:
        raise CeremonyError("the database does not hold exactly one integrity key: never initialised, or changed")
    return roots


def _require_roots(token: Token, backup: BackupFolder) -> None:
    """Raises `CeremonyError` unless the token holds each key of the hierarchy that the backup's rows need."""
    for label, _, state in backup.roots():
        if state == ACTIVE and not token.holds(str(label)):
            raise CeremonyError(
                f"the HSM does not hold {label!r}, which wraps keys of this backup: it is older than a rotation of "
                "that domain. Restore it to a folder of its own, with the custodians' shares"
            )


def _check_everything(
    state: StateDirectory, configuration: HsmConfiguration, database: Database, told: Progress
) -> RestoreReport:
    """Every sealed row, then every wrapped key, on the token."""
    token = open_token(configuration)
    try:
        store = open_store(database, token.seal)
        rows = store.verify_everything()
        if store.get("deployment", "deployment") is None:
            raise CeremonyError("the database has no deployment row")
        carried, left = _open_keys(token, store, told)
        _disable(store, left)
        domains = tuple(row.id for row in store.select("domains"))
        return RestoreReport(state, domains, carried, left, rows)
    finally:
        token.close()


def _open_keys(token: Token, store: SealedStore, told: Progress) -> tuple[int, tuple[NotCarried, ...]]:
    carried, left = 0, []
    keys = list(_living_keys(store))
    for done, key in enumerate(keys):
        told("keys", done, len(keys))
        if not all(_opens(token, key, at) for at in range(len(key.versions))):
            left.append(NotCarried(key.id, key.alias, key.spec))
        else:
            carried += 1
    told("keys", len(keys), len(keys))
    return carried, tuple(left)


def _disable(store: SealedStore, left: Sequence[NotCarried]) -> None:
    """Keys that cannot be used here say so to whoever calls, at once: not that trying again might help."""
    for each in left:
        with store.transaction() as transaction:
            row = existing(transaction, "keys", each.key_id)
            if KeyState(row.text("state")) is KeyState.ENABLED:
                transaction.update(row, {"state": KeyState.DISABLED.value})


def _opens(token: Token, key: Key, at: int) -> bool:
    """Whether a version's backing key can be used here. One that should open, and does not, fails the restore."""
    backing = key.versions[at].backing
    if backing.token_label is not None:
        return token.holds(backing.token_label)
    if backing.domain_label is None:
        return True  # nothing is there: material that was deleted, or has not come in yet
    try:
        # Wrapping it once more shows that the domain key opens it here, and leaves nothing of it outside.
        rewrapped(token, backing, backing.domain_label)
    except (HsmFault, HsmUnavailable) as error:
        raise CeremonyError(f"key {key.id} does not open under {backing.domain_label!r} here: {error}") from error
    return True


def _living_keys(store: SealedStore) -> Iterator[Key]:
    repository, after = KeyRepository(store), None
    while page := repository.list_keys(after, _PAGE):
        yield from (key for key in page if key.state is not KeyState.DELETED)
        after = page[-1].id


def _silent(what: str, done: int, total: int) -> None:
    """Nobody wants to know how far it is."""
