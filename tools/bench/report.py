"""The benchmark's figures: a line while it runs, a table at the end, JSON and Markdown on disk."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tools.bench.access import AccessCost

HEADINGS = (
    "load",
    "bare loop /s",
    "service /s",
    "ratio",
    "floor",
    "of native",
    "p50 ms",
    "p99 ms",
    "longest ms",
    "load tool CPU",
)


@dataclass(frozen=True, slots=True)
class Figures:
    """One load in one round. Rates are signatures, ciphertexts or data keys per second; latencies are those of
    whole HTTP requests.

    `of_native` is the rate's ratio to that of the same operation over the service's own API, in the same round.
    `load_processor_share` is the load tool's own use of processors (1.0 is one core), which the service did not have.
    """

    name: str
    bare_per_second: float
    service_per_second: float
    ratio: float
    of_native: float | None
    floor: float
    requests: int
    p50_milliseconds: float
    p99_milliseconds: float
    longest_milliseconds: float
    load_processor_share: float
    reconnections: int
    results_checked: int

    def cells(self) -> tuple[str, ...]:
        """One row under `HEADINGS`."""
        return (
            self.name,
            f"{self.bare_per_second:,.0f}",
            f"{self.service_per_second:,.0f}",
            f"{self.ratio:.2f}",
            f"{self.floor:.2f}",
            "" if self.of_native is None else f"{self.of_native:.2f}",
            f"{self.p50_milliseconds:.2f}",
            f"{self.p99_milliseconds:.2f}",
            f"{self.longest_milliseconds:.2f}",
            f"{self.load_processor_share:.2f}",
        )

    def line(self) -> str:
        """A line for whoever waits."""
        native = "" if self.of_native is None else f" ({self.of_native:.2f} of native)"
        return (
            f"{self.name}: {self.service_per_second:,.0f}/s, bare loop {self.bare_per_second:,.0f}/s, "
            f"ratio {self.ratio:.2f}{native}, p50 {self.p50_milliseconds:.1f} ms, p99 {self.p99_milliseconds:.1f} ms, "
            f"{self.results_checked} results checked"
        )


def write_report(
    output: Path, figures: Sequence[Figures], access: AccessCost, circumstances: Mapping[str, object]
) -> None:
    """Prints the table and writes `output`.json and `output`.md."""
    table = Table(title="Median round of each load", title_justify="left")
    for heading in HEADINGS:
        table.add_column(heading, justify="left" if heading == "load" else "right")
    for one in figures:
        table.add_row(*one.cells())
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 120
    console.print(table)
    console.print(access.line())
    document = {
        "circumstances": dict(circumstances),
        "loads": [asdict(one) for one in figures],
        "access": {**asdict(access), "share": access.share},
    }
    output.with_suffix(".json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    output.with_suffix(".md").write_text(_markdown(figures, access, circumstances), encoding="utf-8")
    console.print(f"written: {output.with_suffix('.json').name}, {output.with_suffix('.md').name}")


def _markdown(figures: Sequence[Figures], access: AccessCost, circumstances: Mapping[str, object]) -> str:
    rows = [HEADINGS, ("---",) * len(HEADINGS), *(one.cells() for one in figures)]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    facts = ", ".join(f"{name} {value}" for name, value in circumstances.items())
    return f"# Benchmark\n\n{facts}; the median round of each load.\n\n{table}\n\n{access.line()}.\n"
