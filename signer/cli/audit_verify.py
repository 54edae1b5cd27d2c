"""`sealmark audit verify`: checks the whole trail, in a service's database or through the service."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as ProgressBar

from signer.cli.client import open_client
from signer.cli.errors import CommandFailed
from signer.cli.extra import server_parts
from signer.cli.operator import STATE_VARIABLE
from signer.cli.options import connection_options, current_settings
from signer.cli.output import console, print_json

if TYPE_CHECKING:
    from signer.cli.audit_state import StateAudit
    from verifier.errors import VerificationError
    from verifier.log import KeptHead, LogAudit
    from verifier.trusted_logs import TrustedLog

VERIFIED: Final = 0
REJECTED: Final = 1
UNDECIDED: Final = 2
_FILE = click.Path(path_type=Path, dir_okay=False)
Progress = Callable[[int, int], None]


@click.command("verify")
@click.option(
    "--state",
    type=click.Path(path_type=Path, file_okay=False),
    envvar=STATE_VARIABLE,
    show_envvar=True,
    help="Read the database of the service in this folder, without the HSM.  [default: ask the service]",
)
@click.option(
    "--database",
    metavar="FILE|URL",
    help="Read this database: a backup, or a copy that was handed over; postgresql://... on a server.",
)
@click.option("--head", "head_files", multiple=True, type=_FILE, help="Where the verified head is kept; one a log.")
@click.option("--log-key", "log_keys", multiple=True, metavar="NAME+ID+KEY", help="A log's key, known from elsewhere.")
@click.option("--trust", "trust_file", type=_FILE, help="trust.json: its logs count, with their witnesses.")
@click.option("--log", "number", type=click.IntRange(1), help="Of the service: the log's number.  [default: newest]")
@click.option("--full", is_flag=True, help="Of the service: read everything again, not only what came since --head.")
@connection_options
@click.pass_context
def verify(
    context: click.Context,
    state: Path | None,
    database: str | None,
    head_files: tuple[Path, ...],
    log_keys: tuple[str, ...],
    trust_file: Path | None,
    number: int | None,
    full: bool,
) -> None:
    """Check that the trail was not changed, cut or added to.

    Every entry, hash, tile and checkpoint is checked, and every record against its entry. With --state or --database
    the tables around the log are checked too, in one look at the database, while the service may run; no HSM is needed.
    With --head, what was verified is kept: a trail that was rewritten or cut since then, or an older database that was
    put back, is rejected and the place is named. Keep that file away from the service's machine.

    \b
    Exit codes: 0 verified, 1 rejected, 2 could not be decided or wrong usage.

    \b
    Examples:
      sealmark audit verify --state /var/lib/sealmark --head trail.head
      sealmark audit verify --database backup/sealmark.db --head trail.head --json
      sealmark audit verify --head trail.head --trust trust.json
    """
    from verifier.errors import VerificationError

    if state is not None and database is not None:
        # The variable may be set for other commands: what is named here is what is meant.
        if context.get_parameter_source("state") is click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError("Give either --state or --database.")
        state = None
    local = state is not None or database is not None
    if local and (number is not None or full):
        raise click.UsageError("--log and --full are of the service: a database is checked in full, with all its logs.")
    try:
        if local:
            code = _verify_database(state, database, head_files, log_keys, trust_file)
        else:
            code = _verify_service(head_files, log_keys, trust_file, number, full)
    except VerificationError as failure:
        code = _told_failure(failure)
    except CommandFailed as failure:
        raise _Undecided(failure) from failure
    except click.ClickException:
        raise
    except Exception as error:  # whatever it is, it is no proof of anything
        said = str(error) if isinstance(error, OSError) else type(error).__name__
        raise _Undecided(CommandFailed(f"the audit failed: {said}", code="internal_error")) from error
    context.exit(code)


class _Undecided(CommandFailed):
    """Nothing was found wrong: it could not be looked at."""

    exit_code = UNDECIDED

    def __init__(self, failure: CommandFailed) -> None:
        super().__init__(failure.message, code=failure.code, field=failure.field, request_id=failure.request_id)


def _verify_database(
    state: Path | None,
    database: str | None,
    head_files: Sequence[Path],
    log_keys: Sequence[str],
    trust_file: Path | None,
) -> int:
    with server_parts():
        from keystore.configuration import database_at, load_database_configuration
        from keystore.db.snapshot import snapshot
        from keystore.errors import IntegrityFailure, KeystoreError
        from signer.cli.audit_state import audit_state
    from verifier.errors import Rejected
    from verifier.log import store_head

    heads = _heads(head_files)
    trusted = _trusted(log_keys, trust_file)
    try:
        place = load_database_configuration(state) if state is not None else database_at(database or "")
        if place.file is not None and not place.file.is_file():
            raise CommandFailed(f"{place.file} is not there", code="unreadable_file")
        with snapshot(place) as found, _shown_progress() as progress:
            kept = [head for head in heads.values() if head is not None]
            audit = audit_state(found, trusted=trusted, heads=kept, now=_now(), progress=progress)
    except IntegrityFailure as damage:
        raise Rejected("malformed", str(damage)) from damage
    except KeystoreError as error:
        raise CommandFailed(str(error), code=error.code) from error
    code = _code(audit)
    if code == VERIFIED:
        for file, head in _to_keep(heads, audit.logs).items():
            store_head(file, head)
    pinned = {log.origin for log in trusted} | {head.origin for head in kept}
    _tell_state(audit, str(place.file or place.url), pinned)
    return code


def _verify_service(
    head_files: Sequence[Path], log_keys: Sequence[str], trust_file: Path | None, number: int | None, full: bool
) -> int:
    from signer.cli.audit_service import audit_service
    from verifier.log import describe_audit, store_head

    if len(head_files) > 1 or len(log_keys) > 1:
        raise click.UsageError("Through the service one log is checked: give one --head and one --log-key.")
    heads = _heads(head_files)
    trusted = _trusted(log_keys, trust_file)
    head = next(iter(heads.values()), None)
    with open_client() as client, _shown_progress() as progress:
        audit = audit_service(client, log=number, trusted=trusted, head=head, full=full, progress=progress)
    for place in heads:
        store_head(place, audit.head)
    limits = _limits(audit, pinned={log.origin for log in trusted} | ({head.origin} if head is not None else set()))
    if current_settings().as_json:
        print_json({**audit.as_json(), "not_covered": [*audit.not_covered, *limits]})
    else:
        click.echo("\n".join([describe_audit(audit), *(f"  {'not covered:':<13} {limit}" for limit in limits)]))
    return VERIFIED


def _now() -> int:
    """Microseconds since 1970."""
    return int(datetime.now(UTC).timestamp() * 1_000_000)


def _heads(files: Sequence[Path]) -> dict[Path, KeptHead | None]:
    from verifier.log import load_head

    return {path: load_head(path) for path in files}


def _trusted(log_keys: Sequence[str], trust_file: Path | None) -> list[TrustedLog]:
    from verifier.options import read_file
    from verifier.trust import parse_trust
    from verifier.trusted_logs import trusted_log

    if log_keys and trust_file is not None:
        raise click.UsageError("Give either --trust or --log-key.")
    found = [trusted_log(key) for key in log_keys]
    if trust_file is not None:
        found += parse_trust(read_file(trust_file)).logs
    return found


def _to_keep(heads: Mapping[Path, KeptHead | None], logs: Sequence[LogAudit]) -> dict[Path, KeptHead]:
    """Each file with its log's new head. A file that is not there yet is for the newest log that has none."""
    verified = {audit.origin: audit.head for audit in logs}
    keep = {path: verified[head.origin] for path, head in heads.items() if head is not None}
    known = {head.origin for head in keep.values()}
    others = [audit.head for audit in reversed(logs) if audit.origin not in known]
    empty = [path for path, head in heads.items() if head is None]
    return keep | dict(zip(empty, others, strict=False))


