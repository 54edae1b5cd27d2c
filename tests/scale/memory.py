"""How much memory a process holds, as the kernel counts it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Memory:
    """Kibibytes: pages in memory, its share of them, and those that are its own alone."""

    rss: int
    pss: int
    uss: int


def memory_of(pid: int) -> Memory:
    """Raises `FileNotFoundError` if the process is gone."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    size = {name: int(value) for name, value in re.findall(r"^(\w+): +(\d+) kB$", lines, re.MULTILINE)}
    return Memory(size["Rss"], size["Pss"], size["Private_Clean"] + size["Private_Dirty"])
