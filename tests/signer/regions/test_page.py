"""docs/multi-region.md, typed as it stands: the ceremony founded the two regions of these tests, the rest is here."""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING

from tests.live import blocks, run_lines, shell_lines
from tests.signer.regions.deployments import ADMINISTRATOR, CEREMONY, FIRST, PAGE, SECOND
from tools.service import PROGRAMS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.signer.regions.deployments import Region, Regions


def test_the_ceremony_is_typed_as_it_stands_on_the_page(regions: Regions) -> None:
    assert [re.findall(r"domain (\w+)", line)[0] for line in CEREMONY] == ["create", "export", "adopt"]
    shown = {}
    for region in (regions.first, regions.second):
        domains = region.made("GET", "/v1/domains")["domains"]
        shown[region.name] = [(each["name"], each["version"], each["home_region"]) for each in domains]
        assert region.run(ceremonies) == {FIRST: ["CreateDomain", "ExportDomain"], SECOND: ["AdoptDomain"]}[region.name]
    assert shown[FIRST] == shown[SECOND] == [("default", 1, None), ("global", 1, FIRST)]


def ceremonies(region: Region) -> list[str]:
    found = region.made("GET", "/v1/audit/history?of=domains", None, "user/auditor")["changes"]
    return sorted(change["action"] for change in found)


def test_the_commands_for_keys_do_what_the_page_says(regions: Regions, tmp_path: Path) -> None:
    token = regions.first.service.tokens[ADMINISTRATOR]
    variables = {
        **os.environ,
        "PATH": f"{PROGRAMS}:{os.environ['PATH']}",
        "SEALMARK_URL": regions.first.url,
        "SEALMARK_TOKEN": token,
    }
    lines = [line for line in shell_lines(PAGE) if line not in CEREMONY]
    assert [line.split()[2] for line in lines] == ["create", "replicate", "show", "rotate", "set-primary"]
    *_, show, rotate, moved = run_lines(lines, tmp_path, variables)
    assert f"primary in {FIRST}, replicas in {SECOND}; this is the primary key" in show
    assert "│ 2 " in rotate
    assert f"primary in {SECOND}, replicas in {FIRST}; this is a replica" in moved


def test_the_policy_of_the_page_is_the_one_that_is_tried() -> None:
    (document,) = blocks(PAGE, "json")
    (statement,) = json.loads(document)["Statement"]
    assert statement["NotAction"] == ["kms:SynchronizeMultiRegionKey", "sealmark:WhoAmI"]
