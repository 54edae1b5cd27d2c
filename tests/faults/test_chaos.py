"""Seconds of the ten minutes of `python -m tests.faults.chaos`; how many succeed, and how fast, is judged there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults.chaos import Plan, run
from tests.scale.deployment import make_deployment

if TYPE_CHECKING:
    from pathlib import Path

SHORT = Plan(3.5, kill_every=1.0, hsm_every=2.0, hsm_away=0.5, lock_every=2.0, locked=0.5, longest_wait=1.0)


@pytest.mark.sqlite_only("SQLite's write lock; postgresql_kills has the like")
def test_nothing_is_wrong_and_nothing_unlogged_whatever_happens_to_the_service(tmp_path: Path) -> None:
    served = tmp_path / "served"
    served.mkdir(mode=0o700)
    report = run(make_deployment(tmp_path / "deployment"), served, SHORT, clients=4, seed="short")
    told = "\n".join(report.lines())
    assert (report.wrong, report.unlogged, report.differences) == ([], [], []), told
    assert report.verified == "verified", told
    assert set(report.events) == {"worker killed", "HSM restarted", "database locked"}, told
    assert report.workers > 2, told
    assert report.at_once > 0, told
    assert report.at_once + report.after_retry + len(report.failed) == report.requests
