"""A program of its own: workers that start at the same moment, again and again; each opens everything and signs once.

    python -m tests.scale.starts STATE KEY_ALIAS DIGEST ROUNDS WORKERS

As gunicorn's master, the parent has the whole service imported and the PKCS#11 module not loaded. Workers are forked,
wait until all are there, and then open the keystore as the service does: module loaded, initialised and logged in, the
token audited, the database's journal followed. Prints one JSON object (`Report`). DIGEST is hex.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NoReturn

import signer.app
from keystore.configuration import load_keystore_configuration
from keystore.keystore import open_state
from tests.scale.scene import ALGORITHM

WORKER_SECONDS = 120
_WHOLE_SERVICE = signer.app.create_app  # imported and not called


@dataclass(frozen=True, slots=True)
class Task:
    """What every worker does."""

    state: Path
    module: Path
    alias: str
    digest: bytes


@dataclass(frozen=True, slots=True)
class Purpose:
    """A `keystore.api.Intent`. The audit trail that makes such things is not part of this program."""

    intent_id: str
    key_id: str
    version_id: str
    algorithm: str


@dataclass(slots=True)
class Report:
    """What became of all workers: one signature (base64) or one reason each."""

    signatures: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


def is_loaded(module: Path) -> bool:
    """Whether the PKCS#11 module is mapped into this process."""
    return str(module.resolve()) in Path("/proc/self/maps").read_text(encoding="utf-8")


def start_together(task: Task, workers: int, report: Report) -> None:
    """One round: forks the workers, lets them go together and hears of each."""
    if is_loaded(task.module):
        report.failures += ["the parent had loaded the module"] * workers
        return
    ready, go, said = os.pipe(), os.pipe(), os.pipe()
    children = [_forked(task, ready, go, said) for _ in range(workers)]
    for descriptor in (ready[1], go[0], said[1]):
        os.close(descriptor)
    present = b""
    while len(present) < workers and (more := os.read(ready[0], workers)):
        present += more
    os.close(go[1])  # which every worker reads as the end of its wait
    with os.fdopen(said[0], encoding="utf-8") as lines:
        answers = [json.loads(line) for line in lines]
    os.close(ready[0])
    report.signatures += [answer["signature"] for answer in answers if "signature" in answer]
    report.failures += [answer["failure"] for answer in answers if "failure" in answer]
    for child in children:
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status != 0:
            report.failures.append(f"a worker ended with {status}")


def _forked(task: Task, ready: tuple[int, int], go: tuple[int, int], said: tuple[int, int]) -> int:
    child = os.fork()
    if child:
        return child
    signal.alarm(WORKER_SECONDS)
    os.close(go[1])
    os.write(ready[1], b".")
    os.read(go[0], 1)
    return _work(task, said[1])


def _work(task: Task, said: int) -> NoReturn:
    """Ends the process. A line shorter than PIPE_BUF is written whole, whoever else writes to the pipe."""
    status = 1
    try:
        try:
            answer = _sign_once(task)
        except Exception as error:  # noqa: BLE001
            answer = {"failure": repr(error)}
        os.write(said, (json.dumps(answer)[:4_000] + "\n").encode())
        status = 0
    finally:
        os._exit(status)


def _sign_once(task: Task) -> dict[str, str]:
    if is_loaded(task.module):
        return {"failure": "the module was loaded before the fork"}
    keystore = open_state(task.state)
    if not is_loaded(task.module):
        return {"failure": "the module is not where it was looked for"}
    key = keystore.get_key(task.alias)
    purpose = Purpose(str(os.getpid()), key.id, key.versions[-1].id, ALGORITHM)
    signature = keystore.signing_key(purpose).sign_digest(task.digest)
    keystore.close()
    return {"signature": base64.b64encode(signature).decode()}


def main() -> None:
    state, alias, digest, rounds, workers = sys.argv[1:]
    module = load_keystore_configuration(Path(state)).hsm.module
    task = Task(Path(state), module, alias, bytes.fromhex(digest))
    report = Report()
    for _ in range(int(rounds)):
        start_together(task, int(workers), report)
    sys.stdout.write(json.dumps(asdict(report)))


if __name__ == "__main__":
    main()
