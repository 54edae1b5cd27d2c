"""Attacks a log and has each attack found: `python -m tests.bench.log_tampering --leaves 100000 --attacks 1000`.

A database with so many leaves is made, its head is kept as an auditor keeps it, and then each attack changes the
database in a transaction of its own, which is audited in full and rolled back. An attack counts as detected when the
audit rejects the log, and as named when it says the entry, the row, the tile or the size that was attacked. The same
seed draws the same attacks. What a figure needs stands in the report; `--only N` repeats one attack.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import shutil
import sqlite3
import statistics
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from keystore.configuration import database_at
from keystore.db.snapshot import Snapshot, SqliteSnapshot, snapshot
from signer.cli.audit_state import audit_state
from tests.bench.log_attacks import ATTACKS, Attacker, Scene, drawn
from tests.bench.made_log import Maker
from verifier.log import load_head, store_head

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tests.bench.log_attacks import Place

LIMIT_SECONDS: Final = 10.0
_COPIES: Final = (0.02, 0.2, 0.45, 0.7, 0.9, 0.999)  # of the log's size, when an old copy was taken


@dataclass(frozen=True, slots=True)
class Report:
    """One attack: `named_width` is how many entries the best finding leaves open (1: exact), None if it names none."""

    number: int
    kind: str
    done: str
    detected: bool
    named_width: int | None
    finding: str | None
    seconds: float  # by the clock on the wall
    cpu_seconds: float


@dataclass(frozen=True, slots=True)
class Stage:
    """The attacked database, the kept head, and what attackers have."""

    database: Path
    head: Path
    scene: Scene


def set_up(folder: Path, leaves: int, seed: int) -> Stage:
    """A log of so many leaves, old copies of its database, and its head as an auditor keeps it."""
    database, copies = folder / "sealmark.db", {}
    maker = Maker(database, seed)
    for size in sorted({max(1, int(leaves * share)) for share in _COPIES}):
        maker.fill(size)
        copies[size] = folder / f"copy-{size}.db"
        _copy(database, copies[size])
    maker.fill(leaves)
    maker.close()
    head = folder / "head.json"
    with snapshot(database_at(str(database))) as now:
        audit = audit_state(now, now=_now())
    assert not audit.findings.count, audit.findings.shown
    assert not audit.undecided, audit.undecided
    store_head(head, audit.logs[0].head)
    checkpoints = {size: note for size, note in maker.checkpoints.items() if note is not None and size < leaves}
    return Stage(database, head, Scene(leaves, maker.anchor, checkpoints, copies))


def _copy(database: Path, copy: Path) -> None:
    """The database as it is now, in another file."""
    source, target = sqlite3.connect(database), sqlite3.connect(copy)
    source.backup(target)
    source.close()
    target.close()


def attack(stage: Stage, database: Path, seed: int, number: int) -> Report:
    """Does one attack and audits what it leaves."""
    kind, chance = drawn(seed, number)
    connection = sqlite3.connect(database, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        attacker = Attacker(connection, stage.scene, chance)
        place = ATTACKS[kind][1](attacker)
        if attacker.copy is None:
            return _audited(number, kind, attacker, place, SqliteSnapshot(connection), stage)
        with snapshot(database_at(str(attacker.copy))) as old:
            return _audited(number, kind, attacker, place, old, stage)
    finally:
        connection.execute("ROLLBACK")
        connection.close()


def _audited(number: int, kind: str, attacker: Attacker, place: Place, found: Snapshot, stage: Stage) -> Report:
    started, cpu_started = time.perf_counter(), time.process_time()
    head = load_head(stage.head)
    assert head is not None
    audit = audit_state(found, heads=[head], now=_now())
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    widths = {width: finding for finding in reversed(audit.findings.shown) if (width := place.width(finding))}
    named = min(widths, default=None)
    finding = widths[named] if named else next(iter(audit.findings.shown), None)
    return Report(
        number=number,
        kind=kind,
        done="; ".join(attacker.done),
        detected=audit.findings.count > 0,
        named_width=named,
        finding=None if finding is None else finding.message,
        seconds=seconds,
        cpu_seconds=cpu_seconds,
    )


def _now() -> int:
    """Microseconds since 1970."""
    return time.time_ns() // 1000


def run(stage: Stage, seed: int, numbers: Sequence[int], processes: int) -> Iterator[Report]:
    """Every attack's report, as they come."""
    if processes == 1:
        yield from (attack(stage, stage.database, seed, number) for number in numbers)
        return
    databases = [stage.database]
    for at in range(1, processes):
        databases.append(stage.database.with_name(f"sealmark-{at}.db"))
        shutil.copyfile(stage.database, databases[-1])
    shares = [numbers[at::processes] for at in range(processes)]
    queue: multiprocessing.Queue[Report | str] = multiprocessing.Queue()
    workers = [
        multiprocessing.Process(target=_work, args=(stage, database, seed, share, queue))
        for database, share in zip(databases, shares, strict=True)
    ]
    for worker in workers:
        worker.start()
    for _ in numbers:
        report = queue.get()
        if isinstance(report, str):
            raise RuntimeError(report)
        yield report
    for worker in workers:
        worker.join()


