"""What a server's processes take: processor time and memory, read from /proc. Linux only, as the benchmark is."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
_TICK: Final = os.sysconf("SC_CLK_TCK")
# Places in /proc/PID/stat behind the closing parenthesis (proc(5) counts from 1, and these are its fields less three).
_SESSION, _USER, _SYSTEM, _CHILDREN_USER, _CHILDREN_SYSTEM = 3, 11, 12, 13, 14


def processor_seconds(session: int) -> float:
    """User and system time of a session's processes, those counted in that its leader has outlived."""
    ticks = 0
    for process, fields in _members(session).items():
        ticks += int(fields[_USER]) + int(fields[_SYSTEM])
        if process == session:
            ticks += int(fields[_CHILDREN_USER]) + int(fields[_CHILDREN_SYSTEM])
    return ticks / _TICK


def memory(session: int) -> int:
    """Proportional set size of a session's processes, in bytes: what is shared counts once."""
    kibibytes = 0
    for process in _members(session):
        rollup = _text(_PROC / str(process) / "smaps_rollup")
        kibibytes += sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
    return kibibytes * 1024


def busy_seconds() -> float:
    """Time that all processors together have not been idle since the machine came up."""
    first = _text(_PROC / "stat").splitlines()[0].split()[1:9]  # the guests' times are in the users' already
    return (sum(map(int, first)) - int(first[3]) - int(first[4])) / _TICK


def pin(session: int, processors: set[int]) -> None:
    """Lets all threads of a session's processes run there alone, and those that they will start."""
    for process in _members(session):
        with contextlib.suppress(OSError):
            for thread in (_PROC / str(process) / "task").iterdir():
                with contextlib.suppress(ProcessLookupError):
                    os.sched_setaffinity(int(thread.name), processors)


def _members(session: int) -> dict[int, list[str]]:
    found = {}
    for folder in _PROC.iterdir():
        if folder.name.isdigit():
            # The name of a program may hold blanks and parentheses.
            fields = _text(folder / "stat").rpartition(")")[2].split()
            if fields and int(fields[_SESSION]) == session:
                found[int(folder.name)] = fields
    return found


def _text(path: Path) -> str:
    """The file, or nothing where its process has ended meanwhile."""
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
