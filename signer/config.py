"""The service's own settings: table `[server]` of `sealmark.toml`. Frozen, typed, complete at start.

An unknown name, a wrong type, a missing file or a key file that others can read refuses to start. The keystore reads
its own tables (`[hsm]`, `[database]`) of the same file.
"""

from __future__ import annotations

import ipaddress
import stat
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from signer.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

KNOWN_TABLES: Final = frozenset({"server", "hsm", "database"})
_OTHERS_MAY: Final = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True, slots=True)
class ServerConfiguration:
    """How the service listens. `trusted_proxies` may speak plain HTTP from another machine; TLS needs both files."""

    workers: int = 2
    threads: int = 8
    max_requests: int = 20_000  # SoftHSM leaks session objects: a worker is renewed after so many requests
    graceful_timeout: int = 30  # seconds
    log_level: str = "info"
    trusted_proxies: tuple[Network, ...] = ()
    tls_certificate: Path | None = None
    tls_key: Path | None = None


def load_server_configuration(state: Path) -> ServerConfiguration:
    """Reads `sealmark.toml` of a state directory. Raises `ConfigurationError` naming the setting."""
    path = state / "sealmark.toml"
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        msg = f"{path} is missing: run `sealmark init --state {state}` first"
        raise ConfigurationError(msg) from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        msg = f"{path} cannot be read as TOML: {error}"
        raise ConfigurationError(msg) from error
    for name in document:
        if name not in KNOWN_TABLES:
            msg = f"{path}: unknown table [{name}]; known are {', '.join(sorted(KNOWN_TABLES))}"
            raise ConfigurationError(msg)
    return _server(document.get("server", {}), state)


def _server(table: object, state: Path) -> ServerConfiguration:
    if not isinstance(table, dict):
        msg = "[server] must be a table"
        raise ConfigurationError(msg)
    readers: dict[str, Callable[[str, object], Any]] = {
        "workers": lambda name, value: _whole(name, value, 1, 64),
        "threads": lambda name, value: _whole(name, value, 1, 256),
        "max_requests": lambda name, value: _whole(name, value, 0, 10_000_000),
        "graceful_timeout": lambda name, value: _whole(name, value, 1, 600),
        "log_level": _level,
        "trusted_proxies": _networks,
        "tls_certificate": lambda name, value: _file(name, value, state),
        "tls_key": lambda name, value: _private_file(name, value, state),
    }
    settings: dict[str, Any] = {}
    for name, value in table.items():
        if name not in readers:
            msg = f"server.{name} is not a setting; known are {', '.join(sorted(readers))}"
            raise ConfigurationError(msg)
        settings[name] = readers[name](f"server.{name}", value)
    configuration = ServerConfiguration(**settings)
    if (configuration.tls_certificate is None) != (configuration.tls_key is None):
        msg = "server.tls_certificate and server.tls_key go together"
        raise ConfigurationError(msg)
    return configuration


def _whole(name: str, value: object, least: int, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        msg = f"{name} is a whole number from {least} to {most}"
        raise ConfigurationError(msg)
    return value


def _level(name: str, value: object) -> str:
    if value not in ("debug", "info", "warning", "error"):
        msg = f"{name} is one of debug, info, warning, error"
        raise ConfigurationError(msg)
    return str(value)


def _networks(name: str, value: object) -> tuple[Network, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        msg = f'{name} is a list of addresses or networks, such as ["10.0.0.5", "10.1.0.0/24"]'
        raise ConfigurationError(msg)
    try:
        return tuple(ipaddress.ip_network(one) for one in value)
    except ValueError as error:
        msg = f"{name}: {error}"
        raise ConfigurationError(msg) from error


def _file(name: str, value: object, state: Path) -> Path:
    if not isinstance(value, str):
        msg = f"{name} is the path of a file"
        raise ConfigurationError(msg)
    path = state / value
    if not path.is_file():
        msg = f"{name}: there is no file {path}"
        raise ConfigurationError(msg)
    return path


def _private_file(name: str, value: object, state: Path) -> Path:
    path = _file(name, value, state)
    if path.stat().st_mode & _OTHERS_MAY:
        msg = f"{name}: {path} can be read by others; `chmod 600` it"
        raise ConfigurationError(msg)
    return path
