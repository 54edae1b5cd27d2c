"""`sealmark-verify log`: audits a whole transparency log, and keeps what it verified."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import click

from verifier.errors import Indeterminate, Rejected
from verifier.options import FILE, json_option, read_file

if TYPE_CHECKING:
    from verifier.log import KeptHead, LogSource
    from verifier.trusted_logs import TrustedLog


@click.command()
@click.argument("source", type=FILE)
@click.option("--trust", "trust_file", type=FILE, help="trust.json: its log of that name counts, with its witnesses.")
@click.option("--log-key", metavar="NAME+ID+KEY", help="The log's key, in place of --trust.")
@click.option("--witness", "witnesses", multiple=True, metavar="NAME+ID+KEY", help="A witness of it; repeatable.")
@click.option(
    "--cosignatures",
    type=click.IntRange(min=0),
    help="How many witnesses must have seen it (all that --witness names; no fewer than trust.json says).",
)
@click.option("--head", "head_file", type=FILE, help="Where what was verified is kept, for the next time.")
@click.option("--full", is_flag=True, help="Read all entries again, not only those since the kept head.")
@click.option(
    "--former", "former_file", type=FILE, help="The kept head of the log before this one: this one must begin there."
)
@click.option("--checkpoint", "checkpoints", multiple=True, type=FILE, help="Another head that must fit; repeatable.")
@json_option
def log(
    source: Path,
    trust_file: Path | None,
    log_key: str | None,
    witnesses: tuple[str, ...],
    cosignatures: int | None,
    head_file: Path | None,
    full: bool,
    former_file: Path | None,
    checkpoints: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Audit a whole transparency log.

    SOURCE is a directory of its tiles (checkpoint, tile/L/N, tile/entries/N), or an export (JSON Lines), in which the
    records behind the entries are checked as well. With --head, a history that was rewritten or cut since the last time
    is rejected; the head in FILE moves forward only when everything held. With --former, so is a log that does not
    begin where the one before it ended: after a new HSM or a restored database.

    \b
    Examples:
      sealmark-verify log export.jsonl --trust trust.json --head log.head
      sealmark-verify log new.jsonl --trust trust.json --head new.head --former log.head
      sealmark-verify log mirror --log-key "$LOG_KEY" --witness "$WITNESS_KEY" --head log.head --full --json
    """
    from verifier.log import audit_log, describe_audit, load_head, store_head

    if (trust_file is None) == (log_key is None):
        raise click.UsageError("Give either --trust or --log-key.")
    if witnesses and log_key is None:
        raise click.UsageError("--witness needs --log-key: a trust file names its logs' witnesses itself.")
    opened = _open(source)
    trusted = _of_trust(trust_file, opened) if trust_file is not None else _of_key(log_key or "", witnesses)
    # A trust file's number is its owner's rule, which can only be tightened here.
    least = 0 if log_key is not None and cosignatures is not None else trusted.cosignatures
    needed = max(least, cosignatures or 0)
    audit = audit_log(
        opened,
        trusted.key,
        witnesses=trusted.witnesses,
        cosignatures=needed,
        head=None if head_file is None else load_head(head_file),
        further=[read_file(path) for path in checkpoints],
        full=full,
        former=None if former_file is None else _former(former_file),
    )
    if head_file is not None:
        store_head(head_file, audit.head)
    click.echo(json.dumps(audit.as_json(), indent=2) if as_json else describe_audit(audit))


def _former(path: Path) -> KeptHead:
    from verifier.log import load_head

    former = load_head(path)
    if former is None:
        raise Indeterminate("unreadable_file", f"{path} is not there: audit the former log with --head {path} first.")
    return former


def _open(path: Path) -> LogSource:
    from verifier.log import DirectorySource, ExportSource

    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise Indeterminate("unreadable_file", f"{path} cannot be read: {error.strerror}.") from error
    if stat.S_ISDIR(mode):
        return DirectorySource(path)
    if stat.S_ISREG(mode):
        return ExportSource(path)
    raise Indeterminate("unreadable_file", f"{path} is neither a directory of tiles nor an export.")


def _of_key(key: str, witnesses: tuple[str, ...]) -> TrustedLog:
    from verifier.trusted_logs import trusted_log

    return trusted_log(key, witnesses, len(witnesses))


def _of_trust(path: Path, source: LogSource) -> TrustedLog:
    """The log of the trust file whose name the source's checkpoint says; whether it is that log shows later."""
    from verifier.notes import parse_checkpoint, parse_note
    from verifier.trust import parse_trust

    logs = parse_trust(read_file(path)).logs
    if not logs:
        raise Indeterminate("no_trust", f"{path} names no log.")
    origin = parse_checkpoint(parse_note(source.checkpoint()).text).origin
    found = [trusted for trusted in logs if trusted.origin == origin]
    if not found:
        raise Rejected("untrusted_signer", f"The log is {origin}, which {path} does not name.")
    return found[0]
