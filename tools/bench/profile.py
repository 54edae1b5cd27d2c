"""Where the service's time goes: py-spy looks at all workers under load, 200 times a second.

Writes `profile.json` and `profile.md` (which part of the code, which functions) and `flames.svg`. It looks twice: at
threads that run, in Python or below it, and at those that hold Python's lock. A thread that waits is not counted, so
far as py-spy can tell. Watching costs: the rate seen here is not the service's.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, Final

import click
from cryptography.exceptions import InvalidSignature

from tools.bench import bare
from tools.bench.driving import drivers
from tools.bench.flames import flame_graph
from tools.bench.report import Grid
from tools.bench.targets import Sealmark, prepare
from tools.bench.workloads import CLIENTS, WORKLOADS
from tools.figures.record import RESULTS, machine
from tools.service import ServiceError, running_service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tools.bench.workloads import Workload

PROGRAM: Final = Path(__file__).resolve().parents[2] / ".venv-bench" / "bin" / "py-spy"
_RATE: Final = 200
_WARM_UP: Final = 2.0
_PARTS: Final = 16
_FUNCTIONS: Final = 40
_PROCESS: Final = re.compile(r"^process \d+:")
_FRAME: Final = re.compile(r"^(?P<function>.*) \((?P<file>[^()]*)\)$")
_WAITING: Final = frozenset(
    {
        "Condition.wait (threading.py)",
        "EpollSelector.select (selectors.py)",
        "_worker (concurrent/futures/thread.py)",
        "Watchdog._watch (signer/watchdog.py)",  # sleeps; what it looks at is in `look`
    }
)
_OURS: Final = ("signer/", "keystore/", "verifier/", "wsgi.py")
_ROOT: Final = str(Path(__file__).resolve().parents[2]) + "/"
_LIBRARY: Final = re.compile(r"^.*/(?:site-packages|lib/python3\.\d+)/")


@dataclass(frozen=True, slots=True)
class Profile:
    """Samples by stack, the outermost frame first: of threads that ran, and of those that held Python's lock."""

    load: str
    per_second: float
    running: Counter[tuple[str, ...]]
    holding: Counter[tuple[str, ...]]

    def parts(self) -> Grid:
        """Each sample belongs to the innermost frame of our own code, or else to the package that it lies in."""
        running, holding = (_shares(stacks, _part) for stacks in (self.running, self.holding))
        rows = tuple(
            (part, _percent(share), _percent(holding.get(part, 0.0))) for part, share in list(running.items())[:_PARTS]
        )
        return Grid("By part of the code", ("innermost part", "of time running", "of time with Python's lock"), rows)

    def functions(self) -> Grid:
        """Functions by what they and all below them took."""
        running, own = _shares(self.running, set), _shares(self.running, lambda stack: {stack[-1]})
        rows = tuple(
            (name, _percent(share), _percent(own.get(name, 0.0))) for name, share in list(running.items())[:_FUNCTIONS]
        )
        return Grid("By function", ("function", "with all below", "itself"), rows)

    def document(self) -> dict[str, Any]:
        """For the JSON file."""
        grids = {"parts": self.parts(), "functions": self.functions()}
        return {
            "load": self.load,
            "per_second_while_watched": self.per_second,
            "samples": {"running": self.running.total(), "holding_the_lock": self.holding.total()},
            **{name: {"headings": grid.headings, "rows": grid.rows} for name, grid in grids.items()},
        }


def _percent(share: float) -> str:
    return f"{share:.1%}"


def _shares(stacks: Counter[tuple[str, ...]], names: Callable[[tuple[str, ...]], Iterable[str]]) -> dict[str, float]:
    """Of each name the part of all samples, the largest first."""
    found: Counter[str] = Counter()
    for stack, count in stacks.items():
        for name in names(stack):
            found[name] += count
    whole = stacks.total()
    return {name: count / whole for name, count in found.most_common()}


def _part(stack: tuple[str, ...]) -> set[str]:
    files = [match["file"] for frame in stack if (match := _FRAME.match(frame))]
    ours = [file for file in files if file.startswith(_OURS)]
    file = ours[-1] if ours else files[-1] if files else "?"
    return {"/".join(file.split("/")[:2]) if ours else file.split("/")[0]}


