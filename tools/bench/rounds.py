"""The loads: all rounds of all workloads, bare loop, service and peer in turn, so that they see the same machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from tools.bench.report import Row
from tools.bench.targets import prepare
from tools.bench.workloads import CLIENTS, WORKLOADS

if TYPE_CHECKING:
    from tools.bench.driving import Seen
    from tools.bench.report import Report
    from tools.bench.stage import Stage
    from tools.bench.targets import Target

BUSY: Final = 0.25  # processors that anything else may have before it is said


def measure_loads(stage: Stage) -> None:
    """Fills the report's rows, the median round of each load, and its figures."""
    targets = [(prepare(stage.ours, each), prepare(stage.peer, each) if each.peer else None) for each in WORKLOADS]
    rounds: dict[str, list[Row]] = {each.name: [] for each in WORKLOADS}
    for number in range(1, stage.lengths.rounds + 1):
        for mine, theirs in targets:
            row = _row(stage, mine, theirs, rounds)
            rounds[row.workload.name].append(row)
            click.echo(f"round {number}/{stage.lengths.rounds}: {row.line()}")
    report = stage.report
    report.rows += [_median(found) for found in rounds.values()]
    for row in report.rows:
        report.figures |= {name: (value, _note(row)) for name, value in row.figures().items()}
    _spread(report, [row for found in rounds.values() for row in found])


def _row(stage: Stage, mine: Target, theirs: Target | None, rounds: dict[str, list[Row]]) -> Row:
    workload = mine.workload
    loop = stage.drivers.bare(workload.loop or workload.spec, stage.lengths.of(workload).bare)
    seen = _load(stage, mine)
    peer = None if theirs is None else _load(stage, theirs)
    return Row(workload, loop, seen, peer, rounds[workload.base][-1].ours if workload.base else None)


def _load(stage: Stage, target: Target) -> Seen:
    times = stage.lengths.of(target.workload)
    return stage.drivers.load(target, CLIENTS, times.warm_up, times.seconds)


def _median(rounds: list[Row]) -> Row:
    """The round whose ratio is the median: its figures belong together."""
    return sorted(rounds, key=lambda row: row.leading)[len(rounds) // 2]


def _note(row: Row) -> str:
    peer = f", OpenBao {row.peer.per_second:,.0f}/s" if row.peer else ""
    others = f"; others took {row.ours.others_share:.1f} processors" if row.ours.others_share > BUSY else ""
    return f"{row.ours.per_second:,.0f}/s, bare loop {row.bare.per_second:,.0f}/s{peer}; {CLIENTS} clients{others}"


def _spread(report: Report, rows: list[Row]) -> None:
    """Latency's spread by the worst of the median rounds, and the load tool's own share by the most of all rounds."""
    worst = max(report.rows, key=lambda row: row.ours.spread)
    note = f"{worst.workload.name}: p50 {worst.ours.p50_milliseconds:.2f} ms, p99 {worst.ours.p99_milliseconds:.2f} ms"
    report.figures["p99-of-p50"] = (worst.ours.spread, note)
    others = max(row.ours.others_share for row in rows)
    if others > BUSY:
        report.lines.append(f"Others on this machine took up to {others:.1f} processors: a measurement wants it alone")
    loads = [(name, seen) for row in rows for name, seen in (("the service", row.ours), ("OpenBao", row.peer)) if seen]
    server, most = max(loads, key=lambda pair: pair[1].load_share)
    ours = max(row.ours.load_share for row in rows)
    said = f"beside {server}, {most.load_microseconds:.0f} µs a request; beside the service at most {ours:.2f}"
    report.figures["load-tool-processor"] = (most.load_share, said)
