"""The service's own settings: tables `[server]`, `[certificates]`, `[log]`, `[audit]`, `[metrics]`, `[tracing]`,
`[[regions]]` and `[[quotas]]` of `sealmark.toml`. Frozen, typed, complete at start.

An unknown name, a wrong type, a missing file or a key file that others can read refuses to start. The keystore reads
its own tables (`[hsm]`, `[database]`, `[keys]`) of the same file.
"""

from __future__ import annotations

import ipaddress
import re
import stat
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from cryptography import x509

from signer.addresses import http_address, split_bind
from signer.audit.cosignatures import WitnessKey, parse_witness_key
from signer.authn.fetching import is_loopback
from signer.errors import ConfigurationError
from signer.export.settings import ExportSettings, read_exports
from signer.quota_settings import Quota, read_quotas
from signer.regions.settings import RegionSettings, read_regions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_OF_THE_KEYSTORE: Final = frozenset({"hsm", "database", "keys"})
KNOWN_TABLES: Final = _OF_THE_KEYSTORE | {
    *("server", "certificates", "log", "audit", "metrics", "tracing", "regions", "quotas"),
}
KEEP_ALIVE_SECONDS: Final = 75  # that a connection on which nothing is asked stays open
MOST_KEYS_WITH_FIGURES: Final = 10_000
LONGEST_LEAF_DAYS: Final = 1825
LONGEST_TOKEN_DAYS: Final = 3650
MOST_ACCESS_KEYS: Final = 100
MOST_WITNESSES: Final = 8  # with a line of each, a proof has still at most 4096 octets
# A name that WSGI servers neither drop nor confuse with another one.
_HEADER: Final = re.compile(r"[A-Za-z][A-Za-z0-9]*(-[A-Za-z0-9]+)*")
_NO_CERTIFICATES_HEADER: Final = re.compile(
    r"(?i)(authorization|cookie|host|connection|idempotency-key|signature(-input)?|content-.*|x-forwarded-.*|"
    r"x-request-id|transfer-encoding)"
)
_OTHERS_MAY: Final = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True, slots=True)
class CertificateConfiguration:
    """What the built-in authority says in its leaves, and how long its leaves and revocation lists live."""

    authority_url: str | None = None  # where its certificate is fetched (RFC 5280 section 4.2.2.1, caIssuers)
    crl_url: str | None = None  # where its revocation list is fetched (section 4.2.1.13)
    leaf_days: int = 365
    crl_days: int = 7


@dataclass(frozen=True, slots=True)
class OutsideWitness:
    """A witness that others run: where it is asked, and the key of its cosignatures."""

    url: str
    key: WitnessKey


@dataclass(frozen=True, slots=True)
class LogConfiguration:
    """Who cosigns the log's checkpoints, and how many cosignatures the proof in a response must carry.

    0: cosignatures are collected afterwards, and proofs that are fetched later carry them.
    """

    witnesses: tuple[OutsideWitness, ...] = ()
    cosignatures: int = 0


@dataclass(frozen=True, slots=True)
class MetricsConfiguration:
    """Where Prometheus reads the service's figures: an address of its own, or nowhere. One that other machines reach
    needs the server's TLS files and a token, whose file only the service may read."""

    bind: str | None = None
    token_file: Path | None = None
    keys: int = 200  # so many keys have figures of their own, by their ids; the rest is counted together


@dataclass(frozen=True, slots=True)
class TracingConfiguration:
    """Where traces are sent (OTLP over HTTP, protobuf), and of how many calls in a hundred that no caller traces."""

    endpoint: str | None = None
    sample_percent: int = 100


