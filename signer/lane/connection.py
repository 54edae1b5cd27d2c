"""A caller's connection while the lane has it: what has come in and is not taken yet, what is to go out."""

from __future__ import annotations

import socket
from enum import Enum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from signer.lane.flight import Flight

_CHUNK: Final = 64 * 1024
MOST_AHEAD: Final = 128 * 1024  # octets that are read of a caller who does not wait for answers


class Stage(Enum):
    """Whose turn it is."""

    READING = "reading"  # the caller's: to send a request, or the rest of one
    BUSY = "busy"  # ours: a call of it is on its way
    WRITING = "writing"  # the caller's: to take the rest of an answer
    LINGERING = "lingering"  # nobody's: the last answer is out, and what the caller still sends is not looked at


class Connection:
    """Its socket never blocks. `origin` is gunicorn's own object for it."""

    __slots__ = (
        *("address", "closes", "ended", "flight", "fresh", "ins", "mask", "origin", "outs", "sock", "stage", "until"),
        "waited",
    )

    def __init__(self, sock: socket.socket, address: str, origin: object) -> None:
        self.sock = sock
        self.address = address  # the caller's
        self.origin = origin
        self.ins = b""
        self.outs: bytes | memoryview = b""
        self.stage = Stage.READING
        self.flight: Flight | None = None  # the call that it waits for
        self.fresh = False  # nothing was ever asked on it
        self.ended = False  # the caller sends no more
        self.closes = False  # after what is to go out
        self.until = 0.0  # monotonic; when patience with the caller ends
        self.mask = 0  # of epoll
        self.waited = 0.0  # seconds for the database, while nobody looked at what it sent

    def receive(self) -> bool:
        """Takes in what has come. False if the connection is broken."""
        try:
            octets = self.sock.recv(_CHUNK)
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:
            return False
        if octets:
            self.ins = self.ins + octets if self.ins else octets
        else:
            self.ended = True
        return True

    def drain(self) -> bool:
        """Throws away what has come. False once nothing more will."""
        try:
            return bool(self.sock.recv(_CHUNK))
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:
            return False

    def send(self) -> bool:
        """Gives out as much as the caller takes now. False if the connection is broken."""
        try:
            sent = self.sock.send(self.outs)
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:
            return False
        self.outs = b"" if sent == len(self.outs) else memoryview(self.outs)[sent:]
        return True
