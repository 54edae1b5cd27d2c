"""Thousands of calls that nobody sane makes: `python -m tests.hostile.calls [--calls 20000] [--seconds N]`.

schemathesis makes them of the service's own OpenAPI document (examples, coverage, fuzzing, stateful), as people of each
duty; tests/hostile/wire.py makes those of AWS's wire protocol. They go on in rounds, each on a fresh service, until so
many were made or the time is over. Found is: an answer of 5xx, one that took over 5 s, one that the document does
not tell of, and a secret in an answer, in what the service wrote or sent, or in its database. What was found lies in
`build/hostile`; exit code 1 if there is any. Records the figures `schemathesis-calls`, `schemathesis-faults` and
`canary-secrets`.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

from tests.hostile import wire
from tests.hostile.canaries import Canaries
from tests.hostile.scene import OWN_FILES, scene
from tools.figures.record import record

if TYPE_CHECKING:
    from tests.hostile.scene import Scene

ROOT: Final = Path(__file__).resolve().parents[2]
FOLDER: Final = ROOT / "build" / "hostile"
PROGRAM: Final = ROOT / ".venv-hostile" / "bin" / "schemathesis"
SETTINGS: Final = Path(__file__).with_name("schemathesis.toml")
COMMAND: Final = "python -m tests.hostile.calls"
WIRE_CALLS: Final = 1_000  # of a round
SLOWEST: Final = 5.0  # seconds that an answer may take
CHECKS: Final = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
)


@dataclass
class Ledger:
    """What was made and found, of all rounds."""

    calls: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    operations: Counter[str] = field(default_factory=Counter)
    faults: list[dict[str, Any]] = field(default_factory=list)
    leaks: list[str] = field(default_factory=list)
    undocumented: list[dict[str, Any]] = field(default_factory=list)
    slowest: float = 0.0
    learned: dict[str, bytes] = field(default_factory=dict)

    def take(self, line: dict[str, Any]) -> None:
        """One call, or what schemathesis says of one."""
        if "failure" in line:
            self.undocumented.append(line)
            return
        self.calls += 1
        self.statuses[line["status"]] += 1
        self.operations[line["operation"]] += 1
        seconds = line.get("seconds", SLOWEST)
        self.slowest = max(self.slowest, seconds)
        if line["status"] >= 500 or line["status"] == 0 or seconds > SLOWEST:
            self.faults.append(line)
        self.leaks += [f"{name}, in the answer of {line['operation']}" for name in line.get("leaks", ())]
        for octets in line.get("learned", ()):
            self.learned[f"secret {len(self.learned)} of {line['operation']}"] = bytes.fromhex(octets)


def one_round(ledger: Ledger, number: int, seconds: float) -> None:
    """One service from its beginning to its end, schemathesis once through all its phases, or so many seconds of it."""
    with TemporaryDirectory(prefix="hostile-") as name:
        folder = Path(name)
        with scene(folder) as stage:
            lines = folder.parent / f"{folder.name}-calls.jsonl"
            try:
                _schemathesis(stage, lines, number, seconds)
                wire_calls = wire.calls(stage, seed=number, most=WIRE_CALLS)
                told = [json.loads(line) for line in lines.read_text(encoding="utf-8").splitlines()] + wire_calls
            finally:
                lines.unlink(missing_ok=True)
            ledger.learned.clear()
            for line in told:
                ledger.take(line)
            canaries = Canaries({**stage.secrets, **ledger.learned})
            ledger.leaks += [f"{name}, in the metrics" for name in canaries.within(stage.figures())]
            ledger.leaks += [f"{leak.secret}, in {leak.place}" for leak in canaries.leaks(folder, allowed=OWN_FILES)]
            ready = stage.service.process.poll() is None
        if not ready:
            ledger.faults.append({"operation": "the service ended", "status": 0})
        ledger.leaks += [f"{name}, in a trace" for name in canaries.within(b"\0".join(stage.spans))]
        ledger.leaks += [
            f"{leak.secret}, in {leak.place} after the end" for leak in canaries.leaks(folder, allowed=OWN_FILES)
        ]
        log = (folder / "serve.log").read_bytes()
        FOLDER.mkdir(parents=True, exist_ok=True)
        (FOLDER / f"round-{number}.log").write_bytes(log)
        for line in log.splitlines():
            if b"Traceback" in line or b'"level": "critical"' in line:
                ledger.faults.append({"operation": "log", "status": 0, "line": line[:300].decode("utf-8", "replace")})


def _schemathesis(stage: Scene, lines: Path, number: int, seconds: float) -> None:
    plan = lines.with_suffix(".plan")
    plan.write_text(
        json.dumps(
            {
                "seed": number,
                "tokens": stage.tokens,
                "user": "user/hostile-key-user",
                "known": stage.known,
                "secrets": {name: secret.hex() for name, secret in stage.secrets.items()},
                "calls": str(lines),
            }
        ),
        encoding="utf-8",
    )
    lines.touch()
    report = FOLDER / f"round-{number}.txt"
    report.parent.mkdir(parents=True, exist_ok=True)
    command = [
        *(
            str(PROGRAM),
            "--config-file",
            str(SETTINGS),
            "run",
            f"{stage.service.url}/openapi.json",
            "--phases",
            "examples,coverage,fuzzing,stateful",
        ),
        *("--checks", ",".join(CHECKS), "--max-response-time", str(SLOWEST), "--seed", str(number), "--no-color"),
        *("--continue-on-failure", "--no-shrink", "--suppress-health-check", "all", "--warnings", "off"),
        *("--generation-database", "none", "--max-examples", "15", "--request-timeout", "30"),
        *("--workers", "2", "--output-truncate", "true", "--max-redirects", "0"),
    ]
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": "tests.hostile.hooks", "HOSTILE_PLAN": str(plan)}
    try:
        with report.open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=FOLDER,  # schemathesis keeps a cache where it is
                env={**environment, "PYTHONPATH": str(ROOT)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            _wait(process, seconds)
    finally:
        plan.unlink()


def _wait(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Until it ends by itself, or the time is over: it is interrupted then, and reports."""
    for patience, last_word in ((seconds, signal.SIGINT), (60.0, signal.SIGKILL)):
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            process.send_signal(last_word)
        else:
            return
    process.wait()


