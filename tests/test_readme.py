"""What README.md and docs/ promise: commands exist, links lead somewhere, and the tour runs as it is written."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from signer.cli.main import cli as sealmark
from tools.service import PROGRAMS, running_service
from verifier.command import cli as sealmark_verify

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "verifier" / "README.md"])
PROGRAMS_BY_NAME = {"sealmark": sealmark, "sealmark-verify": sealmark_verify}


def shell_lines(page: Path) -> Iterator[str]:
    """The lines of a page's sh blocks; one that ends with a backslash goes on in the next."""
    for block in re.findall(r"^```sh\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        yield from (line for line in block.replace("\\\n", " ").splitlines() if line.strip())


def commands(line: str) -> Iterator[list[str]]:
    """The simple commands of a line, as words."""
    words = shlex.split(line, comments=True)
    command: list[str] = []
    for word in [*words, ";"]:
        if word in ("&&", "||", "|", ">", ">>", ";") or word.endswith(";"):
            if command:
                yield [*command, *([word[:-1]] if len(word) > 1 and word.endswith(";") else [])]
            command = []
        else:
            command.append(word)


ALL_COMMANDS = [
    pytest.param(command, id=f"{page.name}: {' '.join(command)[:70]}")
    for page in PAGES
    for line in shell_lines(page)
    for command in commands(line)
]


@pytest.mark.parametrize("command", ALL_COMMANDS)
def test_a_command_in_the_docs_exists(command: list[str]) -> None:
    if command[0] == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        assert set(command[1:2]) <= set(targets)
    elif command[0] in PROGRAMS_BY_NAME:
        assert_options_exist(PROGRAMS_BY_NAME[command[0]], command[1:])


def assert_options_exist(program: click.Command, words: list[str]) -> None:
    """Follows sub-commands by name; every `--option` must be known to the command that it stands with."""
    known = {"--help"}
    while True:
        known |= {name for parameter in program.params for name in parameter.opts + parameter.secondary_opts}
        if not isinstance(program, click.Group):
            break
        position = next((at for at, word in enumerate(words) if word in program.commands), None)
        if position is None:
            assert all(word.startswith("-") for word in words), f"no such command: {words}"
            break
        program, words = program.commands[words[position]], words[:position] + words[position + 1 :]
    assert {word.partition("=")[0] for word in words if word.startswith("--")} <= known


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_link_in_the_docs_leads_to_a_file(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    missing = [target for target in targets if "://" not in target and not (page.parent / target).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_link_within_a_page_leads_to_a_heading(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    headings = {
        re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= headings


def test_every_decision_is_listed() -> None:
    folder = ROOT / "docs" / "adr"
    listed = set(re.findall(r"\]\((\d{4}-[^)]+)\)", (folder / "README.md").read_text(encoding="utf-8")))
    assert listed == {page.name for page in folder.glob("0*.md")}


def test_the_tour_runs_as_it_is_written(tmp_path: Path) -> None:
    """Line by line in one folder, with the code that enrols put in as a person would; the tampered file is refused."""
    first, *lines = [line for line in shell_lines(ROOT / "README.md") if not line.startswith("make ")]
    assert first.startswith("export PATH=")
    with running_service(tmp_path) as service:
        place = tmp_path / "tour"
        place.mkdir()
        shutil.copytree(service.state, place / ".sealmark", ignore=shutil.ignore_patterns("hsm*", "*.db*"))
        environment = {**os.environ, "PATH": f"{PROGRAMS}:{os.environ['PATH']}", "SEALMARK_URL": service.url}
        code = ""
        for line in lines:
            typed = line.replace(" CODE ", f" {code} ")
            done = subprocess.run(
                ["bash", "-c", typed], cwd=place, env=environment, capture_output=True, text=True, check=False
            )
            said = f"{line}\n{done.stdout}{done.stderr}"
            assert done.returncode == (1 if "exit code 1" in line else 0), said
            if "principals create" in line:
                (code,) = set(re.findall(r"\S{30,}", done.stdout))
    assert "rejected" in said.lower() or "keys show" in line