def _code(audit: StateAudit) -> int:
    if audit.findings.count:
        return REJECTED
    return UNDECIDED if audit.undecided else VERIFIED


def _limits(audit: LogAudit, pinned: set[str]) -> list[str]:
    """What else was not looked at, besides what the verifier says itself."""
    if audit.origin in pinned:
        return []
    return ["whether the log's key is the right one: give --log-key, --trust or a kept --head"]


def _tell_state(audit: StateAudit, place: str, pinned: set[str]) -> None:
    code = _code(audit)
    limits = {each.origin: [*each.not_covered, *_limits(each, pinned)] for each in audit.logs}
    if current_settings().as_json:
        print_json(_state_members(audit, place, code, limits))
        return
    from verifier.log import describe_audit

    if code == VERIFIED:
        for each in audit.logs:
            click.echo("\n".join([describe_audit(each), *_lines("not covered", _limits(each, pinned))]))
    for line in _notes(audit):
        click.echo(line)
    for finding in audit.findings.shown:
        click.echo(f"REJECTED: {_printable(finding.message)} ({finding.code}; {_place(finding.where)})", err=True)
    if audit.findings.count > len(audit.findings.shown):
        click.echo(f"REJECTED: and {audit.findings.count - len(audit.findings.shown)} more", err=True)
    for reason in audit.undecided:
        click.echo(f"COULD NOT BE DECIDED: {_printable(reason)}", err=True)


