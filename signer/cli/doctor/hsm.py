"""The HSM: its module, its token, the PIN (one login at most), its keys, and the head of the log that it keeps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from signer.cli.doctor.database import opened
from signer.cli.doctor.findings import Finding, fail, ok, warn

if TYPE_CHECKING:
    from keystore.checkup import LoggedIn
    from keystore.configuration import KeystoreConfiguration
    from keystore.survey import Rows

_NO_RUNBOOK = "see `HSM` in the runbook"


def check_hsm(configuration: KeystoreConfiguration, rows: Rows | None, *, full: bool) -> Iterator[Finding]:
    """Each step as a worker takes it at its start; the first that fails ends it."""
    from keystore.checkup import logged_in, token_state
    from keystore.errors import ConfigurationError, HsmFault, KeystoreError

    try:
        state = token_state(configuration.hsm)
    except ConfigurationError as fault:
        yield fail("hsm", str(fault), "install the module, or correct hsm.uri")
        return
    except KeystoreError as fault:
        yield fail("hsm", str(fault), "is the HSM on, and the token in its slot? " + _NO_RUNBOOK)
        return
    yield ok("hsm", f"the token is there: {state.info.manufacturer}, {state.info.model}, {state.info.serial}")
    if state.last_try:
        says = "one more wrong PIN locks the token, or it is locked: it was not tried"
        yield fail("hsm_pin", says, "have the security officer set the PIN anew, and write it into the pin-source")
        return
    if state.tried:
        yield warn("hsm_pin", "the last PIN that somebody tried was wrong", "find out who; the next is tried now")
    try:
        with logged_in(configuration.hsm) as token:
            yield ok("hsm_pin", "the PIN is right, and the hierarchy's attributes are as the ceremony left them")
            yield from _check_logged_in(configuration, token, rows, full=full)
    except HsmFault as fault:
        yield fail("hsm_keys", str(fault), "do not use this token: find out who changed it; " + _NO_RUNBOOK)
    except ConfigurationError as fault:
        yield fail("hsm_pin", str(fault), "the pin-source is a file of mode 0600 that holds the PIN")
    except KeystoreError as fault:
        refused = "PIN" in str(fault)
        advice = "write the right PIN into the pin-source; do not try others" if refused else _NO_RUNBOOK
        yield fail("hsm_pin" if refused else "hsm_keys", str(fault), advice)


def _check_logged_in(
    configuration: KeystoreConfiguration, token: LoggedIn, rows: Rows | None, *, full: bool
) -> Iterator[Finding]:
    from keystore.checkup import count_sealed_rows
    from keystore.errors import KeystoreError

    try:
        token.require_keys()
        yield ok("hsm_keys", "each key of the hierarchy is there once, and works")
    except KeystoreError as fault:
        yield fail("hsm_keys", str(fault), "bring the key back; `sealmark restore` makes a new token")
        return
    if rows is None:
        return
    yield from _check_anchor(configuration, token, rows)
    if full:
        try:
            number = count_sealed_rows(configuration, token)
            yield ok("seals", f"{number} sealed rows, each with its seal, none missing")
        except KeystoreError as fault:
            yield fail("seals", str(fault), "somebody changed the database: docs/tamper-evidence.md")


def _check_anchor(configuration: KeystoreConfiguration, token: LoggedIn, rows: Rows) -> Iterator[Finding]:
    """The database may be ahead of what the HSM keeps, never behind; so the HSM is asked first, and a service may be
    at work between the two."""
    from keystore import survey
    from keystore.errors import KeystoreError

    try:
        kept = token.kept_head(rows)
    except KeystoreError as fault:
        yield fail("log_anchor", str(fault), "see `log's head or key is missing` in docs/operations")
        return
    with opened(configuration) as later:
        log = survey.log_state(later.rows)
    if log is None or log.origin != kept.origin:
        says = f"the HSM keeps a head of the log {kept.origin}, and the database's log is another one"
        yield warn("log_anchor", says, "start the service: it begins a log, or says why it does not")
    elif log.size < kept.size or (log.size == kept.size and log.root != kept.root):
        says = f"the HSM keeps a head of {kept.size} entries, the database has {log.size}: it is older, or was changed"
        yield fail("log_anchor", says, "put the newest database back; see `log behind` in the runbook")
    else:
        yield ok("log_anchor", f"the database continues the head of {kept.size} entries that the HSM keeps")
