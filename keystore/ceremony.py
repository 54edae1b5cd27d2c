"""Ceremonies: the only code that ever uses the security officer's PIN or the custodians' shares.

`initialise` founds a deployment, `create_domain` and `rotate_domain` change its domain keys, `export_domain` and
`adopt_domain` carry a domain of multi-region keys to another region, `restore` brings a deployment to another HSM,
`renew_log` ends the transparency log and begins another, `prove_officer` is the officer's word for what changes nothing
in the HSM. Each is done where the HSM is, by people, and needs no running service.
"""

from __future__ import annotations

import re
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from keystore import shares as custody
from keystore.backup import Backup, back_up
from keystore.clock import system_clock
from keystore.configuration import load_keystore_configuration
from keystore.domains import create_domain, open_deployment, rotate_domain
from keystore.errors import CeremonyError
from keystore.hierarchy import found_hierarchy, renew_log_key
from keystore.hsm import labels, open_token
from keystore.hsm.connection import read_pin
from keystore.hsm.officer import open_ceremony
from keystore.loading import new_database
from keystore.log_anchor import LogAnchor, begin_log
from keystore.restoration import RestoreOptions, RestoreReport, restore, restore_database
from keystore.roots import root_values
from keystore.sealing import Sealer
from keystore.shared_domains import AdoptedDomain, adopt_domain, export_domain
from keystore.state_files import (
    make_ceremony_directory,
    new_state_directory,
    prepare_token,
    write_configuration,
    write_secret,
)
from keystore.store import SealedStore
from keystore.values import stored_time

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keystore.api import TokenInfo
    from keystore.configuration import HsmConfiguration, StateDirectory
    from keystore.db import Database
    from keystore.db.engine import Value
    from keystore.hierarchy import FoundedHierarchy

__all__ = [
    "AdoptedDomain",
    "Backup",
    "InitOptions",
    "InitResult",
    "RestoreOptions",
    "RestoreReport",
    "adopt_domain",
    "back_up",
    "create_domain",
    "export_domain",
    "initialise",
    "prove_officer",
    "renew_log",
    "restore",
    "restore_database",
    "rotate_domain",
]

_ACCOUNT: Final = re.compile(r"[0-9]{12}")
_REGION: Final = re.compile(r"[a-z]{2}(-[a-z0-9]+){1,4}")
_DOMAINS: Final = ("default",)


@dataclass(frozen=True, slots=True)
class InitOptions:
    """What `init` is told. `hsm_uri` names an initialised token of another HSM, with its officer's PIN in a file;
    `database_url` an empty database of a PostgreSQL server, with its password in a file."""

    account: str = "000000000000"
    region: str = "us-east-1"
    custodians: int = 5
    threshold: int = 3
    hsm_uri: str | None = None
    officer_pin_source: Path | None = None
    database_url: str | None = None
    database_password_file: Path | None = None


@dataclass(frozen=True, slots=True)
class InitResult:
    """What was made. The files of `carry_away` are for the officer and the custodians, one each."""

    state: StateDirectory
    token: TokenInfo
    domains: tuple[str, ...]
    carry_away: tuple[Path, ...]


def initialise(state: Path, options: InitOptions) -> InitResult:
    """Founds a deployment in a directory that is missing or empty, and leaves nothing behind if that fails.

    Raises: `CeremonyError`, `ConfigurationError`, `HsmUnavailable`, `StoreUnavailable`.
    """
    _check(options)
    with new_state_directory(state) as directory:
        uri, configuration, officer_pin = prepare_token(directory, options.hsm_uri, options.officer_pin_source)
        with new_database(directory, options.database_url, options.database_password_file) as (
            database,
            database_configuration,
        ):
            # The token comes last: what was made there cannot be taken back.
            with open_ceremony(configuration, officer_pin=officer_pin, user_pin=read_pin(configuration)) as ceremony:
                hierarchy = found_hierarchy(ceremony, _DOMAINS)
                token = ceremony.info
            with _unfinished(options):
                try:
                    files = _hand_out_shares(directory, hierarchy, options)
                finally:
                    hierarchy.forget()
                _write_first_rows(database, configuration, hierarchy, options)
                write_configuration(directory, uri, database_configuration)
    if directory.officer_pin.exists():
        files = (directory.officer_pin, *files)
    return InitResult(directory, token, _DOMAINS, files)


