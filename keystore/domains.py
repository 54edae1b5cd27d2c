"""The ceremonies on domain keys: a new domain, and a new key for one, by which all its backing keys are wrapped again.

A domain of multi-region keys has a link key besides, and may be carried to another region (`keystore.shared_domains`).

A rotation that was cut short is gone on with by running it again; the service may run meanwhile. Its order is what
makes that so: the new key is on the token, then in the database; then every backing key is wrapped by it, some in one
transaction; then the old key's object is destroyed in the HSM, and last of all its row says so.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from keystore import wrapping_keys
from keystore.clock import system_clock
from keystore.configuration import load_keystore_configuration
from keystore.db import open_database
from keystore.errors import CeremonyError, Conflict
from keystore.hierarchy import add_domain_key, add_link_key, destroy_domain_key
from keystore.hsm import open_token
from keystore.hsm.connection import read_pin
from keystore.hsm.labels import DOMAIN_NAME, domain_label, link_label
from keystore.hsm.officer import open_ceremony
from keystore.keys import version_of
from keystore.roots import ACTIVE, DESTROYED, TABLE, root_values
from keystore.software import rewrapped
from keystore.store import open_store
from keystore.values import stored_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from keystore.api import BackingKey
    from keystore.configuration import HsmConfiguration
    from keystore.hierarchy import WrappedRoot
    from keystore.hsm import Token
    from keystore.sealing import SealedRow
    from keystore.store import SealedStore

_Backing: TypeAlias = "Callable[[SealedRow], BackingKey]"
_ATTEMPTS: Final = 5  # at one row, against writers that change it at the same time
BATCH: Final = 50  # rows in one transaction: few commits, and a writer of the service waits some milliseconds
# Seconds between the last key that was wrapped again and the end of the old domain key: a call that has read its key
# just before has it open by then. One that has not reads the key anew (`Token.newer`).
GRACE: Final = 1.0


@dataclass(frozen=True, slots=True)
class Deployment:
    """An open deployment during a ceremony: its token with the service's own rights, and its rows."""

    configuration: HsmConfiguration
    token: Token
    store: SealedStore


def create_domain(state: Path, name: str, officer_pin: bytes, *, multi_region: bool = False) -> None:
    """Makes a domain with its first key; it holds multi-region keys alone, or none.

    Raises: `CeremonyError` if the name is bad or taken, or the PIN is refused.
    """
    if not DOMAIN_NAME.fullmatch(name):
        raise CeremonyError("a domain's name is 1 to 63 of a-z, 0-9 and -, beginning with a letter")
    with open_deployment(state) as deployment:
        if deployment.store.get("domains", name) is not None:
            raise CeremonyError(f"there is a domain {name!r} already")
        roots = [_make_key(deployment, name, 1, officer_pin)]
        if multi_region:
            roots.append(_make_link(deployment, name, officer_pin))
        home = deployment_row(deployment).text("region") if multi_region else None
        with deployment.store.transaction() as transaction:
            now = stored_time(system_clock())
            transaction.insert("domains", name, {"current_version": 1, "created_at": now, "home_region": home})
            for root in roots:
                transaction.insert(TABLE, root.label, root_values(root))


def rotate_domain(
    state: Path, name: str, officer_pin: bytes, progress: Callable[[int, int], None] | None = None
) -> int:
    """Gives a domain a new key, wraps every backing key again by it, and destroys the old one. Returns the new version.

    If an earlier rotation was cut short, finishes that one instead. `progress` is told (done, total) backing keys.
    Raises: `CeremonyError`, and whatever the HSM or the database fails with; run it again then.
    """
    with open_deployment(state) as deployment:
        domain = deployment.store.get("domains", name)
        if domain is None:
            raise CeremonyError(f"there is no domain {name!r}")
        home = domain.optional_text("home_region")
        if home not in (None, deployment_row(deployment).text("region")):
            raise CeremonyError(f"the keys of domain {name!r} are made in {home}: rotate it there, and carry it here")
        version = domain.number("current_version")
        if not has_older_roots(deployment, name, version):
            version = _begin_rotation(deployment, domain, officer_pin)
        finish_rotation(deployment, name, version, officer_pin, progress)
        return version


def has_older_roots(deployment: Deployment, name: str, version: int) -> bool:
    """Whether a rotation to this version was cut short."""
    return any(row.text("state") == ACTIVE for row in _older_roots(deployment.store, name, version))


