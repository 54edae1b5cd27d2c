"""docs/log.md runs as it is written, with tlog-scales on the path."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from signer.web import log
from tests.live import ROOT, Live, run_lines, shell_lines

if TYPE_CHECKING:
    from pathlib import Path

PAGE = ROOT / "docs" / "log.md"


def test_the_page_runs_as_it_is_written(live: Live, tmp_path: Path) -> None:
    place = live.copy(tmp_path / "reader")
    variables = live.environment()
    variables["PATH"] += f":{ROOT / '.venv-tlog' / 'bin'}"
    printed = run_lines(shell_lines(PAGE), place, variables)
    assert "c2sp.org/tlog-proof@v1" in printed[-1]
    assert (place / "token.tlog-proof").read_text(encoding="utf-8").startswith("c2sp.org/tlog-proof@v1\n")


def test_the_page_names_every_address() -> None:
    text = PAGE.read_text(encoding="utf-8")
    named = set(re.findall(r"/log/([a-z]+)", text))
    assert named == {endpoint.path.split("/")[2] for endpoint in log.ENDPOINTS if endpoint.path.startswith("/log/")}
