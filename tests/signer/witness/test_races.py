"""The witness never cosigns two roots of one size, whenever it is killed; `races.py` runs any number of races."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.signer.witness.races import run_races

if TYPE_CHECKING:
    from pathlib import Path

RACES = 12


def test_no_two_roots_of_one_size_are_ever_cosigned(tmp_path: Path) -> None:
    ledger, torn = run_races(tmp_path, RACES, seed=5)
    assert ledger.kills >= RACES
    assert ledger.cosignatures >= RACES
    assert ledger.forked() == []
    assert torn == []
