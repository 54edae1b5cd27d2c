"""What a service that ends does to its queue of connections, seen at the sockets themselves."""

from __future__ import annotations

import socket

import pytest

from signer.listening import refuse_newcomers


def test_nobody_new_is_accepted_and_everybody_before_is_served() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        with socket.create_connection(address, timeout=5) as queued:
            queued.sendall(b"before")
            refuse_newcomers([listener])
            with pytest.raises(TimeoutError):
                socket.create_connection(address, timeout=0.3)
            listener.settimeout(5)
            taken, _ = listener.accept()
            with taken:
                taken.settimeout(5)
                queued.sendall(b" and after")
                assert taken.recv(16, socket.MSG_WAITALL) == b"before and after"
                taken.sendall(b"answered")
                assert queued.recv(100) == b"answered"
            listener.setblocking(False)
            with pytest.raises(BlockingIOError):
                listener.accept()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, timeout=5)
