"""`sealmark serve`, but that its worker tells what it holds to whoever connects to a socket in its state folder.

python -m tests.scale.watched --state DIR --bind HOST:PORT
"""

from __future__ import annotations

import argparse
import ctypes
import ctypes.util
import gc
import json
import socket
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import signer.server as server

if TYPE_CHECKING:
    from keystore.hsm import Token

SOCKET: Final = "watched.socket"


_MEMBERS: Final = (
    *("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
)


class _Mallinfo2(ctypes.Structure):
    """`mallinfo2(3)` of glibc 2.33."""

    _fields_ = tuple((name, ctypes.c_size_t) for name in _MEMBERS)


def malloc_octets() -> int:
    """What malloc has handed out: to SoftHSM, OpenSSL, SQLite, and to Python for what is larger than 512 octets."""
    mallinfo2 = ctypes.CDLL(None).mallinfo2
    mallinfo2.restype = _Mallinfo2
    told = mallinfo2()
    return int(told.uordblks) + int(told.hblkhd)


def sqlite_octets() -> int:
    """What SQLite has of it: its page caches grow until each connection's is full (2 MB), and no further."""
    used = ctypes.CDLL(ctypes.util.find_library("sqlite3")).sqlite3_memory_used
    used.restype = ctypes.c_int64
    return int(used())


def holdings() -> dict[str, int]:
    """Of this process, besides what its token has open."""
    gc.collect()
    return {
        "malloc": malloc_octets(),
        "sqlite": sqlite_octets(),
        "python_blocks": sys.getallocatedblocks(),
        "python_objects": len(gc.get_objects()),
    }


def _of_the_token(token: Token) -> dict[str, int]:
    """What the module has open, as it is asked itself, and what the service believes to have."""
    connection = token._connection
    session = connection.signing.get()
    try:
        objects = len(session.find({}))
    finally:
        connection.signing.put(session)
    return {"objects": objects, "idle_sessions": connection.signing.qsize()}


def _tell(listener: socket.socket, token: Any) -> None:
    while True:
        asker, _ = listener.accept()
        with asker:
            asker.sendall(json.dumps(holdings() | _of_the_token(token)).encode())


def ask(state: Path) -> dict[str, int]:
    """What the worker over that state holds."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(state / SOCKET))
        told = b"".join(iter(lambda: sock.recv(65536), b""))
    holds: dict[str, int] = json.loads(told)
    return holds


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--bind", required=True)
    given = parser.parse_args()
    settle = server._settle_worker

    def settled(_worker: object) -> None:
        settle(_worker)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(given.state / SOCKET))
        listener.listen()
        token = cast("Any", _worker).services.keystore._token
        threading.Thread(target=_tell, args=(listener, token), daemon=True).start()

    server._settle_worker = settled
    server.serve(given.state, given.bind, workers=1)


if __name__ == "__main__":
    main()
