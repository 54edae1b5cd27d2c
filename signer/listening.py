"""The queue of connections that the kernel has accepted, at the end of a service.

Whoever is in it has been told that the connection stands, and may have sent a request: closing the socket would reset
them. So first nobody new gets in, then those inside are taken out and answered, and then the socket is closed.
"""

from __future__ import annotations

import socket
import struct
from contextlib import suppress
from ctypes import addressof, create_string_buffer
from typing import TYPE_CHECKING, Final

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
