"""What a command measured, as one small file for each figure: `bench-results/NAME.json`.

    record("watchdog-other-worker", 0.97, command="python -m tests.faults.watchdog", note="8 runs, the worst")

`name` is a row of `tools.figures.asked`. `python -m tools.figures --take` puts what lies there into docs/figures and
makes the table anew.
"""

from __future__ import annotations

import json
import math
import os
import platform
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from tools.figures.asked import FIGURES

ROOT: Final = Path(__file__).resolve().parents[2]
RESULTS: Final = ROOT / "bench-results"


@dataclass(frozen=True, slots=True)
class Measurement:
    """One figure as it was measured; what was asked for stands with it, so that a file can be read alone.

    `met` is None where there is no floor. `machine` says what it ran on, without naming it.
    """

    name: str
    asked: str
    floor: str
    measured: float
    unit: str
    met: bool | None
    command: str
    machine: str
    date: str
    note: str = ""


def record(name: str, measured: float, *, command: str, note: str = "", folder: Path | None = None) -> Measurement:
    """Writes the figure's file into `folder` (`bench-results` unless given), in place of an earlier one.

    `command`: how anybody makes the figure again, from the project's root. `note`: in what circumstances, one line.
    Raises: `ValueError` for a name that is not in the table, or a number that is none.
    """
    figure = FIGURES.get(name)
    if figure is None:
        raise ValueError(f"no figure is named {name!r}: add a row to tools/figures/asked.py")
    if not math.isfinite(measured):
        raise ValueError(f"{name}: {measured} is not a number that was measured")
    made = Measurement(
        name,
        figure.asked,
        figure.floor,
        measured,
        figure.unit,
        figure.met(measured),
        command,
        machine(),
        datetime.now(UTC).date().isoformat(),
        note,
    )
    folder = folder or RESULTS
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(asdict(made), indent=2, ensure_ascii=False) + "\n"
    (folder / f"{name}.json").write_text(text, encoding="utf-8")
    return made


def machine() -> str:
    """Processors, system and Python."""
    return f"{os.cpu_count()} × {_processor()}, {platform.system()}, Python {platform.python_version()}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return platform.machine()
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.machine())
