"""The load: keep-alive HTTP clients on raw sockets, as lean as can be, since they share the cores with the servers.

One process drives its share of the clients from a single thread; each client sends its next request when its last one
was answered. Requests are prepared beforehand, answers are only counted, and a few are kept to be checked afterwards.
"""

from __future__ import annotations

import os
import select
import socket
import time
from array import array
from dataclasses import dataclass, field
from typing import Final

KEEP_EVERY: Final = 97  # a prime, so that the answers kept are spread over the prepared requests
_SMALL: Final = 1 << 14  # what is asked of the system at once: larger buffers would be mapped and unmapped each time
_LONGER: Final = 60.0
_HEAD_END: Final = b"\r\n\r\n"
_LENGTH: Final = b"\r\ncontent-length:"
_CHUNKED: Final = b"\r\ntransfer-encoding: chunked\r\n"
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
    processors: frozenset[int] | None = None  # where it may run, unless anywhere
    least: int = 2  # answers to be waited for beyond the time, for a minute more at most


@dataclass(slots=True)
class Measured:
    """What one process saw between the end of the warm-up and the end of the run. Latencies are seconds."""

    answers: int = 0
    seconds: float = 0.0
    failures: int = 0
    first_failure: str = ""
    reconnections: int = 0
    refused: int = 0  # told to come again (429), and sent again at once; they are no answers
    latencies: array[float] = field(default_factory=lambda: array("d"))
    processor_seconds: float = 0.0
    kept: list[tuple[int, bytes]] = field(default_factory=list)  # (index of the request, body of its answer)


class _Client:
    """One keep-alive connection with one request in flight."""

    __slots__ = ("_chunked", "_expected", "_load", "_received", "body_at", "ends", "place", "sent_at", "socket")

    def __init__(self, number: int, load: Load) -> None:
        self.place = number
        self.sent_at = 0.0
        self.body_at = 0
        self.ends = False
        self._load = load
        self._received = b""
        self._expected = 0
        self._chunked = False
        self.socket = self._connect()

    def _connect(self) -> socket.socket:
        connection = socket.create_connection((self._load.host, self._load.port), timeout=60)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(None)  # with a timeout, each call would poll first
        return connection

    def reconnect(self) -> None:
        self.socket.close()
        self._received, self._expected, self._chunked, self.ends = b"", 0, False, False
        self.socket = self._connect()

    def send(self, request: bytes) -> None:
        self.sent_at = time.perf_counter()
        self.socket.sendall(request)

    def receive(self) -> bytes | None:
        """The whole answer, whose body is at `body_at`; None while some of it is missing. `ends`: it is the last one.

        Raises: `ConnectionError` at the connection's end.
        """
        data = self.socket.recv(_SMALL)
        if not data:
            raise ConnectionResetError("the service closed the connection")
        if self._received:
            data = self._received + data
        if not self._expected and not self._has_head(data):
            self._received = data
            return None
        if self._chunked:
            self._expected = _end_of_chunks(data, self._expected)
            missing = self._expected == len(data) or data[self._expected :] != b"0\r\n\r\n"
        else:
            missing = len(data) < self._expected
        if missing:
            self._received = data
            return None
        self._received, self._expected = b"", 0
        return data

    def _has_head(self, data: bytes) -> bool:
        end = data.find(_HEAD_END)
        if end < 0:
            return False
        head = data[: end + 2].lower()
        self.body_at = end + len(_HEAD_END)
        self.ends = _LAST_ANSWER in head
        length = head.find(_LENGTH)
        self._chunked = length < 0
        if length >= 0:
            length += len(_LENGTH)
            self._expected = self.body_at + int(head[length : head.index(b"\r", length)])
        elif _CHUNKED in head:
            self._expected = self.body_at
        else:
            raise ValueError("an answer without Content-Length")
        return True

    def body(self, answer: bytes) -> bytes:
        """The octets of a whole answer's body."""
        return _joined(answer[self.body_at :]) if self._chunked else answer[self.body_at :]


def _end_of_chunks(data: bytes, place: int) -> int:
    """Where the last whole chunk from `place` on ends (RFC 9112 section 7.1): at the closing one, if all is there."""
    while (line := data.find(b"\r\n", place)) > 0:
        size = int(data[place:line], 16)
        after = line + 2 + size + 2
        if not size or after > len(data):
            break
        place = after
    return place


def _joined(chunks: bytes) -> bytes:
    parts, place = [], 0
    while size := int(chunks[place : (line := chunks.index(b"\r\n", place))], 16):
        parts.append(chunks[line + 2 : line + 2 + size])
        place = line + 2 + size + 2
    return b"".join(parts)


def drive(load: Load) -> Measured:
    """Runs in a process of its own, from `begin` to the end of the measured time."""
    measured = Measured()
    everywhere = os.sched_getaffinity(0)
    os.sched_setaffinity(0, load.processors or everywhere)
    clients = [_Client(number * len(load.requests) // load.clients, load) for number in range(load.clients)]
    with select.epoll() as ready:
        time.sleep(max(0.0, load.begin - time.monotonic()))
        round_ = _Round(ready, load.requests, clients)
        round_.exchange(load.warm_up, Measured(), 0)
        processor = time.process_time()
        round_.exchange(load.seconds, measured, load.least)
        measured.processor_seconds = time.process_time() - processor
        for client in clients:
            client.socket.close()
    os.sched_setaffinity(0, everywhere)
    return measured


class _Round:
    """All clients of one process, asking and being answered."""

    def __init__(self, ready: select.epoll, requests: tuple[bytes, ...], clients: list[_Client]) -> None:
        self._ready = ready
        self._requests = requests
        self._clients = {client.socket.fileno(): client for client in clients}
        for client in clients:
            ready.register(client.socket, select.EPOLLIN)
            client.send(requests[client.place])

    def exchange(self, seconds: float, measured: Measured, least: int) -> None:
        begun = time.perf_counter()
        end, deadline = begun + seconds, begun + seconds + _LONGER
        while (now := time.perf_counter()) < end or (measured.answers < least and now < deadline):
            for number, _ in self._ready.poll(max(end - now, 0.05)):
                client = self._clients[number]
                try:
                    self._serve(client, measured)
                except ConnectionError:
                    # A worker that is renewed closes its connections; what was in flight is sent again, and counted.
                    measured.reconnections += 1
                    self._anew(client)
        measured.seconds = time.perf_counter() - begun

    def _anew(self, client: _Client) -> None:
        number = client.socket.fileno()
        self._ready.unregister(number)
        del self._clients[number]
        client.reconnect()
        self._clients[client.socket.fileno()] = client
        self._ready.register(client.socket, select.EPOLLIN)
        client.send(self._requests[client.place])

    def _serve(self, client: _Client, measured: Measured) -> None:
        answer = client.receive()
        if answer is None:
            return
        if answer.startswith(b"HTTP/1.1 429"):
            measured.refused += 1
            self._next(client)
            return
        measured.latencies.append(time.perf_counter() - client.sent_at)
        measured.answers += 1
        if not answer.startswith(b"HTTP/1.1 200") or b'"error":' in answer:
            measured.failures += 1
            measured.first_failure = measured.first_failure or answer[:400].decode(errors="replace")
        elif measured.answers % KEEP_EVERY == 1:
            measured.kept.append((client.place, client.body(answer)))
        self._next(client)

    def _next(self, client: _Client) -> None:
        client.place = (client.place + 1) % len(self._requests)
        if client.ends:
            raise ConnectionResetError("the service ends the connection")
        client.send(self._requests[client.place])