def read_stacks(text: str) -> Counter[tuple[str, ...]]:
    """py-spy's folded stacks, with paths as they are on everybody's machine.

    What waits for work is left out: on a busy machine, py-spy takes a thread that was just woken for one that runs.
    """
    stacks: Counter[tuple[str, ...]] = Counter()
    for line in text.splitlines():
        frames, _, count = line.rpartition(" ")
        names = tuple(_anywhere(frame) for frame in frames.split(";") if not _PROCESS.match(frame))
        if names and names[-1] not in _WAITING:
            stacks[names] += int(count)
    return stacks


def _anywhere(frame: str) -> str:
    """`function (package/file.py)` of py-spy's frame with its whole path."""
    if not (match := _FRAME.match(frame)):
        return frame
    file = match["file"].removeprefix(_ROOT)
    return f"{match['function']} ({_LIBRARY.sub('', file)})"


def watch(workload: Workload, seconds: float) -> Profile:
    """The service as shipped under that load. Raises: `ServiceError`, and what `Target.check` raises."""
    if not PROGRAM.exists():
        raise ServiceError("py-spy is not installed: tools/setup.sh bench")
    with (
        tempfile.TemporaryDirectory(prefix="sealmark-bench-") as name,
        running_service(Path(name)) as service,
        drivers(bare.make_token(Path(name) / "bare")) as both,
    ):
        target, found = prepare(Sealmark(service), workload), []
        for more in ([], ["--gil"]):
            output = Path(name) / "stacks"
            watching = Thread(target=_record, args=(service.process.pid, seconds, output, more))
            watching.start()
            seen = both.load(target, CLIENTS, _WARM_UP, seconds)
            watching.join()
            if not output.exists():
                raise ServiceError("py-spy saw nothing: is this process allowed to look at others (ptrace)?")
            found.append(read_stacks(output.read_text(encoding="utf-8")))
            output.unlink()
    return Profile(workload.name, seen.per_second, *found)


def _record(process: int, seconds: float, output: Path, more: list[str]) -> None:
    time.sleep(_WARM_UP / 2)
    command: list[str | Path] = [
        PROGRAM,
        "record",
        "--subprocesses",
        "--pid",
        str(process),
        "--duration",
        str(max(1, int(seconds))),
    ]
    command += ["--rate", str(_RATE), "--format", "raw", "--full-filenames", "--nolineno", "--output", output, *more]
    subprocess.run(command, check=False, capture_output=True)


@click.command()
@click.option(
    "--load", default="P-256, singly", show_default=True, type=click.Choice([each.name for each in WORKLOADS])
)
@click.option("--seconds", type=click.FloatRange(1), default=10, show_default=True, help="Of each of the two looks.")
@click.option("--output", type=click.Path(path_type=Path, file_okay=False), default=RESULTS, help="The folder.")
def main(*, load: str, seconds: float, output: Path) -> None:
    """Where the service's time goes under a load of 16 clients."""
    workload = next(each for each in WORKLOADS if each.name == load)
    try:
        profile = watch(workload, seconds)
    except (ServiceError, InvalidSignature) as error:
        raise click.ClickException(str(error) or "a signature is wrong") from error
    output.mkdir(parents=True, exist_ok=True)
    document = {**profile.document(), "machine": machine(), "clients": CLIENTS}
    (output / "profile.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    grids = [profile.parts().markdown(), profile.functions().markdown()]
    (output / "profile.md").write_text(f"# Profile: {load}\n\n" + "\n".join(grids), encoding="utf-8")
    title = f"{load}, {CLIENTS} clients: threads that run, {profile.running.total():,} samples"
    (output / "flames.svg").write_text(flame_graph(profile.running, title), encoding="utf-8")
    click.echo("\n".join(grids))
    click.echo(f"written: {output.name}/profile.json, {output.name}/profile.md, {output.name}/flames.svg")


if __name__ == "__main__":
    sys.exit(main())
