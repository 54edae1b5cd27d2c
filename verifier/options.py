"""What the subcommands of `sealmark-verify` share: options, and the reading of small files."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Final

import click

from verifier.errors import Indeterminate
from verifier.times import parse_time

MAXIMUM_INPUT_BYTES: Final = 16 * 1024 * 1024
FILE: Final = click.Path(path_type=Path)


def _moment(_context: click.Context, _parameter: click.Parameter, value: str | None) -> datetime | None:
    """RFC 3339 in UTC, or a wrong usage."""
    try:
        return None if value is None else parse_time(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


json_option = click.option("--json", "as_json", is_flag=True, help="Print the facts, or the reason, as JSON.")
at_option = click.option("--at", callback=_moment, help="Judge validity at this time (RFC 3339, UTC), not now.")
leeway_option = click.option(
    "--leeway", type=click.IntRange(0, 60), default=0, help="Seconds by which clocks may differ (0 to 60)."
)


def read_file(path: Path) -> bytes:
    """A whole small file. Never the signed file itself, which is read as a stream."""
    try:
        with path.open("rb") as stream:
            data = stream.read(MAXIMUM_INPUT_BYTES + 1)
    except OSError as error:
        raise Indeterminate("unreadable_file", f"{path} cannot be read: {error.strerror}.") from error
    if len(data) > MAXIMUM_INPUT_BYTES:
        raise Indeterminate("unreadable_file", f"{path} is larger than {MAXIMUM_INPUT_BYTES} bytes.")
    return data
