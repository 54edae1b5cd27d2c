"""What the tests of the commands share: a scripted service, and the command itself run against it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest
from click.testing import CliRunner, Result

from signer.cli.main import cli
from tests.signer.cli.scripted import ScriptedService

TOKEN = "smk_a-token-of-tests"


class Run(Protocol):
    """Runs `sealmark` with arguments; `environment` adds to or, with None, takes from what is usual."""

    def __call__(
        self, *arguments: object, typed: str | None = None, environment: dict[str, str | None] | None = None
    ) -> Result: ...


@pytest.fixture
def service() -> Iterator[ScriptedService]:
    with ScriptedService() as running:
        yield running


@pytest.fixture
def run(service: ScriptedService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)

    def invoke(
        *arguments: object, typed: str | None = None, environment: dict[str, str | None] | None = None
    ) -> Result:
        usual = {"SEALMARK_URL": service.url, "SEALMARK_TOKEN": TOKEN}
        result = CliRunner().invoke(
            cli, [str(argument) for argument in arguments], input=typed, env=usual | (environment or {})
        )
        assert "Traceback" not in result.output
        assert TOKEN not in result.output
        return result

    return invoke
