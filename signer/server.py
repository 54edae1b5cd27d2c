"""`sealmark serve`: gunicorn as shipped. Threads within workers; each worker opens the HSM for itself, after the fork.

gunicorn leaves alone what the kernel has accepted for a stopping worker: those callers would see a reset. Here they are
answered before the service ends.

No address but this machine's own is bound without TLS or a proxy named in the configuration. While the folder of the
ceremony lies about, every start says so: what is in it (the officer's PIN, custodians' shares) belongs elsewhere.
"""

from __future__ import annotations

import gc
import ipaddress
import resource
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import structlog
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.glogging import Logger

from keystore.configuration import load_keystore_configuration
from signer import metrics_listener
from signer.balance import ConnectionCounts
from signer.config import KEEP_ALIVE_SECONDS, ServerConfiguration, load_server_configuration
from signer.errors import ConfigurationError
from signer.figures import FOLDER, begin_anew
from signer.lane.worker import GracefulWorker
from signer.listening import refuse_newcomers
from signer.logs import configure_logs, json_formatter
from signer.tracing import require_tracing
from signer.watched import DEADLINE_SECONDS

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterable, MutableMapping

    from gunicorn.config import Config

    from keystore.configuration import HsmConfiguration

    _Application = Callable[
        [MutableMapping[str, Any], Callable[[str, Iterable[tuple[str, str]]], None]], Iterable[bytes]
    ]

LONGEST_REQUEST_LINE: Final = 4094  # octets
MOST_HEADERS: Final = 50
_FILES_BESIDES = 256  # open files of a worker that are no caller's connection
_log = structlog.get_logger("sealmark.server")


class GracefulArbiter(Arbiter):
    """The master: before it tells its workers to stop, nobody new gets a connection."""

    def __init__(self, app: BaseApplication) -> None:
        super().__init__(app)
        self.counts = ConnectionCounts()

    def stop(self, graceful: bool = True) -> None:
        """Ends all workers; with `graceful`, when they have answered what was accepted."""
        refuse_newcomers(listener.sock for listener in self.LISTENERS)
        super().stop(graceful)


class JsonLogger(Logger):
    """gunicorn's log in the same form as ours; no access log, since the audit trail says more."""

    def setup(self, cfg: Config) -> None:
        """Sets the form when gunicorn sets its handlers up."""
        super().setup(cfg)
        for handler in self.error_log.handlers:
            handler.setFormatter(json_formatter())


class _Server(BaseApplication):
    """gunicorn with its settings given here instead of on a command line."""

    def __init__(
        self,
        state: Path,
        options: dict[str, Any],
        hsm: HsmConfiguration | None = None,
        metrics: socket.socket | None = None,
    ) -> None:
        self._state = state
        self._options = options
        self.hsm_deadline = DEADLINE_SECONDS if hsm is None else hsm.deadline_seconds
        self.hsm_concurrent_calls = 0 if hsm is None else hsm.concurrent_calls
        self._metrics = metrics  # bound here, so that all workers listen on it
        super().__init__()

    def load_config(self) -> None:
        for name, value in self._options.items():
            self.cfg.set(name, value)

    def run(self) -> None:
        GracefulArbiter(self).run()

    def load(self) -> _Application:
        # In the worker, after the fork: the PKCS#11 module must never be loaded before.
        from signer.app import create_app

        return cast("_Application", create_app(self._state, self._metrics))


def serve(state: Path, bind: str, workers: int | None = None, threads: int | None = None) -> None:
    """Serves until SIGTERM or SIGINT. Raises `ConfigurationError` for what must not be started."""
    configuration = load_server_configuration(state)
    configure_logs(configuration.log_level)
    require_safe_bind(bind, configuration)
    ceremony = state / "ceremony"
    if ceremony.exists():
        _log.warning(
            "ceremony_folder_present", alarm=True, folder=str(ceremony), advice="carry its files away and remove it"
        )
    metrics = metrics_listener.bind(configuration)
    metrics_listener.token_digest(configuration.metrics)
    begin_anew(state / FOLDER)
    require_tracing(configuration.tracing)
    hsm = load_keystore_configuration(state).hsm
    _allow_files(configuration)
    _Server(state, gunicorn_options(configuration, bind, workers, threads), hsm, metrics).run()


