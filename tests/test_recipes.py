"""docs/recipes: every command of every page, on a service that really decides; and the tables of docs/access.md."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from signer.access.condition_keys import CONDITION_KEY_FAMILIES, CONDITION_KEYS
from tests.live import ROOT, Live, run_lines, shell_lines
from tools.access_actions import page as page_of_actions

if TYPE_CHECKING:
    from pathlib import Path

DOCS = ROOT / "docs"
RECIPES = DOCS / "recipes"
PAGES = sorted(page for page in RECIPES.glob("*.md") if page.name != "README.md")


@pytest.fixture(params=PAGES, ids=lambda page: page.stem)
def page(request: pytest.FixtureRequest) -> Path:
    found: Path = request.param
    return found


def documents(page: Path) -> dict[str, str]:
    """The JSON blocks of a page by the file's name, the last one that stands in the text above."""
    text = page.read_text(encoding="utf-8")
    found = re.findall(
        r"in the file `([\w.-]+\.json)`[^\n]*\n(?:[^\n`]+\n)*\n```json\n(.*?)^```", text, re.MULTILINE | re.DOTALL
    )
    assert len(found) == text.count("```json\n")
    return dict(found)


def test_every_recipe_is_listed() -> None:
    listed = set(re.findall(r"\]\(([a-z-]+\.md)\)", (RECIPES / "README.md").read_text(encoding="utf-8")))
    assert listed == {page.name for page in PAGES}


def test_a_recipe_shows_who_may_not_and_why(page: Path) -> None:
    lines = shell_lines(page)
    assert sum("exit code 1" in line for line in lines) >= 3
    assert any(" access explain " in line for line in lines)
    assert any(" access who-can " in line for line in lines)


def test_a_recipe_runs_as_it_is_written(page: Path, live: Live, tmp_path: Path) -> None:
    place = live.copy(tmp_path / "reader")
    for name, text in documents(page).items():
        json.loads(text)
        (place / name).write_text(text, encoding="utf-8")
    printed = run_lines(shell_lines(page), place, live.environment())
    for said in printed:
        # A refusal is the one that the line says.
        command, _, promised = said.partition("\n")[0].partition("# ")
        for code in re.findall(r"\b(policy_forbids|duty_forbids|not_found)\b", promised):
            assert f"Error: {code}" in said, command


def test_explanations_read_as_the_pages_say(live: Live, tmp_path: Path) -> None:
    asked = "--action SignArtifact --key release --detail sealmark:Format=cms"
    lines = [
        f"sealmark --token-file .sealmark/key-admin.token access explain --principal role/ci {asked} --json",
        "sealmark --token-file ci.token access explain --action PutKeyPolicy --key release",
        "sealmark --token-file ci.token access explain --action SignArtefact --key release # exit code 1",
        "sealmark --token-file .sealmark/key-admin.token access who-can --action SignArtifact --key release --json",
    ]
    shown = run_lines(lines, live.copy(tmp_path / "reader"), live.environment())
    explained, who = (json.loads(said.partition("\n")[2]) for said in (shown[0], shown[3]))
    assert (explained["allowed"], explained["decided_by"]["statement"]) == (True, "KeyUsers")
    assert re.search(r"verdict +denied", shown[1])
    assert "PutKeyPolicy is for the duty key-administrator" in shown[1]
    assert "did you mean kms:SignArtifact" in shown[2]
    assert [each["principal"] for each in who["principals"]] == ["role/ci"]


def test_the_page_of_actions_is_the_table() -> None:
    assert (DOCS / "access-actions.md").read_text(encoding="utf-8") == page_of_actions()


def test_the_condition_keys_of_the_page_are_those_of_the_table() -> None:
    text = (DOCS / "access.md").read_text(encoding="utf-8")
    (unfilled,) = re.findall(r"<!-- unfilled -->\n(.*?)<!-- /unfilled -->", text, re.DOTALL)
    table = text[text.index("\n## Condition keys\n") : text.index("<!-- unfilled -->")]
    rows = "".join(line.split("|")[1] for line in table.splitlines() if line.startswith("| `"))
    every = [*CONDITION_KEYS.values(), *CONDITION_KEY_FAMILIES.values()]
    named = {
        name.removesuffix("NAME") if name.endswith((":NAME", "/NAME")) else name
        for name in re.findall(r"`([^`]+)`", rows)
    }
    assert named == {row.name for row in every if row.filled}
    assert set(re.findall(r"`([^`]+)`", unfilled)) == {row.name for row in every if not row.filled}
