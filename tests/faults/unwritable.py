"""While the trail cannot be written, nobody gets a signature; as soon as it can, everybody does.

    python -m tests.faults.unwritable [--rounds 50] [--way disk_full ...]

Callers sign, look and change all the time at a service of two workers, and again and again one thing is taken away from
it and given back: space on the disk, the right to write, the file, a lock, the log key. Of everything that is asked
while that lasts nothing is signed, and each answer is 503 within two seconds; within a second of its end everybody is
served again, without a restart. Then the service is stopped and its log is recomputed from the leaves: nothing is lost,
nothing is there twice, and every proof that was ever given still holds. `tmpfs_full` needs the right to mount. Prints
one JSON object a way, and records the figure `database-faults` unless ways were chosen; exit code 1 if anything of that
is not so.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.faults.ways import WAYS, Place, may_mount, no_log_key, small_file_system
from tests.log_audit import log_key, query, read_log
from tests.scale.deployment import USER, make_deployment, new_name
from tests.scale.mixture import ADMIN, digest
from tests.scale.scene import PATH, serving, worker_pids
from tests.scale.teller import Teller
from tools.figures.record import record

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.scale.deployment import Deployment

COMMAND: Final = "python -m tests.faults.unwritable"
WORKERS: Final = 2
ANSWERED_WITHIN: Final = 2.0  # seconds
RECOVERED_WITHIN: Final = 1.0  # seconds
_BETWEEN: Final = 0.3  # seconds before a fault
_WATCHED: Final = 1.2  # seconds after the end of a fault
_SERVED: Final = (sys.executable, "-m", "tests.faults.served")
_SHOWN: Final = 20


@dataclass(frozen=True, slots=True)
class Answer:
    """One request: when it was sent and answered (monotonic), and how."""

    began: float
    ended: float
    status: int
    signs: bool


@dataclass(slots=True)
class Report:
    """What came of one way. Times are in seconds. `differences` is empty if all was as it should be."""

    way: str
    rounds: int = 0
    asked_meanwhile: int = 0
    released_meanwhile: int = 0
    refusals: list[float] = field(default_factory=list)
    slowest_answer: float = 0.0
    slowest_recovery: float = 0.0
    signatures_proved: int = 0
    leaves: int = 0
    closed_late: int = 0
    seconds: float = 0.0
    lost: int = 0  # signatures that were given out meanwhile, and differences of the log
    differences: list[str] = field(default_factory=list)


class Caller:
    """One client, which goes on asking; between the answers it keeps count of them."""

    def __init__(self, teller: Teller, ask: Callable[[Teller], tuple[int, bool]]) -> None:
        self.teller = teller
        self.answers: list[Answer] = []
        self.wrong: list[str] = []
        self._ask = ask
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        self.teller.close()

    def _run(self) -> None:
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                status, signs = self._ask(self.teller)
            except Exception as error:  # noqa: BLE001 - whatever a client sees is what is looked for
                self.wrong.append(f"{type(error).__name__}: {error}"[:500])
                return
            self.answers.append(Answer(began, time.monotonic(), status, signs))
            self._stop.wait(0.005)


def _sign(teller: Teller) -> tuple[int, bool]:
    headers = {"Idempotency-Key": new_name()} if teller.turns.random() < 0.3 else None
    who = None if teller.turns.random() < 0.2 else USER
    turn = teller.turns.random()
    if turn < 0.6:
        return teller.sign_if_possible(who, PATH, digest(), 1, headers), True
    if turn < 0.8:
        return teller.sign_if_possible(who, PATH, {"items": [digest() for _ in range(10)]}, 10, headers), True
    return teller.sign_if_possible(who, "/v1/keys/tokens/jwts", {"claims": {"sub": new_name()}}, 1, headers), True


def _sign_with_approval(teller: Teller) -> tuple[int, bool]:
    """Each approval is for one call: where that was not served, it is still good."""
    body = digest()
    status, made = teller.ask(
        USER, "POST", "/v1/keys/guarded/approval-requests", {"operation": "signatures", "request": body}
    )
    if status != 201:
        return status, False
    approval = {"request_sha256": made["request_sha256"]}
    path = f"/v1/approval-requests/{made['id']}/approve"
    if (status := teller.ask("user/approver", "POST", path, approval)[0]) != 200:
        return status, False
    headers = {"Sealmark-Approval": made["id"]}
    return teller.sign_if_possible(USER, "/v1/keys/guarded/signatures", body, 1, headers), True


def _look(teller: Teller) -> tuple[int, bool]:
    return teller.ask(USER, "GET", "/v1/whoami", None)[0], False


def _change(teller: Teller) -> tuple[int, bool]:
    body = {"name": f"role/{new_name()}", "duty": "key-user"}
    return teller.ask(ADMIN, "POST", "/v1/principals", body)[0], False


_ASK: Final = (_sign, _sign, _sign, _sign_with_approval, _look, _change)
_GOOD: Final = (200, 201)
_UNAVAILABLE: Final = 503


def run(deployment: Deployment, ways: Sequence[str], rounds: int, *, timed: bool) -> list[Report]:
    """All rounds of each way over this state directory; `timed`: whether times are judged. What is found in the log at
    the end stands in the last report."""
    reports, began = [Report(way, rounds) for way in ways], time.monotonic()
    with serving(deployment.scene, "--workers", str(WORKERS), program=_SERVED) as service:
        place = Place(deployment, service)
        key = log_key(deployment.database)
        callers = [Caller(Teller(service.url, deployment, key, number), ask) for number, ask in enumerate(_ASK)]
        try:
            for report in reports * rounds:
                time.sleep(_BETWEEN)
                _one_round(report, place, callers, _WATCHED if timed else _WATCHED / 3)
        finally:
            for caller in callers:
                caller.stop()
    for report in reports:
        if timed and report.slowest_answer > ANSWERED_WITHIN:
            report.differences.append(f"an answer took {report.slowest_answer} s")
        if timed and report.slowest_recovery > RECOVERED_WITHIN:
            report.differences.append(f"a recovery took {report.slowest_recovery} s")
    last = reports[-1]
    last.differences += [wrong for caller in callers for wrong in caller.wrong]
    _judge(last, deployment, [proof for caller in callers for proof in caller.teller.ledger.proofs])
    last.lost += sum(report.released_meanwhile for report in reports)
    last.seconds = round(time.monotonic() - began, 1)
    return reports


def _one_round(report: Report, place: Place, callers: list[Caller], watched: float) -> None:
    fault, lasting = WAYS[report.way]
    for caller in callers:
        caller.answers.clear()
        caller.teller.ledger.slowest = 0.0
    workers = worker_pids(place.service)
    with fault(place):
        broken = time.monotonic()
        time.sleep(lasting)
        mended = time.monotonic()
    again = time.monotonic()
    time.sleep(watched)
    answers = [answer for caller in callers for answer in list(caller.answers)]
    meanwhile = [answer for answer in answers if answer.began >= broken and answer.ended <= mended]
    report.asked_meanwhile += len(meanwhile)
    report.refusals += [answer.ended - answer.began for answer in meanwhile if answer.status == _UNAVAILABLE]
    for answer in meanwhile:
        if answer.status != _UNAVAILABLE and (answer.signs or fault is not no_log_key):
            report.differences.append(f"{answer.status} {answer.ended - broken:.3f} s after the fault began")
            report.released_meanwhile += answer.signs and answer.status in _GOOD
    touched = [answer for answer in answers if answer.ended >= broken and answer.began <= again]
    report.differences += [
        f"answered {answer.status}" for answer in touched if answer.status not in (*_GOOD, _UNAVAILABLE)
    ]
    slowest = max(caller.teller.ledger.slowest for caller in callers)  # of one request: an approval takes three
    report.slowest_answer = round(max(report.slowest_answer, slowest), 3)
    after = [answer for answer in answers if answer.began >= again]
    good = [answer.ended for answer in after if answer.signs and answer.status in _GOOD]
    bad = [answer.ended for answer in after if answer.status not in _GOOD]
    if good:
        recovery = max(min(good), *bad) - again if bad else min(good) - again
        report.slowest_recovery = round(max(report.slowest_recovery, recovery), 3)
    else:
        report.differences.append("nothing was signed after the fault was over")
    if worker_pids(place.service) != workers:
        report.differences.append("a worker ended")


def _judge(report: Report, deployment: Deployment, proofs: list[Any]) -> None:
    try:
        log = read_log(deployment.database)
        log.require_kept(proofs)
        log.require_complete(query(deployment.database, "SELECT id, items FROM audit_intents"))
    except AssertionError as difference:
        report.differences.append(str(difference)[:500])
        report.lost += 1
        return
    report.leaves, report.signatures_proved = len(log.entries), len(proofs)
    late = "SELECT count(*) FROM log_entries WHERE code = 'audit_unavailable'"
    report.closed_late = query(deployment.database, late)[0][0]
    if any(entry.outcome == "unknown" for entry in log.entries):
        report.differences.append("an intent was left open by a living worker")
        report.lost += 1


def run_alone(folder: Path, made: Deployment, way: str, rounds: int) -> Report:
    """One way on a copy, on the file system that it needs."""
    if way != "tmpfs_full":
        folder.mkdir(mode=0o700)
        return run(made.copied(folder), [way], rounds, timed=True)[0]
    with small_file_system(folder) as mounted:
        return run(made.copied(mounted), [way], rounds, timed=True)[0]


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults.unwritable", description=str(__doc__).partition("\n")[0]
    )
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--way", choices=list(WAYS), nargs="*", default=None)
    given = parser.parse_args()
    ways = given.way or [way for way in WAYS if way != "tmpfs_full" or may_mount()]
    reports = []
    with tempfile.TemporaryDirectory() as folder:
        made = make_deployment(Path(folder) / "deployment")
        for way in ways:
            report = run_alone(Path(folder) / way, made, way, given.rounds)
            reports.append(report)
            told = {"refusals": len(report.refusals), "p99_of_refusals": _p99(report.refusals)}
            shown = asdict(report) | told | {"differences": report.differences[:_SHOWN]}
            sys.stdout.write(json.dumps(shown, indent=2) + "\n")
            sys.stdout.flush()
    if given.way is None:
        _record(reports, given.rounds)
    return 1 if any(report.differences for report in reports) else 0


def _p99(seconds: list[float]) -> float:
    return round(statistics.quantiles(seconds, n=100)[98], 3) if len(seconds) > 1 else 0.0


def _record(reports: Sequence[Report], rounds: int) -> None:
    waits = {report.way: _p99(report.refusals) for report in reports}
    note = (
        f"{rounds} rounds of each: {', '.join(f'{way} (p99 of 503 {wait:.2f} s)' for way, wait in waits.items())}; "
        f"served again within {max(report.slowest_recovery for report in reports):.2f} s; restarted: postgresql-kills"
    )
    record("database-faults", sum(report.lost for report in reports), command=COMMAND, note=note)


if __name__ == "__main__":
    sys.exit(main())
