"""Two nodes behind nginx: state directories of their own, one database on a PostgreSQL server, one token."""

from __future__ import annotations

import json
import os
import signal
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import httpx
import pytest
from click.testing import CliRunner

from keystore.db import connect, upgrade
from signer.cli.main import cli
from tests.databases import hand, is_postgresql, on_postgresql, url_of
from tests.faults.kills import Report, judge
from tests.keystore.upgrading import next_history
from tests.log_audit import log_key
from tests.postgresql_server import running_server
from tests.scale.deployment import USER, make_deployment
from tests.scale.mixture import digest
from tests.scale.nginx import balanced
from tests.scale.scene import ALIAS, PATH, serving
from tests.scale.teller import Teller

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.scale.deployment import Deployment
    from tools.service import Service

pytestmark = pytest.mark.postgresql_only("nodes share a database on a server")
SERVED_SECONDS = 60


@pytest.fixture(scope="module", autouse=True)
def server() -> Iterator[None]:
    if is_postgresql():
        yield
        return
    with running_server() as running, on_postgresql(running.url("{}")):
        yield


@dataclass
class Fleet:
    """Both nodes, and the address of the balancer before them."""

    deployment: Deployment
    first: Service
    second: Service
    url: str

    def call(self, who: str, url: str, method: str, path: str, body: object = None, **headers: str) -> httpx.Response:
        head = {"Authorization": f"Bearer {self.deployment.tokens[who]}", **headers}
        return httpx.request(method, f"{url}{path}", json=body, headers=head, timeout=30, trust_env=False)

    def signed_by(self) -> dict[str, int]:
        """How many signatures each node has begun."""
        counted = (
            "SELECT node, count(*) FROM audit_intents JOIN audit_epochs ON audit_epochs.id = epoch "
            "WHERE algorithm IS NOT NULL AND items = 1 GROUP BY node"
        )
        with hand(self.deployment.database) as database:
            return dict(database.rows(counted))


def join(deployment: Deployment, folder: Path) -> Deployment:
    words = ["node", "join", "--state", str(folder / "state"), "--from", str(deployment.scene.state), "--json"]
    result = CliRunner().invoke(cli, words)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["log"].startswith("sealmark/")
    return replace(deployment, scene=replace(deployment.scene, state=folder / "state"))


