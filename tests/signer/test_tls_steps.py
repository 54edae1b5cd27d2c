"""An error that another library left in OpenSSL's queue ends no connection; one of the connection's own does."""

from __future__ import annotations

import _ssl
import ctypes
import socket
import ssl
import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from gunicorn.config import Config

from signer.outgoing import Outgoing
from signer.receiving_worker import Connection
from signer.tls_steps import of_the_connection

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LIBRARY: Final = 38  # ERR_LIB_ENGINE
NO_SUCH_ENGINE: Final = 116
OPENSSL: Final = ctypes.CDLL(_ssl.__file__)  # and what it is linked with: the very one that SoftHSM uses


def leave_an_error() -> None:
    """As SoftHSM does when it is initialised."""
    OPENSSL.ERR_new()
    OPENSSL.ERR_set_error(LIBRARY, NO_SUCH_ENGINE, None)


@pytest.fixture
def sides(tmp_path: Path) -> Iterator[tuple[ssl.SSLSocket, ssl.SSLSocket]]:
    """(the service's, the caller's) of a TLS connection; the service's does not block."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    began = datetime.now(UTC) - timedelta(days=1)
    built = x509.CertificateBuilder(name, name, key.public_key(), 1, began, began + timedelta(days=9))
    made = tmp_path / "tls.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    made.write_bytes(built.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM) + private)
    ours, theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context(cafile=made)
    ours.load_cert_chain(made)
    theirs.check_hostname = False
    one, other = socket.socketpair()
    served: list[ssl.SSLSocket] = []
    thread = threading.Thread(target=lambda: served.append(ours.wrap_socket(one, server_side=True)))
    thread.start()
    with closing(theirs.wrap_socket(other)) as caller:
        thread.join()
        with closing(served[0]) as service:
            service.setblocking(False)
            yield service, caller


def test_an_error_of_somebody_else_ends_no_connection(sides: tuple[ssl.SSLSocket, ssl.SSLSocket]) -> None:
    service, caller = sides
    leave_an_error()
    with pytest.raises(ssl.SSLError) as told:
        service.recv(1)
    assert (told.value.library, told.value.reason) == ("ENGINE", "NO_SUCH_ENGINE")  # nothing had come, that is all
    leave_an_error()
    with pytest.raises(ssl.SSLWantReadError):
        of_the_connection(lambda: service.recv(1))
    connection = Connection(Config(), service, ("127.0.0.1", 1), ("127.0.0.1", 2), 0.0)
    leave_an_error()
    assert connection.take_in()
    caller.sendall(b"GET /healthz HTTP/1.1\r\nHost: s\r\n\r\n")
    assert connection.take_in()
    assert connection.is_whole()


def test_what_the_socket_does_not_take_is_kept_all_the_same(sides: tuple[ssl.SSLSocket, ssl.SSLSocket]) -> None:
    service, caller = sides
    out, sent = Outgoing(service), bytes(64 * 1024)
    while not out.waiting:
        leave_an_error()
        out.sendall(sent)
    got = 0
    while out.waiting:
        got += len(caller.recv(65536))
        leave_an_error()
        out.send_on()
    assert got > 0


def test_an_error_of_the_connection_is_told(sides: tuple[ssl.SSLSocket, ssl.SSLSocket]) -> None:
    service, caller = sides
    plain = socket.socket(fileno=caller.detach())
    with closing(plain):
        plain.sendall(b"no record of TLS at all" * 10)
        leave_an_error()
        with pytest.raises(ssl.SSLError) as told:
            of_the_connection(lambda: service.recv(1))
        assert told.value.library == "SSL"
        assert not isinstance(told.value, ssl.SSLWantReadError)
