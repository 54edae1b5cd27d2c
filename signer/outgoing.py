"""What goes out on a connection, as far as its caller takes it: no thread waits for a reader that reads slowly, or not.

What the socket does not take at once is kept, and sent on by whoever watches the socket. An answer of more than
`MOST_KEPT` (an export) is made at its reader's pace: only then a thread waits, and not for long.
"""

from __future__ import annotations

import select
import ssl
from functools import partial
from typing import TYPE_CHECKING, Final

from signer.tls_steps import of_the_connection

if TYPE_CHECKING:
    import socket

MOST_KEPT: Final = 2 * 1024 * 1024  # octets
PIECE_SECONDS: Final = 10.0  # for a reader to take something of a long answer


class Outgoing:
    """What gunicorn's response takes for the socket. The socket itself must not block."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self._kept = bytearray()

    @property
    def waiting(self) -> int:
        """Octets that the caller has not taken."""
        return len(self._kept)

    def sendall(self, octets: bytes) -> None:
        """Raises `OSError` where nobody is there, or nobody reads."""
        if not self._kept:
            octets = octets[self._taken(octets) :]
        self._kept += octets
        while len(self._kept) > MOST_KEPT:
            if not self._ready(select.POLLOUT, PIECE_SECONDS):
                raise TimeoutError
            self.send_on()

    def send(self, octets: bytes) -> int:
        """As `sendall`."""
        self.sendall(octets)
        return len(octets)

    def send_on(self) -> int:
        """Sends what the caller takes now; returns how many octets are left. Raises `OSError`."""
        if self._kept:
            del self._kept[: self._taken(bytes(self._kept[:MOST_KEPT]))]
        return len(self._kept)

    def readable_within(self, seconds: float) -> bool:
        """Whether something comes in."""
        return self._ready(select.POLLIN, seconds)

    def _ready(self, event: int, seconds: float) -> bool:
        waiting = select.poll()
        waiting.register(self.socket.fileno(), event)
        return bool(waiting.poll(seconds * 1000))

    def _taken(self, octets: bytes) -> int:
        try:
            return of_the_connection(partial(self.socket.send, octets))
        except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            return 0
