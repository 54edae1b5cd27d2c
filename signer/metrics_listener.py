"""`GET /metrics` on an address of its own, for the operator's network: never on the address of callers.

The address is bound before workers are forked, so that a wrong one is seen at the start; any worker answers for all.
One that other machines reach needs TLS and a token of its own. A connection has one request, a few seconds, and a
share of a few threads.
"""

from __future__ import annotations

import hashlib
import hmac
import resource
import socket
import ssl
import threading
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from keystore.configuration import read_secret
from keystore.errors import ConfigurationError as KeystoreConfigurationError
from keystore.measures import GAUGES
from signer import measuring
from signer.addresses import is_loopback_bind, split_bind
from signer.errors import ConfigurationError
from signer.figures import FOLDER, SharedFigures
from signer.readiness import NOT_READY, PARTS

if TYPE_CHECKING:
    from signer.config import MetricsConfiguration, ServerConfiguration
    from signer.metrics import Exposition
    from signer.services import Services

SHARE_SECONDS: Final = 1.0
_READINESS_EVERY: Final = 5  # times as long
_CALLER_SECONDS: Final = 5.0
_THREADS: Final = 4
_LEAST_TOKEN: Final = 32  # octets
_log = structlog.get_logger("sealmark.metrics")


def bind(configuration: ServerConfiguration) -> socket.socket | None:
    """The socket to listen on; None where no metrics are asked for. Raises `ConfigurationError`."""
    metrics = configuration.metrics
    if metrics.bind is None:
        return None
    require_safe(metrics, configuration)
    host, port = split_bind(metrics.bind)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(16)
    except OSError as error:
        listener.close()
        msg = f"metrics.bind: {metrics.bind} cannot be listened on: {error.strerror}"
        raise ConfigurationError(msg) from error
    return listener


def require_safe(metrics: MetricsConfiguration, configuration: ServerConfiguration) -> None:
    """Raises `ConfigurationError` for an address that other machines reach without TLS and a token."""
    if metrics.bind is None or is_loopback_bind(metrics.bind):
        return
    if configuration.tls_certificate is None or metrics.token_file is None:
        msg = (
            f"metrics.bind {metrics.bind}: other machines reach this address. Set metrics.token_file, "
            "server.tls_certificate and server.tls_key, or bind 127.0.0.1"
        )
        raise ConfigurationError(msg)


def token_digest(metrics: MetricsConfiguration) -> bytes | None:
    """The SHA-256 of the token that a scraper must show, read at the start. Raises `ConfigurationError`."""
    if metrics.token_file is None:
        return None
    try:
        token = read_secret(metrics.token_file, "metrics.token_file")
    except KeystoreConfigurationError as fault:
        raise ConfigurationError(str(fault)) from fault
    if len(token) < _LEAST_TOKEN:
        msg = f"metrics.token_file: a token has {_LEAST_TOKEN} characters at least, such as of `openssl rand -hex 32`"
        raise ConfigurationError(msg)
    return hashlib.sha256(token).digest()


