"""The benchmark's figures: a line while it runs, tables at the end, JSON and Markdown on disk."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from tools.figures.asked import FIGURES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tools.bench.driving import Bare, Seen
    from tools.bench.workloads import Workload

_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Row:
    """One load in one round: the bare loop, the service, and OpenBao where it has the operation.

    `base` is the service under the load's own `base`, in the same round.
    """

    workload: Workload
    bare: Bare
    ours: Seen
    peer: Seen | None
    base: Seen | None

    @property
    def of_bare(self) -> float:
        return self.ours.per_second / self.bare.per_second

    @property
    def of_peer(self) -> float | None:
        return None if self.peer is None else self.ours.per_second / self.peer.per_second

    @property
    def of_base(self) -> float | None:
        return None if self.base is None else self.ours.per_second / self.base.per_second

    @property
    def of_bare_by_processor(self) -> float:
        """The same ratio by processor time, load tool included: what else runs on the machine changes it little."""
        return self.bare.microseconds / self.ours.microseconds

    @property
    def of_peer_by_processor(self) -> float | None:
        return None if self.peer is None else self.peer.microseconds / self.ours.microseconds

    @property
    def of_base_by_processor(self) -> float | None:
        return None if self.base is None else self.base.microseconds / self.ours.microseconds

    @property
    def leading(self) -> float:
        """The ratio by which the median round is chosen."""
        if self.workload.of_base and self.of_base is not None:
            return self.of_base
        if self.workload.of_peer and not self.workload.of_bare and self.of_peer is not None:
            return self.of_peer
        return self.of_bare

    def figures(self) -> dict[str, float]:
        """What was asked for, by its name."""
        pairs = (
            (self.workload.of_bare, self.of_bare),
            (self.workload.of_peer, self.of_peer),
            (self.workload.of_base, self.of_base),
        )
        return {name: value for name, value in pairs if name is not None and value is not None}

    def document(self) -> dict[str, Any]:
        """For the JSON file."""
        return {
            "name": self.workload.name,
            "bare": asdict(self.bare),
            "of_bare": self.of_bare,
            "of_openbao": self.of_peer,
            "of_bare_by_processor": self.of_bare_by_processor,
            "of_openbao_by_processor": self.of_peer_by_processor,
            "of_base_by_processor": self.of_base_by_processor,
            "base": self.workload.base,
            "of_base": self.of_base,
            "service": asdict(self.ours),
            "openbao": None if self.peer is None else asdict(self.peer),
        }

    def line(self) -> str:
        """For whoever waits."""
        ours, peer = self.ours, self.of_peer
        checked = ours.results_checked + (self.peer.results_checked if self.peer else 0)
        return (
            f"{self.workload.name}: {ours.per_second:,.0f}/s, {self.of_bare:.2f} of the bare loop"
            + (f", {peer:.2f} × OpenBao" if peer is not None else "")
            + (f", {self.of_base:.2f} of {self.workload.base}" if self.of_base is not None else "")
            + f", p50 {ours.p50_milliseconds:.1f} ms, p99 {ours.p99_milliseconds:.1f} ms, {checked} results checked"
        )


@dataclass(frozen=True, slots=True)
class Grid:
    """A table: what it shows, its headings, its rows."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def markdown(self) -> str:
        lines = [self.headings, ("---",) + ("---:",) * (len(self.headings) - 1), *self.rows]
        return f"## {self.title}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"

    def print(self, console: Console) -> None:
        table = Table(title=self.title, title_justify="left")
        for number, heading in enumerate(self.headings):
            table.add_column(heading, justify="right" if number else "left")
        for row in self.rows:
            table.add_row(*row)
        console.print(table)


