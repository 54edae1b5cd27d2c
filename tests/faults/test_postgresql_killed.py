"""A few of the thirty kills of `python -m tests.faults.postgresql_kills`; and the audit of what they leave."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from signer.cli.main import cli
from tests.databases import hand, on_postgresql, url_of
from tests.faults.postgresql_kills import run
from tests.postgresql_server import running_server
from tests.scale.deployment import make_deployment

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.postgresql_only("takes its time: starts a service and a server, and kills that again and again")
def test_a_server_that_is_killed_takes_nothing_with_it(tmp_path: Path) -> None:
    with running_server() as server, on_postgresql(server.url("{}")):
        deployment = make_deployment(tmp_path / "deployment")
        report = run(server, deployment, kills=3, workers=2, clients=3)
        assert report.differences == []
        assert report.kills == 3
        assert report.acknowledged > 0
        place, head = url_of(deployment.database), str(tmp_path / "head")
        for words in (("--state", str(deployment.scene.state)), ("--database", place)):
            result = CliRunner().invoke(cli, ["audit", "verify", *words, "--head", head, "--json"])
            assert result.exit_code == 0, result.output
            told = json.loads(result.stdout)
            assert (told["verified"], told["database"]) == (True, place)
        with hand(deployment.database) as attacker:
            attacker.run("UPDATE log_entries SET principal = 'role/nobody' WHERE seq = 3")
            attacker.run("CREATE VIEW planted AS SELECT * FROM log_entries")
        result = CliRunner().invoke(cli, ["audit", "verify", "--database", place, "--head", head])
        assert result.exit_code == 1
        assert "planted" in result.output
        assert "REJECTED" in result.output
