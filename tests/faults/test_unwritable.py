"""One of the fifty rounds of `python -m tests.faults.unwritable` of each way that needs no right to mount; times are
judged there and not here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults.unwritable import run
from tests.faults.ways import WAYS
from tests.scale.deployment import make_deployment

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.sqlite_only("what happens to SQLite's files; test_postgresql_killed.py has the like")
def test_nobody_gets_a_signature_while_the_trail_cannot_be_written(tmp_path: Path) -> None:
    ways = [way for way in WAYS if way != "tmpfs_full"]
    reports = run(make_deployment(tmp_path / "deployment"), ways, rounds=1, timed=False)
    assert {report.way: report.differences for report in reports} == {way: [] for way in ways}
    assert all(report.asked_meanwhile > 0 for report in reports)
    assert reports[-1].signatures_proved > 0
