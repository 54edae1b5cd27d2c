"""Ten thousand signatures by sixteen keep-alive clients; `python -m tests.scale.load` makes any number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.scale.load import GROWTH, WORKERS, run

if TYPE_CHECKING:
    from pathlib import Path

    from tests.scale.scene import Scene

ALL: Final = 10_000


def test_ten_thousand_signatures(made_scene: Scene, folder: Path) -> None:
    load = run(made_scene, folder, ALL)
    assert load.failures == []
    assert load.signatures >= ALL
    assert load.shares[0] > ALL // WORKERS * 0.8, "one worker made most of the signatures"
    assert max(load.growth()) <= GROWTH, load