class MetricsService:
    """One per worker: shares this worker's figures every second, and answers whoever reads all of them."""

    def __init__(self, services: Services, state: Path, listener: socket.socket) -> None:
        from signer.metrics import Exposition  # the library is loaded where metrics are asked for alone

        configuration = services.configuration
        measuring.WATCH.most_keys = configuration.metrics.keys
        self._services = services
        self._shared = SharedFigures(state / FOLDER)
        self._ready = dict.fromkeys(PARTS, 1.0)
        for part in PARTS:
            GAUGES["part_ready", part] = partial(self._is_ready, part)
        GAUGES["resident_bytes",] = resident_bytes
        exposition = Exposition(services.keystore, configuration, self._shared)
        self._server = _Server(listener, exposition, token_digest(configuration.metrics), configuration)
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._share_for_ever, name="metrics-figures", daemon=True),
            threading.Thread(target=self._server.serve_forever, name="metrics-listener", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Ends the threads; the last figures stay for the other workers."""
        self._stopping.set()
        self._server.shutdown()
        for thread in self._threads:
            thread.join(timeout=5)
        self._server.server_close()
        self._shared.close()

    def _is_ready(self, part: str) -> float:
        return self._ready[part]

    def _share_for_ever(self) -> None:
        times = 0
        while not self._stopping.wait(SHARE_SECONDS):
            if times % _READINESS_EVERY == 0:
                parts = self._services.readiness.look()
                self._ready = {name: float(part.status != NOT_READY) for name, part in parts.items()}
            times += 1
            try:
                self._shared.write()
            except OSError as fault:  # a full disk: the next time, then
                with suppress(OSError):
                    _log.warning("figures_not_shared", reason=str(fault.strerror))


def resident_bytes() -> float:
    """Memory of this process."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return 0.0
    return float(pages * resource.getpagesize())


class _Server(HTTPServer):
    """A few connections at a time, each with its own thread; the rest waits in the kernel's queue."""

    def __init__(
        self, listener: socket.socket, exposition: Exposition, token: bytes | None, configuration: ServerConfiguration
    ) -> None:
        super().__init__(listener.getsockname()[:2], _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener.dup()
        self.socket.setblocking(False)  # another worker may be quicker
        self.exposition = exposition
        self.token = token
        self._configuration = configuration
        self._tls = not is_loopback_bind(configuration.metrics.bind or "127.0.0.1:0")
        self._places = threading.BoundedSemaphore(_THREADS)

    def get_request(self) -> tuple[socket.socket, str]:
        connection, (host, *_) = self.socket.accept()
        connection.setblocking(True)
        connection.settimeout(_CALLER_SECONDS)
        return connection, str(host)

    def process_request(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
        self._places.acquire()
        threading.Thread(target=self._answer, args=(request, client_address), daemon=True).start()

    def _answer(self, request: socket.socket, client_address: str) -> None:
        # However slowly it speaks: a caller has so long, and then its place is another's.
        end = threading.Timer(_CALLER_SECONDS, _cut_off, (request,))
        end.start()
        connection = request
        try:
            with suppress(OSError, ValueError):  # it went away, was too slow, or does not speak TLS
                connection = self._secured(request)
                self.finish_request(connection, client_address)
        finally:
            end.cancel()
            self._places.release()
            self.shutdown_request(connection)

    def _secured(self, connection: socket.socket) -> socket.socket:
        if not self._tls:
            return connection
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)  # anew: a renewed certificate counts at once
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(str(self._configuration.tls_certificate), str(self._configuration.tls_key))
        return context.wrap_socket(connection, server_side=True)

    def handle_error(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
        """A caller's fault is nothing to log; its words would be the caller's."""


def _cut_off(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    """`GET /metrics` and nothing else."""

    server: _Server
    server_version = "sealmark"
    sys_version = ""

    def do_GET(self) -> None:
        if self.path.partition("?")[0] != "/metrics":
            self._send(HTTPStatus.NOT_FOUND, b"see /metrics\n", "text/plain; charset=utf-8")
        elif not self._is_known():
            self._send(HTTPStatus.UNAUTHORIZED, b"the token of metrics.token_file\n", "text/plain; charset=utf-8")
        else:
            self._send(HTTPStatus.OK, *self.server.exposition.text(self.headers.get("Accept", "")))

    def _is_known(self) -> bool:
        if self.server.token is None:
            return True
        scheme, _, given = self.headers.get("Authorization", "").partition(" ")
        digest = hashlib.sha256(given.strip().encode("utf-8", "replace")).digest()
        return scheme.lower() == "bearer" and hmac.compare_digest(digest, self.server.token)

    def _send(self, status: HTTPStatus, body: bytes, media_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        if status is HTTPStatus.UNAUTHORIZED:
            self.send_header("WWW-Authenticate", "Bearer")
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """No access log."""

    def log_error(self, *_: object) -> None:
        """A caller's fault is nothing to log."""
