"""Everything at once, for ten minutes: workers are killed, the HSM restarts, the database is locked, and callers go on.

    python -m tests.faults.chaos [--seconds 600] [--clients 8] [--seed TEXT]

The service as shipped, two workers, its HSM behind the forwarding module. In every 10 s a worker is ended by SIGKILL,
whichever, one that starts too; in every 60 s the HSM restarts: all sessions and handles are gone, and it is away for
2 s; in every 30 s another process holds SQLite's write lock for 1.5 s: each at a random moment, so that they meet in
every way. Clients ask for everything (`chaos_clients`), and where it fails once more, after `Retry-After`; a probe
besides, which is not counted among them, asks without a pause and tells how long nobody could be served. Each signature
is verified and each proof; at the end the service is stopped, every signature that anybody was given must stand in the
log, every intent have its entries, and `sealmark audit verify` accept it all.

Prints the ledger and records the figures `chaos-success`, `chaos-wrong` and `chaos-unlogged`; exit code 1 if one of
them is missed or the log is not whole.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import secrets
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final

from keystore.hsm.return_values import ReturnValue
from tests.faults import storage
from tests.faults.chaos_clients import VAULT, Client, Readers
from tests.faults.forwarded import forwarded_service
from tests.log_audit import log_key, query, read_log
from tests.scale.deployment import USER, make_deployment
from tests.scale.memory import memory_of
from tests.scale.scene import worker_pids
from tools.figures.asked import FIGURES
from tools.figures.record import record
from tools.service import PROGRAMS, ServiceError
from tools.service import run as run_command

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.faults.chaos_clients import Asked, Try
    from tests.faults.forwarded import Forwarded
    from tests.scale.deployment import Deployment

COMMAND: Final = "python -m tests.faults.chaos"
WORKERS: Final = 2
_AFTERMATH: Final = 1.5  # seconds after an event in which it is the likely cause of what fails
_CALM: Final = 1.0  # seconds without events at both ends
_SPREAD: Final = 0.9  # of a period: where in it something may happen
_SECONDS: Final = 600.0
_SHOWN: Final = 20


@dataclass(frozen=True, slots=True)
class Plan:
    """Seconds: how often each thing happens, and how long it lasts. `longest_wait`: of a client before its retry."""

    seconds: float
    kill_every: float = 10
    hsm_every: float = 60
    hsm_away: float = 2
    lock_every: float = 30
    locked: float = 1.5
    longest_wait: float = 60


@dataclass(frozen=True, slots=True)
class Event:
    """What was done to the service, and when (monotonic seconds)."""

    what: str
    began: float
    ended: float

    def touches(self, tried: Try) -> bool:
        return tried.began <= self.ended + _AFTERMATH and tried.ended >= self.began


class Chaos:
    """Three threads that each do one thing to the service, again and again."""

    def __init__(self, place: Forwarded, plan: Plan, seed: str) -> None:
        self._place = place
        self._turns = random.Random(seed)  # noqa: S311 - which worker, and when
        self._stop = threading.Event()
        self.events: list[Event] = []
        self.faults: list[str] = []
        acts = ((self._kill, plan.kill_every), (self._restart_hsm, plan.hsm_every), (self._lock, plan.lock_every))
        self._plan = plan
        self._threads = [threading.Thread(target=self._again_and_again, args=act) for act in acts]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """What has begun is ended first."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _again_and_again(self, act: Callable[[], str], every: float) -> None:
        period = time.monotonic()
        while not self._stop.wait(max(0.0, period + every * self._turns.random() * _SPREAD - time.monotonic())):
            began = time.monotonic()
            try:
                what = act()
            except Exception as error:  # noqa: BLE001 - told at the end: a run without its events proves nothing
                self.faults.append(f"{act.__name__}: {type(error).__name__}: {error}"[:500])
                return
            self.events.append(Event(what, began, time.monotonic()))
            period += every
            if self._stop.wait(max(0.0, period - time.monotonic())):
                return

    def _kill(self) -> str:
        victims = worker_pids(self._place.service)
        with suppress(ProcessLookupError):
            os.kill(self._turns.choice(victims), signal.SIGKILL)
        return "worker killed"

    def _restart_hsm(self) -> str:
        control = self._place.control
        control.answer("C_Initialize", ReturnValue.GENERAL_ERROR)
        control.restart()
        time.sleep(self._plan.hsm_away)
        control.heal()
        return "HSM restarted"

    def _lock(self) -> str:
        with storage.write_lock_held(self._place.scene.state / "sealmark.db"):
            time.sleep(self._plan.locked)
        return "database locked"