def _allow_files(configuration: ServerConfiguration) -> None:
    """As many open files as the connections of a worker need, as far as the system lets this user have them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = configuration.connections + _FILES_BESIDES
    if soft != resource.RLIM_INFINITY and soft < needed:
        most = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        if most < needed:
            _log.warning(
                "few_open_files", allowed=most, needed=needed, advice="raise LimitNOFILE, or lower connections"
            )


def gunicorn_options(
    configuration: ServerConfiguration, bind: str, workers: int | None = None, threads: int | None = None
) -> dict[str, Any]:
    """The shipped gunicorn settings."""
    options: dict[str, Any] = {
        "bind": bind,
        "worker_class": GracefulWorker,
        "workers": workers or configuration.workers,
        "threads": threads or configuration.threads,
        "max_requests": configuration.max_requests,
        "max_requests_jitter": configuration.max_requests // 10,
        "graceful_timeout": configuration.graceful_timeout,
        "timeout": 60,
        "keepalive": KEEP_ALIVE_SECONDS,
        "worker_connections": configuration.connections,
        "preload_app": False,
        "limit_request_line": LONGEST_REQUEST_LINE,
        "limit_request_fields": MOST_HEADERS,
        "proc_name": "sealmark",
        "accesslog": None,
        "errorlog": "-",
        "loglevel": configuration.log_level,
        "logger_class": JsonLogger,
        "control_socket_disable": True,
        # Otherwise gunicorn believes `X-Forwarded-Proto: https` of whomever FORWARDED_ALLOW_IPS in the environment
        # names: plain HTTP would pass for TLS.
        "forwarded_allow_ips": "",
        "secure_scheme_headers": {},
        "pre_fork": _give_share,
        "child_exit": _take_share_back,
        "post_worker_init": _settle_worker,
        "worker_exit": _close_worker,
    }
    if configuration.tls_certificate and configuration.tls_key:
        options |= {"certfile": str(configuration.tls_certificate), "keyfile": str(configuration.tls_key)}
        options["ssl_context"] = tls_context(configuration)
    if configuration.client_ca:
        # Optional: callers with tokens have none. One that does not verify ends the handshake.
        options |= {"ca_certs": str(configuration.client_ca), "cert_reqs": ssl.CERT_OPTIONAL}
    return options


def tls_context(configuration: ServerConfiguration) -> Callable[[object, Callable[[], ssl.SSLContext]], ssl.SSLContext]:
    """gunicorn's hook, which it calls for every connection: so a new revocation list counts from the next one on.

    No session is resumed, since the context is new each time: every connection's certificate is verified.
    """

    def make(_config: object, default: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
        context = default()
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if configuration.client_crl:
            try:
                context.load_verify_locations(cafile=configuration.client_crl)
                context.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF
            except (OSError, ssl.SSLError) as error:
                # Callers with tokens go on; no certificate is asked for, so none is believed.
                _log.error("client_crl_unusable", alarm=True, file=str(configuration.client_crl), reason=str(error))
                context.verify_mode = ssl.CERT_NONE
        return context

    return make


def require_safe_bind(bind: str, configuration: ServerConfiguration) -> None:
    """Refuses an address that other machines reach, unless TLS or a proxy is configured."""
    if bind.startswith("unix:"):
        return
    host, separator, port = bind.rpartition(":")
    if not separator or not (port.isascii() and port.isdigit()) or not 0 <= int(port) <= 65535:
        msg = f"bind {bind!r} is not HOST:PORT, such as 127.0.0.1:8200"
        raise ConfigurationError(msg)
    if configuration.tls_certificate or configuration.trusted_proxies or _is_loopback(host.strip("[]")):
        return
    msg = (
        f"bind {bind}: other machines reach this address. Set server.tls_certificate and server.tls_key, "
        "or name your proxy in server.trusted_proxies, or bind 127.0.0.1"
    )
    raise ConfigurationError(msg)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _give_share(arbiter: object, worker: object) -> None:
    """Runs in the master, before a worker is forked."""
    if isinstance(arbiter, GracefulArbiter) and isinstance(worker, GracefulWorker):
        worker.share = arbiter.counts.claim()


def _take_share_back(arbiter: object, worker: object) -> None:
    """Runs in the master, after a worker has ended."""
    if isinstance(arbiter, GracefulArbiter) and isinstance(worker, GracefulWorker) and worker.share is not None:
        arbiter.counts.free(worker.share)
        worker.share = None


def _settle_worker(_worker: object) -> None:
    """Runs in a worker whose application is made: what lives as long as it does is never looked through for garbage."""
    gc.collect()
    gc.freeze()


def _close_worker(_arbiter: object, worker: object) -> None:
    """Runs in a worker that is about to end: the audit trail is finished before the HSM and the database close."""
    services = getattr(worker, "services", None)
    if services is not None:
        services.close()
