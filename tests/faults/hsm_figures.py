"""An HSM that is away, comes back, hangs, or is given a wrong PIN, under load: how long, how many, how fast.

    python -m tests.faults.hsm_figures [--clients 16] [--seconds 5]

Records the figures `hsm-matrix`, `hsm-return`, `hsm-away-p99`, `hsm-wrong-pin` and `watchdog-other-worker`, the worst
of each, and prints them. A client waits `PAUSE` between two calls: they are callers, and not a benchmark.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from keystore.hsm.return_values import ReturnValue
from tests.faults import hsm_matrix
from tests.faults.forwarded import forwarded_service
from tests.faults.forwarding import ALWAYS, until
from tests.scale.scene import make_scene, worker_pids
from tools.figures.record import record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.faults.forwarded import Forwarded
    from tests.faults.forwarding import Control
    from tests.scale.scene import Scene

COMMAND: Final = "python -m tests.faults.hsm_figures"
PAUSE: Final = 0.02  # seconds
_DEADLINE: Final = 1.0  # seconds, of a call into the HSM


def _killed(control: Control) -> None:
    control.answer("C_Initialize", ReturnValue.GENERAL_ERROR)
    control.restart()


def _device_error(control: Control) -> None:
    control.answer("C_SignInit", ReturnValue.DEVICE_ERROR)


def _taken_out(control: Control) -> None:
    control.take_out()


def _no_sessions(control: Control) -> None:
    control.answer("C_OpenSession", ReturnValue.SESSION_COUNT)
    control.drop_sessions()


AWAY: Final[dict[str, Callable[[Control], None]]] = {
    "killed": _killed,
    "device error": _device_error,
    "token taken out": _taken_out,
    "no sessions": _no_sessions,
}


@dataclass(slots=True)
class Call:
    """When it began and how long it took, in seconds, and what it was answered."""

    began: float
    seconds: float
    status: int
    closes: bool


@dataclass(slots=True)
class Load:
    """Clients that go on calling."""

    calls: list[Call] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def between(self, begin: float, end: float) -> list[Call]:
        """Those that began and ended in that time."""
        return [call for call in self.calls if begin <= call.began and call.began + call.seconds <= end]

    def good_since(self, moment: float) -> list[Call]:
        """Signatures that were asked for after it."""
        return [call for call in list(self.calls) if call.began >= moment and call.status == 200]

    def drive(self, place: Forwarded) -> None:
        client = place.client()
        while not self._stop.wait(PAUSE):
            began = time.monotonic()
            answer = client.sign()
            self.calls.append(Call(began, time.monotonic() - began, answer.status, answer.closes))
        client.close()

    def stop(self) -> None:
        self._stop.set()


@contextmanager
def load(place: Forwarded, clients: int) -> Iterator[Load]:
    driven = Load()
    threads = [threading.Thread(target=driven.drive, args=(place,)) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield driven
    finally:
        driven.stop()
        for thread in threads:
            thread.join()


def away(place: Forwarded, clients: int, seconds: float) -> dict[str, dict[str, float]]:
    """For each way of being away: p99 of the refusals (ms), and the time until the first good signature (s)."""
    return {way: _away(place, begin, clients, seconds) for way, begin in AWAY.items()}


def _away(place: Forwarded, begin: Callable[[Control], None], clients: int, seconds: float) -> dict[str, float]:
    with load(place, clients) as driven:
        time.sleep(1)
        begin(place.control)
        until(lambda: driven.calls and driven.calls[-1].status == 503, "the first refusal")
        since = time.monotonic()
        time.sleep(seconds)
        back = time.monotonic()
        place.control.heal()
        until(lambda: driven.good_since(back), "a good signature")
    refusals = [call.seconds for call in driven.between(since, back) if call.status == 503]
    assert {call.status for call in driven.calls} <= {200, 503}
    return {
        "p99_ms": 1000 * statistics.quantiles(refusals, n=100)[98],
        "return_s": min(call.began + call.seconds for call in driven.good_since(back)) - back,
        "refusals": len(refusals),
    }


def wrong_pin(place: Forwarded) -> int:
    """Log-ins beyond the one that was refused, with 20 calls, a restart of the HSM and one of a worker after it."""
    pin, control, client = place.scene.state / "hsm.pin", place.control, place.client()
    right = pin.read_bytes()
    pin.write_bytes(b"wrong wrong")
    before = control.calls("C_Login")
    for _ in range(2):
        control.restart()
        for _ in range(10):
            client.sign()
        time.sleep(0.5)
    further = control.calls("C_Login") - before - 1
    pin.write_bytes(right)
    place.sign_until_good(client)
    client.close()
    return further


def other_worker(place: Forwarded, clients: int, seconds: float) -> float:
    """What a worker signs a second while every call of the other one hangs until that one is gone, of what it signed
    before."""
    until(lambda: len(place.serving_workers()) == 2, "both workers")
    hung, other = place.serving_workers()
    with load(place, clients):
        time.sleep(1)
        first = place.signed_by(other)
        time.sleep(seconds)
        second = place.signed_by(other)
        began = time.monotonic()
        place.control.catch("C_Sign", ALWAYS, pid=hung)
        until(lambda: hung not in worker_pids(place.service), "the end of the worker that hangs")
        third, took = place.signed_by(other), time.monotonic() - began
        place.control.release("C_Sign")
    return ((third - second) / took) / ((second - first) / seconds)


def main() -> int:
    parser = argparse.ArgumentParser(prog=COMMAND)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    cells = hsm_matrix.run()
    with tempfile.TemporaryDirectory() as folder:
        scene = make_scene(_made(Path(folder, "made")))
        report = _under_load(scene, _made(Path(folder, "served")), given.clients, given.seconds, given.rounds)
    good = sum(not cell.differences for cell in cells)
    note = f"{given.clients} clients, {PAUSE * 1000:.0f} ms between two calls of each"
    record("hsm-matrix", good, command=COMMAND, note=f"{len(cells)} cells, one worker")
    back = max(*(cell.seconds for cell in cells), *(one["return_s"] for one in report.away.values()))
    record("hsm-return", round(back, 3), command=COMMAND, note=f"{note}; and {len(cells)} cells of the matrix")
    slowest = max(one["p99_ms"] for one in report.away.values())
    record("hsm-away-p99", round(slowest, 1), command=COMMAND, note=f"{note}; {', '.join(AWAY)}")
    record("hsm-wrong-pin", report.further_logins, command=COMMAND, note="two restarts of the HSM, 20 calls")
    record(
        "watchdog-other-worker",
        round(min(report.other_worker), 3),
        command=COMMAND,
        note=f"{note}; every call of one of two workers hangs, deadline {_DEADLINE} s; the worst of {given.rounds}",
    )
    told = {"matrix": [good, len(cells)], "away": report.away, "further_logins": report.further_logins}
    sys.stdout.write(json.dumps({**told, "other_worker": report.other_worker, "return_s": back}, indent=2) + "\n")
    return 0


@dataclass(frozen=True, slots=True)
class Report:
    """What was seen under load."""

    away: dict[str, dict[str, float]]
    further_logins: int
    other_worker: list[float]


def _under_load(scene: Scene, folder: Path, clients: int, seconds: float, rounds: int) -> Report:
    settings = {"deadline_seconds": _DEADLINE}
    with forwarded_service(scene, folder, "--workers", "2", hsm=settings) as place:
        found = away(place, clients, seconds)
        further = wrong_pin(place)
        return Report(found, further, [other_worker(place, clients, seconds) for _ in range(rounds)])


def _made(folder: Path) -> Path:
    folder.mkdir(mode=0o700)
    return folder


if __name__ == "__main__":
    sys.exit(main())
