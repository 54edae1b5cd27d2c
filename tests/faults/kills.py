"""Workers die at any moment, and the log forgets nothing that anybody was given.

    python -m tests.faults.kills [--kills 500] [--workers 4] [--clients 6]

A service under load (single signatures, batches, tokens) loses one worker after the other by SIGKILL, at random
moments, some while they start; another one always lives. Then the service is stopped, and its log is recomputed from
the leaves: every proof that a client ever got is of a leaf that is there, at its place; every head that a proof was
under is one of this very log; every intent has one entry for each item; and what a dead worker left open was closed
within two seconds of its death. Prints one JSON object; exit code 1 if anything of that is not so.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import statistics
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.log_audit import log_key, query, read_log
from tests.scale.deployment import USER, make_deployment, new_name
from tests.scale.mixture import digest
from tests.scale.scene import PATH, serving, worker_pids
from tests.scale.teller import Teller

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.scale.deployment import Deployment
    from tools.service import Service

CLOSED_WITHIN: Final = 2.0  # seconds
_START_SECONDS: Final = 60
_ONE_TO_SURVIVE: Final = 1
_WAITS: Final = (0.0, 0.05, 0.2, 0.4)  # seconds between two kills, at least
_STARTING: Final = 0.1  # of the victims, at most
_SHOWN: Final = 20


@dataclass(slots=True)
class Report:
    """What came of a run. Times are in seconds. `differences` is empty if the log has lost nothing."""

    kills: int = 0
    killed_at_work: int = 0
    acknowledged: int = 0
    answers: int = 0
    broken_off: int = 0
    unavailable: int = 0
    heads_seen: int = 0
    leaves: int = 0
    closed_as_unknown: int = 0
    longest_until_closed: float = 0.0
    half_closed_within: float = 0.0
    seconds: float = 0.0
    differences: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Death:
    """A worker's: its epoch, and when it was killed (microseconds since 1970)."""

    epoch: str
    moment: int


class Load:
    """Clients that go on signing, whatever happens to their connections."""

    def __init__(self, deployment: Deployment, service: Service, clients: int) -> None:
        self._stop = threading.Event()
        self._url, self._deployment, self._key = service.url, deployment, log_key(deployment.database)
        self.tellers = [Teller(self._url, deployment, self._key, number) for number in range(clients)]
        self.broken_off = 0
        self.unavailable = 0
        self.wrong: list[str] = []
        self._guard = threading.Lock()
        self._threads = [threading.Thread(target=self._drive, args=(teller,)) for teller in self.tellers]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread, teller in zip(self._threads, self.tellers, strict=True):
            thread.join()
            teller.close()

    def _drive(self, teller: Teller) -> None:
        while not self._stop.is_set():
            path, body, items = _request(teller)
            try:
                status = teller.sign_if_possible(USER, path, body, items)
            except OSError:
                with self._guard:
                    self.broken_off += 1
                self._stop.wait(0.01)
            except Exception as error:  # noqa: BLE001 - an answer that does not hold is what is looked for
                with self._guard:
                    self.wrong.append(f"{type(error).__name__}: {error}"[:500])
                return
            else:
                if status != 200:
                    with self._guard:
                        self.unavailable += 1
                        if status != 503:
                            self.wrong.append(f"{path} was answered {status}")


def _request(teller: Teller) -> tuple[str, dict[str, Any], int]:
    turn = teller.turns.random()
    if turn < 0.6:
        return PATH, digest(), 1
    if turn < 0.8:
        count = teller.turns.randint(2, 30)
        return PATH, {"items": [digest() for _ in range(count)]}, count
    return "/v1/keys/tokens/jwts", {"claims": {"sub": new_name()}}, 1


def epoch_of(pid: int, locks: Path) -> str | None:
    """The epoch of a worker that is up: the lock file that it has open."""
    folder = f"{locks}/"
    try:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            target = os.readlink(descriptor)
            if target.startswith(folder) and target.endswith(".lock"):
                return Path(target).stem
    except OSError:  # it ended
        return None
    return None


