"""Signatures by sixteen keep-alive clients through the settings as shipped: none fails, all verify, no worker grows.

    python -m tests.scale.load [--signatures 20000]

Only recycling is off, which would hide growth: of memory at the end, over memory after the first 2,000. Prints one JSON
object; exit code 1 if a signature failed or a worker grew.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.scale.clients import connected, failures, sign_each, signed
from tests.scale.memory import Memory, memory_of
from tests.scale.scene import make_scene, serving, worker_pids

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.scale.clients import Client
    from tests.scale.scene import Scene

CLIENTS: Final = 16
WORKERS: Final = 2
FIRST: Final = 2_000
GROWTH: Final = 1.10


@dataclass(frozen=True, slots=True)
class Load:
    """What became of it: how many signatures were made and verified, by the workers, and the memory of each."""

    signatures: int
    failures: Sequence[str]
    shares: Sequence[int]
    early: Sequence[Memory]
    late: Sequence[Memory]

    def growth(self) -> list[float]:
        """Late over early: of each worker, resident, its share, its own."""
        pairs = zip(self.early, self.late, strict=True)
        return [
            late / early
            for before, after in pairs
            for early, late in ((before.rss, after.rss), (before.pss, after.pss), (before.uss, after.uss))
        ]


def run(made: Scene, folder: Path, signatures: int) -> Load:
    """Signs in a copy of the scene. Raises `InvalidSignature`."""
    scene = made.copied(folder, {"max_requests": 0})
    with serving(scene) as service, connected(service.url, scene, CLIENTS) as clients:
        workers = worker_pids(service)
        assert len(workers) == WORKERS
        share_out(clients, scene)
        sign_each(clients, (FIRST - len(signed(clients))) // CLIENTS)
        early = [memory_of(pid) for pid in workers]
        sign_each(clients, -(-(signatures - len(signed(clients))) // CLIENTS))
        late = [memory_of(pid) for pid in workers]
        assert worker_pids(service) == workers
        shares = sorted(scene.signatures_by_epoch().values())[-WORKERS:]
    made_now = signed(clients)
    for one in made_now:
        scene.verify(one.digest, one.signature)
    return Load(len(made_now), failures(clients), shares, early, late)


def share_out(clients: Sequence[Client], scene: Scene) -> None:
    """Each worker gets half of the connections, which stay with the worker that accepted them."""
    homes: dict[str, int] = {}
    for client in clients:
        for _ in range(200):
            assert client.sign(), client.seen
            home = epoch_of(client.seen.signed[-1].request_id, scene)
            if homes.get(home, 0) < len(clients) // WORKERS:
                homes[home] = homes.get(home, 0) + 1
                break
            client.close()
    assert len(homes) == WORKERS
    assert sum(homes.values()) == len(clients)


def epoch_of(request_id: str, scene: Scene) -> str:
    """Which worker answered a request."""
    ((epoch,),) = scene.query("SELECT epoch FROM audit_intents WHERE request_id = ?", request_id)
    return str(epoch)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.scale.load", description=str(__doc__).partition("\n")[0])
    parser.add_argument("--signatures", type=int, default=20_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "copy"
        place.mkdir(mode=0o700)
        seen = run(make_scene(Path(folder)), place, given.signatures)
    sys.stdout.write(json.dumps({**asdict(seen), "growth": seen.growth()}, indent=2) + "\n")
    return 1 if seen.failures or seen.signatures < given.signatures or max(seen.growth()) > GROWTH else 0


if __name__ == "__main__":
    sys.exit(main())