def main() -> int:
    """Reads the arguments, goes on until there are enough, and says what was found."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--calls", type=int, default=20_000, help="so many at least (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=7200, help="at most, in all (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the first round (default: %(default)s)")
    arguments = parser.parse_args()
    if not PROGRAM.exists():
        parser.error("there is no .venv-hostile: run tools/setup.sh hostile")
    # Where nobody sits at a terminal, interrupts are ignored; and what is started then ignores them too.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    ledger, number = Ledger(), arguments.seed
    end = time.monotonic() + arguments.seconds
    while ledger.calls < arguments.calls and time.monotonic() < end:
        one_round(ledger, number, end - time.monotonic())
        _say(ledger, number)
        number += 1
    (FOLDER / "found.json").write_text(
        json.dumps({"faults": ledger.faults, "leaks": ledger.leaks, "undocumented": ledger.undocumented}, indent=2),
        encoding="utf-8",
    )
    _record(ledger)
    return 1 if ledger.faults or ledger.leaks or ledger.undocumented else 0


def _say(ledger: Ledger, number: int) -> None:
    statuses = ", ".join(f"{status}: {count}" for status, count in sorted(ledger.statuses.items()))
    sys.stdout.write(
        f"round {number}: {ledger.calls} calls of {len(ledger.operations)} operations ({statuses}), the slowest"
        f" {ledger.slowest:.2f} s; {len(ledger.faults)} faults, {len(ledger.leaks)} secrets,"
        f" {len(ledger.undocumented)} answers that are not documented\n"
    )
    sys.stdout.flush()


def _record(ledger: Ledger) -> None:
    note = f"{ledger.calls} calls, {len(ledger.operations)} operations, the slowest answer {ledger.slowest:.2f} s"
    record("schemathesis-calls", ledger.calls, command=COMMAND, note=note)
    found = len(ledger.faults) + len(ledger.leaks) + len(ledger.undocumented)
    record("schemathesis-faults", found, command=COMMAND, note=f"{note}; also answers that are not documented")
    record("canary-secrets", len(ledger.leaks), command=COMMAND, note="in 9 forms, in answers, logs, traces, database")


if __name__ == "__main__":
    sys.exit(main())