def _state_members(audit: StateAudit, place: str, code: int, limits: Mapping[str, Sequence[str]]) -> dict[str, object]:
    outcome = {VERIFIED: "verified", REJECTED: "rejected", UNDECIDED: "indeterminate"}[code]
    return {
        "verified": code == VERIFIED,
        "kind": "trail",
        "outcome": outcome,
        "database": place,
        "logs": [{**each.as_json(), "not_covered": list(limits[each.origin])} for each in audit.logs],
        "findings": [finding.as_json() for finding in audit.findings.shown],
        "finding_count": audit.findings.count,
        "undecided": audit.undecided,
        "unsigned_entries": audit.unsigned,
        "pending_rows": audit.pending_rows,
        "open_intents": [
            {
                "id": intent.id,
                "time": _time(intent.time),
                "principal": intent.principal,
                "action": intent.action,
                "key_id": intent.key_id,
            }
            for intent in audit.books.open_intents
        ],
    }


def _notes(audit: StateAudit) -> list[str]:
    """What is no fault and yet to be known."""
    lines = []
    if audit.unsigned:
        lines.append(("unsigned", f"the last {audit.unsigned} entries have no checkpoint yet"))
    if audit.pending_rows > 0:
        lines.append(("pending", f"{audit.pending_rows} changes of sealed rows are not in the log yet"))
    for intent in audit.books.open_intents:
        about = f"{intent.action} by {intent.principal} at {_time(intent.time)}"
        lines.append(("open", f"the intent {intent.id} has no outcome ({about})"))
    return [line for label, text in lines for line in _lines(label, [text])]


def _lines(label: str, texts: Sequence[str]) -> list[str]:
    return [f"  {label + ':':<13} {_printable(text)}" for text in texts]


def _place(where: Mapping[str, int | str]) -> str:
    return _printable(", ".join(f"{name} {value}" for name, value in where.items()))


def _printable(text: str) -> str:
    from verifier.report import printable

    return printable(text)


def _time(microseconds: int) -> str:
    """RFC 3339; what is no time as the number that it is."""
    try:
        moment = datetime.fromtimestamp(microseconds / 1_000_000, UTC)
    except (ValueError, OverflowError, OSError):
        return str(microseconds)
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def _told_failure(failure: VerificationError) -> int:
    from verifier.errors import Rejected

    rejected = isinstance(failure, Rejected)
    if current_settings().as_json:
        print_json(failure.as_json())
    else:
        word = "REJECTED" if rejected else "COULD NOT BE DECIDED"
        click.echo(f"{word}: {_printable(failure.message)} ({failure.code})", err=True)
    return REJECTED if rejected else UNDECIDED


@contextmanager
def _shown_progress() -> Iterator[Progress]:
    """A bar for whoever watches."""
    shown = console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with ProgressBar(*columns, console=shown, transient=True, disable=not shown.is_terminal) as bar:
        task = bar.add_task("Reading entries", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total or None)
