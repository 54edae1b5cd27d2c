"""`sealmark audit follow`: entries as they come, for as long as it runs.

It asks again every few seconds and goes on where it was, so that a restart of the service, or of the network between,
loses nothing. Its own asking is in the trail too; those entries alone it does not print.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Final

import click

from signer.cli.audit_filters import filter_options, query_of
from signer.cli.audit_output import entry_cells, record_of
from signer.cli.client import Client, Json, as_object, open_client, text_member
from signer.cli.errors import CommandFailed, Unreachable
from signer.cli.options import connection_options, current_settings
from signer.cli.output import cell, note

ENTRIES: Final = "/v1/audit/entries"
_PAGE: Final = 1000
# What passes by itself: the service is being started, or a part that it needs cannot be used just now.
_PASSING: Final = frozenset(
    {
        *("unreachable", "hsm_unavailable", "store_unavailable", "audit_unavailable", "service_unavailable"),
        *("too_many_requests", "system_error"),
    }
)


@click.command("follow")
@filter_options
@click.option("--last", type=click.IntRange(0, _PAGE), default=0, show_default=True, help="First so many of before.")
@click.option("--interval", type=click.FloatRange(0.2, 3600), default=2.0, show_default=True, help="Seconds between.")
@click.option("--count", type=click.IntRange(1), help="End after so many entries.  [default: go on until Ctrl-C]")
@connection_options
def follow(last: int, interval: float, count: int | None, **filters: object) -> None:
    """Print new entries as they come, until Ctrl-C.

    With --json one entry a line. What `follow` itself asks is not printed; it goes on after a restart of the service.

    \b
    Examples:
      sealmark audit follow
      sealmark audit follow --outcome denied --json
      sealmark audit follow --action RotateKey --count 1 && ./tell-the-team
    """
    own = f"follow-{uuid.uuid4()}"
    try:
        with open_client() as client:
            for entry in islice(_entries_for_ever(client, query_of(filters), last, own, interval), count):
                _say(entry)
    except KeyboardInterrupt:
        return


def _entries_for_ever(client: Client, query: Mapping[str, str], last: int, own: str, interval: float) -> Iterator[Json]:
    """The last entries there are, then whatever comes, but for what `own` asks."""
    page = client.get(ENTRIES, {**query, "limit": str(max(last, 1))}, request_id=own)
    yield from reversed(_entries(page)[:last])
    cursor = text_member(page, "log_cursor")
    while True:
        time.sleep(interval)
        ended = False
        while not ended:
            try:
                asked = {**query, "order": "log", "limit": str(_PAGE), "cursor": cursor}
                page = client.get(ENTRIES, asked, request_id=own)
            except CommandFailed as failure:
                if failure.code not in _PASSING:
                    raise
                note(f"{failure.code}: trying again")
                break
            entries, following = _entries(page), text_member(page, "next_cursor")
            yield from (entry for entry in entries if record_of(entry).get("caller_request_id") != own)
            ended = following == cursor or (len(entries) < _PAGE and following == page.get("log_cursor"))
            cursor = following


def _entries(page: Json) -> list[Json]:
    entries = page.get("entries")
    if not isinstance(entries, list):
        raise Unreachable("the answer has no list 'entries'")
    return [as_object(entry, "entry") for entry in entries]


def _say(entry: Json) -> None:
    if current_settings().as_json:
        line = json.dumps(entry)
    else:
        index, *told = entry_cells(entry)
        line = f"{cell(index):>8}  " + "  ".join(cell(value) for value in told)
    click.echo(line)
