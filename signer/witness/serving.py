"""`sealmark witness serve`: gunicorn over the witness, as shipped. Each worker opens the store for itself.

No address but this machine's own is bound without TLS.
"""

from __future__ import annotations

import ipaddress
import ssl
import stat
from typing import TYPE_CHECKING, Any, Final

from gunicorn.app.base import BaseApplication

from signer.witness.app import WitnessApplication
from signer.witness.errors import UnsafeAddress, WitnessStateError
from signer.witness.state import open_state

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_WORKERS: Final = 2
_THREADS: Final = 4
_OTHERS_MAY: Final = stat.S_IRWXG | stat.S_IRWXO


class _Server(BaseApplication):
    def __init__(self, folder: Path, options: dict[str, Any]) -> None:
        self._folder = folder
        self._options = options
        super().__init__()

    def load_config(self) -> None:
        for name, value in self._options.items():
            self.cfg.set(name, value)

    def load(self) -> WitnessApplication:
        return WitnessApplication(open_state(self._folder))


def serve(folder: Path, listen: str, tls_certificate: Path | None = None, tls_key: Path | None = None) -> None:
    """Serves until SIGTERM or SIGINT. Raises `WitnessError` for what must not be started."""
    open_state(folder)  # refused here, before anything listens
    _Server(folder, server_options(listen, tls_certificate, tls_key)).run()


def server_options(listen: str, tls_certificate: Path | None, tls_key: Path | None) -> dict[str, Any]:
    """The shipped gunicorn settings. Raises `UnsafeAddress`, `WitnessStateError` (TLS files)."""
    if (tls_certificate is None) != (tls_key is None):
        raise WitnessStateError("--tls-certificate and --tls-key go together")
    host = listen.rpartition(":")[0].strip("[]")
    if tls_certificate is None and not _is_loopback(host):
        raise UnsafeAddress(
            f"{listen}: other machines reach this address. Give --tls-certificate and --tls-key, or listen on "
            "127.0.0.1 behind a proxy that speaks TLS"
        )
    options: dict[str, Any] = {
        "bind": listen,
        "worker_class": "gthread",
        "workers": _WORKERS,
        "threads": _THREADS,
        "timeout": 60,
        "graceful_timeout": 10,
        "keepalive": 75,
        "preload_app": False,
        "limit_request_line": 1024,
        "limit_request_fields": 50,
        "proc_name": "sealmark-witness",
        "accesslog": None,
        "errorlog": "-",
        "control_socket_disable": True,
        "forwarded_allow_ips": "",
        "secure_scheme_headers": {},
    }
    if tls_certificate is not None and tls_key is not None:
        if tls_key.stat().st_mode & _OTHERS_MAY:
            raise WitnessStateError(f"{tls_key} can be read by others; `chmod 600` it")
        options |= {"certfile": str(tls_certificate), "keyfile": str(tls_key), "ssl_context": _tls_context}
    return options


def _tls_context(_config: object, default: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    context = default()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
