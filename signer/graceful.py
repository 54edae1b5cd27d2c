"""gunicorn ending without losing a request.

A stopping worker of gunicorn leaves alone what the kernel has accepted for it and it has not taken yet: those callers,
who have sent a request by then, see a reset. Here the kernel first accepts no more, then each worker takes what is left
in the queue and answers it, and closes the listening socket; from then on newcomers are refused.
"""

from __future__ import annotations

import select
import socket
import struct
from contextlib import suppress
from ctypes import addressof, create_string_buffer
from typing import TYPE_CHECKING, Final

from gunicorn.arbiter import Arbiter
from gunicorn.workers.gthread import ThreadWorker

if TYPE_CHECKING:
    from collections.abc import Iterable

_SO_ATTACH_FILTER: Final = 26  # asm-generic/socket.h; Python has no name for it
# Classic BPF, linux/filter.h, over a segment from its TCP header on: drop those with SYN (RFC 9293 section 3.1).
_DROP_SYN: Final = b"".join(
    struct.pack("=HBBI", *instruction)
    for instruction in (
        (0x30, 0, 0, 13),  # load the octet of flags
        (0x45, 0, 1, 0x02),  # is SYN among them?
        (0x06, 0, 0, 0),  # yes: drop
        (0x06, 0, 0, 0xFFFFFFFF),  # no: keep it all
    )
)
_INSTRUCTION_SIZE: Final = 8


class GracefulArbiter(Arbiter):
    """The master: before it tells its workers to stop, nobody new gets a connection."""

    def stop(self, graceful: bool = True) -> None:
        """Ends all workers; with `graceful`, when they have answered what was accepted."""
        refuse_newcomers(listener.sock for listener in self.LISTENERS)
        super().stop(graceful)


class GracefulWorker(ThreadWorker):
    """A worker that answers all that was accepted for it before it ends."""

    def set_accept_enabled(self, enabled: bool | None) -> None:
        """As gunicorn's. A worker that is about to end takes what is left in the queue before it stops listening."""
        super().set_accept_enabled(enabled)
        if not enabled and not self.alive:
            for listener in self.sockets:
                self._take_what_is_left(listener)
            self.sockets = []

    def _take_what_is_left(self, listener: socket.socket) -> None:
        listener.setblocking(False)  # another worker may be quicker
        waiting = select.poll()
        waiting.register(listener.fileno(), select.POLLIN)
        while waiting.poll(0):
            self.accept(listener)
        listener.close()


def refuse_newcomers(listeners: Iterable[socket.socket]) -> None:
    """Lets the kernel accept no further connection on these sockets, in any process that shares them.

    A caller who tries hears nothing, tries again by itself a second later, and is refused when the sockets are closed.
    """
    program = create_string_buffer(_DROP_SYN, len(_DROP_SYN))
    option = struct.pack("@HP", len(_DROP_SYN) // _INSTRUCTION_SIZE, addressof(program))
    for listener in listeners:
        # A system without such filters stops as well; then the last instant before the closing is not covered.
        with suppress(OSError):
            listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, option)
