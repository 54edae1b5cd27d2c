"""The load: keep-alive HTTP clients on raw sockets, as lean as can be, since they share the cores with the service.

One process drives its share of the clients from a single thread; each client sends its next request when its last one
was answered. Requests are prepared beforehand, answers are only counted, and a few are kept to be checked afterwards.
"""

from __future__ import annotations

import selectors
import socket
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

KEEP_EVERY: Final = 97  # a prime, so that the answers kept are spread over the prepared requests
_RECEIVE: Final = 1 << 18
_HEAD_END: Final = b"\r\n\r\n"
_LAST_ANSWER: Final = b"\r\nconnection: close\r\n"  # RFC 9112 section 9.6


@dataclass(frozen=True, slots=True)
class Load:
    """What one process is to send. Times are seconds; `begin` is on the monotonic clock, shared by all processes."""

    host: str
    port: int
    requests: tuple[bytes, ...] = field(repr=False)  # whole: head and body
    clients: int
    begin: float
    warm_up: float
    seconds: float


@dataclass(slots=True)
class Measured:
    """What one process saw between the end of the warm-up and the end of the run."""

    answers: int = 0
    failures: int = 0
    first_failure: str = ""
    reconnections: int = 0
    latencies: list[float] = field(default_factory=list)
    processor_seconds: float = 0.0
    kept: list[tuple[int, bytes]] = field(default_factory=list)  # (index of the request, body of its answer)


class _Client:
    """One keep-alive connection with one request in flight."""

    def __init__(self, number: int, load: Load) -> None:
        self.place = number
        self.sent_at = 0.0
        self._load = load
        self._received = b""
        self._expected = 0
        self.socket = self._connect()

    def _connect(self) -> socket.socket:
        connection = socket.create_connection((self._load.host, self._load.port), timeout=60)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def reconnect(self) -> None:
        self.socket.close()
        self._received, self._expected = b"", 0
        self.socket = self._connect()

    def send(self, request: bytes) -> None:
        self.sent_at = time.perf_counter()
        self.socket.sendall(request)

    def receive(self) -> bytes | None:
        """The whole answer, or None while some of it is missing. Raises: `ConnectionError` at the connection's end."""
        data = self.socket.recv(_RECEIVE)
        if not data:
            raise ConnectionResetError("the service closed the connection")
        self._received += data
        if not self._expected:
            head = self._received.find(_HEAD_END)
            if head < 0:
                return None
            self._expected = head + len(_HEAD_END) + _content_length(self._received[:head])
        if len(self._received) < self._expected:
            return None
        whole, self._received, self._expected = self._received, b"", 0
        return whole


def _content_length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line[15:])
    raise ValueError("an answer without Content-Length")


def drive(load: Load) -> Measured:
    """Runs in a process of its own, from `begin` to the end of the measured time."""
    requests = load.requests
    measured = Measured()
    with selectors.DefaultSelector() as selector:
        clients = [_Client(number * len(requests) // load.clients, load) for number in range(load.clients)]
        time.sleep(max(0.0, load.begin - time.monotonic()))
        for client in clients:
            selector.register(client.socket, selectors.EVENT_READ, client)
            client.send(requests[client.place])
        _exchange(selector, requests, load.warm_up, Measured())
        processor = time.process_time()
        _exchange(selector, requests, load.seconds, measured)
        measured.processor_seconds = time.process_time() - processor
        for client in clients:
            client.socket.close()
    return measured


def _exchange(selector: selectors.BaseSelector, requests: Sequence[bytes], seconds: float, measured: Measured) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for event, _ in selector.select(timeout=1):
            client: _Client = event.data
            try:
                _serve(client, requests, measured)
            except ConnectionError:
                # A worker that is renewed closes its connections; what was in flight is sent again, and counted.
                selector.unregister(client.socket)
                client.reconnect()
                selector.register(client.socket, selectors.EVENT_READ, client)
                measured.reconnections += 1
                client.send(requests[client.place])


def _serve(client: _Client, requests: Sequence[bytes], measured: Measured) -> None:
    answer = client.receive()
    if answer is None:
        return
    _count(measured, client, answer)
    client.place = (client.place + 1) % len(requests)
    if _LAST_ANSWER in answer[: answer.index(_HEAD_END) + 2].lower():
        raise ConnectionResetError("the service ends the connection")
    client.send(requests[client.place])


def _count(measured: Measured, client: _Client, answer: bytes) -> None:
    measured.latencies.append(time.perf_counter() - client.sent_at)
    measured.answers += 1
    if not answer.startswith(b"HTTP/1.1 200") or b'"error":' in answer:
        measured.failures += 1
        measured.first_failure = measured.first_failure or answer[:400].decode(errors="replace")
    elif measured.answers % KEEP_EVERY == 1:
        measured.kept.append((client.place, answer[answer.index(_HEAD_END) + len(_HEAD_END) :]))
