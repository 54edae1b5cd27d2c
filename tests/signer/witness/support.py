"""A witness for tests: requests as a log would send them, and the program itself as a process that can be killed."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx

from tools.service import PROGRAMS, free_port, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from tests.verifier.log_builder import LogBuilder, NoteSigner
    from verifier.notes import NoteKey

NAME = "witness.example/w1"
START_SECONDS = 30


def request(old: int, proof: Sequence[bytes], checkpoint: bytes) -> bytes:
    """The body of add-checkpoint."""
    lines = [f"old {old}", *(base64.b64encode(one).decode() for one in proof)]
    return "".join(f"{line}\n" for line in lines).encode() + b"\n" + checkpoint


def growth(log: LogBuilder, signer: NoteSigner, old: int, size: int) -> bytes:
    """What an honest log sends to go from one size to another."""
    return request(old, log.consistency(old, size), log.checkpoint(signer, size))


def leaves(count: int, label: str = "leaf") -> list[bytes]:
    """Different leaves for each label."""
    return [f"{label} {number}".encode() for number in range(count)]


@dataclass(frozen=True)
class Answer:
    """What a WSGI application answered."""

    status: int
    kind: str
    text: str


def ask(
    application: Callable[..., Any], body: bytes, path: str = "/add-checkpoint", method: str = "POST", **more: str
) -> Answer:
    """One request without a server."""
    from werkzeug.test import Client

    answer = Client(application).open(path, method=method, data=body, headers=more)
    return Answer(answer.status_code, answer.headers["Content-Type"], answer.get_data(as_text=True))


def sealmark_witness(*words: str | Path) -> Any:
    """A command of `sealmark witness`, as JSON."""
    return json.loads(run(PROGRAMS / "sealmark", "witness", *words, "--json").stdout)


class ServedWitness:
    """`sealmark witness serve` in a process group of its own."""

    def __init__(self, state: Path, log: Path) -> None:
        self.state = state
        self.log = log
        self.address = f"127.0.0.1:{free_port()}"
        self.url = f"http://{self.address}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *, wait: bool = True) -> None:
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                [
                    *(str(PROGRAMS / "sealmark"), "witness", "serve"),
                    *("--state", str(self.state), "--listen", self.address),
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
                start_new_session=True,
            )
        if wait:
            self.wait_until_alive()

    def wait_until_alive(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{self.url}/healthz", timeout=5, trust_env=False).is_success:
                    return
            time.sleep(0.02)
        raise AssertionError(self.log.read_text(errors="replace")[-2000:])

    def kill(self) -> None:
        """SIGKILL to the master and its workers at once."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM, and the end that follows."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)
            self._end(signal.SIGKILL)

    def _end(self, number: int) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
            self._process.wait()


@contextlib.contextmanager
def served_witness(folder: Path, *logs: NoteKey | NoteSigner) -> Iterator[ServedWitness]:
    """A new witness, served until the end of the block."""
    state = folder / "witness"
    sealmark_witness("init", "--state", state, "--name", NAME)
    for log in logs:
        sealmark_witness("add-log", "--state", state, getattr(log, "text", str(log)))
    served = ServedWitness(state, folder / "witness.log")
    try:
        served.start()
        yield served
    finally:
        served.stop()
