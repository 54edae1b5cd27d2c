"""A part of the twenty thousand requests of `python -m tests.scale.ledger`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.scale.deployment import make_deployment
from tests.scale.ledger import run

if TYPE_CHECKING:
    from pathlib import Path


def test_each_decision_is_one_leaf(tmp_path: Path) -> None:
    report = run(make_deployment(tmp_path / "deployment"), requests=200, clients=3)
    assert report.differences == []
    assert report.requests >= 200
    assert report.given_up > 0
    assert report.strangers_refused > 0
