"""Several nodes behind nginx, on one database: what holds for all of them, counted.

    python -m tests.scale.nodes [--nodes 3] [--seconds 20]

Needs Debian's postgresql and nginx (`tools/setup.sh postgresql nginx`). Each node makes keys, and every node signs with
every key. Then clients sign through the balancer; meanwhile a policy is changed on one node after the other, each time
followed by a request to each of the others, and the database is brought to the next version's schema under the running
nodes, where a further one of this version then starts. A principal with a quota asks all nodes at once for more than
that. In the end the log is held against what the clients were given, and checked by `sealmark audit verify`. Prints one
JSON object and records the figures; exit code 1 if one is not met.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Final

from click.testing import CliRunner

from keystore.db import connect, upgrade
from signer.cli.main import cli
from tests.databases import hand, on_postgresql, url_of
from tests.faults.kills import Report, judge
from tests.keystore.upgrading import next_history
from tests.log_audit import log_key
from tests.postgresql_server import running_server
from tests.scale.deployment import USER
from tests.scale.fleet import fleet_of, join
from tests.scale.mixture import digest
from tests.scale.scene import PATH, serving
from tests.scale.teller import Teller
from tools.figures.record import record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.scale.fleet import Fleet

COMMAND: Final = "python -m tests.scale.nodes"
ROOT: Final = Path(__file__).resolve().parents[2]
CLIENTS: Final = 4
QUOTA: Final = 100  # calls an hour
LIMITED: Final = "role/other"
_QUOTA_WINDOW: Final = 3600  # seconds
SETTINGS: Final = f"""
[[quotas]]
name = "of-one-an-hour"
principal = "{LIMITED}"
every = "hour"
requests = {QUOTA}
"""


@dataclass
class Seen:
    """What came of it. Every list and every number but those of tries must be empty, or 0."""

    nodes: int
    any_key_tries: int = 0
    any_key_failed: int = 0
    signed: int = 0
    failed: list[str] = field(default_factory=list)
    of_which_upgraded: int = 0
    policy_tries: int = 0
    policy_wrong: int = 0
    limit_tries: int = 0
    limit_let_through: int = 0
    differences: list[str] = field(default_factory=list)

    @property
    def beyond_limit(self) -> int:
        return max(0, self.limit_let_through - QUOTA)

    @property
    def right(self) -> bool:
        wrong = self.any_key_failed, self.failed, self.policy_wrong, self.beyond_limit, self.differences
        return not any(wrong) and self.limit_let_through > 0


def run(fleet: Fleet, folder: Path, seconds: float) -> Seen:
    """Everything, one after the other, but for the clients, who sign all the time."""
    seen = Seen(len(fleet.nodes))
    tellers = [Teller(fleet.url, fleet.deployment, log_key(fleet.deployment.database), n) for n in range(CLIENTS)]
    _every_node_signs_with_every_key(fleet, seen)
    with _signing(tellers, seen) as signed:
        _policies(fleet, seen, seconds)
        before = signed()
        _upgrade(fleet, folder)
        time.sleep(seconds / 4)
        seen.of_which_upgraded = signed() - before
    _limits(fleet, seen)
    report, proofs = Report(), [proof for teller in tellers for proof in teller.ledger.proofs]
    for teller in tellers:
        teller.close()
    judge(report, fleet.deployment, [], proofs)
    seen.differences = report.differences
    verified = CliRunner().invoke(cli, ["audit", "verify", "--state", str(fleet.deployment.scene.state), "--json"])
    if verified.exit_code:
        seen.differences.append(verified.output[:500])
    return seen


def _every_node_signs_with_every_key(fleet: Fleet, seen: Seen) -> None:
    for number, maker in enumerate(fleet.nodes):
        key = {"alias": f"made-{number}", "spec": "ECC_NIST_P256", "purpose": "general", "users": [USER, LIMITED]}
        assert fleet.call("user/key-admin", maker.url, "POST", "/v1/keys", key).status_code == 201
        for node in fleet.nodes:
            for _ in range(5):
                answer = fleet.call(USER, node.url, "POST", f"/v1/keys/made-{number}/signatures", digest())
                seen.any_key_tries += 1
                seen.any_key_failed += answer.status_code != 200


@contextmanager
def _signing(tellers: list[Teller], seen: Seen) -> Iterator[Callable[[], int]]:
    """Clients who sign through the balancer until the block ends, and check each proof; gives how many were signed."""
    over = threading.Event()

    def drive(teller: Teller) -> None:
        while not over.is_set():
            try:
                status = teller.sign_if_possible(USER, PATH, digest(), 1)
            except (OSError, AssertionError) as fault:
                seen.failed.append(repr(fault)[:200])
                continue
            if status != 200:
                seen.failed.append(str(status))

    threads = [threading.Thread(target=drive, args=(teller,)) for teller in tellers]
    for thread in threads:
        thread.start()
    try:
        yield lambda: sum(teller.ledger.statuses[200] for teller in tellers)
    finally:
        over.set()
        for thread in threads:
            thread.join()
        seen.signed = sum(teller.ledger.statuses[200] for teller in tellers)


def _policies(fleet: Fleet, seen: Seen, seconds: float) -> None:
    """On one node after the other; each time all others are asked at once."""
    key = "/v1/keys/made-0"
    nobody: dict[str, object] = {"administrators": ["user/key-admin"], "users": [LIMITED]}
    everybody = nobody | {"users": [USER, LIMITED]}
    until = time.monotonic() + seconds
    for writer in cycle(fleet.nodes):
        for policy, status in ((nobody, 404), (everybody, 200)):
            assert fleet.call("user/key-admin", writer.url, "PUT", f"{key}/policy", policy).status_code == 200
            for reader in fleet.nodes:
                answer = fleet.call(USER, reader.url, "POST", f"{key}/signatures", digest())
                seen.policy_tries += 1
                seen.policy_wrong += answer.status_code != status
        if time.monotonic() >= until:
            return


def _upgrade(fleet: Fleet, folder: Path) -> None:
    """The next version's schema under nodes of this one; what one of that version writes; and one more of this one."""
    database = connect(url_of(fleet.deployment.database))
    upgrade(database, next_history(folder))
    database.close()
    with hand(fleet.deployment.database) as newer:
        assert newer.value("SELECT version_num FROM alembic_version") == "0002_0001"
        newer.run("UPDATE log_entries SET added_later = 'of the next version'")
    (folder / "joined").mkdir()
    joined = join(fleet.deployment, folder / "joined")
    with serving(joined.scene, "--workers", "1") as node:
        for _ in range(5):
            assert fleet.call(USER, node.url, "POST", PATH, digest()).status_code == 200


