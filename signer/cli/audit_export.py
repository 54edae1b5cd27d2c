"""`sealmark audit export`: the trail as JSON Lines, for archives, other tools, and verification elsewhere."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import click

from signer.cli.client import Client, Json, as_object, open_client
from signer.cli.errors import CommandFailed, Unreachable
from signer.cli.options import connection_options, current_settings
from signer.cli.output import note, print_json, print_record

EXPORT: Final = "/v1/audit/export"
ENTRIES_A_CALL: Final = 10_000
_ATTEMPTS: Final = 5  # without any progress
_PAUSE: Final = 1.0  # seconds


@click.command("export")
@click.option("--from", "first", type=click.IntRange(0), default=0, show_default=True, help="Index of the first entry.")
@click.option("--log", type=click.IntRange(1), help="The log's number, where there was another HSM.  [default: newest]")
@click.option("--cosigned", is_flag=True, help="Only up to the newest checkpoint that witnesses have cosigned.")
@click.option(
    "--format",
    "form",
    type=click.Choice(("lines", "cloudtrail")),
    default="lines",
    show_default=True,
    help="cloudtrail: each record in the shape of an AWS CloudTrail event; without proofs and the checkpoint.",
)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="A new file.  [default: standard output]")
@connection_options
def export(first: int, log: int | None, cosigned: bool, form: str, out: Path | None) -> None:
    """Write the trail as it is, an entry a line.

    Each line has the entry's leaf and its record as they were hashed; the last line is the checkpoint over them, so
    that anybody can check that nothing was changed or left out.

    \b
    Examples:
      sealmark audit export --out trail.jsonl
      sealmark audit export --format cloudtrail --out events.jsonl
      sealmark audit export --from 20000 | jq -c 'select(.record.outcome == "denied") | .record'
    """
    query = {} if log is None else {"log": str(log)}
    if cosigned:
        query["cosigned"] = "true"
    with open_client() as client:
        lines = exported_lines(client, query, first)
        if form == "cloudtrail":
            lines = _events(lines, *_place(client, query))
        if out is None:
            for line in lines:
                click.echo(line)
            return
        written = _write(out, lines)
    facts = {"file": str(out), "from": first, "entries": written - (form == "lines")}
    if current_settings().as_json:
        print_json(facts)
    else:
        print_record(facts)


def exported_lines(client: Client, query: Mapping[str, str], first: int) -> Iterator[str]:
    """Each entry's line from this index on, then one line with the newest checkpoint; goes on where a connection broke.

    Raises: Unreachable where it breaks again and again.
    """
    broken = 0
    while True:
        asked = {**query, "from": str(first), "limit": str(ENTRIES_A_CALL)}
        checkpoint: str | None = None
        beginning = first
        try:
            with client.lines(EXPORT, asked) as lines:
                for line in lines:
                    members = _members(line)
                    if "checkpoint" in members:
                        checkpoint = line
                        continue
                    yield line
                    first = _index(members) + 1
            if checkpoint is None:
                raise Unreachable("the export broke off before its checkpoint")
        except Unreachable as failure:
            broken = 1 if first > beginning else broken + 1
            if broken > _ATTEMPTS:
                raise
            note(f"{failure.message}; going on from entry {first}")
            time.sleep(_PAUSE)
            continue
        # By what was asked for, not by what came: a missing entry is for whoever checks the export to name.
        first = max(first, beginning + ENTRIES_A_CALL)
        if first >= _size(checkpoint):
            yield checkpoint
            return


def _place(client: Client, query: Mapping[str, str]) -> tuple[str, str, str]:
    """The log's origin, and the account and the region that it names."""
    with client.lines(EXPORT, {**query, "from": "0", "limit": "1"}) as lines:
        checkpoint = [members["checkpoint"] for members in map(_members, lines) if "checkpoint" in members]
    origin = str(checkpoint[-1]).partition("\n")[0] if checkpoint else ""
    names = origin.split("/")
    if len(names) != 4:
        raise CommandFailed("the export's checkpoint does not name the log", code="malformed")
    return origin, names[1], names[2]


def _events(lines: Iterator[str], origin: str, account: str, region: str) -> Iterator[str]:
    """Each record as an event; leaves without one and the checkpoint are left out."""
    from signer.export.cloudtrail import event

    for line in lines:
        members = _members(line)
        if "record" not in members:
            continue
        leaf = base64.b64decode(str(members["leaf"]))
        hashed = hashlib.sha256(b"\x00" + leaf).digest()  # RFC 9162 section 2.1.1, by which the event is named
        record = as_object(members["record"], "record")
        made = event(record, hashed, index=_index(members), origin=origin, account=account, region=region)
        yield json.dumps(made, ensure_ascii=False)


def _write(out: Path, lines: Iterator[str]) -> int:
    """Writes the lines into a new file (mode 0600) and counts them; there is no file if not all could be written."""
    try:
        descriptor = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as exc:
        raise CommandFailed(f"{out} exists already: choose another --out", code="exists") from exc
    except OSError as exc:
        raise CommandFailed(f"{out} cannot be written: {exc.strerror}", code="unwritable_file") from exc
    written = 0
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            for line in lines:
                stream.write(f"{line}\n")
                written += 1
            stream.flush()
            os.fsync(stream.fileno())
    except BaseException:
        out.unlink(missing_ok=True)
        raise
    return written


def _members(line: str) -> Json:
    try:
        members = json.loads(line)
    except ValueError as exc:
        raise CommandFailed("the export has a line that is not JSON: an entry was changed", code="malformed") from exc
    return as_object(members, "line of the export")


def _index(members: Json) -> int:
    index = members.get("index")
    if not isinstance(index, int):
        raise CommandFailed("the export has a line without an index", code="malformed")
    return index


def _size(checkpoint: str) -> int:
    """How many entries the checkpoint is over (C2SP tlog-checkpoint: the second line)."""
    lines = str(json.loads(checkpoint).get("checkpoint")).split("\n")
    if len(lines) < 3 or not (lines[1].isascii() and lines[1].isdigit()):
        raise CommandFailed("the export's checkpoint is not one", code="malformed")
    return int(lines[1])
