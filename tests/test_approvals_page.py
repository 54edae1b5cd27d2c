"""docs/approvals.md runs as it is written, with CI waiting in the background while people approve."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from tests.live import ROOT, Live, run_lines, shell_lines

if TYPE_CHECKING:
    from pathlib import Path

SECONDS = 30
PAGE = ROOT / "docs" / "approvals.md"
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")


def test_the_recipe_runs_as_it_is_written(live: Live, tmp_path: Path) -> None:
    place = live.copy(tmp_path / "reader")
    variables = live.environment()
    lines = shell_lines(PAGE)
    listing = next(at for at, line in enumerate(lines) if "approvals list" in line)
    run_lines(lines[:listing], place, variables)
    found, deadline = None, time.monotonic() + SECONDS
    while found is None and time.monotonic() < deadline:  # CI asks while this page goes on
        (shown,) = run_lines([lines[listing]], place, variables)
        found = _ID.search(shown)
    assert found is not None
    rest = [re.sub(r"\bID\b", found[0], line) for line in lines[listing + 1 :]]
    printed = run_lines(rest, place, variables)
    assert "app.bin" in printed[0]  # what is approved is shown
    assert "2 of 2 approvals" in printed[2]
