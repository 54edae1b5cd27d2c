"""A few of the five hundred kills of `python -m tests.faults.kills`; times are judged there and not here."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.faults import storage
from tests.faults.kills import Killer, run
from tests.scale.deployment import make_deployment
from tests.scale.scene import serving

if TYPE_CHECKING:
    from pathlib import Path


def test_workers_that_are_killed_take_nothing_with_them(tmp_path: Path) -> None:
    report = run(make_deployment(tmp_path / "deployment"), kills=4, workers=3, clients=2, closed_within=None)
    assert report.differences == []
    assert report.kills == 4
    assert report.killed_at_work > 0
    assert report.acknowledged > 0


@pytest.mark.sqlite_only("SQLite's write lock")
def test_a_worker_that_cannot_start_now_does_not_end_the_service(tmp_path: Path) -> None:
    """gunicorn ends a service whose worker fails to start: here it waits for the database, and comes up."""
    deployment = make_deployment(tmp_path / "deployment")
    with serving(deployment.scene, "--workers", "2") as service:
        killer = Killer(deployment, service)
        before = killer.wait_until_up(2)
        with storage.write_lock_held(deployment.database):
            killer.kill_one()
            deadline = time.monotonic() + 60
            while "worker_waits" not in service.log.read_text(errors="replace") and time.monotonic() < deadline:
                time.sleep(0.05)
            assert "worker_waits" in service.log.read_text(errors="replace")
            assert service.process.poll() is None
        after = killer.wait_until_up(2)
        assert len(set(before) & set(after)) == 1
