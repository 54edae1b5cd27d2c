"""Bringing a deployment to another HSM: the region key from the custodians' shares, everything else from the database.

The new token holds the same region, domain and integrity keys, so that every wrapped key and every seal is good there.
Its log key is new. Keys that the old HSM could not wrap stay behind; the report lists them.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import select

from keystore import shares as custody
from keystore.api import KeyState
from keystore.db import open_database
from keystore.db.schema import SEALED_TABLES
from keystore.errors import CeremonyError
from keystore.hierarchy import restore_hierarchy
from keystore.hsm import open_token
from keystore.hsm.connection import read_pin
from keystore.hsm.labels import INTEGRITY
from keystore.hsm.officer import open_ceremony
from keystore.keys import KeyRepository
from keystore.log_anchor import LogAnchor, begin_log
from keystore.roots import ACTIVE, TABLE, unchecked_roots
from keystore.software import rewrapped
from keystore.state_files import new_state_directory, prepare_token, write_configuration
from keystore.store import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from keystore.api import Key
    from keystore.configuration import HsmConfiguration, StateDirectory
    from keystore.db import Database
    from keystore.hierarchy import WrappedRoot
    from keystore.hsm import Token
    from keystore.store import SealedStore

_PAGE: Final = 500


@dataclass(frozen=True, slots=True)
class RestoreOptions:
    """`hsm_uri` names an initialised token of another HSM, with its officer's PIN in a file; a SoftHSM otherwise."""

    hsm_uri: str | None = None
    officer_pin_source: Path | None = None


@dataclass(frozen=True, slots=True)
class NotCarried:
    """A key whose private half is still in the old HSM alone."""

    key_id: str
    alias: str | None
    spec: str


@dataclass(frozen=True, slots=True)
class RestoreReport:
    """`carried` counts keys all of whose versions open on the new token; `rows` the sealed rows that were checked."""

    state: StateDirectory
    domains: tuple[str, ...]
    carried: int
    not_carried: tuple[NotCarried, ...]
    rows: int


def restore(state_new: Path, database: Path, shares: Sequence[str], options: RestoreOptions) -> RestoreReport:
    """Makes a state directory, missing or empty before, of a database's copy and enough custodians' shares.

    The database may be in use: a consistent copy is made. Nothing is left behind on failure. Raises: `CeremonyError` if
    the shares are too few or of another deployment; `IntegrityFailure` if a sealed row does not bear its seal.
    """
    region_key = custody.combine(shares)
    try:
        with new_state_directory(state_new) as state:
            _copy_database(database, state.database)
            copied = open_database(f"sqlite:///{state.database}")
            with closing(copied):
                uri, configuration, officer_pin = prepare_token(state, options.hsm_uri, options.officer_pin_source)
                with open_ceremony(
                    configuration, officer_pin=officer_pin, user_pin=read_pin(configuration)
                ) as ceremony:
                    log_public_key = restore_hierarchy(ceremony, region_key, _read_roots(copied))
                report = _check_everything(state, configuration, copied, log_public_key)
            write_configuration(state, uri)
            return report
    finally:
        region_key[:] = bytes(len(region_key))


def _copy_database(source: Path, target: Path) -> None:
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


def _read_roots(database: Database) -> list[WrappedRoot]:
    table = SEALED_TABLES[TABLE].table
    with database.read() as connection:
        rows = connection.execute(select(table.c.token_label, table.c.wrapped).where(table.c.state == ACTIVE)).all()
    roots = unchecked_roots([(label, wrapped) for label, wrapped in rows])
    if [root.label for root in roots if root.domain is None and root.link is None] != [INTEGRITY]:
        raise CeremonyError("the database does not hold exactly one integrity key: never initialised, or changed")
    return roots


def _check_everything(
    state: StateDirectory, configuration: HsmConfiguration, database: Database, log_public_key: bytes
) -> RestoreReport:
    """Every sealed row, then every wrapped key, on the new token."""
    token = open_token(configuration)
    try:
        store = open_store(database, token.seal)
        rows = store.verify_everything()
        with store.transaction() as transaction:
            deployment = transaction.get("deployment", "deployment")
            if deployment is None:
                raise CeremonyError("the database has no deployment row")
            transaction.update(deployment, {"log_public_key": log_public_key})
        log = LogAnchor(token, deployment.text("account"), deployment.text("region"), log_public_key)
        begin_log(token, log.origin)
        carried, left = _open_keys(token, store)
        domains = tuple(row.id for row in store.select("domains"))
        return RestoreReport(state, domains, carried, left, rows)
    finally:
        token.close()


def _open_keys(token: Token, store: SealedStore) -> tuple[int, tuple[NotCarried, ...]]:
    carried, left = 0, []
    for key in _living_keys(store):
        if any(version.backing.token_label is not None for version in key.versions):
            left.append(NotCarried(key.id, key.alias, key.spec))
            continue
        for version in key.versions:
            if version.backing.domain_label is not None:
                # Wrapping it once more shows that the domain key opens it here, and leaves nothing of it outside.
                rewrapped(token, version.backing, version.backing.domain_label)
        carried += 1
    return carried, tuple(left)


def _living_keys(store: SealedStore) -> Iterator[Key]:
    repository, after = KeyRepository(store), None
    while page := repository.list_keys(after, _PAGE):
        yield from (key for key in page if key.state is not KeyState.DELETED)
        after = page[-1].id
