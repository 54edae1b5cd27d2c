"""Audit entries as people and programs read them: tables, JSON, CSV."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Literal

import click

from signer.cli.client import Json
from signer.cli.options import Command, current_settings
from signer.cli.output import cell

Form = Literal["table", "json", "csv"]
# What spreadsheets take for a formula where a cell begins with it.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")

csv_option: Callable[[Command], Command] = click.option(
    "--csv", "as_csv", is_flag=True, help="Print CSV (RFC 4180), for spreadsheets: see docs/audit.md."
)


def wanted_form(as_csv: bool) -> Form:
    """Table, JSON or CSV. Raises: UsageError for both."""
    if as_csv and current_settings().as_json:
        raise click.UsageError("--json and --csv: one of them")
    return "csv" if as_csv else "json" if current_settings().as_json else "table"


def record_of(entry: Json) -> Json:
    """The record of an entry, empty where there is none."""
    record = entry.get("record")
    return record if isinstance(record, Mapping) else {}


def entry_cells(entry: Json) -> list[object]:
    """The columns of a table of entries."""
    record = record_of(entry)
    if entry.get("kind") == "rows":
        row = entry.get("row")
        about = row if isinstance(row, Mapping) else {}
        told = f"{about.get('table')}/{about.get('id')} revision {about.get('revision')}"
        return [entry.get("index"), None, None, "rows", None, None, told]
    return [
        entry.get("index"),
        record.get("time"),
        record.get("principal"),
        record.get("action") or entry.get("kind"),
        outcome(record),
        entry.get("key_alias") or record.get("key_id"),
        _about(record),
    ]


ENTRY_COLUMNS: Final = ("index", "time", "principal", "action", "outcome", "key", "about")


def outcome(record: Json) -> str:
    """The outcome, and the code of a refusal."""
    code = record.get("code")
    return cell(record.get("outcome")) + ("" if code is None else f": {cell(code)}")


def _about(record: Json) -> str | None:
    """What an entry is about, in a few words: the file or token, whom, or what changed."""
    about, detail = record.get("about"), record.get("detail")
    parts = []
    if isinstance(about, Mapping):
        files = about.get("artifacts")
        if isinstance(files, Sequence) and not isinstance(files, str):
            parts.append(", ".join(cell(file.get("name")) for file in files if isinstance(file, Mapping)))
        parts += [cell(about[name]) for name in ("name", "jti") if name in about]
    if record.get("subject") is not None:
        parts.append(cell(record["subject"]))
    if isinstance(detail, Mapping):
        parts.append(cell(detail))
    return "; ".join(parts) or None


ENTRY_FIELDS: Final = (
    *("log", "index", "kind", "time", "principal", "credential", "source", "action", "outcome", "code", "key_alias"),
    *("key_id", "key_version", "algorithm", "subject", "request_id", "caller_request_id", "approval", "decided_by"),
    *("digest", "signature_sha256", "about", "context", "detail"),
)


def entry_fields(entry: Json) -> list[object]:
    """The columns of an entry as CSV: those of `ENTRY_FIELDS`."""
    record = record_of(entry)
    signatures = record.get("signatures")
    made = [each for each in signatures if isinstance(each, Mapping)] if isinstance(signatures, list) else []
    more = {
        "digest": " ".join(str(each.get("digest")) for each in made),
        "signature_sha256": " ".join(str(each.get("sha256")) for each in made),
        "about": record.get("about") or entry.get("row"),
    }
    known = {**record, **{name: entry.get(name) for name in ("log", "index", "kind", "key_alias")}, **more}
    return [known.get(name) for name in ENTRY_FIELDS]


def write_csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A head and the rows on standard output; members of their own as JSON."""
    writer = csv.writer(sys.stdout)
    writer.writerow(columns)
    for row in rows:
        writer.writerow([csv_cell(value) for value in row])


def csv_cell(value: object) -> str | int:
    """A value in a cell. What a spreadsheet would run gets an apostrophe before it: whoever calls the service chooses
    names and contexts, and whoever reads them trusts the file."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return value
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True)
    return f"'{text}" if text.startswith(_FORMULA) else text