@dataclass(frozen=True, slots=True)
class ServerConfiguration:
    """How the service listens. `trusted_proxies` may speak plain HTTP from another machine; TLS needs both files.

    `client_ca` (PEM) issues client certificates, which TLS here then asks for and `client_crl` (PEM) revokes;
    `client_certificate_header` is where a trusted proxy states the certificate that it verified.
    """

    workers: int = 2
    threads: int = 8
    max_requests: int = 20_000  # SoftHSM leaks session objects: a worker is renewed after so many requests
    graceful_timeout: int = 30  # seconds
    connections: int = 1_000  # of a worker; beyond, the one that is idle longest is ended
    waiting: int = 24  # calls of a worker that wait for a thread; who would be more is answered 429
    head_seconds: int = 10  # for a TLS handshake, and for the headers of a request
    body_seconds: int = 30  # for a body
    log_level: str = "info"
    longest_token_days: int = 365  # of a token or an access key made from now on
    access_keys_per_principal: int = 10  # at a time; temporary ones not counted
    trusted_proxies: tuple[Network, ...] = ()
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    client_ca: Path | None = None
    client_crl: Path | None = None
    client_certificate_header: str | None = None
    certificates: CertificateConfiguration = CertificateConfiguration()
    log: LogConfiguration = LogConfiguration()
    exports: tuple[ExportSettings, ...] = ()
    regions: tuple[RegionSettings, ...] = ()
    metrics: MetricsConfiguration = MetricsConfiguration()
    tracing: TracingConfiguration = TracingConfiguration()
    quotas: tuple[Quota, ...] = ()


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
    certificates = CertificateConfiguration(
        **_read(
            "certificates",
            document.get("certificates", {}),
            {
                "authority_url": _url,
                "crl_url": _url,
                "leaf_days": lambda name, value: _whole(name, value, 1, LONGEST_LEAF_DAYS),
                "crl_days": lambda name, value: _whole(name, value, 1, 30),
            },
        )
    )
    exports = _read(
        "audit", document.get("audit", {}), {"exports": lambda name, value: read_exports(name, value, state)}
    )
    server = _server(document.get("server", {}), state, certificates)
    regions = read_regions("regions", document.get("regions", []), state)
    quotas = read_quotas("quotas", document.get("quotas", []))
    return replace(
        server,
        log=_log(document.get("log", {})),
        regions=regions,
        quotas=quotas,
        metrics=_metrics(document.get("metrics", {}), state),
        tracing=_tracing(document.get("tracing", {})),
        **exports,
    )


def _metrics(table: object, state: Path) -> MetricsConfiguration:
    readers: dict[str, Callable[[str, object], Any]] = {
        "bind": _bind,
        "token_file": lambda name, value: _private_file(name, value, state),
        "keys": lambda name, value: _whole(name, value, 0, MOST_KEYS_WITH_FIGURES),
    }
    return MetricsConfiguration(**_read("metrics", table, readers))


def _tracing(table: object) -> TracingConfiguration:
    readers: dict[str, Callable[[str, object], Any]] = {
        "endpoint": _collector,
        "sample_percent": lambda name, value: _whole(name, value, 0, 100),
    }
    return TracingConfiguration(**_read("tracing", table, readers))


def _bind(name: str, value: object) -> str:
    if not isinstance(value, str):
        msg = f"{name} is HOST:PORT, such as 127.0.0.1:9464"
        raise ConfigurationError(msg)
    try:
        split_bind(value)
    except ConfigurationError as fault:
        msg = f"{name}: {fault}"
        raise ConfigurationError(msg) from None
    return value


def _collector(name: str, value: object) -> str:
    url = _address(name, value, "http://127.0.0.1:4318/v1/traces")
    parts = urlsplit(url)
    if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
        msg = f"{name} must be https: plain http is for a collector on this machine"
        raise ConfigurationError(msg)
    return url


def _log(table: object) -> LogConfiguration:
    readers: dict[str, Callable[[str, object], Any]] = {
        "witnesses": _witnesses,
        "cosignatures": lambda name, value: _whole(name, value, 0, MOST_WITNESSES),
    }
    configuration = LogConfiguration(**_read("log", table, readers))
    if configuration.cosignatures > len(configuration.witnesses):
        msg = f"log.cosignatures is {configuration.cosignatures}, with {len(configuration.witnesses)} in log.witnesses"
        raise ConfigurationError(msg)
    return configuration


def _witnesses(name: str, value: object) -> tuple[OutsideWitness, ...]:
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        msg = f'{name} is a list such as [{{ url = "https://witness.example", key = "NAME+ID+KEY" }}]'
        raise ConfigurationError(msg)
    if len(value) > MOST_WITNESSES:
        msg = f"{name} names {len(value)} witnesses; at most {MOST_WITNESSES} fit into a proof"
        raise ConfigurationError(msg)
    found = tuple(_witness(f"{name}[{at}]", one) for at, one in enumerate(value))
    for at, one in enumerate(found):
        if any(one.key.name == other.key.name or one.key.public_key == other.key.public_key for other in found[:at]):
            msg = f"{name}[{at}].key: {one.key.name} is named twice; each witness counts once"
            raise ConfigurationError(msg)
    return found


def _witness(name: str, value: dict[str, object]) -> OutsideWitness:
    settings = _read(name, value, {"url": _witness_url, "key": _witness_key})
    for needed in ("url", "key"):
        if needed not in settings:
            msg = f"{name}.{needed} is missing"
            raise ConfigurationError(msg)
    return OutsideWitness(**settings)


