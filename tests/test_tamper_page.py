"""docs/tamper-evidence.md, typed as it stands against a running service: by --state, on a copy, and over HTTP."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Final

import pytest

from tests.bench.log_attacks import ATTACKS
from tests.live import ROOT, run_lines, shell_lines

if TYPE_CHECKING:
    from pathlib import Path

    from tests.live import Live

pytestmark = pytest.mark.sqlite_only("the page copies an SQLite file")


PAGE: Final = ROOT / "docs" / "tamper-evidence.md"


def changed_entry(database: Path) -> int:
    """A decision that now says another principal in its column; its index."""
    with closing(sqlite3.connect(database, isolation_level=None)) as attacker:
        found = attacker.execute("SELECT max(seq) FROM log_entries WHERE kind = 'decision'").fetchone()
        attacker.execute("UPDATE log_entries SET principal = 'role/nobody' WHERE seq = ?", found)
        return int(found[0])


@pytest.fixture
def reader(live: Live, tmp_path: Path) -> dict[str, str]:
    """The environment of a person who sits in `tmp_path`."""
    admin = (live.folder / ".sealmark" / "admin.token").read_text(encoding="ascii").strip()
    return live.environment(STATE=str(live.service.state), SEALMARK_TOKEN=admin)


def test_what_the_page_says_works_as_it_stands(live: Live, tmp_path: Path, reader: dict[str, str]) -> None:
    lines = shell_lines(PAGE)
    assert len(lines) == 8
    told = run_lines(lines[:1], tmp_path, reader)
    assert "VERIFIED" in told[0]
    database = live.service.state / "sealmark.db"
    with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(tmp_path / "copy.db")) as copy:
        source.backup(copy)
    state, copied, *_ = run_lines(lines[1:3], tmp_path, reader)
    assert json.loads(state.partition("\n")[2])["verified"] is True
    assert "continues" in copied
    *_, first, full = run_lines(lines[3:7], tmp_path, reader)
    (resumed,) = run_lines(lines[5:6], tmp_path, reader)
    assert "continues" not in first
    assert "continues" in resumed
    assert "an earlier audit read them" in resumed
    assert "continues" in full
    assert "an earlier audit read them" not in full
    index = changed_entry(tmp_path / "copy.db")
    (rejected,) = run_lines(lines[7:], tmp_path, reader)
    place = "table log_entries, row 17, column principal, index 17"
    page = f"entry 17: principal is not what its record says (log_proof_invalid; {place})"
    assert page in PAGE.read_text(encoding="utf-8")
    assert "REJECTED: " + page.replace("17", str(index)) in rejected
    assert "VERIFIED" not in rejected


def test_the_page_has_the_figures_of_the_benchmark() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert "make bench-log" in text
    assert f"{len(ATTACKS)} kinds" in text
