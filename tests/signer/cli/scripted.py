"""A real HTTP server on a random port that records what it was asked and plays answers that a test has given it."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True)
class Asked:
    """One request as it arrived."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    content: bytes

    @property
    def body(self) -> dict[str, object]:
        found = json.loads(self.content)
        assert isinstance(found, dict)
        return found


@dataclass(frozen=True)
class Answer:
    """One answer; `status` 0 closes the connection without a word."""

    status: int = 200
    body: object = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def content(self) -> tuple[bytes, str]:
        if isinstance(self.body, bytes):
            return self.body, "application/octet-stream"
        kind = "application/problem+json" if self.status >= 400 else "application/json"
        return (b"" if self.body is None else json.dumps(self.body).encode()), kind


Maker = Callable[[Asked], Answer]


def problem(
    status: int, code: str, detail: str = "No.", *, headers: Mapping[str, str] | None = None, **more: object
) -> Answer:
    members = {"type": "about:blank", "title": "Refused", "status": status, "code": code, "detail": detail, **more}
    return Answer(status, members, headers or {})


class ScriptedService:
    """Answers each (method, path) with what was queued for it, the last one for ever; anything else is a 404."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self._answers: dict[tuple[str, str], deque[Answer | Maker]] = {}
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                service.handle(self)

            def do_POST(self) -> None:
                service.handle(self)

            def do_PUT(self) -> None:
                service.handle(self)

            def do_DELETE(self) -> None:
                service.handle(self)

            def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
                """Nothing on standard error: it is the command's."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def on(self, method: str, path: str, *answers: Answer | Maker) -> None:
        self._answers.setdefault((method, path), deque()).extend(answers)

    def only(self) -> Asked:
        assert len(self.asked) == 1, [f"{asked.method} {asked.path}" for asked in self.asked]
        return self.asked[0]

    def handle(self, handler: BaseHTTPRequestHandler) -> None:
        address = urlsplit(handler.path)
        content = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        query = dict(parse_qsl(address.query))
        asked = Asked(handler.command, address.path, query, dict(handler.headers.items()), content)
        self.asked.append(asked)
        queue = self._answers.get((asked.method, asked.path))
        found: Answer | Maker = problem(404, "not_found", "Nothing is here.")
        if queue:
            found = queue.popleft() if len(queue) > 1 else queue[0]
        answer = found if isinstance(found, Answer) else found(asked)
        if answer.status == 0:
            handler.close_connection = True
            return
        body, kind = answer.content()
        handler.send_response(answer.status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **answer.headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
