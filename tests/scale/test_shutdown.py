"""No request is lost when workers or the service end: whatever was accepted is answered, whole."""

from __future__ import annotations

import signal
import threading
import time
from typing import TYPE_CHECKING, Final

import pytest

from tests.scale.clients import connected, failures, run_all, signed
from tests.scale.scene import serving, worker_pids

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.scale.clients import Client
    from tests.scale.scene import Scene

CLIENTS: Final = 16
WARM: Final = 300  # signatures before anything ends
STOPS: Final = 3


@pytest.mark.parametrize("keep_alive", [True, False], ids=["keep-alive", "a connection each"])
def test_the_service_stops_under_load(made_scene: Scene, folder: Path, keep_alive: bool) -> None:
    scene = made_scene.copied(folder)
    with serving(scene) as service, connected(service.url, scene, CLIENTS) as clients:
        threads = run_all(clients, lambda client: sign_on(client, threading.Event(), keep_alive=keep_alive))
        wait_for(clients, WARM)
        service.process.terminate()
        for thread in threads:
            thread.join()
        assert service.process.wait(60) == 0
    assert failures(clients) == []
    assert all(client.seen.turned_away for client in clients)
    assert_recorded(scene, clients)


def test_workers_are_replaced_under_load(made_scene: Scene, folder: Path) -> None:
    scene = made_scene.copied(folder)
    stop = threading.Event()
    with serving(scene) as service, connected(service.url, scene, CLIENTS) as clients:
        before = worker_pids(service)
        threads = run_all(clients, lambda client: sign_on(client, stop))
        for _ in range(2):
            wait_for(clients, len(signed(clients)) + WARM)
            service.process.send_signal(signal.SIGHUP)
            deadline = time.monotonic() + 60
            while (set(worker_pids(service)) & set(before) or len(worker_pids(service)) != len(before)) and (
                time.monotonic() < deadline
            ):
                time.sleep(0.05)
            before, replaced = worker_pids(service), before
            assert not set(before) & set(replaced)
        wait_for(clients, len(signed(clients)) + WARM)
        stop.set()
        for thread in threads:
            thread.join()
    assert failures(clients) == []
    assert_recorded(scene, clients)


def test_workers_are_renewed_under_load(made_scene: Scene, folder: Path) -> None:
    scene = made_scene.copied(folder, {"max_requests": 150})
    before = scene.epochs()
    stop = threading.Event()
    with serving(scene) as service, connected(service.url, scene, CLIENTS) as clients:
        threads = run_all(clients, lambda client: sign_on(client, stop))
        wait_for(clients, 1_200)
        stop.set()
        for thread in threads:
            thread.join()
    assert failures(clients) == []
    assert len(scene.epochs() - before) >= 7
    assert_recorded(scene, clients)


def sign_on(client: Client, stop: threading.Event, *, keep_alive: bool = True) -> None:
    """Signs until told to stop, or until something fails or nobody listens."""
    while not stop.is_set() and client.sign():
        if not keep_alive:
            client.close()


def wait_for(clients: Sequence[Client], count: int) -> None:
    """Until that many signatures were answered, or somebody failed."""
    deadline = time.monotonic() + 120
    while len(signed(clients)) < count and not failures(clients) and time.monotonic() < deadline:
        time.sleep(0.02)


def assert_recorded(scene: Scene, clients: Sequence[Client]) -> None:
    """Every answer verifies and is on record as succeeded; nothing succeeded that nobody got; nothing was left open."""
    for one in signed(clients):
        scene.verify(one.digest, one.signature)
    rows = scene.query(
        "SELECT request_id FROM log_entries WHERE signature_sha256 IS NOT NULL AND outcome = 'succeeded' "
        "AND principal = 'role/scale'"
    )
    assert {one.request_id for one in signed(clients)} == {str(request_id) for (request_id,) in rows}
    closed = "SELECT intent_id FROM log_entries WHERE intent_id IS NOT NULL"
    assert scene.query(f"SELECT id FROM audit_intents WHERE id NOT IN ({closed})") == []  # noqa: S608
    assert scene.query("SELECT intent_id FROM log_entries WHERE outcome = 'unknown'") == []
