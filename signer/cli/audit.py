"""`sealmark audit …`: the trail, for auditors."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Final

import click

from signer.cli.audit_about import about
from signer.cli.audit_export import export
from signer.cli.audit_filters import filter_options, query_of
from signer.cli.audit_follow import follow
from signer.cli.audit_output import (
    ENTRY_COLUMNS,
    ENTRY_FIELDS,
    csv_option,
    entry_cells,
    entry_fields,
    record_of,
    wanted_form,
    write_csv,
)
from signer.cli.audit_report import history, report
from signer.cli.audit_verify import verify
from signer.cli.client import open_client
from signer.cli.errors import CommandFailed
from signer.cli.files import write_whole
from signer.cli.options import connection_options, current_settings
from signer.cli.output import note, print_json, print_record, print_table

ENTRIES: Final = "/v1/audit/entries"


@click.group(commands=[report, history, about, export, follow, verify])
def audit() -> None:
    """Who did what, when, and the proof of it.

    For auditors: the trail has an entry for everything that was asked of the service and what became of it.

    \b
    Examples:
      sealmark audit search --key release --from 7d
      sealmark audit about app.p7s
      sealmark audit report --without policy-review --days 180
    """


@audit.command("search")
@filter_options
@click.option("--oldest", is_flag=True, help="Oldest first.  [default: newest first]")
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="Entries at most.")
@click.option("--all", "every", is_flag=True, help="Without a limit.")
@csv_option
@connection_options
def search(oldest: bool, limit: int, every: bool, as_csv: bool, **filters: object) -> None:
    """List entries that have all of what is asked for.

    \b
    Examples:
      sealmark audit search --key release --outcome denied
      sealmark audit search --principal role/ci --context repository=shop/app --from 2026-11-01 --to 2026-12-01 --csv
      sealmark audit search --request-id 4b0c6f7d1a2e4f5b8c9d0e1f2a3b4c5d --json
    """
    form = wanted_form(as_csv)
    with open_client() as client:
        query = {**query_of(filters), "order": "oldest" if oldest else "newest"}
        page = {"limit": str(1000 if every else min(limit + 1, 1000))}
        found = client.pages(ENTRIES, "entries", query | page)
        if form == "csv":
            write_csv(ENTRY_FIELDS, map(entry_fields, islice(found, None if every else limit)))
            return
        entries = list(islice(found, None if every else limit + 1))
    more = not every and len(entries) > limit
    entries = entries if every else entries[:limit]
    if form == "json":
        print_json({"entries": entries, "more": more})
        return
    print_table(ENTRY_COLUMNS, [entry_cells(entry) for entry in entries])
    if more:
        note(f"there are more than these {limit}: --limit N or --all shows them, --from and --to narrow it down")


@audit.command("show")
@click.argument("index", type=click.IntRange(0))
@click.option("--log", type=click.IntRange(1), help="The log's number, where there was another HSM.  [default: newest]")
@click.option("--proof-out", type=click.Path(path_type=Path, dir_okay=False), help="Write the proof to this new file.")
@connection_options
def show(index: int, log: int | None, proof_out: Path | None) -> None:
    """Show all that is recorded in one entry.

    INDEX is the entry's place in the log, as `search` lists it.

    \b
    Examples:
      sealmark audit show 17
      sealmark audit show 17 --proof-out 17.tlog-proof
    """
    with open_client() as client:
        found = client.get(f"{ENTRIES}/{index}", None if log is None else {"log": str(log)})
    proof = found.get("proof")
    proof = proof if isinstance(proof, Mapping) else {}
    if proof_out is not None:
        text = proof.get("text")
        if not isinstance(text, str):
            raise CommandFailed("no checkpoint covers the entry yet: try again in a second", code="no_proof")
        write_whole(proof_out, text.encode(), replace=False)
    if current_settings().as_json:
        print_json(found)
        return
    place = {name: found.get(name) for name in ("log", "origin", "index", "kind", "key_alias")}
    record = {name: value for name, value in record_of(found).items() if name not in place}
    proved = {
        "record_nonce": found.get("nonce"),
        "leaf_hash": found.get("leaf_hash"),
        "in_checkpoint_of": proof.get("size"),
        "cosigned": proof.get("cosigned"),
    }
    print_record({**place, **record, "row": found.get("row"), **proved})
