"""docs/encryption.md runs as it is written, the third party's part with the verifier; and it names every call."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from signer.web import cryptography
from tests.live import ROOT, Live, run_lines, shell_lines

if TYPE_CHECKING:
    from pathlib import Path

PAGE = ROOT / "docs" / "encryption.md"


def test_the_page_runs_as_it_is_written(live: Live, tmp_path: Path) -> None:
    place = live.copy(tmp_path / "reader")
    printed = run_lines(shell_lines(PAGE), place, live.environment())
    refused = 0
    for said in printed:
        command, _, output = said.partition("\n")
        if promised := re.search(r"# exit code 1: (\w+)", command):
            refused += 1
            assert f"Error: {promised[1]}" in output, said
    assert refused == 3
    assert (place / "report.txt").read_bytes() == b"the report"
    assert (place / "restored.tar").stat().st_size == 3_000_000
    secrets = ("aes.key", "data.key", "device.key", "opened.pdf", "report.txt", "restored.tar")
    assert {(place / name).stat().st_mode & 0o777 for name in secrets} == {0o600}
    assert not (place / "other.tar").exists()
    shown = "".join(printed)
    assert (place / "aes.key").read_bytes().hex() not in shown


def test_the_page_names_every_call() -> None:
    table = PAGE.read_text(encoding="utf-8").partition("\n## Calls\n")[2]
    for endpoint in cryptography.ENDPOINTS:
        last = endpoint.path.rpartition("<key>")[2] or endpoint.path
        assert last.removeprefix("/v1") in table, endpoint.path
