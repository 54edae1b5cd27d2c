"""A few of the five hundred kills of `python -m tests.faults.kills`; times are judged there and not here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.faults.kills import run
from tests.scale.deployment import make_deployment

if TYPE_CHECKING:
    from pathlib import Path


def test_workers_that_are_killed_take_nothing_with_them(tmp_path: Path) -> None:
    report = run(make_deployment(tmp_path / "deployment"), kills=6, workers=3, clients=2, closed_within=None)
    assert report.differences == []
    assert report.kills == 6
    assert report.killed_at_work > 0
    assert report.acknowledged > 0
