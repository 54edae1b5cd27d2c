"""Keep-alive HTTP clients, one thread each: what became of every request is known to the last byte."""

from __future__ import annotations

import base64
import http.client
import json
import os
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tests.scale.scene import ALGORITHM, PATH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.scale.scene import Scene


@dataclass(frozen=True, slots=True)
class Signed:
    """One answer: the digest that was sent and the signature (base64) that came back."""

    digest: bytes
    signature: str
    request_id: str


@dataclass(slots=True)
class Seen:
    """What one client saw. `lost` are requests without a whole answer, `refused` answers other than a signature."""

    signed: list[Signed] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    turned_away: bool = False  # a connection was refused: nobody listens any more


class Client:
    """One connection, kept alive for as long as the service keeps it, and opened again when the service said it closes.

    Not more than one request is in flight, and none is sent twice.
    """

    def __init__(self, url: str, token: str) -> None:
        address = urlsplit(url)
        self._connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=60)
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self.seen = Seen()

    def sign(self) -> bool:
        """Has a new digest signed; false when there is no point in asking again."""
        digest = os.urandom(32)
        body = json.dumps({"digest": base64.b64encode(digest).decode(), "algorithm": ALGORITHM}).encode()
        try:
            if self._connection.sock is None:
                self._connection.connect()
        except ConnectionRefusedError:
            self.seen.turned_away = True
            return False
        try:
            self._connection.request("POST", PATH, body, self._headers)
            answer = self._connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self.seen.lost.append(repr(error))
            self.close()
            return False
        return self._note(digest, answer.status, content)

    def _note(self, digest: bytes, status: int, content: bytes) -> bool:
        result = json.loads(content).get("results", [{}])[0] if status == 200 else {}
        if "signature" not in result:
            self.seen.refused.append(f"{status} {content[:300]!r}")
            return False
        self.seen.signed.append(Signed(digest, result["signature"], result["request_id"]))
        return True

    def close(self) -> None:
        """Ends the connection; the next request opens another."""
        self._connection.close()


@contextmanager
def connected(url: str, scene: Scene, count: int) -> Iterator[list[Client]]:
    """That many clients of the scene's user."""
    clients = [Client(url, scene.token) for _ in range(count)]
    try:
        yield clients
    finally:
        for client in clients:
            client.close()


def run_all(clients: Sequence[Client], drive: Callable[[Client], None]) -> list[threading.Thread]:
    """Starts a thread for each client, all at the same moment."""
    together = threading.Barrier(len(clients))

    def work(client: Client) -> None:
        together.wait()
        drive(client)

    threads = [threading.Thread(target=work, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    return threads


def sign_each(clients: Sequence[Client], times: int) -> None:
    """Every client has that many digests signed; each stops at its first failure."""

    def drive(client: Client) -> None:
        for _ in range(times):
            if not client.sign():
                return

    for thread in run_all(clients, drive):
        thread.join()


def failures(clients: Sequence[Client]) -> list[str]:
    """What went wrong for anybody: requests lost and answers that hold no signature."""
    return [failure for client in clients for failure in (*client.seen.lost, *client.seen.refused)]


def signed(clients: Sequence[Client]) -> list[Signed]:
    """Everything that was answered to anybody."""
    return [one for client in clients for one in client.seen.signed]
