"""Slow and huge callers beside 16 who sign: what those keep of their rate.

    python -m tests.scale.slow_clients [--connections 2000] [--seconds 8]

P-256 singly, the service as shipped. For each kind of slow caller (`slow.KINDS`), that many connections of it are
opened (at most 200 where each keeps a large body or answer), and the rate of the 16 is held against theirs just before.
They then open new connections, too. Prints one JSON object; exit code 1 if less than 0.8 of a rate is left, or a call
failed.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from tests.scale.crowd import Tenant, crowd
from tests.scale.memory import memory_of
from tests.scale.overload import PEAK_CLIENTS, prepare
from tests.scale.scene import worker_pids
from tests.scale.slow import KINDS
from tools.figures.record import record
from tools.service import running_service

if TYPE_CHECKING:
    from tests.scale.crowd import Tally
    from tools.service import Service

FLOOR: Final = 0.8
_LARGE: Final = {"almost whole": 200, "never reading": 200, "huge bodies": 500}


def measure(service: Service, request: bytes, connections: int, seconds: float) -> dict[str, dict[str, float]]:
    """Of each kind: the rate before and beside it, and what is left; what failed; the largest worker, in MiB."""
    parts = urlsplit(service.url)
    address = (str(parts.hostname), int(parts.port or 0))
    tenants = [Tenant(PEAK_CLIENTS, request)]
    found: dict[str, dict[str, float]] = {}
    for name, slow in KINDS.items():
        (before,) = crowd(address, tenants, seconds, warm_up=1)
        with slow(address, min(connections, _LARGE.get(name, connections))):
            (beside,) = crowd(address, tenants, seconds, warm_up=1)
            rss = max(memory_of(pid).rss for pid in worker_pids(service))
        rates = [one.statuses.get(200, 0) / seconds for one in (before, beside)]
        found[name] = {
            "before": rates[0],
            "beside": rates[1],
            "kept": rates[1] / rates[0],
            "failed": _failed(before) + _failed(beside),
            "largest_worker_mib": rss / 1024,
        }
    return found


def _failed(tally: Tally) -> int:
    return tally.lost + sum(count for status, count in tally.statuses.items() if status != 200)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.scale.slow_clients", description=str(__doc__).partition("\n")[0]
    )
    parser.add_argument("--connections", type=int, default=2_000)
    parser.add_argument("--seconds", type=float, default=8.0)
    given = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, given.connections + 1_000), hard))
    with tempfile.TemporaryDirectory() as folder, running_service(Path(folder)) as service:
        found = measure(service, prepare(service)["role/few"], given.connections, given.seconds)
    sys.stdout.write(json.dumps(found, indent=2) + "\n")
    worst = min(one["kept"] for one in found.values())
    record(
        "slow-clients",
        worst,
        command=f"python -m tests.scale.slow_clients --connections {given.connections} --seconds {given.seconds:g}",
        note=f"the worst of {len(found)} kinds, {given.connections} connections, P-256 singly by 16 others",
    )
    return 0 if worst >= FLOOR and not any(one["failed"] for one in found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