def finish_rotation(
    deployment: Deployment,
    name: str,
    version: int,
    officer_pin: bytes,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Wraps every backing key of the domain by this version of its key, and destroys the older ones."""
    _wrap_again(deployment, name, version, progress or _silent)
    time.sleep(GRACE)
    _retire(deployment, name, version, officer_pin)


def deployment_row(deployment: Deployment) -> SealedRow:
    """What the deployment is. Raises: `CeremonyError`."""
    row = deployment.store.get("deployment", "deployment")
    if row is None:
        raise CeremonyError("the database was never initialised")
    return row


def _begin_rotation(deployment: Deployment, domain: SealedRow, officer_pin: bytes) -> int:
    """From this commit on new keys are wrapped by the new domain key."""
    version = domain.number("current_version") + 1
    root = _make_key(deployment, domain.id, version, officer_pin)
    with deployment.store.transaction() as transaction:
        transaction.insert(TABLE, root.label, root_values(root))
        transaction.update(domain, {"current_version": version})
    return version


def _make_key(deployment: Deployment, name: str, version: int, officer_pin: bytes) -> WrappedRoot:
    """A key object that an earlier attempt left on the token without a row wraps nothing: it is destroyed first."""
    label = domain_label(name, version)
    if deployment.store.get(TABLE, label) is not None:
        raise CeremonyError(f"the database knows {label!r} already")
    configuration = deployment.configuration
    with open_ceremony(configuration, officer_pin=officer_pin, user_pin=read_pin(configuration)) as ceremony:
        destroy_domain_key(ceremony, label)
        return add_domain_key(ceremony, label)


def _make_link(deployment: Deployment, name: str, officer_pin: bytes) -> WrappedRoot:
    configuration = deployment.configuration
    with open_ceremony(configuration, officer_pin=officer_pin, user_pin=read_pin(configuration)) as ceremony:
        destroy_domain_key(ceremony, link_label(name))
        return add_link_key(ceremony, name)


def _wrap_again(deployment: Deployment, name: str, version: int, progress: Callable[[int, int], None]) -> None:
    """Until nothing is left under an older key: it may be added, by a worker that began before, while this runs."""
    done = 0
    while left := [*_versions_of(deployment.store, name, version), *_wrapping_keys_of(deployment.store, name, version)]:
        total = done + len(left)
        for start in range(0, len(left), BATCH):
            progress(done, total)
            some = left[start : start + BATCH]
            _wrap_some_again(deployment, some, name, version)
            done += len(some)
    progress(done, done)


def _wrap_some_again(
    deployment: Deployment, some: Sequence[tuple[SealedRow, _Backing]], name: str, version: int
) -> None:
    """All in one transaction, after the HSM has wrapped them; one by one where somebody has changed one meanwhile."""
    label = domain_label(name, version)
    wrapped = [rewrapped(deployment.token, backing_of(row), label) for row, backing_of in some]
    try:
        with deployment.store.transaction() as transaction:
            for (row, _), blob in zip(some, wrapped, strict=True):
                transaction.update(row, {"wrapped": blob, "domain_version": version})
    except Conflict:
        for row, backing_of in some:
            _wrap_one_again(deployment, row, backing_of, name, version)


def _wrap_one_again(deployment: Deployment, found: SealedRow, backing_of: _Backing, name: str, version: int) -> None:
    """Reads the row again before each attempt. One that is gone, or done by another, is no error."""
    for _ in range(_ATTEMPTS):
        row = deployment.store.get(found.table, found.id)
        if row is None or row.optional_octets("wrapped") is None or row.number("domain_version") == version:
            return
        wrapped = rewrapped(deployment.token, backing_of(row), domain_label(name, version))
        try:
            with deployment.store.transaction() as transaction:
                transaction.update(row, {"wrapped": wrapped, "domain_version": version})
        except Conflict:
            continue
        return
    raise CeremonyError(f"{found.table}/{found.id} is being changed all the time: run the rotation again")


def _versions_of(store: SealedStore, name: str, version: int) -> list[tuple[SealedRow, _Backing]]:
    """Every wrapped key version of the domain that the domain's current key does not wrap."""
    keys = {row.id: row for row in store.select("keys", {"domain": name})}

    def backing_of(row: SealedRow) -> BackingKey:
        return version_of(row, keys[row.text("key_id")]).backing

    return [
        (row, backing_of)
        for row in store.select("key_versions")
        if row.text("key_id") in keys
        and row.optional_octets("wrapped") is not None
        and row.optional_number("domain_version") != version
    ]


def _wrapping_keys_of(store: SealedStore, name: str, version: int) -> list[tuple[SealedRow, _Backing]]:
    """Every key that material may come in under, and that the domain's current key does not wrap."""
    rows = store.select(wrapping_keys.TABLE, {"domain": name})
    return [(row, wrapping_keys.backing_of) for row in rows if row.number("domain_version") != version]


def _retire(deployment: Deployment, name: str, version: int, officer_pin: bytes) -> None:
    """Only once every row that was ever written is there: one left out of a selection would lose its key.

    The objects first: what a row calls destroyed is gone, whenever this is cut short.
    """
    deployment.store.verify_everything()
    old = [row for row in _older_roots(deployment.store, name, version) if row.text("state") == ACTIVE]
    configuration = deployment.configuration
    with open_ceremony(configuration, officer_pin=officer_pin, user_pin=read_pin(configuration)) as ceremony:
        for row in old:
            destroy_domain_key(ceremony, row.text("token_label"))
    with deployment.store.transaction() as transaction:
        for row in old:
            transaction.update(row, {"state": DESTROYED, "wrapped": None})


def _older_roots(store: SealedStore, name: str, version: int) -> list[SealedRow]:
    rows = store.select(TABLE, {"domain": name})
    return [row for row in rows if row.number("version") < version]


@contextmanager
def open_deployment(state: Path) -> Iterator[Deployment]:
    """For a ceremony on a deployment that is in use or stopped. Raises: `ConfigurationError`, and as its parts."""
    configuration = load_keystore_configuration(state)
    database = open_database(configuration.database.url, configuration.database.password_file)
    try:
        token = open_token(configuration.hsm)
        try:
            yield Deployment(configuration.hsm, token, open_store(database, token.seal))
        finally:
            token.close()
    finally:
        database.close()


def _silent(done: int, total: int) -> None:
    """Nobody wants to know how far it is."""
