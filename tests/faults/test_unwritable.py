"""One of the fifty rounds of `python -m tests.faults.unwritable` for each way that needs no right to mount; times are
judged there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from tests.faults.unwritable import WAYS, run_in
from tests.scale.deployment import Deployment, make_deployment

if TYPE_CHECKING:
    from pathlib import Path

_ANYWHERE: Final = [way for way in WAYS if way != "tmpfs_full"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    return make_deployment(tmp_path_factory.mktemp("unwritable") / "deployment")


@pytest.mark.parametrize("way", _ANYWHERE)
def test_nobody_gets_a_signature_while_the_trail_cannot_be_written(made: Deployment, tmp_path: Path, way: str) -> None:
    report = run_in(tmp_path / way, made, way, rounds=1, timed=False)
    assert report.differences == []
    assert report.asked_meanwhile > 0
    assert report.signatures_proved > 0