@dataclass(slots=True)
class Report:
    """The ledger of a run. Times are in seconds, memory in KiB; `differences` is empty if the log is whole."""

    seconds: float = 0.0
    events: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    at_once: int = 0
    after_retry: int = 0
    failed: list[str] = field(default_factory=list)
    causes: Counter[str] = field(default_factory=Counter)
    causing: Counter[str] = field(default_factory=Counter)
    longest_outage: float = 0.0
    outage_in: str = ""
    slowest: float = 0.0
    wrong: list[str] = field(default_factory=list)
    released: int = 0
    unlogged: list[str] = field(default_factory=list)
    proofs: int = 0
    leaves: int = 0
    intents: int = 0
    unknown: int = 0
    workers: int = 0
    master_kib: tuple[int, int] = (0, 0)
    worker_kib: int = 0
    verified: str = ""
    differences: list[str] = field(default_factory=list)

    @property
    def success(self) -> float:
        """Percent of the requests that succeeded, with one retry."""
        return 100 * (self.at_once + self.after_retry) / max(self.requests, 1)

    def lines(self) -> Iterator[str]:
        """The printed ledger."""
        yield f"requests             {self.requests:,} in {self.seconds:.0f} s ({_counted(self.kinds)})"
        yield f"events               {_counted(self.events)}"
        yield f"succeeded at once    {self.at_once:,}"
        yield f"after one retry      {self.after_retry:,}"
        yield f"failed               {len(self.failed):,}"
        yield f"success              {self.success:.4f} %"
        yield f"first failures       {_counted(self.causes)}"
        yield f"  during             {_counted(self.causing)}"
        yield f"longest outage       {self.longest_outage:.2f} s ({self.outage_in})"
        yield f"slowest answer       {self.slowest:.2f} s"
        yield f"wrong                {len(self.wrong)}"
        yield f"signatures released  {self.released:,}, proofs {self.proofs:,}"
        yield f"not in the log       {len(self.unlogged)}"
        yield f"leaves               {self.leaves:,}; intents {self.intents:,}, closed as unknown {self.unknown:,}"
        yield f"audit verify         {self.verified}"
        yield f"workers begun        {self.workers}"
        first, last = self.master_kib
        yield f"memory, KiB          arbiter {first:,}, at the end {last:,}; largest worker {self.worker_kib:,}"
        for what, said in (("failed", self.failed), ("wrong", self.wrong), ("unlogged", self.unlogged)):
            yield from (f"{what}: {one}" for one in said[:_SHOWN])
        yield from (f"DIFFERENCE: {one}" for one in self.differences[:_SHOWN])


def _counted(counter: Counter[str]) -> str:
    return ", ".join(f"{what} {count:,}" for what, count in counter.most_common()) or "none"


def run(deployment: Deployment, folder: Path, plan: Plan, clients: int, seed: str) -> Report:
    """The whole of it, over a copy of the deployment in `folder`."""
    report = Report()
    with forwarded_service(deployment.scene, folder, "--workers", str(WORKERS)) as place:
        database = place.scene.state / "sealmark.db"
        readers = Readers.of(place.scene, log_key(database), _make_vault(place, deployment))
        first = memory_of(place.service.process.pid).rss
        began = time.monotonic()
        url, wait = place.service.url, plan.longest_wait
        asking = [Client(url, readers, f"{seed}-{number}", wait) for number in range(clients)]
        probe = Client(url, readers, seed, 0, probes=True)
        with _stopped_at_the_end([*asking, probe]):
            time.sleep(min(_CALM, plan.seconds / 10))
            chaos = Chaos(place, plan, seed)
            report.worker_kib = _watch(place, began + plan.seconds - min(_CALM, plan.seconds / 10))
            chaos.stop()
            time.sleep(min(_CALM, plan.seconds / 10))
        report.seconds = time.monotonic() - began
        report.master_kib = first, memory_of(place.service.process.pid).rss
    report.differences += chaos.faults
    report.events = Counter(event.what for event in chaos.events)
    _count(report, [asked for client in asking for asked in client.ledger.asked], chaos.events)
    _find_outage(report, probe.ledger.asked, chaos.events)
    report.wrong = [wrong for client in (*asking, probe) for wrong in client.ledger.wrong]
    _judge(report, database, [*asking, probe])
    _verify(report, place.scene.state)
    return report


@contextmanager
def _stopped_at_the_end(asking: Sequence[Client]) -> Iterator[None]:
    try:
        yield
    finally:
        for client in asking:
            client.stop()
        for client in asking:
            client.join()


def _watch(place: Forwarded, until: float) -> int:
    """Waits, and looks at the workers' memory now and then: the largest that was seen, in KiB."""
    largest = 0
    while (left := until - time.monotonic()) > 0:
        time.sleep(min(1.0, left))
        for pid in worker_pids(place.service):
            with suppress(FileNotFoundError, ProcessLookupError, KeyError):  # it is gone just now
                largest = max(largest, memory_of(pid).rss)
    return largest


