"""Ten times the clients: the service goes on at its own rate, and tells the others to come again.

    python -m tests.scale.overload [--seconds 10] [--rounds 3]

Per round, P-256 singly, the service as shipped: 16 clients (the peak), 160 clients of one caller, then two callers of
whom one has 160 clients and the other 16. The callers heed nothing: who is refused asks again at once. Prints one JSON
object: rates over the peak of their own round, how long refusals took, what the two callers got. Exit code 1 if less
than 0.8 of the peak is made, a refusal took more than 100 ms (99 of 100), or one of the two got more than 1.2 of the
other's.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import statistics
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from tests.scale.crowd import Tenant, apart, crowd, signing_request
from tests.scale.scene import ALGORITHM, worker_pids
from tools.figures.record import record
from tools.service import running_service

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.scale.crowd import Tally
    from tools.service import Service

PEAK_CLIENTS: Final = 16
TIMES: Final = 10
FLOOR: Final = 0.8
SECONDS: Final = 10.0  # of a load, and rounds: a shorter form is no measurement
ROUNDS: Final = 3
MOST_REFUSAL_SECONDS: Final = 0.1
MOST_UNFAIR: Final = 1.2
_TENANTS: Final = ("role/many", "role/few")


@dataclass(frozen=True, slots=True)
class Round:
    """Signatures a second; times in milliseconds. `unfair`: what the caller with many clients got over the other's."""

    peak: float
    overloaded: float
    of_peak: float
    signed_p50: float
    signed_p99: float
    refused: int
    refused_p50: float
    refused_p99: float
    two: Sequence[float]
    two_p50: Sequence[float]
    two_of_peak: float
    unfair: float
    processor_ms: Sequence[float]  # of the workers, a signature: calm, overloaded, two callers
    others: int  # answers other than 200 and 429, and connections that broke


def prepare(service: Service) -> dict[str, bytes]:
    """A key, two callers, and the request that each sends."""
    tokens = {name: service.enrolled(name, "key-user") for name in _TENANTS}
    key = {"alias": "crowd", "spec": "ECC_NIST_P256", "purpose": "general", "users": list(_TENANTS)}
    with service.caller(service.token_of("key-admin")) as administrator:
        administrator.json("POST", "/v1/keys", key)
    body = json.dumps({"digest": base64.b64encode(bytes(32)).decode(), "algorithm": ALGORITHM}).encode()
    host = urlsplit(service.url).netloc
    return {name: signing_request(host, "/v1/keys/crowd/signatures", token, body) for name, token in tokens.items()}


def measure(service: Service, requests: dict[str, bytes], seconds: float) -> Round:
    """One round."""
    parts = urlsplit(service.url)
    address = (str(parts.hostname), int(parts.port or 0))
    many, few = (requests[name] for name in _TENANTS)
    warm_up = min(1.0, seconds / 4)
    used = [_processor_seconds(service)]
    (calm,) = crowd(address, [Tenant(PEAK_CLIENTS, many)], seconds, warm_up=warm_up)
    used.append(_processor_seconds(service))
    (full,) = crowd(address, [Tenant(TIMES * PEAK_CLIENTS, many)], seconds, warm_up=warm_up)
    used.append(_processor_seconds(service))
    both = apart(address, [Tenant(TIMES * PEAK_CLIENTS, many), Tenant(PEAK_CLIENTS, few)], seconds, warm_up=warm_up)
    used.append(_processor_seconds(service))
    made = [calm.statuses[200], full.statuses[200], sum(one.statuses[200] for one in both)]
    whole = (seconds + warm_up) / seconds  # what was made while it warmed up is not counted
    costs = [1000 * (end - begin) / (count * whole) for begin, end, count in zip(used, used[1:], made, strict=False)]
    peak, overloaded, two = _rate(calm, seconds), _rate(full, seconds), [_rate(one, seconds) for one in both]
    return Round(
        peak=peak,
        overloaded=overloaded,
        of_peak=overloaded / peak,
        signed_p50=1000 * full.percentile(200, 0.5),
        signed_p99=1000 * full.percentile(200, 0.99),
        refused=full.statuses.get(429, 0),
        refused_p50=1000 * full.percentile(429, 0.5),
        refused_p99=1000 * full.percentile(429, 0.99),
        two=two,
        two_p50=[1000 * one.percentile(200, 0.5) for one in both],
        two_of_peak=sum(two) / peak,
        unfair=max(two) / max(min(two), 0.001),
        processor_ms=costs,
        others=sum(_others(tally) for tally in (calm, full, *both)),
    )


def _rate(tally: Tally, seconds: float) -> float:
    return tally.statuses.get(200, 0) / seconds


def _processor_seconds(service: Service) -> float:
    """Of all workers."""
    stats = [Path(f"/proc/{pid}/stat").read_text(encoding="ascii") for pid in worker_pids(service)]
    ticks = [stat.rpartition(")")[2].split()[11:13] for stat in stats]
    return sum(int(one) for two in ticks for one in two) / os.sysconf("SC_CLK_TCK")


def _others(tally: Tally) -> int:
    return tally.lost + sum(count for status, count in tally.statuses.items() if status not in (200, 429))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.scale.overload", description=str(__doc__).partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, running_service(Path(folder)) as service:
        requests = prepare(service)
        rounds = [measure(service, requests, given.seconds) for _ in range(given.rounds)]
    of_peak = statistics.median(one.of_peak for one in rounds)
    refused = statistics.median(one.refused_p99 for one in rounds)
    unfair = statistics.median(one.unfair for one in rounds)
    told = {"of_peak": of_peak, "refused_p99_ms": refused, "unfair": unfair, "rounds": [asdict(one) for one in rounds]}
    sys.stdout.write(json.dumps(told, indent=2) + "\n")
    note = f"median of {given.rounds} rounds of {given.seconds:g} s each, P-256 singly"
    share = abs(unfair - 1)
    figures = (("overload-rate", of_peak), ("overload-answer", refused), ("fair-share", share))
    for name, value in figures if given.rounds >= ROUNDS and given.seconds >= SECONDS else ():
        record(name, value, command="python -m tests.scale.overload", note=note)
    met = of_peak >= FLOOR and refused <= 1000 * MOST_REFUSAL_SECONDS and unfair <= MOST_UNFAIR
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
