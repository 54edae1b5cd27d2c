"""Nodes of one deployment behind nginx: a state directory each, one database on a PostgreSQL server, one token."""

from __future__ import annotations

import json
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import httpx
from click.testing import CliRunner

from signer.cli.main import cli
from tests.databases import hand
from tests.scale.deployment import make_deployment
from tests.scale.nginx import balanced
from tests.scale.scene import serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.scale.deployment import Deployment
    from tools.service import Service


@dataclass
class Fleet:
    """The nodes, and the address of the balancer before them."""

    deployment: Deployment
    nodes: list[Service]
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
    """A further node of it, which nobody serves yet."""
    words = ["node", "join", "--state", str(folder / "state"), "--from", str(deployment.scene.state), "--json"]
    result = CliRunner().invoke(cli, words)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["log"].startswith("sealmark/")
    return replace(deployment, scene=replace(deployment.scene, state=folder / "state"))


@contextmanager
def fleet_of(count: int, folder: Path, settings: str = "") -> Iterator[Fleet]:
    """So many nodes of a new deployment; `settings` are added to its configuration. A node may be killed within."""
    deployment = make_deployment(folder / "1")
    with (deployment.scene.state / "sealmark.toml").open("a", encoding="utf-8") as file:
        file.write(settings)
    each = [deployment]
    for number in range(2, count + 1):
        (folder / str(number)).mkdir()
        each.append(join(deployment, folder / str(number)))
    with ExitStack() as stack:
        nodes = [stack.enter_context(_may_be_killed(node)) for node in each]
        url = stack.enter_context(balanced(folder / "nginx", [node.url for node in nodes]))
        yield Fleet(deployment, nodes, url)


@contextmanager
def _may_be_killed(deployment: Deployment) -> Iterator[Service]:
    context = serving(deployment.scene, "--workers", "1")
    service = context.__enter__()
    try:
        yield service
    finally:
        killed = service.process.poll() is not None
        try:
            context.__exit__(None, None, None)
        except AssertionError:
            assert killed, "the node did not stop as it should"