def _witness_url(name: str, value: object) -> str:
    url = _address(name, value, "https://witness.example/")
    parts = urlsplit(url)
    if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
        msg = f"{name} must be https: plain http is for a witness on this machine"
        raise ConfigurationError(msg)
    return url.rstrip("/")


def _witness_key(name: str, value: object) -> WitnessKey:
    if not isinstance(value, str):
        msg = f"{name} is a text, NAME+ID+KEY"
        raise ConfigurationError(msg)
    try:
        return parse_witness_key(value)
    except ValueError as reason:
        msg = f"{name}: {reason}"
        raise ConfigurationError(msg) from None


# What a setting is useless without, and why.
_NEEDED: Final = {
    "client_ca": "tls_certificate",
    "client_crl": "client_ca",
    "client_certificate_header": "trusted_proxies",
}
_WITHOUT: Final = {
    "tls_certificate": "certificates of clients come by TLS",
    "client_ca": "it says whose certificates are revoked",
    "trusted_proxies": "the header is taken from a named proxy alone",
}


# The whole numbers of `[server]`: the least and the most that each may be.
SERVER_RANGES: Final[Mapping[str, tuple[int, int]]] = MappingProxyType(
    {
        "workers": (1, 64),
        "threads": (1, 256),
        "max_requests": (0, 10_000_000),
        "graceful_timeout": (1, 600),
        "connections": (16, 100_000),
        "waiting": (1, 10_000),
        "head_seconds": (1, 600),
        "body_seconds": (1, 3_600),
        "longest_token_days": (1, LONGEST_TOKEN_DAYS),
        "access_keys_per_principal": (1, MOST_ACCESS_KEYS),
    }
)


def _server(table: object, state: Path, certificates: CertificateConfiguration) -> ServerConfiguration:
    readers: dict[str, Callable[[str, object], Any]] = {
        **{name: _within(*bounds) for name, bounds in SERVER_RANGES.items()},
        "log_level": _level,
        "trusted_proxies": _networks,
        "tls_certificate": lambda name, value: _file(name, value, state),
        "tls_key": lambda name, value: _private_file(name, value, state),
        "client_ca": lambda name, value: _pem(name, _file(name, value, state), x509.load_pem_x509_certificates),
        "client_crl": lambda name, value: _pem(name, _file(name, value, state), x509.load_pem_x509_crl),
        "client_certificate_header": _header,
    }
    configuration = ServerConfiguration(**_read("server", table, readers), certificates=certificates)
    if (configuration.tls_certificate is None) != (configuration.tls_key is None):
        msg = "server.tls_certificate and server.tls_key go together"
        raise ConfigurationError(msg)
    for name, needed in _NEEDED.items():
        if getattr(configuration, name) and not getattr(configuration, needed):
            msg = f"server.{name} needs server.{needed}: {_WITHOUT[needed]}"
            raise ConfigurationError(msg)
    return configuration


def _read(table_name: str, table: object, readers: dict[str, Callable[[str, object], Any]]) -> dict[str, Any]:
    """The settings of one table, each by its own reader; a name without one is refused."""
    if not isinstance(table, dict):
        msg = f"[{table_name}] must be a table"
        raise ConfigurationError(msg)
    settings: dict[str, Any] = {}
    for name, value in table.items():
        if name not in readers:
            msg = f"{table_name}.{name} is not a setting; known are {', '.join(sorted(readers))}"
            raise ConfigurationError(msg)
        settings[name] = readers[name](f"{table_name}.{name}", value)
    return settings


def _url(name: str, value: object) -> str:
    """An address that stands in certificates for years. Plain http is right there: what is fetched is signed."""
    return _address(name, value, "http://sealmark.example/v1/ca/crl")


def _address(name: str, value: object, example: str) -> str:
    return http_address(value, f"{name} is an address such as {example}, without a user, a query or a fragment")[0]


def _within(least: int, most: int) -> Callable[[str, object], int]:
    return lambda name, value: _whole(name, value, least, most)


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


def _header(name: str, value: object) -> str:
    if not isinstance(value, str) or not _HEADER.fullmatch(value) or _NO_CERTIFICATES_HEADER.fullmatch(value):
        msg = f"{name} is a header of letters, digits and -, for certificates alone, such as Client-Cert"
        raise ConfigurationError(msg)
    return value


def _pem(name: str, path: Path, load: Callable[[bytes], object]) -> Path:
    try:
        load(path.read_bytes())
    except (OSError, ValueError) as error:
        msg = f"{name}: {path} does not hold PEM of the right kind"
        raise ConfigurationError(msg) from error
    return path


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