def _limits(fleet: Fleet, seen: Seen) -> None:
    """More than a quota allows, of all nodes at once."""
    if (left := _QUOTA_WINDOW - time.time() % _QUOTA_WINDOW) < 60:
        time.sleep(left)
    statuses: list[int] = []

    def ask(url: str) -> None:
        asked = (fleet.call(LIMITED, url, "POST", "/v1/keys/made-1/signatures", digest()) for _ in range(QUOTA))
        statuses.extend(answer.status_code for answer in asked)

    threads = [threading.Thread(target=ask, args=(node.url,)) for node in fleet.nodes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(statuses) <= {200, 429}, set(statuses)
    seen.limit_tries, seen.limit_let_through = len(statuses), statuses.count(200)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.scale.nodes", description=str(__doc__).partition("\n")[0])
    parser.add_argument("--nodes", type=int, default=3, choices=range(2, 9))
    parser.add_argument("--seconds", type=float, default=20.0, help="in which policies are changed")
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as place,
        running_server() as server,
        on_postgresql(server.url("{}")),
        fleet_of(given.nodes, Path(place), SETTINGS) as fleet,
    ):
        seen = run(fleet, Path(place), given.seconds)
    sys.stdout.write(json.dumps(asdict(seen), indent=2) + "\n")
    nodes = f"{seen.nodes} nodes"
    record("nodes-any-key", seen.any_key_failed, command=COMMAND, note=f"{nodes}, {seen.any_key_tries} signatures")
    note = f"{nodes}, {seen.signed} signatures held against it, `sealmark audit verify`"
    record("nodes-log", len(seen.differences), command=COMMAND, note=note)
    record("nodes-policy", seen.policy_wrong, command=COMMAND, note=f"{nodes}, {seen.policy_tries} calls")
    note = f"{nodes}, {seen.limit_let_through} of {seen.limit_tries} calls let through by a quota of {QUOTA}"
    record("nodes-limits", seen.beyond_limit, command=COMMAND, note=note)
    note = f"{nodes}, {CLIENTS} clients; {seen.of_which_upgraded} of {seen.signed} calls during and after the upgrade"
    record("rolling-upgrade", len(seen.failed), command=COMMAND, note=note)
    return 0 if seen.right else 1


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main())
