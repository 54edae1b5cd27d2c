"""How results are shown: tables for people, JSON for programs. Nothing is cut off, nothing steers the terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from signer.cli.errors import one_line

# Without a terminal rich assumes 80 columns and would break long values in two: lines in a log are as long as they are.
_WIDTH_WITHOUT_TERMINAL = 400


def console(*, stderr: bool = False) -> Console:
    """A console that shows text as it is: no markup, no emoji, no guessing at numbers."""
    found = Console(stderr=stderr, markup=False, emoji=False, highlight=False)
    if not found.is_terminal:
        found.width = _WIDTH_WITHOUT_TERMINAL
    return found


def print_json(value: object) -> None:
    """One JSON document on standard output."""
    click.echo(json.dumps(value, indent=2))


def note(message: str) -> None:
    """A remark for a person on standard error, so that standard output stays what was asked for."""
    click.echo(one_line(message), err=True)


def cell(value: object) -> str:
    """A value of a JSON answer as a person reads it."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {cell(member)}" for name, member in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(cell(member) for member in value) or "-"
    return one_line(str(value))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, title: str | None = None) -> None:
    """A table; long values fold, they are never shortened."""
    table = Table(title=title, title_justify="left")
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell(value)) for value in row))
    console().print(table)


def print_record(members: Mapping[str, object]) -> None:
    """One thing, a line for each member that has a value."""
    shown = {name: value for name, value in members.items() if value not in (None, "", [], {})}
    width = max((len(name) for name in shown), default=0)
    for name, value in shown.items():
        click.echo(f"{name.replace('_', ' '):<{width}}  {cell(value)}")
