"""How a run of the whole test suite ended, as a figure: read from the JUnit file that pytest wrote.

make test ARGS=--junitxml=bench-results/suite.xml
.venv/bin/python -m tools.figures.suite suite-on-sqlite bench-results/suite.xml
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click
from lxml import etree

from tools.figures.record import RESULTS, record

COMMANDS: Final = {
    "suite-on-sqlite": "make test",
    "suite-on-postgresql": "make test DATABASE=postgresql",
}


@dataclass(frozen=True, slots=True)
class Run:
    """What pytest counted. One that failed or broke is one that fails; a skipped one is not one that passed."""

    tests: int
    failing: int
    skipped: int
    seconds: float


def read(path: Path) -> Run:
    """Raises: `click.ClickException` for what is no JUnit file, or one of no tests."""
    try:
        suites = list(etree.parse(path, etree.XMLParser(resolve_entities=False)).getroot().iter("testsuite"))
        counted = [[int(suite.attrib[name]) for name in ("tests", "failures", "errors", "skipped")] for suite in suites]
        seconds = sum(float(suite.attrib["time"]) for suite in suites)
    except (OSError, etree.XMLSyntaxError, KeyError, ValueError) as error:
        raise click.ClickException(f"{path.name} is not a JUnit file of pytest: {error}") from error
    tests, failures, errors, skipped = (sum(column) for column in zip(*counted, strict=True)) if counted else (0,) * 4
    if not tests:
        raise click.ClickException(f"{path.name} tells of no test")
    return Run(tests, failures + errors, skipped, seconds)


@click.command()
@click.argument("name", type=click.Choice(list(COMMANDS)))
@click.argument("path", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--output", type=click.Path(path_type=Path, file_okay=False), default=RESULTS, help="The folder.")
def main(*, name: str, path: Path, output: Path) -> None:
    """Record how a run of the whole suite ended."""
    run = read(path)
    note = f"{run.tests:,} tests, {run.skipped} skipped, {run.seconds:.0f} s"
    record(name, run.failing, command=COMMANDS[name], note=note, folder=output)
    click.echo(f"{name}: {run.failing} of {note}")


if __name__ == "__main__":
    sys.exit(main())
