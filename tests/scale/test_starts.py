"""Workers that start at the same moment all come up: twenty times eight, each signing once, and none fails.

Any number of times: `python -m tests.scale.starts`, whose docstring says how.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.scale.clients import connected, failures, sign_each, signed
from tests.scale.scene import ALIAS, serving, worker_pids

if TYPE_CHECKING:
    from tests.scale.scene import Scene

ROOT: Final = Path(__file__).resolve().parents[2]
WORKERS: Final = 8
ROUNDS: Final = 20
DIGEST: Final = bytes(range(32))


def test_a_hundred_and_sixty_workers_sign_once_each(made_scene: Scene, folder: Path) -> None:
    scene = made_scene.copied(folder)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tests.scale.starts", str(scene.state), ALIAS),
            *(DIGEST.hex(), str(ROUNDS), str(WORKERS)),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3_000:]
    report = json.loads(done.stdout)
    assert report["failures"] == []
    assert len(report["signatures"]) == ROUNDS * WORKERS
    for signature in report["signatures"]:
        scene.verify(DIGEST, signature)


@pytest.mark.parametrize("attempt", range(2))
def test_eight_workers_of_gunicorn_sign(made_scene: Scene, folder: Path, attempt: int) -> None:
    scene = made_scene.copied(folder)
    before = scene.epochs()
    with serving(scene, "--workers", str(WORKERS)) as service:
        workers = worker_pids(service)
        assert len(workers) == WORKERS
        deadline = time.monotonic() + 60
        while len(signed_by(scene) - before) < WORKERS and time.monotonic() < deadline:
            # New connections every time: whichever worker is free accepts one.
            with connected(service.url, scene, 4 * WORKERS) as clients:
                sign_each(clients, 1)
                assert failures(clients) == []
            for one in signed(clients):
                scene.verify(one.digest, one.signature)
        assert worker_pids(service) == workers
    assert len(scene.epochs() - before) == WORKERS
    assert len(signed_by(scene) - before) == WORKERS


def signed_by(scene: Scene) -> set[str]:
    """The workers that signed."""
    return set(scene.signatures_by_epoch())
