"""`sealmark-verify trust`: shows a trust file, and tells two of them apart."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import click

from verifier.options import FILE, at_option, json_option, read_file

DIFFERENT = 1


@click.group()
def trust() -> None:
    """Look at trust files. None of this says that a file is to be trusted.

    \b
    Examples:
      sealmark-verify trust show trust.json
      sealmark-verify trust diff trust.json new.json
    """


@trust.command()
@click.argument("file", type=FILE)
@at_option
@json_option
def show(file: Path, at: datetime | None, as_json: bool) -> None:
    """Show the keys, authorities and logs of FILE.

    What they count for, until when, and what is revoked.

    \b
    Examples:
      sealmark-verify trust show trust.json
      sealmark-verify trust show trust.json --at 2026-03-01T09:30:00Z --json
    """
    from verifier.trust import parse_trust
    from verifier.trust_report import describe_trust, print_trust

    facts = describe_trust(parse_trust(read_file(file)), at or datetime.now(UTC))
    click.echo(json.dumps(facts.as_json(), indent=2) if as_json else print_trust(facts))


@trust.command()
@click.argument("old", type=FILE)
@click.argument("new", type=FILE)
@json_option
def diff(old: Path, new: Path, as_json: bool) -> int:
    """Tell what NEW adds to OLD, removes and changes.

    Exit codes: 0 the same, 1 different, 2 a file cannot be used.

    \b
    Example:
      sealmark-verify trust diff trust.json new.json
    """
    from verifier.trust import parse_trust
    from verifier.trust_report import compare_trust, print_difference

    before, after = (parse_trust(read_file(path)) for path in (old, new))
    difference = compare_trust(before, after, datetime.now(UTC))
    click.echo(json.dumps(difference.as_json(), indent=2) if as_json else print_difference(difference))
    return DIFFERENT if difference else 0
