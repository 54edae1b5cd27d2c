"""docs/formats: every command and program of every page, run on things that the service really signed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.live import FORMATS, ROOT, Live, blocks, node, run_lines, shell_lines

if TYPE_CHECKING:
    from pathlib import Path

PAGES = sorted(page for page in FORMATS.glob("*.md") if page.name != "README.md")
# The stock tool that must stand on a page, each beside ours.
STOCK = {
    "cms": "openssl cms",
    "raw": "openssl dgst",
    "jwt": "joserfc",
    "saml": "xmlsec1",
    "bundle": "@sigstore/verify",
    "dsse": "@sigstore/verify",
}


@pytest.fixture(params=PAGES, ids=lambda page: page.stem)
def page(request: pytest.FixtureRequest) -> Path:
    found: Path = request.param
    return found


def test_every_page_is_run_and_linked(page: Path) -> None:
    listed = set(re.findall(r"\]\(([a-z]+\.md)\)", (FORMATS / "README.md").read_text(encoding="utf-8")))
    assert page.name in listed
    assert listed == {each.name for each in PAGES}


def test_a_page_shows_the_stock_tool_beside_ours_and_both_refuse(page: Path) -> None:
    text, lines = page.read_text(encoding="utf-8"), shell_lines(page)
    assert STOCK[page.stem] in text
    assert any(line.startswith("sealmark-verify") and "exit code" not in line for line in lines)
    assert any(line.startswith("sealmark-verify") and "exit code 1" in line for line in lines)


def save_programs(page: Path, place: Path) -> set[str]:
    """Each program of the page under the name in its first line; their names. Node.js finds the tests' packages."""
    names = set()
    for program in [*blocks(page, "python"), *blocks(page, "js")]:
        name = re.match(r"(?:#|//) (\S+)", program)
        assert name is not None, "a program begins with a comment that gives its file's name"
        (place / name[1]).write_text(program, encoding="utf-8")
        names.add(name[1])
    (place / "node_modules").symlink_to(ROOT / "tests" / "interop" / "npm" / "node_modules")
    return names


def test_a_page_runs_as_it_is_written(page: Path, live: Live, tmp_path: Path) -> None:
    place = live.copy(tmp_path / "reader")
    programs, lines = save_programs(page, place), shell_lines(page)
    assert all(any(name in line for line in lines) for name in programs)
    variables = live.environment()
    variables["PATH"] += f":{node().parent}"
    run_lines(lines, place, variables)
