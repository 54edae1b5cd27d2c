"""A lane over sockets of this process, with calls that only say what they do: no HSM, no database, no gunicorn."""

from __future__ import annotations

import json
import socket
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from keystore.errors import KeystoreError
from signer.admission import Caller as AdmittedCaller
from signer.admission import FairQueue
from signer.audit.logged import Due, Logged, Steps
from signer.lane.heads import HeadReader
from signer.lane.lane import Lane
from signer.lane.roads import Road

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from concurrent.futures import Executor

    from signer.call import Call
    from signer.lane.connection import Connection
    from signer.lane.flight import Flight

NOTHING = Logged(lambda _index: "", None, 0, ())


class Roads:
    """`POST /v1/keys/k/signatures` is answered by `steps`, with whatever its body says."""

    def __init__(self) -> None:
        self.at: dict[str, Callable[[Call], None]] = {}  # what happens at "begin", "signed" or "proved"
        self.begun: list[bytes] = []

    def native(self, path: str) -> Road | None:
        return Road(self.steps, "application/json") if path.endswith("/signatures") else None

    def wire(self, target: str) -> Road | None:
        return Road(self.steps, "application/x-amz-json-1.1", wire=True) if target == "TrentService.Sign" else None

    def steps(self, call: Call) -> Steps[bytes]:
        self.begun.append(call.body)
        self._at("begin", call)
        yield Due(intents=[{"of": call.body}])
        self._at("signed", call)
        yield Due(entries=[{"of": call.body}], proved=True)
        self._at("proved", call)
        return b'{"made":' + call.body + b"}"

    def _at(self, where: str, call: Call) -> None:
        happens = self.at.get(where)
        if happens is not None:
            happens(call)


class Writer:
    """Keeps what it is given to write, group by group; `fault` says of a due what keeps it from being written."""

    def __init__(self) -> None:
        self.groups: list[list[Due]] = []
        self.fault: Callable[[Due], KeystoreError | None] = lambda _due: None
        self.breaks: Exception | None = None

    def write_each(self, dues: Sequence[Due]) -> list[Logged | KeystoreError]:
        if self.breaks is not None:
            raise self.breaks
        self.groups.append(list(dues))
        return [self.fault(due) or NOTHING for due in dues]


@dataclass
class Host:
    """Stands for the worker: `handed` and `refused` are what the lane gave away."""

    keep_alive_seconds: float = 60.0
    head_seconds: float = 60.0
    closes: bool = False
    handed: list[tuple[Connection, bytes]] = field(default_factory=list)
    refused: list[Exception] = field(default_factory=list)
    forgotten: int = 0
    lane: Lane | None = None
    changed: threading.Event = field(default_factory=threading.Event)

    def hand_over(self, connection: Connection) -> None:
        self.handed.append((connection, connection.ins))
        self.changed.set()

    def refuse(self, flight: Flight, error: Exception) -> None:
        self.refused.append(error)
        assert self.lane is not None
        self.lane.answered(flight, answer_of(b"refused", 503), closes=not flight.head.keeps_alive)

    def caller_of(self, call: Call) -> AdmittedCaller:
        return AdmittedCaller(call.authorization or "", known=True)

    def overloaded(self, _flight: Flight, *, closes: bool) -> bytes:
        return answer_of(b"closes" if closes else b"overloaded", 429)

    def call_ended(self) -> bool:
        return self.closes

    def forget(self, _connection: Connection) -> None:
        self.forgotten += 1
        self.changed.set()


def answer_of(body: bytes, status: int) -> bytes:
    return b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)


def request_of(
    body: object, *further: str, path: str = "/v1/keys/k/signatures", media: str = "application/json"
) -> bytes:
    octets = json.dumps(body).encode()
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: here",
        "Authorization: Bearer smk_x",
        f"Content-Type: {media}",
        f"Content-Length: {len(octets)}",
        *further,
    ]
    return "\r\n".join([*lines, "", ""]).encode() + octets


class Caller:
    """One end of a connection whose other end the lane has."""

    def __init__(self, running: Running, kept: int | None = None) -> None:
        """`kept`: how many octets the kernel keeps for it, about."""
        self.sock, theirs = socket.socketpair()
        if kept is not None:
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, kept)
        self.sock.settimeout(20)
        self._ins = b""
        running.callers.append(self)
        running.lane.adopt(theirs, "127.0.0.1", self)

    def send(self, octets: bytes) -> None:
        self.sock.sendall(octets)

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        """The next whole answer: status, headers by lower-case names, body."""
        while b"\r\n\r\n" not in self._ins:
            self._more()
        head, _, self._ins = self._ins.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        while len(self._ins) < int(headers["content-length"]):
            self._more()
        length = int(headers["content-length"])
        body, self._ins = self._ins[:length], self._ins[length:]
        return int(first.split(" ")[1]), headers, body

    def made(self) -> Any:
        status, _, body = self.answer()
        assert status == 200, body
        return json.loads(body)["made"]

    def is_closed(self) -> bool:
        """Whether the other side sends no more, and nothing was left over."""
        try:
            return not self._ins and self.sock.recv(1) == b""
        except ConnectionResetError:
            return True

    def _more(self) -> None:
        octets = self.sock.recv(65536)
        assert octets, f"the connection ended after {self._ins!r}"
        self._ins += octets


@dataclass
class Running:
    """A lane that runs."""

    lane: Lane
    host: Host
    roads: Roads
    writer: Writer
    callers: list[Caller] = field(default_factory=list)

    def caller(self, kept: int | None = None) -> Caller:
        return Caller(self, kept)

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """Within the block the lane does nothing: what is sent meanwhile, it finds together."""
        go, still = threading.Event(), threading.Event()

        def stand() -> None:
            still.set()
            go.wait(20)

        self.lane._post(stand)
        assert still.wait(20)
        yield
        go.set()


@contextmanager
def _no_moment() -> Iterator[None]:
    yield


@contextmanager
def running_lane(elsewhere: Executor | None = None, *, places: int = 1_000, seats: int = 1_000) -> Iterator[Running]:
    roads, host, writer = Roads(), Host(), Writer()
    reader: Any = roads
    queue: FairQueue[Flight] = FairQueue(places, seats)
    lane = Lane(host, HeadReader(reader), writer, _no_moment, server="test", queue=queue, elsewhere=elsewhere)
    host.lane = lane
    lane.start()
    running = Running(lane, host, roads, writer)
    try:
        yield running
    finally:
        lane.stop()
        for connection, _ in host.handed:
            connection.sock.close()


def close_all(running: Running) -> None:
    for caller in running.callers:
        caller.sock.close()
