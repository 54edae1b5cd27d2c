"""docs/aws-kms.md runs as it is written; and all that it names is there."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from keystore.algorithms import KEY_USAGES, Purpose
from signer.kms.operations import OPERATIONS
from tests.live import ROOT, Live, run_lines, shell_lines
from tests.signer.kms.model import model

if TYPE_CHECKING:
    from pathlib import Path

PAGE = ROOT / "docs" / "aws-kms.md"


def test_the_page_runs_as_it_is_written(live: Live, tmp_path: Path) -> None:
    place = live.copy(tmp_path / "reader")
    printed = run_lines(shell_lines(PAGE), place, live.environment())
    made = json.loads(printed[-1].splitlines()[-1])
    assert made["SigningAlgorithm"] == "ECDSA_SHA_256"
    assert made["Signature"]


def test_usages_and_purposes_are_as_the_page_says() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \| `([a-z]+)` \|", PAGE.read_text(), re.MULTILINE)
    assert dict(rows) == {KEY_USAGES[Purpose(purpose)]: purpose for _, purpose in rows}
    assert {usage for usage, _ in rows} == set(model()["shapes"]["KeyUsageType"]["enum"])


def test_the_page_counts_the_operations() -> None:
    unsupported = [name for name, operation in OPERATIONS.items() if not operation.actions]
    assert (len(OPERATIONS), len(unsupported)) == (56, 6)
    assert "All 56 operations" in PAGE.read_text()
    named = set(re.findall(r"`(\w+Exception)`", PAGE.read_text()))
    common = {"AccessDeniedException", "SerializationException", "ThrottlingException"}
    assert named - common <= set(model()["shapes"])
