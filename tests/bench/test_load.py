"""The load tool counts whole answers, however they arrive, and no other."""

from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest

from tools.bench.load import Load, Measured, drive

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

REQUEST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
BODY = b'{"results": [{"signature": "AAAA"}]}'
SIZED = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(BODY), BODY)
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n" % (
    *(10, BODY[:10]),
    *(len(BODY) - 10, BODY[10:]),
)
LAST = SIZED.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")


def in_one(connection: socket.socket, answer: bytes) -> None:
    connection.sendall(answer)


def in_drops(connection: socket.socket, answer: bytes) -> None:
    for place in range(len(answer)):
        connection.sendall(answer[place : place + 1])
        time.sleep(0.0002)


@pytest.fixture
def late() -> list[bytes]:
    """What came on a connection after the answer that said it was the last one."""
    return []


@pytest.fixture
def answering(late: list[bytes]) -> Iterator[Callable[[bytes, Callable[[socket.socket, bytes], None]], int]]:
    """Starts a server that gives one answer to every request, in its own way; its port."""
    listeners: list[socket.socket] = []

    def start(answer: bytes, send: Callable[[socket.socket, bytes], None]) -> int:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

        def serve(connection: socket.socket) -> None:
            with connection:
                try:
                    while connection.recv(65536):
                        send(connection, answer)
                        if b"close" in answer:
                            late.append(connection.recv(65536))
                            return
                except OSError:
                    return

        threading.Thread(target=accept, daemon=True).start()
        return int(listener.getsockname()[1])

    yield start
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def measured(port: int) -> Measured:
    return drive(Load("127.0.0.1", port, (REQUEST,), 2, time.monotonic(), 0.0, 0.25))


@pytest.mark.parametrize("send", [in_one, in_drops])
@pytest.mark.parametrize("answer", [SIZED, CHUNKED], ids=["sized", "chunked"])
def test_an_answer_is_counted_once_and_kept_whole(
    answering: Callable[..., int], answer: bytes, send: Callable[[socket.socket, bytes], None]
) -> None:
    seen = measured(answering(answer, send))
    assert seen.answers > 1
    assert len(seen.latencies) == seen.answers
    assert seen.failures == seen.reconnections == 0
    assert {body for _, body in seen.kept} == {BODY}


@pytest.mark.parametrize(
    "answer",
    [
        SIZED.replace(b"200 OK", b"503 Service Unavailable"),
        SIZED.replace(b'"signature"', b'"error":123'),
    ],
    ids=["status", "an item's error"],
)
def test_a_failure_is_counted_and_the_first_is_shown(answering: Callable[..., int], answer: bytes) -> None:
    seen = measured(answering(answer, in_one))
    assert seen.failures == seen.answers > 0
    assert seen.first_failure == answer.decode()
    assert seen.kept == []


def test_a_connection_that_ends_is_made_anew(answering: Callable[..., int], late: list[bytes]) -> None:
    seen = measured(answering(LAST, in_one))
    assert seen.answers > 1
    assert set(late) == {b""}
    assert seen.failures == 0
    assert seen.reconnections in (seen.answers, seen.answers - 1)
