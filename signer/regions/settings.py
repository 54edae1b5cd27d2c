"""The other regions of the account: `[[regions]]` of `sealmark.toml`, a deployment each.

A call to one of them shows the credential that is kept in `token_file` or a client certificate: a principal of that
deployment with the duty of a key administrator, made for this alone.
"""

from __future__ import annotations

import re
import ssl
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from signer.addresses import http_address
from signer.authn.fetching import is_loopback
from signer.errors import ConfigurationError

MOST_REGIONS: Final = 32
_NAME: Final = re.compile(r"[a-z]{2}(-[a-z0-9]+){1,4}")
_MEMBERS: Final = frozenset({"name", "url", "token_file", "client_certificate", "client_key", "ca"})
_OTHERS_MAY: Final = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True, slots=True)
class RegionSettings:
    """One other region: its name, where its service is, and how it is told who calls. Files are read when they are
    used, so that they can be renewed."""

    name: str
    url: str
    token_file: Path | None = None
    client_certificate: Path | None = None
    client_key: Path | None = None
    ca: Path | None = None  # who issued its TLS certificate; None: the system's authorities


def read_regions(name: str, value: object, state: Path) -> tuple[RegionSettings, ...]:
    """The regions of a configuration. Raises `ConfigurationError` naming the setting."""
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        msg = f"{name} is a list of tables: [[{name}]] with name, url, and token_file or client_certificate"
        raise ConfigurationError(msg)
    if len(value) > MOST_REGIONS:
        msg = f"{name}: {len(value)} regions; {MOST_REGIONS} at most"
        raise ConfigurationError(msg)
    found = tuple(_region(f"{name}[{at}]", one, state) for at, one in enumerate(value))
    for at, one in enumerate(found):
        if any(one.name == other.name or one.url == other.url for other in found[:at]):
            msg = f"{name}[{at}]: {one.name} or its address is named twice"
            raise ConfigurationError(msg)
    return found


def _region(name: str, table: dict[str, object], state: Path) -> RegionSettings:
    for member in table:
        if member not in _MEMBERS:
            msg = f"{name}.{member} is not a setting; known are {', '.join(sorted(_MEMBERS))}"
            raise ConfigurationError(msg)
    region = table.get("name")
    if not isinstance(region, str) or not _NAME.fullmatch(region):
        msg = f"{name}.name is a region such as eu-west-1"
        raise ConfigurationError(msg)
    certificate = _file(f"{name}.client_certificate", table.get("client_certificate"), state)
    key = _file(f"{name}.client_key", table.get("client_key"), state, private=True)
    token = _file(f"{name}.token_file", table.get("token_file"), state, private=True)
    if (certificate is None) != (key is None):
        msg = f"{name}.client_certificate and {name}.client_key go together"
        raise ConfigurationError(msg)
    if (token is None) == (certificate is None):
        msg = f"{name}: give token_file, or client_certificate and client_key: one of the two says who calls"
        raise ConfigurationError(msg)
    authority = _authority(f"{name}.ca", table.get("ca"), state)
    return RegionSettings(region, _url(f"{name}.url", table.get("url")), token, certificate, key, authority)


def _url(name: str, value: object) -> str:
    msg = f"{name} is the other service's address, such as https://sealmark.eu.example, without a path's end"
    address, parts = http_address(value, msg)
    if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
        msg = f"{name} must be https: plain http is for a service on this machine"
        raise ConfigurationError(msg)
    return address.rstrip("/")


def _authority(name: str, value: object, state: Path) -> Path | None:
    path = _file(name, value, state)
    if path is not None:
        try:
            ssl.create_default_context(cafile=path)
        except (OSError, ssl.SSLError) as error:
            msg = f"{name}: {path} does not hold certificates in PEM"
            raise ConfigurationError(msg) from error
    return path


def _file(name: str, value: object, state: Path, *, private: bool = False) -> Path | None:
    if value is None:
        return None
    if not isinstance(value, str):
        msg = f"{name} is the path of a file"
        raise ConfigurationError(msg)
    path = state / value
    if not path.is_file():
        msg = f"{name}: there is no file {path}"
        raise ConfigurationError(msg)
    if private and path.stat().st_mode & _OTHERS_MAY:
        msg = f"{name}: {path} can be read by others; `chmod 600` it"
        raise ConfigurationError(msg)
    return path
