"""docs/log-audit.md: its commands and its program run, its words are those of the program, its sizes are right."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from tests.verifier.log_builder import log_signer
from tests.verifier.log_files import entries, export_lines, write_tiles
from tests.verifier.trust_builder import bundle
from verifier.command import run
from verifier.log import ExportSource, LogAudit, LogSource, audit_log
from verifier.log.export import MAXIMUM_LINE
from verifier.log.head import store_head
from verifier.notes import parse_key

if TYPE_CHECKING:
    import pytest

PAGE = (Path(__file__).parents[2] / "docs/log-audit.md").read_text()
LOG = entries(300)
KEY = log_signer().text


def prepare(folder: Path) -> None:
    (folder / "export.jsonl").write_bytes(b"".join(export_lines(LOG)))
    write_tiles(folder / "mirror", LOG)
    logs = [{"key": KEY, "witnesses": [], "cosignatures": 0}]
    (folder / "trust.json").write_text(json.dumps(json.loads(bundle([])) | {"logs": logs}))


def test_the_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    prepare(tmp_path)
    monkeypatch.chdir(tmp_path)
    lines = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
    assert len(lines) == 2
    for line in lines:
        words = shlex.split(line)
        assert words.pop(0) == "sealmark-verify"
        assert run(words) == 0, capsys.readouterr()
    assert "continues" not in capsys.readouterr().out.split("VERIFIED")[1]


def test_the_program_runs(tmp_path: Path) -> None:
    prepare(tmp_path)
    program = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert program
    names: dict[str, object] = {}
    exec(compile(program[1], "page", "exec"), names)  # noqa: S102 (the page's own program)
    audit = names["audit"]
    assert callable(audit)
    for kept in (None, 300):
        found = audit(tmp_path / "export.jsonl", KEY, tmp_path / "head")
        assert isinstance(found, LogAudit)
        assert (found.size, found.kept_size) == (300, kept)


def test_the_words_are_the_program_s() -> None:
    members = {name for name in vars(LogSource) if not name.startswith("_")}
    assert members == {"has_records", "has_tiles", "checkpoint", "entries", "tile"}
    assert all(f"`{name}" in PAGE for name in members)
    assert f"at most {MAXIMUM_LINE / 1_000_000:.1f} MB" in PAGE


def test_the_size_of_a_head(tmp_path: Path) -> None:
    (tmp_path / "export").write_bytes(b"".join(export_lines(entries(2560))))
    store_head(tmp_path / "head", audit_log(ExportSource(tmp_path / "export"), parse_key(KEY)).head)
    store_head(tmp_path / "empty", audit_log(_empty(tmp_path), parse_key(KEY)).head)
    growth = (tmp_path / "head").stat().st_size - (tmp_path / "empty").stat().st_size
    assert 5.4 < growth / 2560 < 5.6
    assert "5.5 MB" in PAGE


def _empty(folder: Path) -> ExportSource:
    (folder / "none").write_bytes(b"".join(export_lines([])))
    return ExportSource(folder / "none")
