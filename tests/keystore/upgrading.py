"""Migration histories of a version that is still to come, for tests of an upgrade under way."""

from __future__ import annotations

import shutil
from pathlib import Path

from keystore.db.migration import HISTORY

NEXT_STEP = Path(__file__).parent / "next_step" / "next_0002.py"


def next_history(folder: Path, *, revision: str = "0002_0001") -> Path:
    """This version's history, and one step more."""
    history = folder / "migrations"
    shutil.copytree(HISTORY, history, ignore=shutil.ignore_patterns("__pycache__"))
    step = NEXT_STEP.read_text(encoding="utf-8").replace("0002_0001", revision)
    (history / "versions" / NEXT_STEP.name).write_text(step, encoding="utf-8")
    return history
