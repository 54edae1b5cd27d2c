"""A crowd of keep-alive clients in one thread, each with one request in flight, that asks again as soon as it is
answered: also where it is told to wait, which is the worst that callers do.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

_END: Final = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Tenant:
    """A caller with so many clients, each of which sends the same request again and again."""

    clients: int
    request: bytes


@dataclass(slots=True)
class Tally:
    """What one tenant saw: answers by status, and how long each took, in seconds; `lost`: connections that broke."""

    statuses: dict[int, int] = field(default_factory=dict)
    seconds: dict[int, list[float]] = field(default_factory=dict)
    lost: int = 0
    last_refusal: bytes = b""

    def note(self, status: int, seconds: float) -> None:
        self.statuses[status] = self.statuses.get(status, 0) + 1
        self.seconds.setdefault(status, []).append(seconds)

    def percentile(self, status: int, part: float) -> float:
        """Seconds within which that part of the answers of a status came; 0 where there are none."""
        taken = sorted(self.seconds.get(status, ()))
        return taken[min(len(taken) - 1, int(len(taken) * part))] if taken else 0.0


@dataclass(slots=True, eq=False)
class _Client:
    address: tuple[str, int]
    tenant: Tenant
    tally: Tally
    sock: socket.socket | None = None
    sent_at: float = 0.0
    come: bytearray = field(default_factory=bytearray)

    def ask(self) -> socket.socket:
        if self.sock is None:
            self.sock = socket.create_connection(self.address, timeout=10)
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.come.clear()
        self.sent_at = time.perf_counter()
        self.sock.sendall(self.tenant.request)
        return self.sock

    def take(self) -> bool | None:
        """Whether an answer is whole; None where the connection is at its end."""
        assert self.sock is not None
        octets = self.sock.recv(1 << 16)
        if not octets:
            return None
        self.come += octets
        end = self.come.find(_END)
        if end < 0:
            return False
        head = bytes(self.come[:end]).lower()
        length = int(head.partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        return len(self.come) >= end + 4 + length


def signing_request(host: str, path: str, token: str, body: bytes) -> bytes:
    """One whole request."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def crowd(
    address: tuple[str, int],
    tenants: Sequence[Tenant],
    seconds: float,
    *,
    warm_up: float = 0.0,
    answers: int | None = None,
) -> list[Tally]:
    """What each tenant saw within `seconds`, after `warm_up` that does not count; no longer than until so many answers
    have come."""
    tallies = [Tally() for _ in tenants]
    with selectors.DefaultSelector() as poller:
        everybody = [
            _Client(address, tenant, tally)
            for tenant, tally in zip(tenants, tallies, strict=True)
            for _ in range(tenant.clients)
        ]
        for client in everybody:
            poller.register(client.ask(), selectors.EVENT_READ, client)
        begun = time.perf_counter() + warm_up
        while (now := time.perf_counter()) < begun + seconds and not _have(tallies, answers):
            for key, _ in poller.select(0.1):
                _go_on(poller, key.data, counts=now >= begun)
        for client in everybody:
            if client.sock is not None:
                client.sock.close()
    return tallies


def _have(tallies: Sequence[Tally], answers: int | None) -> bool:
    return answers is not None and sum(sum(tally.statuses.values()) for tally in tallies) >= answers


def apart(address: tuple[str, int], tenants: Sequence[Tenant], seconds: float, *, warm_up: float) -> list[Tally]:
    """The same, each tenant in a process of its own, as two callers are: none waits for the other's client."""
    with ProcessPoolExecutor(len(tenants), mp_context=get_context("fork")) as pool:
        found = [pool.submit(crowd, address, [tenant], seconds, warm_up=warm_up) for tenant in tenants]
        return [one.result()[0] for one in found]


def _go_on(poller: selectors.BaseSelector, client: _Client, *, counts: bool) -> None:
    assert client.sock is not None
    whole: bool | None = None
    with contextlib.suppress(OSError):
        whole = client.take()
    if whole is False:
        return
    head = bytes(client.come).partition(_END)[0]
    if whole and counts:
        status = int(head.split(b" ", 2)[1])
        client.tally.note(status, time.perf_counter() - client.sent_at)
        if status != 200:
            client.tally.last_refusal = bytes(client.come)
    if whole is None and counts:
        client.tally.lost += 1
    if whole is None or b"connection: close" in head.lower():
        poller.unregister(client.sock)
        client.sock.close()
        client.sock = None
        poller.register(client.ask(), selectors.EVENT_READ, client)
    else:
        client.ask()
