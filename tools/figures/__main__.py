"""Makes docs/figures.md of what lies in docs/figures; with `--take`, puts in first what was measured here."""

from __future__ import annotations

import json
import shutil
import sys
import tomllib
from pathlib import Path
from typing import Final

import click

from tools.figures.asked import FIGURES
from tools.figures.page import Taken, page
from tools.figures.record import RESULTS, ROOT, Measurement

PAGE: Final = ROOT / "docs" / "figures.md"
FOLDER: Final = ROOT / "docs" / "figures"
CAUSES: Final = "causes.toml"
# Beside a file for each figure: the benchmark's and the profile's own.
_FILES: Final = ("bench.md", "profile.json", "profile.md", "flames.svg")


def read(folder: Path) -> Taken:
    """What lies there.

    Raises: `click.ClickException` for a file that is no figure's, and where a cause is missing for a figure that is not
    reached, or given for one that is.
    """
    measurements = {}
    for path in sorted(folder.glob("*.json")):
        if path.name not in _FILES:
            measurements[path.stem] = Measurement(**json.loads(path.read_text(encoding="utf-8")))
    if unknown := sorted(set(measurements) - set(FIGURES)):
        raise click.ClickException(f"{folder.name}/{unknown[0]}.json is no figure that was asked for")
    causes = tomllib.loads((folder / CAUSES).read_text(encoding="utf-8")) if (folder / CAUSES).exists() else {}
    profile = folder / "profile.json"
    taken = Taken(
        measurements,
        causes,
        tuple(path.name for path in sorted(folder.glob("latency-*.svg"))),
        json.loads(profile.read_text(encoding="utf-8")) if profile.exists() else None,
        (folder / "bench.md").exists(),
    )
    missed = {figure.name for figure in taken.missed()}
    if missed != set(causes):
        wrong = "has no cause for" if missed - set(causes) else "speaks of"
        name = min(missed ^ set(causes))
        raise click.ClickException(
            f"{folder.name}/{CAUSES} {wrong} {name}: the figures that are not reached, no others"
        )
    return taken


def take(results: Path, folder: Path) -> list[str]:
    """Copies what was measured into the folder; the names of the files. Raises: `click.ClickException` for what a short
    form left, which measures nothing."""
    bench = results / "bench.json"
    if bench.exists() and json.loads(bench.read_text(encoding="utf-8"))["short"]:
        raise click.ClickException(
            f"{results.name}/bench.json is of a short form: make bench, or remove it with bench.md"
        )
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{name}.json" for name in FIGURES] + list(_FILES)
    found = [path for path in sorted(results.iterdir()) if path.name in names or path.match("latency-*.svg")]
    for path in found:
        shutil.copyfile(path, folder / path.name)
    return [path.name for path in found]


@click.command()
@click.option("--take", "taking", is_flag=True, help="First copy what bench-results holds into docs/figures.")
@click.option("--results", type=click.Path(path_type=Path, exists=True, file_okay=False), default=RESULTS, hidden=True)
def main(*, taking: bool, results: Path) -> None:
    """Make docs/figures.md of the measurements in docs/figures."""
    if taking:
        for name in take(results, FOLDER):
            click.echo(f"taken: {name}")
    PAGE.write_text(page(read(FOLDER)), encoding="utf-8")
    click.echo(f"written: {PAGE.relative_to(ROOT)}")


if __name__ == "__main__":
    sys.exit(main())
