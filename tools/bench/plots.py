"""Draws the curves of a benchmark as SVG. A program of .venv-bench, the one with matplotlib; it imports nothing else.

.venv-bench/bin/python tools/bench/plots.py bench-results/bench.json FOLDER
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl

mpl.use("svg")

from matplotlib import pyplot as plt
from matplotlib.ticker import FuncFormatter, NullFormatter

# Colours that the colour-blind tell apart (Okabe and Ito); lines differ by their dashes as well.
_COLOURS: Final = {"sealmark": "#0072B2", "OpenBao": "#D55E00"}
_MARKS: Final = {"sealmark": "o", "OpenBao": "s"}
_LINES: Final = (("p50_milliseconds", "p50", "-"), ("p99_milliseconds", "p99", "--"))


def draw(document: dict[str, Any], folder: Path) -> list[Path]:
    """One figure for each load: `latency-LOAD.svg`; latency on the left, what was answered a second on the right."""
    points, made = document["parts"].get("curve", []), []
    for load in dict.fromkeys(point["load"] for point in points):
        chosen = [point for point in points if point["load"] == load]
        figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
        for server in dict.fromkeys(point["server"] for point in chosen):
            line = [point for point in chosen if point["server"] == server]
            clients = [point["clients"] for point in line]
            style = {"color": _COLOURS.get(server, "black"), "marker": _MARKS.get(server, "x"), "markersize": 4}
            for member, name, dashes in _LINES:
                left.plot(clients, [point[member] for point in line], dashes, label=f"{server}, {name}", **style)
            right.plot(clients, [point["per_second"] for point in line], "-", label=server, **style)
        left.set_yscale("log")
        left.set_ylabel("latency of a request (ms)")
        right.set_ylabel("requests answered (1/s)")
        right.set_ylim(bottom=0)
        left.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        right.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        for axes in (left, right):
            axes.set_xscale("log", base=2)
            axes.set_xticks(sorted({point["clients"] for point in chosen}))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.xaxis.set_minor_formatter(NullFormatter())
            axes.set_xlabel("clients, each with one request in flight")
            axes.grid(visible=True, which="major", linewidth=0.4, alpha=0.6)
            axes.legend(frameon=False)
        figure.suptitle(f"{load}: both servers on the same two cores, beside the load tool")
        made.append(folder / f"latency-{_name(load)}.svg")
        figure.savefig(made[-1], metadata={"Date": None, "Creator": None})
        plt.close(figure)
    return made


def _name(load: str) -> str:
    return "-".join("".join(letter if letter.isalnum() else " " for letter in load.lower()).split())


if __name__ == "__main__":
    # The same octets for the same figures.
    mpl.rcParams["svg.hashsalt"] = "sealmark"
    for path in draw(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), Path(sys.argv[2])):
        print(path)
