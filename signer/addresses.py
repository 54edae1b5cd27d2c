"""Addresses over HTTP, as configurations give them."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from signer.errors import ConfigurationError

if TYPE_CHECKING:
    from urllib.parse import SplitResult


def split_bind(bind: str) -> tuple[str, int]:
    """Host (without brackets) and port of HOST:PORT. Raises `ConfigurationError`."""
    host, separator, port = bind.rpartition(":")
    if not separator or not host or not (port.isascii() and port.isdigit()) or not 0 <= int(port[:6]) <= 65535:
        msg = f"{bind!r} is not HOST:PORT, such as 127.0.0.1:9464"
        raise ConfigurationError(msg)
    return host.strip("[]"), int(port)


def is_loopback_bind(bind: str) -> bool:
    """Whether no other machine reaches the address HOST:PORT. Raises `ConfigurationError`."""
    host, _ = split_bind(bind)
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def http_address(value: object, message: str) -> tuple[str, SplitResult]:
    """The address and its parts: without a user, a query or a fragment. Raises `ConfigurationError` with `message`."""
    if not isinstance(value, str) or not value.isascii() or not value.isprintable() or " " in value:
        raise ConfigurationError(message)
    try:
        parts = urlsplit(value)
        usable = parts.scheme in ("http", "https") and parts.hostname and not parts.username
        _ = parts.port
    except ValueError as error:
        raise ConfigurationError(message) from error
    if not usable or parts.query or parts.fragment or len(value) > 1024:
        raise ConfigurationError(message)
    return value, parts