class Killer:
    """Kills one worker after the other, as long as another one is up."""

    def __init__(self, deployment: Deployment, service: Service) -> None:
        self._locks = (deployment.scene.state / "locks").resolve()
        self._database = deployment.database
        self._service = service
        self.deaths: list[Death] = []
        self.kills = 0
        self.turns = random.Random()  # noqa: S311 - who is next, and when

    def kill_one(self) -> None:
        """Raises `AssertionError` if the service does not come up again."""
        victim, epoch = self._victim()
        moment = time.time_ns() // 1000
        os.kill(victim, signal.SIGKILL)
        self.kills += 1
        if epoch is not None:
            self.deaths.append(Death(epoch, moment))
        while Path(f"/proc/{victim}").exists() and self._service.process.poll() is None:
            time.sleep(0.002)  # until gunicorn has seen it

    def wait_until_up(self, count: int) -> dict[int, str]:
        """The workers that are up, by their process."""
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            assert self._service.process.poll() is None, self._said()
            found = {pid: epoch_of(pid, self._locks) for pid in worker_pids(self._service)}
            begun = _closings(self._database)  # one that has a lock and no row yet is still starting
            up = {pid: epoch for pid, epoch in found.items() if epoch is not None and epoch in begun}
            if len(up) >= count:
                return up
            time.sleep(0.01)
        raise AssertionError(f"no worker comes up: {self._said()}")

    def _victim(self) -> tuple[int, str | None]:
        up = self.wait_until_up(_ONE_TO_SURVIVE + 1)
        starting = sorted(set(worker_pids(self._service)) - set(up))
        if starting and self.turns.random() < _STARTING:
            return starting[0], None
        return self.turns.choice(sorted(up.items()))

    def _said(self) -> str:
        return self._service.log.read_text(errors="replace")[-3000:]


def run(deployment: Deployment, kills: int, workers: int, clients: int, *, closed_within: float | None) -> Report:
    """The whole of it, over this state directory. `closed_within`: None where times are told and not judged."""
    began = time.monotonic()
    report = Report()
    with serving(deployment.scene, "--workers", str(workers)) as service:
        killer = Killer(deployment, service)
        killer.wait_until_up(_ONE_TO_SURVIVE + 1)
        load = Load(deployment, service, clients)
        try:
            while killer.kills < kills and not load.wrong:
                time.sleep(killer.turns.choice(_WAITS))
                killer.kill_one()
            killer.wait_until_up(_ONE_TO_SURVIVE + 1)
            _wait_until_closed(deployment, killer.deaths)
        finally:
            load.stop()
    report.kills, report.killed_at_work = killer.kills, len(killer.deaths)
    report.broken_off, report.unavailable = load.broken_off, load.unavailable
    report.answers = sum(teller.ledger.statuses[200] for teller in load.tellers)
    report.differences += load.wrong
    judge(report, deployment, killer.deaths, [proof for teller in load.tellers for proof in teller.ledger.proofs])
    if closed_within is not None and report.longest_until_closed > closed_within:
        report.differences.append(f"left open for {report.longest_until_closed} s")
    report.seconds = round(time.monotonic() - began, 1)
    return report


def _closings(database: Path) -> dict[str, int | None]:
    return dict(query(database, "SELECT id, closed_at FROM audit_epochs"))


def _wait_until_closed(deployment: Deployment, deaths: list[Death]) -> None:
    """While somebody lives who can do it: the end of the service closes the rest in another way."""
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        closings = _closings(deployment.database)
        if all(closings.get(death.epoch) for death in deaths):
            return
        time.sleep(0.05)


def judge(report: Report, deployment: Deployment, deaths: list[Death], proofs: list[Any]) -> None:
    """Holds the log against what clients were given, and against the intents."""
    log = read_log(deployment.database)
    report.leaves, report.acknowledged = len(log.entries), len(proofs)
    report.closed_as_unknown = sum(entry.outcome == "unknown" for entry in log.entries)

    def count_heads() -> None:
        report.heads_seen = log.require_kept(proofs)

    intents = query(deployment.database, "SELECT id, items FROM audit_intents")
    checks: tuple[Callable[[], None], ...] = (count_heads, lambda: log.require_complete(intents))
    for check in checks:
        try:
            check()
        except AssertionError as difference:
            report.differences.append(str(difference)[:500])
    closings = _closings(deployment.database)
    waits: list[float] = []
    for death in deaths:
        closed = closings.get(death.epoch)
        if closed is None:
            report.differences.append(f"the epoch {death.epoch} was never closed")
        else:
            # The epoch ends after its last intent: this is no less than what any intent took.
            waits.append((closed - death.moment) / 1e6)
    if waits:
        report.longest_until_closed, report.half_closed_within = max(waits), statistics.median(waits)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.kills", description=str(__doc__).partition("\n")[0])
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--clients", type=int, default=6)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        deployment = make_deployment(Path(folder) / "deployment")
        report = run(deployment, given.kills, given.workers, given.clients, closed_within=CLOSED_WITHIN)
    shown = asdict(report)
    shown["differences"] = report.differences[:_SHOWN]
    sys.stdout.write(json.dumps(shown, indent=2) + "\n")
    return 1 if report.differences else 0


if __name__ == "__main__":
    sys.exit(main())
