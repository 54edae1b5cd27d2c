"""`sealmark-verify log`: audits a whole transparency log, and keeps what it verified."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from verifier.errors import Indeterminate
from verifier.options import FILE, json_option, read_file

if TYPE_CHECKING:
    from verifier.log import LogSource


@click.command()
@click.argument("source", type=FILE)
@click.option("--log-key", required=True, help="The log's key, NAME+ID+KEY.")
@click.option("--witness", "witnesses", multiple=True, help="A witness's key, NAME+ID+KEY; repeatable.")
@click.option(
    "--cosignatures", type=click.IntRange(min=0), default=0, help="How many of the witnesses must have cosigned."
)
@click.option("--head", "head_file", type=FILE, help="Where what was verified is kept, and held against the next time.")
@click.option("--full", is_flag=True, help="Read all entries again, not only what came since the kept head.")
@click.option(
    "--checkpoint", "checkpoints", multiple=True, type=FILE, help="One more checkpoint that must fit; repeatable."
)
@json_option
def log(
    source: Path,
    log_key: str,
    witnesses: tuple[str, ...],
    cosignatures: int,
    head_file: Path | None,
    full: bool,
    checkpoints: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Audit a whole transparency log.

    SOURCE is a directory of its tiles (checkpoint, tile/L/N, tile/entries/N) or an export (JSON Lines), which has the
    records behind the entries too. With --head, a history that was rewritten or cut since the last time is rejected,
    and the head moves forward only when everything held.

    \b
    Examples:
      sealmark-verify log export.jsonl --log-key "$LOG_KEY" --head log.head
      sealmark-verify log mirror/ --log-key "$LOG_KEY" --witness "$WITNESS_KEY" --cosignatures 1 --head log.head --json
    """
    from verifier.log import audit_log, describe_audit, load_head, store_head
    from verifier.notes import parse_key

    audit = audit_log(
        _open(source),
        parse_key(log_key),
        witnesses=[parse_key(each) for each in witnesses],
        cosignatures=cosignatures,
        head=None if head_file is None else load_head(head_file),
        further=[read_file(path) for path in checkpoints],
        full=full,
    )
    if head_file is not None:
        store_head(head_file, audit.head)
    click.echo(json.dumps(audit.as_json(), indent=2) if as_json else describe_audit(audit))


def _open(path: Path) -> LogSource:
    from verifier.log import DirectorySource, ExportSource

    if path.is_dir():
        return DirectorySource(path)
    if path.is_file():
        return ExportSource(path)
    raise Indeterminate("unreadable_file", f"{path} is neither a directory of tiles nor an export.")
