"""docs/recovery.md: the drill, command for command, with a service of its own that is lost at the end."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from tests.live import ROOT, environment, run_lines, shell_lines, tokens_of_the_first_people
from tools.service import free_port, running_service

if TYPE_CHECKING:
    from pathlib import Path

PAGE = ROOT / "docs" / "recovery.md"


def test_the_drill_runs_as_it_is_written(tmp_path: Path) -> None:
    place = tmp_path / "reader"
    place.mkdir()
    with running_service(tmp_path) as service:
        tokens_of_the_first_people(service, place)
        for name, person, duty in (("ci", "role/ci", "key-user"), ("irene", "user/irene", "auditor")):
            token = place / f"{name}.token"
            token.touch(mode=0o600)
            token.write_text(service.enrolled(person, duty) + "\n")
        known = {"STATE": str(service.state), "SHARES": str(service.state / "ceremony"), "PORT": str(free_port())}
        try:
            printed = run_lines(shell_lines(PAGE), place, environment(service, **known))
        finally:
            left = place / "new.pid"
            if left.exists():
                try:
                    os.kill(int(left.read_text()), signal.SIGKILL)
                except ProcessLookupError:
                    left.unlink()
    said = "\n".join(printed)
    assert "Not in this backup" in said
    assert "2 custodians' shares were given, 3 different ones are needed" in said
    assert "can be gone on with" in said
    assert "wrong_state" in said
    assert "follows:" in said
    secrets = [path.read_text().strip() for path in (service.state / "ceremony").iterdir()]
    assert not any(secret in said for secret in secrets)
