"""The short form of `python -m tests.scale.large`: what was filled in is whole, and every question is answered."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Final

from tests.scale.large import compare
from tests.scale.scene import Scene
from tools.service import PROGRAMS

if TYPE_CHECKING:
    from pathlib import Path

KEYS: Final = 20
LEAVES: Final = 500


def test_a_filled_service_is_asked_beside_an_empty_one(made_scene: Scene, folder: Path) -> None:
    figures = compare(made_scene, folder, KEYS, LEAVES, 1, calls=10, starts=0)
    assert {figure.name for figure in figures} >= {"start", "sign", "list keys", "search by digest", "proof"}
    assert all(figure.full > 0 < figure.empty for figure in figures)
    full = Scene(folder / "full" / "state", made_scene.token, made_scene.public_key)
    for table, least in (("keys", KEYS), ("log_entries", LEAVES)):
        ((count,),) = full.query(f"SELECT count(*) FROM {table}")  # noqa: S608 - names of ours
        assert isinstance(count, int)
        assert count > least
    command = [str(PROGRAMS / "sealmark"), "audit", "verify", "--state", str(full.state)]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
