"""What every part of the benchmark works with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from tools.bench.driving import Drivers
    from tools.bench.openbao import OpenBao
    from tools.bench.report import Report
    from tools.bench.targets import Sealmark
    from tools.bench.workloads import Lengths


@dataclass(frozen=True, slots=True)
class Stage:
    """Both servers, running; who makes load; where findings go. `folder` is for what a part starts itself.

    `short`: only to see that everything runs and is right.
    """

    report: Report
    drivers: Drivers
    ours: Sealmark
    peer: OpenBao
    lengths: Lengths
    folder: Path
    short: bool
