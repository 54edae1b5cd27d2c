"""Signing while RSA-4096 keys are made: latency beside that without, in the same run."""

from __future__ import annotations

import contextlib
import secrets
import statistics
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import click

from tools.bench.report import Grid
from tools.bench.targets import prepare
from tools.bench.workloads import CLIENTS, SINGLE
from tools.service import ServiceError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tools.bench.driving import Seen
    from tools.bench.stage import Stage
    from tools.service import Service

_ROUNDS: Final = 3


def measure_generation(stage: Stage) -> None:
    """P-256 signing, 16 clients, without and with a client that makes one RSA-4096 key after another; the median of
    some rounds' ratios of p99."""
    target = prepare(stage.ours, SINGLE)
    warm_up, seconds, rounds = (0.05, 0.5, 1) if stage.short else (1.0, 8.0, _ROUNDS)
    found: list[tuple[float, Seen, Seen, int]] = []
    for _ in range(rounds):
        alone = stage.drivers.load(target, CLIENTS, warm_up, seconds)
        with _making(stage.ours.service) as made:
            beside = stage.drivers.load(target, CLIENTS, warm_up, seconds)
        found.append((beside.p99_milliseconds / alone.p99_milliseconds, alone, beside, made.keys))
        click.echo(
            f"RSA-4096 beside signing: p99 {alone.p99_milliseconds:.1f} ms without, {beside.p99_milliseconds:.1f} ms "
            f"beside {made.keys} new keys"
        )
    ratio = statistics.median_low(each[0] for each in found)
    _, alone, beside, keys = next(each for each in found if each[0] == ratio)
    note = (
        f"p99 {alone.p99_milliseconds:.1f} ms, {beside.p99_milliseconds:.1f} ms beside {keys} keys; {CLIENTS} clients"
    )
    stage.report.figures["rsa-4096-beside-signing"] = (ratio, note)
    headings = ("P-256 singly", "/s", "p50 ms", "p99 ms", "longest ms", "keys made")
    rows = (("alone", alone, 0), ("while RSA-4096 keys are made", beside, keys))
    stage.report.grids.append(
        Grid("Generation beside signing", headings, tuple(_line(name, seen, count) for name, seen, count in rows))
    )


def _line(name: str, seen: Seen, keys: int) -> tuple[str, ...]:
    return (
        name,
        f"{seen.per_second:,.0f}",
        f"{seen.p50_milliseconds:.2f}",
        f"{seen.p99_milliseconds:.2f}",
        f"{seen.longest_milliseconds:.1f}",
        str(keys),
    )


@dataclass(slots=True)
class _Made:
    keys: int = 0
    failures: list[ServiceError] = field(default_factory=list)


@contextlib.contextmanager
def _making(service: Service) -> Iterator[_Made]:
    """Makes RSA-4096 keys, one after another, until the end of the block; one is being made when it begins.

    Raises: `ServiceError` if one could not be made.
    """
    made, stop, begun = _Made(), threading.Event(), threading.Event()

    def make() -> None:
        with service.caller(service.token_of("key-admin")) as administrator:
            while not stop.is_set():
                begun.set()
                wanted = {"alias": f"bench-{secrets.token_hex(6)}", "spec": "RSA_4096", "purpose": "general"}
                try:
                    administrator.json("POST", "/v1/keys", wanted)
                except ServiceError as error:
                    made.failures.append(error)
                    return
                made.keys += 1

    thread = threading.Thread(target=make)
    thread.start()
    begun.wait()
    try:
        yield made
    finally:
        stop.set()
        thread.join()
    if made.failures:
        raise made.failures[0]
