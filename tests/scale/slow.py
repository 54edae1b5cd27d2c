"""Callers who take their time, or all the memory: each kind as raw sockets, kept open until the end of the block."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from signer.web.http import MAXIMUM_BODY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

Address = tuple[str, int]
DRIP_SECONDS: Final = 0.5  # between two octets of those who send slowly
_HEAD: Final = b"POST /v1/keys/crowd/signatures HTTP/1.1\r\nHost: s\r\nContent-Type: application/json\r\n"
_BODY: Final = b"Content-Length: 1000\r\n\r\n"
_ENDLESS: Final = b"Transfer-Encoding: chunked\r\n\r\n"


class Dripping:
    """Sends an octet now and then on every socket, from a thread of its own."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self._stop = threading.Event()
        self.socks: list[socket.socket] = []
        self._thread = threading.Thread(target=self._drip)
        self._thread.start()

    def _drip(self) -> None:
        at = 0
        while not self._stop.wait(DRIP_SECONDS):
            for sock in [*self.socks]:
                with contextlib.suppress(OSError):
                    sock.send(self._octets[at : at + 1] or b"x")
            at = (at + 1) % len(self._octets)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()


def _connect(address: Address, receive_octets: int | None = None) -> socket.socket:
    sock = socket.socket()
    if receive_octets is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_octets)
    sock.settimeout(10)
    sock.connect(address)
    return sock


@contextmanager
def _holding(address: Address, count: int, first: bytes, drips: bytes = b"") -> Iterator[list[socket.socket]]:
    dripping = Dripping(drips) if drips else None
    socks: list[socket.socket] = []
    try:
        for _ in range(count):
            sock = _connect(address)
            socks.append(sock)
            with contextlib.suppress(OSError):
                sock.sendall(first)
            if dripping is not None:
                dripping.socks.append(sock)
        yield socks
    finally:
        if dripping is not None:
            dripping.stop()
        for sock in socks:
            sock.close()


@contextmanager
def nothing_sent(address: Address, count: int) -> Iterator[list[socket.socket]]:
    """Connections on which nothing is asked."""
    with _holding(address, count, b"") as socks:
        yield socks


@contextmanager
def slow_heads(address: Address, count: int) -> Iterator[list[socket.socket]]:
    """A header of an octet now and then (slow-loris)."""
    with _holding(address, count, _HEAD, b"X-a: b\r\n") as socks:
        yield socks


@contextmanager
def slow_bodies(address: Address, count: int) -> Iterator[list[socket.socket]]:
    """A body of an octet now and then."""
    with _holding(address, count, _HEAD + _BODY + b'{"message": "', b"A") as socks:
        yield socks


@contextmanager
def huge_bodies(address: Address, count: int) -> Iterator[list[socket.socket]]:
    """10 GB are declared, and some of them come."""
    with _holding(address, count, _HEAD + b"Content-Length: 10000000000\r\n\r\n" + bytes(100_000), b"\0") as socks:
        yield socks


@contextmanager
def almost_whole(address: Address, count: int) -> Iterator[list[socket.socket]]:
    """The largest body that is taken, but for its last octet."""
    head = _HEAD + f"Content-Length: {MAXIMUM_BODY}\r\n\r\n".encode()
    with _holding(address, count, head + bytes(MAXIMUM_BODY - 1)) as socks:
        yield socks


@contextmanager
def chunks_without_end(address: Address, count: int) -> Iterator[list[socket.socket]]:
    """Chunk after chunk."""
    with _holding(address, count, _HEAD + _ENDLESS + b"3e8\r\n" + bytes(1000) + b"\r\n", b"1\r\nx\r\n") as socks:
        yield socks


@contextmanager
def never_reading(address: Address, count: int) -> Iterator[list[socket.socket]]:
    """Large answers are asked for and never taken."""
    request = b"GET /openapi.json HTTP/1.1\r\nHost: s\r\n\r\n" * 20
    socks: list[socket.socket] = []
    try:
        for _ in range(count):
            sock = _connect(address, receive_octets=4096)
            socks.append(sock)
            sock.sendall(request)
        yield socks
    finally:
        for sock in socks:
            sock.close()


@contextmanager
def half_a_handshake(address: Address, count: int) -> Iterator[list[socket.socket]]:
    """TLS that is begun and not ended: the client's first flight, without its last octet."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    begun = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        begun.do_handshake()
    with _holding(address, count, outgoing.read()[:-1]) as socks:
        yield socks


KINDS: Final[Mapping[str, Callable[[Address, int], contextlib.AbstractContextManager[list[socket.socket]]]]] = {
    "nothing sent": nothing_sent,
    "slow heads": slow_heads,
    "slow bodies": slow_bodies,
    "huge bodies": huge_bodies,
    "almost whole": almost_whole,
    "chunks without end": chunks_without_end,
    "never reading": never_reading,
}