@dataclass(slots=True)
class Report:
    """What a run has found: its loads, further tables of its other parts, and each asked figure that it measured."""

    circumstances: Mapping[str, object]
    short: bool
    rows: list[Row] = field(default_factory=list)
    grids: list[Grid] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    parts: dict[str, object] = field(default_factory=dict)
    figures: dict[str, tuple[float, str]] = field(default_factory=dict)

    def missed(self) -> list[str]:
        """The floors that do not hold, in words."""
        return [
            f"{FIGURES[name].asked}: {value:.3g} {FIGURES[name].unit} ({FIGURES[name].floor})"
            for name, (value, _) in self.figures.items()
            if FIGURES[name].met(value) is False
        ]

    def show(self) -> None:
        """Prints it."""
        console = Console(highlight=False)
        if not console.is_terminal:
            console.width = 150
        for grid in self._every_grid():
            grid.print(console)
        for line in self.lines:
            console.print(line)

    def _every_grid(self) -> list[Grid]:
        return [
            *(loads(self.rows) if self.rows else ()),
            *self.grids,
            *([_asked(self.figures)] if self.figures else ()),
        ]

    def write(self, folder: Path) -> None:
        """Writes `bench.json` and `bench.md`."""
        document = {
            "short": self.short,
            "circumstances": dict(self.circumstances),
            "loads": [row.document() for row in self.rows],
            "parts": self.parts,
            "figures": {name: value for name, (value, _) in self.figures.items()},
        }
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "bench.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        facts = ", ".join(f"{name} {value}" for name, value in self.circumstances.items())
        tables = "\n".join(grid.markdown() for grid in self._every_grid())
        measured = "Only run through, not measured" if self.short else "Measured"
        text = f"# Benchmark\n\n{measured} by `make bench`: {facts}.\n\n{tables}\n" + "".join(
            f"{line}.\n\n" for line in self.lines
        )
        (folder / "bench.md").write_text(text.rstrip() + "\n", encoding="utf-8")


def loads(rows: Sequence[Row]) -> tuple[Grid, Grid, Grid]:
    """The median round of each load: ours with its ratios, the peer, and what both of them and the load tool took."""
    ours = Grid(
        "The service: median round of each load",
        (
            "load",
            "bare loop /s",
            "/s",
            "of bare",
            "× OpenBao",
            "of base",
            "by CPU: of bare",
            "× OpenBao",
            "of base",
            *_LATENCY,
        ),
        tuple(
            (
                row.workload.name,
                f"{row.bare.per_second:,.0f}",
                f"{row.ours.per_second:,.0f}",
                f"{row.of_bare:.2f}",
                _ratio(row.of_peer),
                _ratio(row.of_base),
                _ratio(row.of_bare_by_processor),
                _ratio(row.of_peer_by_processor),
                _ratio(row.of_base_by_processor),
                *_latency(row.ours),
            )
            for row in rows
        ),
    )
    peers = [(row, row.peer) for row in rows if row.peer is not None]
    peer = Grid(
        "OpenBao in the same rounds",
        ("load", "/s", "of bare", *_LATENCY),
        tuple(
            (
                row.workload.name,
                f"{seen.per_second:,.0f}",
                f"{seen.per_second / row.bare.per_second:.2f}",
                *_latency(seen),
            )
            for row, seen in peers
        ),
    )
    servers = [(row.workload.name, "sealmark", row.ours) for row in rows]
    servers += [(row.workload.name, "OpenBao", seen) for row, seen in peers]
    taken = Grid(
        "What it took: processor time a request, processors in use, memory (PSS)",
        ("load", "server", "server µs", "load tool µs", "load tool CPU", "others' CPU", "MiB"),
        tuple((load, server, *_taken(seen)) for load, server, seen in servers),
    )
    return ours, peer, taken


_LATENCY = ("p50 ms", "p99 ms", "p99 / p50", "longest ms")


def _latency(seen: Seen) -> tuple[str, ...]:
    return (
        f"{seen.p50_milliseconds:.2f}",
        f"{seen.p99_milliseconds:.2f}",
        f"{seen.spread:.1f}",
        f"{seen.longest_milliseconds:.1f}",
    )


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _taken(seen: Seen) -> tuple[str, ...]:
    return (
        f"{seen.server_microseconds:,.0f}",
        f"{seen.load_microseconds:,.0f}",
        f"{seen.load_share:.2f}",
        f"{seen.others_share:.2f}",
        f"{seen.memory / _MIB:,.0f}",
    )


def _asked(figures: Mapping[str, tuple[float, str]]) -> Grid:
    words = {True: "yes", False: "NO", None: ""}
    return Grid(
        "What was asked for",
        ("figure", "measured", "", "floor", "holds"),
        tuple(
            (
                FIGURES[name].asked,
                f"{value:.3g}",
                FIGURES[name].unit,
                FIGURES[name].floor,
                words[FIGURES[name].met(value)],
            )
            for name, (value, _) in figures.items()
        ),
    )
