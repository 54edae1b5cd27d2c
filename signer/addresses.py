"""Addresses over HTTP, as configurations give them."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from signer.errors import ConfigurationError

if TYPE_CHECKING:
    from urllib.parse import SplitResult


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
