"""The benchmark runs to its end, checks signatures and writes down what it saw. Its figures here mean nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_short_form_measures_every_load_and_writes_both_reports(tmp_path: Path) -> None:
    output = tmp_path / "figures"
    command = [sys.executable, "-m", "tools.bench", "--short", "--output", str(output)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads(output.with_suffix(".json").read_text(encoding="utf-8"))
    assert [load["name"] for load in document["loads"]] == [
        *("P-256, batches of 100", "RSA-2048, singly", "P-256, singly", "Encrypt", "GenerateDataKey"),
        *("Sign, AWS KMS", "Encrypt, AWS KMS", "GenerateDataKey, AWS KMS"),
    ]
    for load in document["loads"]:
        assert load["requests"] > 0
        assert load["results_checked"] > 0
        assert load["ratio"] > 0
        assert (load["of_native"] is not None) == load["name"].endswith("AWS KMS")
        assert load["p50_milliseconds"] <= load["p99_milliseconds"] <= load["longest_milliseconds"]
    assert 0 < document["access"]["share"] < 1
    assert "P-256, batches of 100" in output.with_suffix(".md").read_text(encoding="utf-8")
