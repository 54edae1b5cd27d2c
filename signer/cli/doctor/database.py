"""The database: that it can be read, its pages, schema, log and certificates, and the clock beside its times."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from signer.cli.doctor.findings import Finding, fail, ok, warn

if TYPE_CHECKING:
    from datetime import datetime

    from keystore.configuration import KeystoreConfiguration
    from keystore.db.snapshot import Snapshot
    from keystore.survey import Rows

_SOON: Final = timedelta(days=30)
_MARGIN: Final = timedelta(seconds=5)
_LAG: Final = timedelta(minutes=1)
_RESTORE: Final = "put the newest backup back, or bring the database's server back; see the runbook"


@contextmanager
def opened(configuration: KeystoreConfiguration) -> Iterator[Snapshot]:
    """The database as it is at one moment; nothing is written. Raises: `KeystoreError`."""
    from keystore.db.snapshot import snapshot

    with snapshot(configuration.database) as found:
        yield found


def check_database(configuration: KeystoreConfiguration) -> Iterator[Finding]:
    """Whether it can be read, and is of this version."""
    from keystore import survey
    from keystore.db.migration import NEWEST
    from keystore.errors import KeystoreError

    try:
        with opened(configuration) as found:
            revision = survey.schema_version(found.rows)
            problems = [*found.damage(), *(f"{name}: none of ours" for name in found.foreign_objects())]
    except KeystoreError as fault:
        yield fail("database", str(fault), _RESTORE)
        return
    if problems:
        yield fail("database", f"not all of it is as Sealmark writes it: {problems[0]}", _RESTORE)
    elif revision != NEWEST:
        says = f"the schema is at revision {revision}, this version needs {NEWEST}"
        yield fail("schema", says, "run the version of Sealmark that the database is of, or upgrade it")
    else:
        yield ok("database", f"it can be read, its pages add up, its schema is at revision {revision}")


def check_log(rows: Rows, now: datetime, witnesses: int) -> Iterator[Finding]:
    """Whether checkpoints keep up with the entries, and cosignatures with the checkpoints."""
    from keystore import survey

    log = survey.log_state(rows)
    if log is None:
        yield warn("log", "the database has no log: no service has run with it yet", "start the service")
        return
    behind = log.oldest_uncovered is not None and now - log.oldest_uncovered > _LAG
    if behind:
        says = f"entries {log.checkpoint_size} to {log.size - 1} have no checkpoint for over a minute"
        yield fail("log", says, "start the service; if it runs, its log says why it cannot sign checkpoints")
    else:
        yield ok("log", f"{log.size} entries, a checkpoint covers {log.checkpoint_size}")
    if witnesses and log.oldest_uncosigned is not None and now - log.oldest_uncosigned > _LAG:
        says = f"the witnesses have cosigned {log.cosigned_size} of {log.size} entries"
        yield warn("cosignatures", says, "see whether they can be reached, and what the service's log says of them")


def check_clock(rows: Rows, now: datetime) -> Iterator[Finding]:
    """The machine's clock beside what was written with it before."""
    from keystore import survey

    log = survey.log_state(rows)
    newest = None if log is None else log.newest_covered
    if newest is not None and newest - now > _MARGIN:
        says = f"the clock says {now:%Y-%m-%d %H:%M:%S}, and the log has an entry of {newest:%Y-%m-%d %H:%M:%S} (UTC)"
        yield fail("clock", says, "set the clock right, and keep it so: chrony or systemd-timesyncd")
    else:
        yield ok("clock", "no entry of the log is of a later time than now")


def check_certificates(rows: Rows, now: datetime) -> Iterator[Finding]:
    """The authority, the revocation list, and the certificates of keys."""
    from keystore import survey

    authority = survey.authority_validity(rows)
    if authority is None:
        yield fail("certificates", "the database has no certificate authority", "it is not a database of `init`")
        return
    if not authority[0] <= now < authority[1]:
        says = f"the authority's certificate is valid from {authority[0]:%Y-%m-%d} to {authority[1]:%Y-%m-%d}"
        yield fail("certificates", says, "set the clock right; an authority that has ended cannot be renewed")
        return
    crl = survey.revocation_list_end(rows)
    if crl is not None and crl <= now:
        advice = "start the service: it signs the next one within a minute"
        yield warn("certificates", "the revocation list has ended", advice)
    ending = survey.ending_certificates(rows, now, _SOON, 20)
    for found in ending:
        word = "has ended" if found.ends <= now else "ends"
        advice = f"sealmark keys certificate renew {found.key_id}"
        yield warn("certificates", f"the certificate of key {found.key_id} {word} {found.ends:%Y-%m-%d}", advice)
    if not ending:
        yield ok("certificates", "none ends within 30 days")


def check_keys(rows: Rows, configuration: KeystoreConfiguration, now: datetime) -> Iterator[Finding]:
    """Software keys, room on the token, and deletions that are near."""
    from keystore import survey

    counts = survey.key_counts(rows)
    if counts.software or configuration.software_specs:
        says = f"software keys: {counts.software} there, specs allowed: {list(configuration.software_specs)}"
        yield warn("software_keys", says, "their private halves are in the service's memory: docs/key-material.md")
    most = configuration.hsm.token_keys
    if counts.on_token >= most:
        yield fail("token_keys", f"{counts.on_token} keys on the token, {most} allowed", "raise hsm.token_keys")
    elif counts.on_token * 10 >= most * 9:
        yield warn("token_keys", f"{counts.on_token} keys on the token, {most} allowed", "raise hsm.token_keys")
    if counts.next_deletion is not None:
        waiting = counts.by_state.get("pending_deletion", 0)
        says = f"{waiting} keys wait for deletion, the next {counts.next_deletion:%Y-%m-%d}"
        yield warn("deletion", says, "`sealmark keys cancel-deletion KEY` keeps one")


def check_everything(configuration: KeystoreConfiguration, now: datetime) -> Iterator[Finding]:
    """The whole log and the books beside it, as `sealmark audit verify --state`."""
    from signer.cli.audit_state import audit_state

    with opened(configuration) as found:
        audit = audit_state(found, now=int(now.timestamp() * 1_000_000))
    for finding in audit.findings.shown:
        yield fail("audit", finding.message, "sealmark audit verify --state DIR says all of it; see docs/attacks.md")
    for reason in audit.undecided:
        yield warn("audit", reason, "start the service, and look again")
    if not audit.findings.count and not audit.undecided:
        yield ok("audit", "every entry of the log, every tile and every record belongs where it is")
