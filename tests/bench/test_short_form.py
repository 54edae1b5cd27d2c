"""The benchmark runs to its end beside OpenBao, checks the results of both and writes down what it saw.

Its figures here mean nothing.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from tools.bench.workloads import WORKLOADS

ROOT = Path(__file__).resolve().parents[2]
PEERS = ("P-256, batches of 100", "RSA-2048, singly", "P-256, singly", "Encrypt", "GenerateDataKey")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that a short form has filled."""
    output = tmp_path_factory.mktemp("bench") / "results"
    command = [sys.executable, "-m", "tools.bench", "--short", "--output", str(output)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return output


@pytest.fixture(scope="module")
def document(results: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((results / "bench.json").read_text(encoding="utf-8"))
    return found


def test_every_load_is_measured_and_its_results_are_checked(document: dict[str, Any]) -> None:
    assert [load["name"] for load in document["loads"]] == [
        *("P-256, batches of 100", "RSA-2048, singly", "P-256, singly", "JWT", "Encrypt", "GenerateDataKey"),
        *("Sign, AWS KMS", "Encrypt, AWS KMS", "GenerateDataKey, AWS KMS"),
    ]
    for load in document["loads"]:
        assert (load["openbao"] is not None) == (load["name"] in PEERS)
        assert (load["of_base"] is not None) == (load["name"] == "JWT" or "AWS" in load["name"])
        for seen in filter(None, (load["service"], load["openbao"])):
            assert seen["requests"] > 0
            assert seen["results_checked"] > 0
            assert seen["p50_milliseconds"] <= seen["p99_milliseconds"] <= seen["longest_milliseconds"]
            assert seen["memory"] > 2**20
            assert seen["server_microseconds"] > 0
            assert seen["load_microseconds"] > 0


def test_each_part_says_what_it_saw(document: dict[str, Any]) -> None:
    assert document["short"] is True
    assert set(document["parts"]) == {"access", "scaling", "curve"}
    assert {(point["server"], point["clients"]) for point in document["parts"]["curve"]} == {
        (server, clients) for server in ("sealmark", "OpenBao") for clients in (1, 8, 64)
    }
    asked = {name for load in WORKLOADS for name in (load.of_bare, load.of_peer, load.of_base) if name}
    parts = {"p99-of-p50", "load-tool-processor", "access-of-request", "rsa-4096-beside-signing"}
    assert set(document["figures"]) == asked | parts | {
        "worker-scaling",
        "worker-scaling-free",
        "worker-scaling-shared",
    }


def test_a_short_form_writes_tables_and_plots_but_no_measurement(results: Path) -> None:
    assert {path.name for path in results.iterdir()} == {"bench.json", "bench.md", "latency-p-256-singly.svg"}
    page = (results / "bench.md").read_text(encoding="utf-8")
    assert "not measured" in page
    assert "| P-256, batches of 100 |" in page
    plot = etree.parse(results / "latency-p-256-singly.svg").getroot()
    assert plot.tag == "{http://www.w3.org/2000/svg}svg"
