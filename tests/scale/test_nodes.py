"""Two nodes behind nginx: state directories of their own, one database on a PostgreSQL server, one token."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from keystore.db import connect, upgrade
from signer.cli.main import cli
from tests.databases import hand, is_postgresql, on_postgresql, url_of
from tests.faults.kills import Report, judge
from tests.keystore.upgrading import next_history
from tests.log_audit import log_key
from tests.postgresql_server import running_server
from tests.scale import nodes
from tests.scale.deployment import USER
from tests.scale.fleet import fleet_of, join
from tests.scale.mixture import digest
from tests.scale.scene import ALIAS, PATH, serving
from tests.scale.teller import Teller

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.scale.fleet import Fleet

pytestmark = pytest.mark.postgresql_only("nodes share a database on a server")
SERVED_SECONDS = 60


@pytest.fixture(scope="module", autouse=True)
def server() -> Iterator[None]:
    if is_postgresql():
        yield
        return
    with running_server() as running, on_postgresql(running.url("{}")):
        yield


@pytest.fixture(scope="module")
def fleet(server: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with fleet_of(2, tmp_path_factory.mktemp("nodes")) as made:
        yield made


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
        "user/key-admin", fleet.nodes[0].url, "POST", "/v1/keys",
        {"alias": "fleet", "spec": "ECC_NIST_P256", "purpose": "general", "users": [USER]},
    )  # fmt: skip
    assert made.status_code == 201
    for url in (fleet.nodes[1].url, fleet.nodes[0].url):
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
    for writer, reader in ((fleet.nodes[0], fleet.nodes[1]), (fleet.nodes[1], fleet.nodes[0])):
        for _ in range(5):
            for policy, status in ((none, 404), (everybody, 200)):
                assert fleet.call("user/key-admin", writer.url, "PUT", path, policy).status_code == 200
                assert fleet.call(USER, reader.url, "POST", PATH, digest()).status_code == status


def test_an_idempotency_key_holds_on_every_node(fleet: Fleet) -> None:
    body = digest()
    answers = [
        fleet.call(USER, url, "POST", PATH, body, **{"Idempotency-Key": "the-same-1"})
        for url in (fleet.nodes[0].url, fleet.nodes[1].url, fleet.url)
    ]
    assert [answer.status_code for answer in answers] == [200] * 3
    assert len({answer.json()["results"][0]["signature"] for answer in answers}) == 1
    other = fleet.call(USER, fleet.nodes[1].url, "POST", PATH, digest(), **{"Idempotency-Key": "the-same-1"})
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
    os.killpg(fleet.nodes[1].process.pid, signal.SIGKILL)
    fleet.nodes[1].process.wait()
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


def test_the_command_counts_what_is_wrong(server: None, tmp_path: Path) -> None:
    with fleet_of(2, tmp_path, nodes.SETTINGS) as fresh:
        seen = nodes.run(fresh, tmp_path, 1.0)
    assert seen.right, seen
    assert (seen.any_key_tries, seen.limit_tries) == (20, 2 * nodes.QUOTA)
    assert min(seen.policy_tries, seen.signed, seen.of_which_upgraded) > 0
    for wrong in ({"any_key_failed": 1}, {"failed": ["503"]}, {"policy_wrong": 1}, {"differences": ["a fork"]}):
        assert not replace(seen, **wrong).right
    assert not replace(seen, limit_let_through=nodes.QUOTA + 1).right


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
