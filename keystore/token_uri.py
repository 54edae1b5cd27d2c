"""The PKCS#11 URI (RFC 7512) that says which module and token to use and where the PIN is. Pure.

A `pin-value` is refused: a configuration file holds no secret. So is everything that does not choose a token.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from keystore.errors import ConfigurationError

_PATH: Final = frozenset({"token", "serial", "manufacturer", "model"})
_QUERY: Final = frozenset({"module-path", "pin-source"})


@dataclass(frozen=True, slots=True)
class TokenUri:
    """What the URI says. At least one of the four that choose a token is set; `pin_source` is a file's path."""

    module_path: str
    pin_source: str
    token: str | None = None
    serial: str | None = None
    manufacturer: str | None = None
    model: str | None = None


def parse_token_uri(text: str) -> TokenUri:
    """Raises: `ConfigurationError` naming the attribute at fault, never its value."""
    scheme, colon, rest = text.partition(":")
    if not colon or scheme.lower() != "pkcs11":
        raise ConfigurationError("hsm.uri: not a pkcs11: URI (RFC 7512)")
    path_text, _, query_text = rest.partition("?")
    path = _attributes(path_text, ";", _PATH)
    query = _attributes(query_text, "&", _QUERY)
    for name in sorted(_QUERY):
        if name not in query:
            raise ConfigurationError(f"hsm.uri: {name} is missing")
    if not path:
        raise ConfigurationError("hsm.uri: no token is named (token=, serial=, model= or manufacturer=)")
    scheme, colon, pin_source = query["pin-source"].partition(":")
    if not colon:
        pin_source = query["pin-source"]  # RFC 7512 section 2.4: an absolute path may stand without file:
    elif scheme.lower() != "file":
        raise ConfigurationError("hsm.uri: pin-source: only file: is supported")
    return TokenUri(query["module-path"], pin_source.removeprefix("//"), **path)


def _attributes(text: str, separator: str, known: frozenset[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in filter(None, text.split(separator)):
        name, equals, value = part.partition("=")
        if name == "pin-value":
            raise ConfigurationError("hsm.uri: pin-value is refused; put the PIN into a file and name it by pin-source")
        if name not in known:
            raise ConfigurationError(f"hsm.uri: {name!r} is not supported here")
        if name in found or not equals or not value:
            raise ConfigurationError(f"hsm.uri: {name} is given twice or empty")
        try:
            found[name] = unquote(value, errors="strict")
        except UnicodeDecodeError as error:
            raise ConfigurationError(f"hsm.uri: {name} is not percent-encoded UTF-8") from error
    return found
