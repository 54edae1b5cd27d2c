"""docs/access-keys.md runs as it is written, and its proof is checked as it says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING

from signer.authn.refused import Kind
from tests.live import ROOT, Live, blocks, run_lines, shell_lines

if TYPE_CHECKING:
    from pathlib import Path

PAGE = ROOT / "docs" / "access-keys.md"


def test_the_page_runs_as_it_is_written(live: Live, tmp_path: Path) -> None:
    place = live.copy(tmp_path / "reader")
    lines = shell_lines(PAGE)
    said = dict(zip(lines, run_lines(lines, place, live.environment()), strict=True))
    (curl,) = [printed for line, printed in said.items() if "curl" in line]
    me = json.loads(curl.splitlines()[-1])
    key = (place / "aws.credentials").read_text().split()[3]
    assert (me["name"], me["credential"]) == ("role/ci", f"access-key:{key}")
    (process,) = [printed for line, printed in said.items() if "access-keys process" in line]
    given = json.loads(process.partition("\n")[2])
    assert set(given) == {"Version", "AccessKeyId", "SecretAccessKey", "SessionToken", "Expiration"}
    _check_the_proof(live, place, key)


def _check_the_proof(live: Live, place: Path, key: str) -> None:
    """With the page's own program, on what an auditor is shown of the call that curl signed."""
    auditor = live.service.enrolled("user/access-keys-auditor", "auditor")
    with live.service.caller(auditor) as caller:
        found = caller.json("GET", "/v1/audit/entries?principal=role/ci&action=WhoAmI&limit=1000")["entries"]
    (record,) = [entry["record"] for entry in found if entry["record"]["credential"] == f"access-key:{key}"]
    (place / "proof.json").write_text(json.dumps(record["proof"]))
    secret = (place / "aws.credentials").read_text().split()[-1]
    (place / "secret").write_text(secret)
    assert secret not in (place / "proof.json").read_text()
    (program,) = blocks(PAGE, "python")
    done = subprocess.run([sys.executable, "-c", program], cwd=place, capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


def test_the_page_names_every_error() -> None:
    assert set(re.findall(r"^\| `(\w+Exception)`", PAGE.read_text(), re.MULTILINE)) == set(Kind)
