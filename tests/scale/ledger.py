"""Each decision is one leaf: a client's own ledger held against the log.

    python -m tests.scale.ledger [--requests 20000] [--clients 8]

Mixed requests of those who are known (`mixture`: good, denied, malformed, given up by their callers) are sent by
several clients at once to a service of two workers, and strangers' beside them. Then the service is stopped, and the
set of the callers' `X-Request-Id`s in the log must be that of the ledger, with as many leaves for each as it asked for
decisions; every proof that was given must still hold, every intent have its entries, and whoever is not known be
counted. 429 is left aside. Prints one JSON object; exit code 1 and the first differences if anything differs.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.log_audit import log_key, query, read_log
from tests.scale.deployment import make_deployment
from tests.scale.mixture import KINDS
from tests.scale.scene import serving
from tests.scale.teller import Teller

if TYPE_CHECKING:
    from tests.log_audit import Entry, Log
    from tests.scale.deployment import Deployment

WORKERS: Final = 2
_STRANGERS: Final = 0.03  # of one client's turns
_TOO_MANY: Final = 429
_SHOWN: Final = 20


@dataclass(slots=True)
class Report:
    """What came of a run. `differences` is empty if the log is what the ledger says."""

    requests: int = 0
    given_up: int = 0
    signatures_proved: int = 0
    heads_seen: int = 0
    decisions: int = 0
    leaves: int = 0
    strangers_refused: int = 0
    seconds: float = 0.0
    slowest_answer: float = 0.0
    statuses: dict[int, int] = field(default_factory=dict)
    differences: list[str] = field(default_factory=list)


class Run:
    """Clients that share one goal."""

    def __init__(self, tellers: list[Teller], requests: int) -> None:
        self.tellers = tellers
        self.requests = requests
        self.failures: list[str] = []
        self._guard = threading.Lock()

    def sent(self) -> int:
        return sum(len(teller.ledger.leaves) for teller in self.tellers)

    def drive(self, teller: Teller) -> None:
        turns = teller.turns
        kinds, weights = list(KINDS), list(KINDS.values())
        # Every kind once, in an order of its own; then as they come.
        first = turns.sample(kinds, len(kinds))
        while self.sent() < self.requests and not self.failures:
            kind = first.pop() if first else turns.choices(kinds, weights)[0]
            teller.kind = kind.__name__
            try:
                kind(teller)
                if turns.random() < _STRANGERS:
                    teller.be_a_stranger()
            except Exception as error:  # noqa: BLE001 - whatever went wrong for a client is what is looked for
                with self._guard:
                    self.failures.append(f"{teller.kind}: {type(error).__name__}: {error}"[:500])
        teller.close()


def run(deployment: Deployment, requests: int, clients: int) -> Report:
    """The service over this state directory, until so many requests were sent; then what its log holds."""
    before = query(deployment.database, "SELECT count(*) FROM log_entries")[0][0]
    began = time.monotonic()
    with serving(deployment.scene, "--workers", str(WORKERS)) as service:
        key = log_key(deployment.database)
        work = Run([Teller(service.url, deployment, key, number) for number in range(clients)], requests)
        threads = [threading.Thread(target=work.drive, args=(teller,)) for teller in work.tellers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    log = read_log(deployment.database)
    report = Report(requests=work.sent(), leaves=len(log.entries), seconds=round(time.monotonic() - began, 1))
    report.differences += work.failures
    _compare(report, work, log, [entry for entry in log.entries[before:] if entry.kind == "decision"])
    _require(report, lambda: log.require_complete(query(deployment.database, "SELECT id, items FROM audit_intents")))
    return report


def _require(report: Report, check: object) -> None:
    try:
        if callable(check):
            check()
    except AssertionError as difference:
        report.differences.append(str(difference))


def _compare(report: Report, work: Run, log: Log, decisions: list[Entry]) -> None:
    ledgers = [teller.ledger for teller in work.tellers]
    expected = {identifier: leaves for ledger in ledgers for identifier, leaves in ledger.leaves.items()}
    kinds = {identifier: kind for ledger in ledgers for identifier, kind in ledger.kinds.items()}
    found = Counter(entry.caller_request_id for entry in decisions if entry.caller_request_id is not None)
    report.decisions = sum(found.values())
    report.given_up = sum(ledger.gone for ledger in ledgers)
    report.slowest_answer = round(max(ledger.slowest for ledger in ledgers), 3)
    report.statuses = dict(sorted(sum((ledger.statuses for ledger in ledgers), Counter()).items()))
    for identifier in (expected.keys() | found.keys()) - {None}:
        if expected.get(identifier) != found[identifier]:
            kind = kinds.get(identifier, "nobody's request")
            report.differences.append(f"{kind}: {found[identifier]} leaves instead of {expected.get(identifier, 0)}")
    # What nobody asked for by a request of its own: the service's upkeep.
    own = {entry.action for entry in decisions if entry.caller_request_id is None} - {"SignRevocationList"}
    if own:
        report.differences.append(f"decisions that are nobody's: {sorted(str(action) for action in own)}")
    leaves = Counter(entry.leaf for entry in log.entries)
    if max(leaves.values()) > 1:
        report.differences.append("one leaf is there twice")
    proofs = [proof for ledger in ledgers for proof in ledger.proofs]
    report.signatures_proved = len(proofs)

    def count_heads() -> None:
        report.heads_seen = log.require_kept(proofs)

    _require(report, count_heads)
    strangers = sum((ledger.strangers for ledger in ledgers), Counter())
    report.strangers_refused = sum(strangers.values())
    counted = counts(log)
    for what, number in (("unauthenticated", strangers[401]), ("too_many_requests", strangers[_TOO_MANY])):
        if counted[what] != number:
            report.differences.append(f"{what}: {counted[what]} counted instead of {number}")


def counts(log: Log) -> Counter[str]:
    """What was counted by the minute, in all: of each kind."""
    found: Counter[str] = Counter()
    for entry in log.entries:
        if entry.kind == "count" and entry.record is not None:
            record = json.loads(entry.record)
            found[record["code"]] += sum(record["detail"].values())
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.scale.ledger", description=str(__doc__).partition("\n")[0])
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--clients", type=int, default=8)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = run(make_deployment(Path(folder) / "deployment"), given.requests, given.clients)
    shown = asdict(report)
    shown["differences"] = report.differences[:_SHOWN]
    sys.stdout.write(json.dumps(shown, indent=2) + "\n")
    return 1 if report.differences else 0


if __name__ == "__main__":
    sys.exit(main())
