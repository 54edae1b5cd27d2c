"""Ten thousand signatures by sixteen keep-alive clients through the settings as shipped: none fails, all verify, and no
worker grows. Only recycling is off, which would hide growth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.scale.clients import connected, failures, sign_each, signed
from tests.scale.memory import memory_of
from tests.scale.scene import serving, worker_pids

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.scale.clients import Client
    from tests.scale.scene import Scene

CLIENTS: Final = 16
WORKERS: Final = 2
FIRST: Final = 2_000
ALL: Final = 10_000
GROWTH: Final = 1.10


def test_ten_thousand_signatures(made_scene: Scene, folder: Path) -> None:
    scene = made_scene.copied(folder, {"max_requests": 0})
    with serving(scene) as service, connected(service.url, scene, CLIENTS) as clients:
        workers = worker_pids(service)
        assert len(workers) == WORKERS
        share_out(clients, scene)
        sign_each(clients, (FIRST - len(signed(clients))) // CLIENTS)
        early = [memory_of(pid) for pid in workers]
        sign_each(clients, -(-(ALL - len(signed(clients))) // CLIENTS))
        late = [memory_of(pid) for pid in workers]
        assert worker_pids(service) == workers
        shares = sorted(scene.signatures_by_epoch().values())[-WORKERS:]
    assert failures(clients) == []
    made = signed(clients)
    assert len(made) >= ALL
    assert shares[0] > ALL // WORKERS * 0.8, "one worker made most of the signatures"
    for one in made:
        scene.verify(one.digest, one.signature)
    for before, after in zip(early, late, strict=True):
        assert after.rss <= before.rss * GROWTH, (before, after)
        assert after.pss <= before.pss * GROWTH, (before, after)
        assert after.uss <= before.uss * GROWTH, (before, after)


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
