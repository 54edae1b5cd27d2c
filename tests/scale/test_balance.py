"""Sixteen callers, two workers: half of the connections here and half there, also after a worker was replaced."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from tests.scale.clients import connected, failures, run_all
from tests.scale.scene import serving, worker_pids

if TYPE_CHECKING:
    from tests.scale.clients import Client
    from tests.scale.scene import Scene
    from tools.service import Service

CLIENTS: Final = 16
PATIENCE: Final = 60.0  # seconds
ESTABLISHED: Final = "01"  # include/net/tcp_states.h


def test_connections_are_spread_over_the_workers(made_scene: Scene, folder: Path) -> None:
    scene = made_scene.copied(folder)
    stop = threading.Event()
    with serving(scene) as service, connected(service.url, scene, CLIENTS) as clients:
        threads = run_all(clients, lambda client: sign_on(client, stop))
        wait_until_even(service)
        victim, survivor = worker_pids(service)
        os.kill(victim, signal.SIGTERM)  # its callers go to the other one, until there is a new one
        wait_until_even(service, without=victim)
        assert survivor in worker_pids(service)
        stop.set()
        for thread in threads:
            thread.join()
    assert failures(clients) == []


def sign_on(client: Client, stop: threading.Event) -> None:
    while not stop.is_set() and client.sign():
        pass


def wait_until_even(service: Service, without: int | None = None) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        pids = worker_pids(service)
        counts = [connections(service, pid) for pid in pids]
        if len(pids) == 2 and without not in pids and sum(counts) == CLIENTS and max(counts) - min(counts) <= 1:
            return
        time.sleep(0.02)
    raise AssertionError(f"connections by worker: {counts}")


def connections(service: Service, pid: int) -> int:
    """How many connections with callers the kernel knows in this process."""
    port = f"{urlsplit(service.url).port:04X}"
    inodes = set()
    for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
        fields = line.split()
        if fields[1].endswith(f":{port}") and fields[3] == ESTABLISHED:
            inodes.add(f"socket:[{fields[9]}]")
    try:
        return sum(os.readlink(descriptor) in inodes for descriptor in Path(f"/proc/{pid}/fd").iterdir())
    except FileNotFoundError:  # closed, or ended, while we looked
        return -1
