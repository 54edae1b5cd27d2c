"""PostgreSQL is killed at any moment under load, and the log forgets nothing that anybody was given.

    python -m tests.faults.postgresql_kills [--kills 30] [--workers 2] [--clients 6]

A service under load (single signatures, batches, tokens) on a PostgreSQL server of its own, all of whose processes are
ended by SIGKILL again and again, at random moments, and started anew. Then the service is stopped, and its log is
recomputed from the leaves: every proof that a client ever got is of a leaf that is there, at its place; every head that
a proof was under is one of this very log; every intent has one entry for each item. Told besides: how long after the
server's return the first client was served again. Prints one JSON object; exit code 1 if anything of that is not so.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests import databases
from tests.faults.kills import Load, judge
from tests.faults.kills import Report as _KillsReport
from tests.postgresql_server import Server, running_server
from tests.scale.deployment import make_deployment
from tests.scale.scene import serving
from tools.figures.record import record

if TYPE_CHECKING:
    from tests.scale.deployment import Deployment

_UP: Final = (0.3, 0.6, 1.0, 1.5)  # seconds for which the server lives
_DOWN: Final = (0.0, 0.1, 0.5)  # and is away
_SERVED_SECONDS: Final = 60
KILLS: Final = 30  # of a full run, which is put down


@dataclass(slots=True)
class Report:
    """What came of a run. Times are in seconds. `differences` is empty if the log has lost nothing."""

    kills: int = 0
    signed_and_not_released: int = 0
    acknowledged: int = 0
    answers: int = 0
    unavailable: int = 0
    broken_off: int = 0
    leaves: int = 0
    given_to_nobody: int = 0
    half_served_within: float = 0.0
    served_within: float = 0.0
    seconds: float = 0.0
    differences: list[str] = field(default_factory=list)


def _answers(load: Load) -> int:
    return sum(teller.ledger.statuses[200] for teller in load.tellers)


def _wait_until_served(load: Load) -> float:
    """Seconds until somebody has been given something that was asked for after this began."""
    began, before = time.monotonic(), _answers(load)
    while time.monotonic() - began < _SERVED_SECONDS:
        if _answers(load) > before or load.wrong:
            return time.monotonic() - began
        time.sleep(0.005)
    raise AssertionError("nobody is served again")


def run(server: Server, deployment: Deployment, kills: int, workers: int, clients: int) -> Report:
    """The whole of it, over this deployment, whose database is on that server."""
    began, turns, waits = time.monotonic(), random.Random(), []  # noqa: S311 - the moments of the kills
    report = Report()
    with serving(deployment.scene, "--workers", str(workers)) as service:
        load = Load(deployment, service, clients)
        try:
            _wait_until_served(load)
            while report.kills < kills and not load.wrong:
                time.sleep(turns.choice(_UP) * turns.random())
                server.kill()
                report.kills += 1
                time.sleep(turns.choice(_DOWN))
                server.start()
                waits.append(_wait_until_served(load))
        finally:
            load.stop()
    report.broken_off, report.unavailable, report.answers = load.broken_off, load.unavailable, _answers(load)
    report.half_served_within = round(statistics.median(waits), 2) if waits else 0.0
    report.served_within = round(max(waits, default=0.0), 2)
    told = _KillsReport()
    proofs = [proof for teller in load.tellers for proof in teller.ledger.proofs]
    judge(told, deployment, [], proofs)
    report.differences = [*load.wrong, *told.differences]
    report.acknowledged, report.leaves = told.acknowledged, told.leaves
    with databases.hand(deployment.database) as hand:
        succeeded = "SELECT count(*) FROM log_entries WHERE outcome = 'succeeded' AND signature_sha256 IS NOT NULL"
        report.given_to_nobody = hand.value(succeeded) - len(proofs)
        report.signed_and_not_released = hand.value(
            "SELECT count(*) FROM log_entries WHERE code = 'audit_unavailable' AND outcome = 'failed'"
        )
    report.seconds = round(time.monotonic() - began, 1)
    return report


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.postgresql_kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=KILLS)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--clients", type=int, default=6)
    given = parser.parse_args(arguments)
    with running_server() as server, tempfile.TemporaryDirectory() as folder, databases.on_postgresql(server.url("{}")):
        deployment = make_deployment(Path(folder) / "deployment")
        report = run(server, deployment, given.kills, given.workers, given.clients)
    sys.stdout.write(json.dumps(asdict(report), indent=1) + "\n")
    if given.kills >= KILLS:
        note = f"{report.leaves} leaves; served again within {report.served_within} s at worst"
        record("postgresql-kills", len(report.differences), command="make kill-postgresql", note=note)
    return 1 if report.differences else 0


if __name__ == "__main__":
    sys.exit(main())