def prove_officer(state: Path, officer_pin: bytes) -> None:
    """Logs the security officer in and out again: for what needs the officer's word and nothing of the HSM.

    Raises: `CeremonyError` if the token refuses the PIN, which is not tried again; `ConfigurationError`.
    """
    configuration = load_keystore_configuration(state).hsm
    with (
        open_ceremony(configuration, officer_pin=officer_pin, user_pin=read_pin(configuration)) as ceremony,
        ceremony.as_officer(),
    ):
        pass


def renew_log(state: Path, officer_pin: bytes) -> str:
    """Begins another transparency log under a new key, where the one there is cannot be gone on with.

    That is so when its key, its kept head or the newest database is lost. The service is stopped meanwhile. Cut short,
    it is run again.

    Returns the new log's origin. Raises: `CeremonyError` if the token refuses the PIN, and as `initialise`.
    """
    prove_officer(state, officer_pin)
    configuration = load_keystore_configuration(state).hsm
    with open_ceremony(configuration, officer_pin=officer_pin, user_pin=read_pin(configuration)) as ceremony:
        public_key = renew_log_key(ceremony)
    with open_deployment(state) as deployment:
        with deployment.store.transaction() as transaction:
            row = transaction.get("deployment", "deployment")
            if row is None:
                raise CeremonyError("the database was never initialised")
            transaction.update(row, {"log_public_key": public_key})
        log = LogAnchor(deployment.token, row.text("account"), row.text("region"), public_key)
        begin_log(deployment.token, log.origin)
    return log.origin


def _check(options: InitOptions) -> None:
    if not _ACCOUNT.fullmatch(options.account):
        raise CeremonyError("account: 12 digits")
    if not _REGION.fullmatch(options.region):
        raise CeremonyError("region: a name such as us-east-1")
    custody.check_scheme(options.custodians, options.threshold)


def _hand_out_shares(state: StateDirectory, hierarchy: FoundedHierarchy, options: InitOptions) -> tuple[Path, ...]:
    make_ceremony_directory(state)
    parts = custody.split(hierarchy.region_key, custodians=options.custodians, threshold=options.threshold)
    files = tuple(state.share(number) for number in range(1, len(parts) + 1))
    for file, part in zip(files, parts, strict=True):
        write_secret(file, part)
    return files


@contextmanager
def _unfinished(options: InitOptions) -> Iterator[None]:
    """A SoftHSM goes with its directory; on another HSM the keys of a ceremony that fails now stay."""
    try:
        yield
    except Exception as error:
        if options.hsm_uri is None:
            raise
        raise CeremonyError(
            f"{error}. The token holds the keys of this unfinished ceremony: initialise it again before the next one"
        ) from error


def _write_first_rows(
    database: Database, configuration: HsmConfiguration, hierarchy: FoundedHierarchy, options: InitOptions
) -> None:
    now = stored_time(system_clock())
    seal_key_id = f"{labels.INTEGRITY}/{uuid.uuid4()}"
    deployment: dict[str, Value] = {
        "account": options.account,
        "region": options.region,
        "seal_key_id": seal_key_id,
        "log_public_key": hierarchy.log_public_key,
        "created_at": now,
    }
    token = open_token(configuration, sessions=1)
    try:
        store = SealedStore(database, Sealer(token.seal, seal_key_id))
        with store.transaction() as transaction:
            transaction.insert("deployment", "deployment", deployment)
            for root in hierarchy.roots:
                if root.domain is not None:
                    transaction.insert(
                        "domains",
                        root.domain[0],
                        {"current_version": root.domain[1], "created_at": now, "home_region": None},
                    )
                transaction.insert("wrapped_roots", root.label, root_values(root))
        begin_log(token, LogAnchor(token, options.account, options.region, hierarchy.log_public_key).origin)
    finally:
        token.close()
