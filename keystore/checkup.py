"""A look at the HSM and the sealed rows, for whoever wants to know whether a service could work. It changes nothing.

The PIN is tried once at the most, and not at all where one more wrong PIN would lock the token.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select

from keystore.db.migration import open_database
from keystore.db.schema import SEALED_TABLES
from keystore.errors import HsmUnavailable, NotFound
from keystore.hsm import open_token
from keystore.hsm.checkup import token_state
from keystore.log_anchor import LogAnchor
from keystore.store import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keystore.api import HardwareToken
    from keystore.configuration import HsmConfiguration, KeystoreConfiguration
    from keystore.log_anchor import KeptHead
    from keystore.survey import Rows

__all__ = ["LoggedIn", "count_sealed_rows", "logged_in", "token_state"]


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """A token whose PIN is right and whose hierarchy was audited, as a worker does at its start."""

    token: HardwareToken

    def require_keys(self) -> None:
        """Raises: `HsmUnavailable` unless each key of the hierarchy is there exactly once, and can be used."""
        self.token.probe()

    def kept_head(self, rows: Rows) -> KeptHead:
        """The head of the log that the HSM keeps for this database.

        Raises: `HsmUnavailable`, `HsmFault`; `IntegrityFailure` where it keeps that of another log; `NotFound`.
        """
        deployment = SEALED_TABLES["deployment"].table.c
        found = rows(select(deployment.account, deployment.region, deployment.log_public_key))
        if len(found) != 1:
            raise NotFound("deployment: the database was never initialised")
        account, region, public_key = found[0]
        return LogAnchor(self.token, account, region, public_key).kept_head()


@contextmanager
def logged_in(configuration: HsmConfiguration) -> Iterator[LoggedIn]:
    """One login. Raises: `HsmUnavailable` also where the token would be locked by one more wrong PIN, `HsmFault` where
    an attribute of the hierarchy is not as the ceremony left it, `ConfigurationError`."""
    if token_state(configuration).last_try:
        raise HsmUnavailable("one more wrong PIN locks the token, or it is locked: the PIN was not tried")
    token = open_token(configuration, cache_size=1, sessions=1)
    try:
        yield LoggedIn(token)
    finally:
        token.close()


def count_sealed_rows(configuration: KeystoreConfiguration, token: LoggedIn) -> int:
    """Checks the seal of every sealed row, and that none is missing; returns how many there are.

    Raises: `IntegrityFailure` naming the row, `StoreUnavailable`, `HsmUnavailable`.
    """
    database = open_database(configuration.database.url, configuration.database.password_file)
    try:
        return open_store(database, token.token.seal).verify_everything()
    finally:
        database.close()
