"""One worker and two, beside the bare loop in one process and in two, in the same run.

Every worker has as many clients, as each process of the bare loop has its own work; besides, two workers share the
clients of one. Twice: with all processors free to all, as anybody would run it; and a processor for each worker, where
one worker and the load tool that asks it share one processor, and two share two. The bare loop takes one processor a
process. A worker takes more where there are more: its HSM calls, the kernel's work for its connections and the load
tool run beside it.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

import click

from tools.bench import processes
from tools.bench.report import Grid
from tools.bench.targets import Sealmark, prepare
from tools.bench.workloads import BATCHES, CLIENTS, RSA, SINGLE
from tools.service import running_service

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tools.bench.stage import Stage
    from tools.bench.targets import Target

_LOADS: Final = (SINGLE, BATCHES, RSA)
_ROUNDS: Final = 3


@dataclass(frozen=True, slots=True)
class Scaling:
    """Rates a second of one round. `one` is one worker's where all processors are free, of which it and the load tool
    take `taken`; `pinned` is one worker's with one processor for both; `two` is two workers' with as many clients each,
    `shared` theirs with one worker's clients."""

    load: str
    bare_one: float
    bare_two: float
    one: float
    taken: float
    pinned: float
    two: float
    shared: float

    @property
    def free(self) -> float:
        """1 → 2 workers as a part of the bare loop's 1 → 2, all processors free to all."""
        return self._of_bare(self.two / self.one)

    @property
    def by_processor(self) -> float:
        """The same with a processor for each worker."""
        return self._of_bare(self.two / self.pinned)

    @property
    def same_clients(self) -> float:
        """The same with a processor for each worker, and one worker's clients for both."""
        return self._of_bare(self.shared / self.pinned)

    def _of_bare(self, scaling: float) -> float:
        return scaling / (self.bare_two / self.bare_one)


def measure_scaling(stage: Stage) -> None:
    """The median round of each load; the figures are the worst of the loads."""
    loads, rounds = (_LOADS[:1], 1) if stage.short else (_LOADS, _ROUNDS)
    found: dict[str, list[Scaling]] = {load.name: [] for load in loads}
    with running_service(stage.folder / "one-worker", ("workers = 1",)) as service:
        single = Sealmark(service)
        pairs = [(prepare(single, load), prepare(stage.ours, load)) for load in loads]
        for _ in range(rounds):
            for one, two in pairs:
                scaling = _round(stage, one, two)
                found[scaling.load].append(scaling)
                click.echo(
                    f"1 → 2 workers, {scaling.load}: {scaling.by_processor:.2f} of the bare loop's scaling by "
                    f"processor, {scaling.free:.2f} with all processors free, {scaling.same_clients:.2f} with the "
                    "same clients for both"
                )
    medians = [sorted(each, key=lambda scaling: scaling.by_processor)[len(each) // 2] for each in found.values()]
    worst = min(medians, key=lambda scaling: scaling.by_processor)
    least = min(medians, key=lambda scaling: scaling.free)
    shared = min(medians, key=lambda scaling: scaling.same_clients)
    note = f"{worst.load}, the worst of {len(medians)} loads; {CLIENTS} clients a worker"
    stage.report.figures["worker-scaling"] = (worst.by_processor, note)
    stage.report.figures["worker-scaling-shared"] = (shared.same_clients, f"{shared.load}, the worst")
    note = f"{least.load}: one worker and the load tool take {least.taken:.2f} processors already"
    stage.report.figures["worker-scaling-free"] = (least.free, note)
    stage.report.parts["scaling"] = [asdict(scaling) for scaling in medians]
    stage.report.grids.append(_grid(medians))


def _grid(medians: list[Scaling]) -> Grid:
    headings = (
        "1 → 2 workers",
        "bare loop",
        "one, one processor /s",
        "one, all free /s",
        "of which it takes",
        "two /s",
        "two, one's clients /s",
        "by processor, of bare's",
        "all free, of bare's",
        "one's clients, of bare's",
    )
    rows = tuple(
        (
            scaling.load,
            f"{scaling.bare_two / scaling.bare_one:.2f}",
            f"{scaling.pinned:,.0f}",
            f"{scaling.one:,.0f}",
            f"{scaling.taken:.2f}",
            f"{scaling.two:,.0f}",
            f"{scaling.shared:,.0f}",
            f"{scaling.by_processor:.2f}",
            f"{scaling.free:.2f}",
            f"{scaling.same_clients:.2f}",
        )
        for scaling in medians
    )
    return Grid("One worker and two", headings, rows)


def _round(stage: Stage, one: Target, two: Target) -> Scaling:
    warm_up, seconds = (0.05, 0.3) if stage.short else (0.5, 2.5)
    spec, drivers = one.workload.spec, stage.drivers
    core = min(os.sched_getaffinity(0))
    bare_one, bare_two = (drivers.bare(spec, seconds, count).per_second for count in (1, 2))
    free = drivers.load(one, CLIENTS, warm_up, seconds)
    with _pinned(one.server.session, core):
        pinned = drivers.load(one, CLIENTS, warm_up, seconds, frozenset([core]))
    both, shared = (drivers.load(two, clients, warm_up, seconds) for clients in (2 * CLIENTS, CLIENTS))
    taken = (free.server_microseconds + free.load_microseconds) * free.requests / seconds / 1e6
    rates = (free.per_second, taken, pinned.per_second, both.per_second, shared.per_second)
    return Scaling(one.workload.name, bare_one, bare_two, *rates)


@contextlib.contextmanager
def _pinned(session: int, core: int) -> Iterator[None]:
    """All threads of the session's processes on that processor until the end of the block."""
    everywhere = os.sched_getaffinity(0)
    processes.pin(session, {core})
    try:
        yield
    finally:
        processes.pin(session, everywhere)