@pytest.fixture(scope="module")
def fleet(server: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("nodes")
    deployment = make_deployment(folder / "one")
    (folder / "two").mkdir()
    second = join(deployment, folder / "two")
    with ExitStack() as stack:
        one = stack.enter_context(serving(deployment.scene, "--workers", "1"))
        two = stack.enter_context(_killable(second))
        url = stack.enter_context(balanced(folder / "nginx", [one.url, two.url]))
        yield Fleet(deployment, one, two, url)


class _killable:  # noqa: N801 - a context manager
    """A node that may be killed within the block."""

    def __init__(self, deployment: Deployment) -> None:
        self._context = serving(deployment.scene, "--workers", "1")

    def __enter__(self) -> Service:
        self.service = self._context.__enter__()
        return self.service

    def __exit__(self, *_: object) -> None:
        killed = self.service.process.poll() is not None
        try:
            self._context.__exit__(None, None, None)
        except AssertionError:
            assert killed, "the node did not stop as it should"


def sign(fleet: Fleet, teller: Teller, times: int) -> None:
    for _ in range(times):
        assert teller.sign_if_possible(USER, PATH, digest(), 1) == 200


def test_any_node_signs_and_there_is_one_log(fleet: Fleet, tmp_path: Path) -> None:
    teller = Teller(fleet.url, fleet.deployment, log_key(fleet.deployment.database), 1)
    sign(fleet, teller, 24)
    shares = fleet.signed_by()
    assert len(shares) == 2
    assert min(shares.values()) >= 8, shares
    made = fleet.call(
        "user/key-admin", fleet.first.url, "POST", "/v1/keys",
        {"alias": "fleet", "spec": "ECC_NIST_P256", "purpose": "general", "users": [USER]},
    )  # fmt: skip
    assert made.status_code == 201
    for url in (fleet.second.url, fleet.first.url):
        assert fleet.call(USER, url, "POST", "/v1/keys/fleet/signatures", digest()).status_code == 200
    proofs = list(teller.ledger.proofs)
    teller.close()
    report = Report()
    judge(report, fleet.deployment, [], proofs)
    assert report.differences == []
    assert report.acknowledged == 24


def test_a_policy_is_in_force_on_every_node_at_the_next_request(fleet: Fleet) -> None:
    path = f"/v1/keys/{ALIAS}/policy"
    none: dict[str, object] = {"administrators": ["user/key-admin"], "users": ["role/other"]}
    everybody = none | {"users": [USER]}
    for writer, reader in ((fleet.first, fleet.second), (fleet.second, fleet.first)):
        for _ in range(5):
            for policy, status in ((none, 404), (everybody, 200)):
                assert fleet.call("user/key-admin", writer.url, "PUT", path, policy).status_code == 200
                assert fleet.call(USER, reader.url, "POST", PATH, digest()).status_code == status


def test_an_idempotency_key_holds_on_every_node(fleet: Fleet) -> None:
    body = digest()
    answers = [
        fleet.call(USER, url, "POST", PATH, body, **{"Idempotency-Key": "the-same-1"})
        for url in (fleet.first.url, fleet.second.url, fleet.url)
    ]
    assert [answer.status_code for answer in answers] == [200] * 3
    assert len({answer.json()["results"][0]["signature"] for answer in answers}) == 1
    other = fleet.call(USER, fleet.second.url, "POST", PATH, digest(), **{"Idempotency-Key": "the-same-1"})
    assert other.status_code == 409


def test_the_database_is_brought_on_under_running_nodes(fleet: Fleet, tmp_path: Path) -> None:
    """A step that adds: nodes of the version before go on, and one of them that starts anew too."""
    teller = Teller(fleet.url, fleet.deployment, log_key(fleet.deployment.database), 3)
    sign(fleet, teller, 4)
    database = connect(url_of(fleet.deployment.database))
    upgrade(database, next_history(tmp_path))
    with hand(fleet.deployment.database) as newer:  # as a node of the next version would
        assert newer.value("SELECT version_num FROM alembic_version") == "0002_0001"
        newer.run("UPDATE log_entries SET added_later = 'of the next version'")
    database.close()
    before = fleet.signed_by()
    sign(fleet, teller, 16)
    assert all(count > before[node] for node, count in fleet.signed_by().items())
    joined = join(fleet.deployment, tmp_path)
    with serving(joined.scene, "--workers", "1") as third:
        assert fleet.call(USER, third.url, "POST", PATH, digest()).status_code == 200
    teller.close()


def test_a_node_that_dies_takes_nothing_with_it(fleet: Fleet) -> None:
    """The other one goes on, and closes what it left open; the log is whole."""
    teller = Teller(fleet.url, fleet.deployment, log_key(fleet.deployment.database), 2)
    sign(fleet, teller, 4)
    os.killpg(fleet.second.process.pid, signal.SIGKILL)
    fleet.second.process.wait()
    answered = 0
    for _ in range(20):
        try:
            answered += teller.sign_if_possible(USER, PATH, digest(), 1) == 200
        except OSError:
            continue
    assert answered >= 18
    deadline = time.monotonic() + SERVED_SECONDS
    with hand(fleet.deployment.database) as database:
        while (open_ := database.value("SELECT count(*) FROM audit_epochs WHERE closed_at IS NULL")) > 1:
            assert time.monotonic() < deadline, open_
            time.sleep(0.25)
    proofs = list(teller.ledger.proofs)
    teller.close()
    report = Report()
    judge(report, fleet.deployment, [], proofs)
    assert report.differences == []
    verified = CliRunner().invoke(cli, ["audit", "verify", "--state", str(fleet.deployment.scene.state), "--json"])
    assert verified.exit_code == 0, verified.output


def test_a_node_of_a_file_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "one"
    source.mkdir(mode=0o700)
    (source / "sealmark.toml").write_text(
        '[hsm]\nuri = "pkcs11:token=x?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:hsm.pin"\n'
    )
    result = CliRunner().invoke(cli, ["node", "join", "--state", str(tmp_path / "two"), "--from", str(source)])
    assert result.exit_code == 1
    assert "several nodes need one on a PostgreSQL server" in result.output
    assert not (tmp_path / "two").exists()
