"""Latency against load: one to 64 clients, ours and the peer in turn at each point."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from tools.bench.report import Grid
from tools.bench.targets import prepare
from tools.bench.workloads import RSA, SINGLE
from tools.service import ServiceError

if TYPE_CHECKING:
    from tools.bench.stage import Stage

ROOT: Final = Path(__file__).resolve().parents[2]
CLIENTS: Final = (1, 2, 4, 8, 16, 32, 64)
_SECONDS: Final = 2.5
_WARM_UP: Final = 0.5
_LOADS: Final = (SINGLE, RSA)


def measure_curve(stage: Stage) -> None:
    """Points into the report's parts, as `curve`, and a table."""
    clients, warm_up, seconds = (CLIENTS[::3], 0.05, 0.2) if stage.short else (CLIENTS, _WARM_UP, _SECONDS)
    loads = _LOADS[:1] if stage.short else _LOADS
    points: list[dict[str, Any]] = []
    for workload in loads:
        targets = [prepare(server, workload) for server in (stage.ours, stage.peer)]
        for count in clients:
            for target in targets:
                seen = stage.drivers.load(target, count, warm_up, seconds, may_refuse=True)
                points.append(
                    {
                        "load": workload.name,
                        "server": target.server.name,
                        "clients": count,
                        "per_second": seen.per_second,
                        "p50_milliseconds": seen.p50_milliseconds,
                        "p99_milliseconds": seen.p99_milliseconds,
                        "refused_per_second": seen.refused / seconds,
                    }
                )
                click.echo(
                    f"{workload.name}, {count} clients, {target.server.name}: {seen.per_second:,.0f}/s, "
                    f"p50 {seen.p50_milliseconds:.2f} ms, p99 {seen.p99_milliseconds:.2f} ms"
                )
    stage.report.parts["curve"] = points
    stage.report.grids += [_grid(points, workload.name) for workload in loads]


def _grid(points: list[dict[str, Any]], load: str) -> Grid:
    chosen = [point for point in points if point["load"] == load]
    rows = tuple(
        (
            str(point["clients"]),
            point["server"],
            f"{point['per_second']:,.0f}",
            f"{point['p50_milliseconds']:.2f}",
            f"{point['p99_milliseconds']:.2f}",
            f"{point['refused_per_second']:,.0f}",
        )
        for point in chosen
    )
    return Grid(
        f"Latency against load: {load}", ("clients", "server", "/s", "p50 ms", "p99 ms", "told to come again /s"), rows
    )


def plot(results: Path) -> list[Path]:
    """The curves of `results`/bench.json as `results`/latency-*.svg, by matplotlib in .venv-bench.

    Raises: `ServiceError` where that is not installed or fails.
    """
    python = ROOT / ".venv-bench" / "bin" / "python"
    command = [python, ROOT / "tools" / "bench" / "plots.py", results / "bench.json", results]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except FileNotFoundError:
        raise ServiceError("matplotlib is not installed: tools/setup.sh bench") from None
    except subprocess.CalledProcessError as error:
        raise ServiceError(f"no plots: {error.stderr[-2000:]}") from error
    return [Path(line) for line in done.stdout.splitlines()]
