"""docs/multi-region.md, typed as it stands: the ceremony over two deployments, the rest over two services."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from keystore import open_keystore
from keystore.ceremony import initialise
from tests.databases import init_options
from tests.live import ROOT, blocks, run_lines, shell_lines
from tests.signer.regions.deployments import ADMINISTRATOR, FIRST, SECOND
from tools.service import PROGRAMS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.signer.regions.deployments import Regions

PAGE = ROOT / "docs" / "multi-region.md"
LINES = shell_lines(PAGE)
CEREMONY = [line for line in LINES if " ceremony " in line]


def environment(**variables: str) -> dict[str, str]:
    return {**os.environ, "PATH": f"{PROGRAMS}:{os.environ['PATH']}", **variables}


def test_the_ceremony_is_typed_as_it_stands_on_the_page(tmp_path: Path) -> None:
    first, second = (
        initialise(tmp_path / name, init_options(tmp_path / name, region=name)).state.path for name in (FIRST, SECOND)
    )
    created, exported, adopted = run_lines(CEREMONY, tmp_path, environment(FIRST=str(first), SECOND=str(second)))
    assert "created" in created
    assert "exported" in exported
    assert "adopted" in adopted
    assert (tmp_path / "global.domain").stat().st_mode & 0o777 == 0o600
    seals = []
    for state in (first, second):
        keystore = open_keystore(state)
        domains = [(each.name, each.version, each.home_region) for each in keystore.list_domains()]
        assert domains == [("default", 1, None), ("global", 1, FIRST)]
        seals.append(keystore.regions.sealed("global", b"statement"))
        keystore.close()
    assert seals[0] == seals[1]


def test_the_commands_for_keys_do_what_the_page_says(regions: Regions, tmp_path: Path) -> None:
    token = regions.first.service.tokens[ADMINISTRATOR]
    lines = [line for line in LINES if line not in CEREMONY]
    assert [line.split()[2] for line in lines] == ["create", "replicate", "show", "rotate", "set-primary"]
    *_, show, rotate, moved = run_lines(
        lines, tmp_path, environment(SEALMARK_URL=regions.first.url, SEALMARK_TOKEN=token)
    )
    assert f"primary in {FIRST}, replicas in {SECOND}; this is the primary key" in show
    assert "│ 2 " in rotate
    assert f"primary in {SECOND}, replicas in {FIRST}; this is a replica" in moved


def test_the_policy_of_the_page_is_the_one_that_is_tried() -> None:
    (document,) = blocks(PAGE, "json")
    (statement,) = json.loads(document)["Statement"]
    assert statement["NotAction"] == ["kms:SynchronizeMultiRegionKey", "sealmark:WhoAmI"]
