"""The processes that make load: two that speak HTTP, two that turn the bare loop. They live as long as the run."""

from __future__ import annotations

import contextlib
import multiprocessing
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from tools.bench import bare, processes
from tools.bench.load import Load, Measured, drive
from tools.service import ServiceError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.synchronize import Barrier

    from tools.bench.bare import BareToken, Rate
    from tools.bench.targets import Target

PROCESSES: Final = 2
_LEAD_SECONDS: Final = 0.2  # for connections to be made, and for both to begin together
_START_SECONDS: Final = 120


@dataclass(frozen=True, slots=True)
class Bare:
    """The bare loop: how often a second it went round in all its processes, and microseconds of a processor a time."""

    per_second: float
    microseconds: float


@dataclass(frozen=True, slots=True)
class Seen:
    """One server under one load. `per_second` counts items (signatures), all else whole requests.

    Processor times are microseconds a request: the server's, the load tool's. `load_share` is the load tool's use of
    processors and `others_share` that of all else on the machine (1.0 is one core). Memory is the server's PSS in
    bytes at the end.
    """

    per_second: float
    requests: int
    items: int
    p50_milliseconds: float
    p99_milliseconds: float
    longest_milliseconds: float
    server_microseconds: float
    load_microseconds: float
    load_share: float
    others_share: float
    memory: int
    reconnections: int
    refused: int
    results_checked: int

    @property
    def microseconds(self) -> float:
        """Processor time of server and load tool for one item; two processors make 2,000,000 / this a second."""
        return (self.server_microseconds + self.load_microseconds) * self.requests / self.items

    @property
    def spread(self) -> float:
        """p99 as a multiple of p50."""
        return self.p99_milliseconds / self.p50_milliseconds


class Drivers:
    """Both pairs of processes."""

    def __init__(self, load: ProcessPoolExecutor, loops: ProcessPoolExecutor) -> None:
        self._load = load
        self._loops = loops

    def bare(self, loop: str, seconds: float, count: int = PROCESSES) -> Bare:
        """The bare loop in so many processes."""
        begin = time.monotonic() + _LEAD_SECONDS
        futures = [self._loops.submit(_turn, loop, begin, seconds) for _ in range(count)]
        rates = [future.result() for future in futures]
        made = sum(rate.signatures for rate in rates)
        processor = sum(rate.processor_seconds for rate in rates)
        return Bare(sum(rate.signatures / rate.seconds for rate in rates), processor / made * 1e6)

    def load(
        self,
        target: Target,
        clients: int,
        warm_up: float,
        seconds: float,
        processors: frozenset[int] | None = None,
        *,
        may_refuse: bool = False,
    ) -> Seen:
        """One load over HTTP, its results checked; `processors`: where the load tool may run, unless anywhere;
        `may_refuse`: whether the server may tell callers to come again.

        Raises: as `Target.check`.
        """
        address, count = urlsplit(target.server.url), min(clients, PROCESSES)
        requests, session = target.requests(), target.server.session
        begin = time.monotonic() + _LEAD_SECONDS
        shares = [clients // count + (number < clients % count) for number in range(count)]
        host, port = address.hostname or "127.0.0.1", address.port or 80
        futures = [
            self._load.submit(drive, Load(host, port, requests, share, begin, warm_up, seconds, processors))
            for share in shares
        ]
        _sleep_until(begin + warm_up)
        server, busy = processes.processor_seconds(session), processes.busy_seconds()
        _sleep_until(begin + warm_up + seconds)
        server = processes.processor_seconds(session) - server
        busy = processes.busy_seconds() - busy
        memory = processes.memory(session)
        seen = [future.result() for future in futures]
        return _seen(target, seen, seconds, server, busy, memory, target.check(seen, may_refuse=may_refuse))


def _sleep_until(moment: float) -> None:
    time.sleep(max(0.0, moment - time.monotonic()))


def _seen(
    target: Target, seen: list[Measured], seconds: float, server: float, busy: float, memory: int, checked: int
) -> Seen:
    latencies = sorted(latency for one in seen for latency in one.latencies)
    if len(latencies) < 2:
        raise ServiceError(f"{target.server.name}: {target.workload.name}: {len(latencies)} requests were answered")
    hundredths = statistics.quantiles(latencies, n=100, method="inclusive")
    load = sum(one.processor_seconds for one in seen)
    return Seen(
        per_second=sum(one.answers / one.seconds for one in seen) * target.workload.batch,
        requests=len(latencies),
        items=len(latencies) * target.workload.batch,
        p50_milliseconds=hundredths[49] * 1e3,
        p99_milliseconds=hundredths[98] * 1e3,
        longest_milliseconds=latencies[-1] * 1e3,
        server_microseconds=server / len(latencies) * 1e6,
        load_microseconds=load / len(latencies) * 1e6,
        load_share=load / seconds,
        others_share=max(0.0, busy - server - load) / seconds,
        memory=memory,
        reconnections=sum(one.reconnections for one in seen),
        refused=sum(one.refused for one in seen),
        results_checked=checked,
    )


@contextlib.contextmanager
def drivers(token: BareToken) -> Iterator[Drivers]:
    """Both pairs, ready; gone at the end of the block."""
    with _pool(None) as load, _pool(token) as loops:
        for future in [pool.submit(_nothing) for pool in (load, loops) for _ in range(PROCESSES)]:
            future.result()
        yield Drivers(load, loops)


def _pool(token: BareToken | None) -> ProcessPoolExecutor:
    # Spawned, not forked: a PKCS#11 module must not be inherited.
    context = multiprocessing.get_context("spawn")
    arguments = (context.Barrier(PROCESSES), token)
    return ProcessPoolExecutor(PROCESSES, context, initializer=_begin_together, initargs=arguments)


_loops: list[bare.Loops] = []  # this process's own


def _begin_together(barrier: Barrier, token: BareToken | None) -> None:
    """Sets up a process. It waits for the other one, so that two tasks go to two processes."""
    if token is not None:
        _loops.append(bare.Loops(token))
    barrier.wait(_START_SECONDS)


def _nothing() -> None:
    """Asked of each process once, to have both."""


def _turn(loop: str, begin: float, seconds: float) -> Rate:
    return _loops[0].run(loop, begin, seconds)