def _work(stage: Stage, database: Path, seed: int, numbers: Sequence[int], queue: Any) -> None:
    for number in numbers:
        try:
            queue.put(attack(stage, database, seed, number))
        except Exception as error:  # noqa: BLE001 - told to whoever waits, who would wait for ever
            queue.put(f"attack {number}: {error!r}")
            return


def summary(reports: Sequence[Report], leaves: int) -> str:
    """A table for people."""
    kinds = Counter(report.kind for report in reports)
    lines = [f"{'attack':<44}{'run':>6}{'detected':>10}{'named':>8}{'exactly':>9}{'median s':>10}{'max s':>8}"]
    for kind in ATTACKS:
        some = [report for report in reports if report.kind == kind]
        if some:
            lines.append(_line(kind, some))
    lines.append(_line("all", reports))
    seconds = sorted(report.seconds for report in reports)
    cpu = sorted(report.cpu_seconds for report in reports)
    lines += [
        "",
        f"{len(reports)} attacks of {len(kinds)} kinds on a log of {leaves} entries",
        f"a full audit: min {seconds[0]:.2f} s, median {statistics.median(seconds):.2f} s, max {seconds[-1]:.2f} s",
        f"of processor time: min {cpu[0]:.2f} s, median {statistics.median(cpu):.2f} s, max {cpu[-1]:.2f} s",
    ]
    for report in reports:
        if not report.detected or report.named_width is None:
            lines.append(
                f"NOT {'NAMED' if report.detected else 'DETECTED'}: {report.number} {report.kind}: {report.done}"
            )
    return "\n".join(lines)


def _line(kind: str, some: Sequence[Report]) -> str:
    detected = sum(report.detected for report in some)
    named = sum(report.named_width is not None for report in some)
    exact = sum(report.named_width == 1 for report in some)
    seconds = sorted(report.seconds for report in some)
    return (
        f"{kind:<44}{len(some):>6}{detected:>10}{named:>8}{exact:>9}"
        f"{statistics.median(seconds):>10.2f}{seconds[-1]:>8.2f}"
    )


def _arguments(given: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.log_tampering", description=__doc__)
    parser.add_argument("--leaves", type=int, default=100_000)
    parser.add_argument("--attacks", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=1, help="each has a copy of the database")
    parser.add_argument("--only", type=int, help="this attack alone")
    parser.add_argument("--folder", type=Path, help="where the databases are made; kept  [default: a temporary one]")
    parser.add_argument("--output", type=Path, help="every report, JSON Lines")
    return parser.parse_args(given)


def main(given: Sequence[str]) -> int:
    """0 where every attack was detected, named, and found within ten seconds."""
    arguments = _arguments(given)
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        started = time.perf_counter()
        stage = set_up(folder, arguments.leaves, arguments.seed)
        sys.stdout.write(f"{arguments.leaves} entries made in {time.perf_counter() - started:.0f} s\n")
        sys.stdout.flush()
        numbers = range(arguments.attacks) if arguments.only is None else [arguments.only]
        reports = list(_told(run(stage, arguments.seed, numbers, arguments.processes), arguments.output))
    sys.stdout.write(summary(reports, arguments.leaves) + "\n")
    good = all(report.detected and report.named_width and report.seconds <= LIMIT_SECONDS for report in reports)
    return 0 if good else 1


def _told(reports: Iterable[Report], output: Path | None) -> Iterator[Report]:
    for report in reports:
        if output is not None:
            with output.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(asdict(report)) + "\n")
        yield report


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
