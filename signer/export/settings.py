"""Where records go: `[[audit.exports]]` of `sealmark.toml`, an address and a format each."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

from signer.errors import ConfigurationError

Format = Literal["json", "cloudtrail"]
FORMATS: Final = ("json", "cloudtrail")
_MEMBERS: Final = frozenset({"to", "format"})
_FORMS: Final = "file:PATH, syslog+unix:PATH, syslog+tcp://HOST:PORT or syslog+udp://HOST:PORT"
_HOST: Final = re.compile(r"[A-Za-z0-9.:-]+")


@dataclass(frozen=True, slots=True)
class FileTarget:
    """Lines at the end of a file."""

    path: Path


@dataclass(frozen=True, slots=True)
class SyslogTarget:
    """Messages of RFC 5424: to a socket of this machine (`path`), or to a host by TCP or UDP."""

    protocol: Literal["unix", "tcp", "udp"]
    path: str = ""
    host: str = ""
    port: int = 0


@dataclass(frozen=True, slots=True)
class ExportSettings:
    """One export. `to` is what the configuration says, by which its place is remembered."""

    to: str
    target: FileTarget | SyslogTarget
    format: Format = "json"


def read_exports(name: str, value: object, state: Path) -> tuple[ExportSettings, ...]:
    """The exports of a configuration. Raises `ConfigurationError` naming the setting."""
    if not isinstance(value, list):
        msg = f'{name} is a list of tables, such as [[{name}]] with to = "file:audit.jsonl"'
        raise ConfigurationError(msg)
    exports = tuple(_export(f"{name}[{at}]", one, state) for at, one in enumerate(value))
    if len({export.to for export in exports}) != len(exports):
        msg = f"{name}: two exports go to one place"
        raise ConfigurationError(msg)
    return exports


def _export(name: str, value: object, state: Path) -> ExportSettings:
    if not isinstance(value, dict) or not isinstance(value.get("to"), str):
        msg = f"{name} is a table with `to`: {_FORMS}"
        raise ConfigurationError(msg)
    for member in value:
        if member not in _MEMBERS:
            msg = f"{name}.{member} is not a setting; known are {', '.join(sorted(_MEMBERS))}"
            raise ConfigurationError(msg)
    chosen = value.get("format", "json")
    if chosen not in FORMATS:
        msg = f"{name}.format is one of {', '.join(FORMATS)}"
        raise ConfigurationError(msg)
    return ExportSettings(value["to"], _target(f"{name}.to", value["to"], state), chosen)


def _target(name: str, to: str, state: Path) -> FileTarget | SyslogTarget:
    kind, _, rest = to.partition(":")
    if kind == "file" and rest:
        path = state / rest
        if not path.parent.is_dir():
            msg = f"{name}: there is no folder {path.parent}"
            raise ConfigurationError(msg)
        return FileTarget(path)
    if kind == "syslog+unix" and rest.startswith("/"):
        return SyslogTarget("unix", path=rest)
    if kind in ("syslog+tcp", "syslog+udp"):
        return _remote(name, to, "tcp" if kind == "syslog+tcp" else "udp")
    msg = f"{name} is {_FORMS}"
    raise ConfigurationError(msg)


def _remote(name: str, to: str, protocol: Literal["tcp", "udp"]) -> SyslogTarget:
    message = f"{name} is {_FORMS}, for example syslog+tcp://127.0.0.1:601"
    try:
        parts = urlsplit(to)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigurationError(message) from error
    if (
        not host
        or not port
        or not _HOST.fullmatch(host)
        or parts.path
        or parts.query
        or parts.fragment
        or parts.username
    ):
        raise ConfigurationError(message)
    return SyslogTarget(protocol, host=host, port=port)
