"""docs/audit.md: its commands run as they are written, and its table has every member of a record and every command."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from signer.audit.records import RECORD_VERSION
from signer.cli.audit import audit
from signer.web.answers.audit import AuditRecord
from signer.web.routes import ENDPOINTS
from tests.live import ROOT, Live, run_lines, shell_lines

if TYPE_CHECKING:
    from pathlib import Path

PAGE = ROOT / "docs" / "audit.md"


def test_the_page_runs_as_it_is_written(live: Live, tmp_path: Path) -> None:
    place = live.copy(tmp_path / "reader")
    lines = shell_lines(PAGE)
    said = dict(zip(lines, run_lines(lines, place, live.environment()), strict=True))

    def shown(part: str) -> str:
        return next(text for line, text in said.items() if part in line)

    assert "SignArtifact" in shown("search --key release --action")
    assert "role/ci" in shown("about app.p7s")
    assert "IssueToken" in shown("< token.jwt")
    assert "no entry about it" in shown("never signed")
    assert "c2sp.org/tlog-proof@v1" in shown("head -1")
    assert "Who may use it" in shown("--per day")
    assert "CreatePrincipal" in shown("audit history --principal")
    assert shown("audit follow").count('"index"') >= 3
    assert "sealmark/000000000000/us-east-1/" in shown("tail -1")
    assert sum("Error: duty_forbids" in text for text in said.values()) == 4


def test_every_member_of_a_record_is_told_of() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert f"schema version {RECORD_VERSION}" in text
    table = text[text.index("## The record") : text.index("The leaf, which anybody may see")]
    rows = "".join(line.split("|")[1] for line in table.splitlines() if line.startswith("| `"))
    assert sorted(re.findall(r"`([a-z_]+)`", rows)) == sorted(AuditRecord.__struct_fields__)


def test_every_command_and_call_is_told_of() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert {name for name in audit.commands if f"sealmark audit {name}" not in text} == set()
    calls = [endpoint.path.replace("<", "{").replace(">", "}") for endpoint in ENDPOINTS if endpoint.tag == "audit"]
    assert [call for call in calls if f"`GET {call}`" not in text] == []
