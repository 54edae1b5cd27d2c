"""A small proxy that ends TLS in front of the service, as nginx or a load balancer does: it asks for a certificate and
states it in a header, whatever the client sent under that name."""

from __future__ import annotations

import base64
import contextlib
import http.client
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ADDRESS: Final = "127.0.0.2"  # the whole of 127.0.0.0/8 is this machine's own on Linux
HEADER: Final = "Client-Cert"


def structured(der: bytes) -> str:
    """RFC 9440."""
    return f":{base64.b64encode(der).decode()}:"


def escaped(der: bytes) -> str:
    """nginx's $ssl_client_escaped_cert."""
    return quote(ssl.DER_cert_to_PEM_cert(der), safe="")


@contextlib.contextmanager
def tls_proxy(pki: Path, service: str, write: Callable[[bytes], str], *, overwrites: bool = True) -> Iterator[str]:
    """The proxy's address. Not `overwrites`: one that is set up badly, and lets the client's own header through."""
    outgoing = ssl.create_default_context(cafile=pki / "ca.crt")

    class Handler(BaseHTTPRequestHandler):
        def forward(self) -> None:
            assert isinstance(self.connection, ssl.SSLSocket)
            shown = self.connection.getpeercert(binary_form=True)
            kept = [(name, value) for name, value in self.headers.items() if name != HEADER or not overwrites]
            kept += [("X-Forwarded-For", self.client_address[0]), ("X-Forwarded-Proto", "https")]
            kept += [(HEADER, write(shown))] if shown else []
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            origin = http.client.HTTPSConnection(
                urlsplit(service).netloc, context=outgoing, source_address=(ADDRESS, 0), timeout=30
            )
            with contextlib.closing(origin):
                origin.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                for name, value in kept:
                    origin.putheader(name, value)
                origin.endheaders(body or None)
                answer = origin.getresponse()
                content = answer.read()
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.headers["Content-Type"])
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_GET(self) -> None:
            self.forward()

        def do_POST(self) -> None:
            self.forward()

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    incoming = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=pki / "ca.crt")
    incoming.load_cert_chain(pki / "server.crt", pki / "server.key")
    incoming.verify_mode = ssl.CERT_OPTIONAL
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = incoming.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"https://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