def _make_vault(place: Forwarded, deployment: Deployment) -> bytes:
    """A key that encrypts. Returns the public key of the tokens, DER."""
    with place.service.caller(deployment.tokens["user/key-admin"]) as administrator:
        key = {"alias": VAULT, "spec": "SYMMETRIC_DEFAULT", "purpose": "encrypt", "users": [USER]}
        administrator.json("POST", "/v1/keys", key)
    with place.service.caller(deployment.tokens[USER]) as user:
        return user.content("/v1/keys/tokens/public-key?format=der")


def _count(report: Report, asked: list[Asked], events: Sequence[Event]) -> None:
    report.requests = len(asked)
    for one in asked:
        report.kinds[one.kind] += 1
        first = one.tries[0]
        if len(one.tries) > 1:
            report.causes[first.cause] += 1
            report.causing[_during(first, events)] += 1
        if not one.succeeded:
            tried = " then ".join(f"{each.cause} ({_during(each, events)})" for each in one.tries)
            report.failed.append(f"{one.kind}: {tried}")
        elif len(one.tries) > 1:
            report.after_retry += 1
        else:
            report.at_once += 1
    report.slowest = max((tried.ended - tried.began for one in asked for tried in one.tries), default=0.0)


def _find_outage(report: Report, probed: list[Asked], events: Sequence[Event]) -> None:
    """The longest time between two answers to the probe, and what was done to the service in it."""
    moments = [one.tries[-1].ended for one in probed if one.succeeded]
    begin, end = max(pairwise(moments), key=lambda pair: pair[1] - pair[0], default=(0.0, 0.0))
    report.longest_outage = end - begin
    meanwhile = {event.what for event in events if event.began <= end and event.ended >= begin}
    report.outage_in = " and ".join(sorted(meanwhile)) or "no event"


def _during(tried: Try, events: Sequence[Event]) -> str:
    """The events that a failure may be of."""
    return " and ".join(sorted({event.what for event in events if event.touches(tried)})) or "no event"


def _judge(report: Report, database: Path, asking: Sequence[Client]) -> None:
    """Holds the log against what clients were given, and against the intents."""
    proofs = [proof for client in asking for proof in client.ledger.proofs]
    released = [one for client in asking for one in client.ledger.released]
    good = [one.request_id for client in asking for one in client.ledger.asked if one.succeeded]
    report.released, report.proofs = len(released), len(proofs)
    try:
        log = read_log(database)
        log.require_kept(proofs)
        intents = query(database, "SELECT id, items FROM audit_intents")
        report.intents = len(intents)
        log.require_complete(intents)
    except AssertionError as difference:
        report.differences.append(str(difference)[:500])
        return
    report.leaves = len(log.entries)
    report.unknown = sum(entry.outcome == "unknown" for entry in log.entries)
    report.workers = query(database, "SELECT count(*) FROM audit_epochs")[0][0]
    signed = {one["sha256"] for entry in log.entries for one in json.loads(entry.leaf).get("signatures", ())}
    named = {entry.caller_request_id for entry in log.entries}
    report.unlogged = [f"signature {one}" for one in released if one not in signed]
    report.unlogged += [f"request {one}" for one in good if one not in named]


def _verify(report: Report, state: Path) -> None:
    """What an auditor would say."""
    try:
        told = run_command(PROGRAMS / "sealmark", "audit", "verify", "--state", state, "--json").stdout
    except ServiceError as refused:
        report.verified = "REJECTED"
        report.differences.append(str(refused)[:500])
    else:
        report.verified = "verified" if json.loads(told)["verified"] is True else "REJECTED"


def _record(report: Report, clients: int, seconds: float) -> bool:
    """Whether all figures are what was asked for."""
    note = (
        f"{seconds:.0f} s, {clients} clients, {report.requests:,} requests; {_counted(report.events)}; "
        f"longest outage {report.longest_outage:.1f} s"
    )
    found = {
        "chaos-success": round(report.success, 4),
        "chaos-wrong": len(report.wrong),
        "chaos-unlogged": len(report.unlogged) + len(report.differences),
    }
    for name, measured in found.items():
        record(name, measured, command=COMMAND, note=note)
    return all(FIGURES[name].met(measured) for name, measured in found.items())


def main() -> int:
    parser = argparse.ArgumentParser(prog=COMMAND, description=str(__doc__).partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=_SECONDS)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seed", default=None, help="which workers, when, and which requests; a new one if not given")
    given = parser.parse_args()
    seed = given.seed or secrets.token_hex(4)
    sys.stdout.write(f"seed                 {seed}\n")
    sys.stdout.flush()
    with tempfile.TemporaryDirectory() as folder:
        deployment = make_deployment(Path(folder) / "deployment")
        served = Path(folder) / "served"
        served.mkdir(mode=0o700)
        report = run(deployment, served, Plan(given.seconds), given.clients, seed)
    met = _record(report, given.clients, given.seconds)
    sys.stdout.write("\n".join(report.lines()) + "\n")
    return 0 if met and not report.differences else 1


if __name__ == "__main__":
    sys.exit(main())
