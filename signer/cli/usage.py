"""`sealmark usage`: what each principal used of each key, in numbers, for charge-back."""

from __future__ import annotations

from typing import Final

import click

from signer.cli.audit_filters import time_range, times_of
from signer.cli.audit_output import csv_option, wanted_form, write_csv
from signer.cli.client import open_client
from signer.cli.options import KEY, connection_options
from signer.cli.output import print_json, print_table

USAGE: Final = "/v1/usage"
_FIELDS: Final = ("day", "principal", "key_id", "key_alias", "action", "outcome", "requests", "items")
_COLUMNS: Final = ("day", "principal", "key", "action", "outcome", "requests", "items")


@click.command("usage")
@click.option("--key", type=KEY, help="Of this key alone (alias or id).")
@click.option("--principal", help="By this principal alone, such as role/ci.")
@click.option("--action", help="For this alone, such as Sign; `sealmark access actions` lists them.")
@time_range
@csv_option
@connection_options
def usage(key: str | None, principal: str | None, action: str | None, as_csv: bool, **between: object) -> None:
    """Count what each principal did with each key, by day.

    For auditors and administrators. Without --from: this month. An item is one thing signed, encrypted or looked at; a
    request may have many. What was refused is told apart by its outcome, and so is an answer that was given again
    (repeated), for which nothing was made.

    \b
    Examples:
      sealmark usage
      sealmark usage --from 2026-11-01 --to 2026-12-01 --csv > november.csv
      sealmark usage --principal role/ci --action Sign --from 7d
    """
    form = wanted_form(as_csv)
    asked = {"key": key, "principal": principal, "action": action}
    query = {**times_of(between), **{name: value for name, value in asked.items() if value is not None}}
    with open_client() as client:
        rows = list(client.pages(USAGE, "usage", query))
    if not rows:
        click.echo("Nothing was asked for in that time under these names (a key's is its alias or id).", err=True)
    if form == "json":
        print_json({**times_of(between), "usage": rows})
    elif form == "csv":
        write_csv(_FIELDS, ([row.get(name) for name in _FIELDS] for row in rows))
    else:
        print_table(
            _COLUMNS,
            [
                [row["day"], row["principal"], row["key_alias"] or row["key_id"], *(row[name] for name in _COLUMNS[3:])]
                for row in rows
            ],
        )
