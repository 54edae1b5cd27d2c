"""What is reached over the network: the service itself, its port if it is down, and its witnesses."""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import httpx

from signer.cli.doctor.findings import Finding, fail, ok, warn

if TYPE_CHECKING:
    from pathlib import Path

    from signer.config import ServerConfiguration

_TIMEOUT: Final = httpx.Timeout(3.0)


def check_service(server: ServerConfiguration, bind: str) -> Iterator[Finding]:
    """The service where it runs, and else whether it could listen. Yields nothing of a Unix socket."""
    from signer.addresses import split_bind

    if bind.startswith("unix:"):
        return
    host, port = split_bind(bind)
    reached = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    shown = f"[{reached}]" if ":" in reached else reached
    scheme = "https" if server.tls_certificate is not None else "http"
    try:
        context = _own(server.tls_certificate)
        url = f"{scheme}://{shown}:{port}"
        with httpx.Client(base_url=url, timeout=_TIMEOUT, trust_env=False, verify=context) as client:
            alive = client.get("/healthz")
            if alive.status_code != httpx.codes.OK or alive.json() != {"status": "alive"}:
                raise ValueError
            yield ok("service", f"it answers at {bind}")
            yield from _readiness(client.get("/readyz"))
    except httpx.ConnectError:
        yield from _port(host, port, "service")
    except (httpx.HTTPError, ValueError):
        says = f"what answers at {bind} is not this service, or it hangs"
        yield fail("service", says, "name the service's --bind; if it hangs, see `HSM hung` in the runbook")


def check_metrics(server: ServerConfiguration) -> Iterator[Finding]:
    """Whether the figures can be read, or could be."""
    from signer.addresses import split_bind

    if server.metrics.bind is None:
        return
    host, port = split_bind(server.metrics.bind)
    try:
        with socket.create_connection((host, port), timeout=3):
            yield ok("metrics", f"metrics are served at {server.metrics.bind}")
    except OSError:
        yield from _port(host, port, "metrics")


def _own(certificate: Path | None) -> ssl.SSLContext:
    """Trusts the service's own certificate, whatever its name: it was read from the disk beside us."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if certificate is not None:
        context.load_verify_locations(cafile=certificate)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


def _readiness(answer: httpx.Response) -> Iterator[Finding]:
    told = answer.json()
    parts = told.get("parts") if isinstance(told, dict) else None
    if not isinstance(parts, dict) or not all(isinstance(part, dict) for part in parts.values()):
        yield fail("ready", f"/readyz answered {answer.status_code} without saying of which part", "see its log")
        return
    unusable = {name: part for name, part in parts.items() if part.get("status") != "ready"}
    for name, part in unusable.items():
        says = f"{name}: {part.get('words', part.get('code', 'not ready'))}"
        found = warn if part.get("status") == "warning" else fail
        yield found("ready", says, f"the lines `not_ready` of the service's log say why; runbook: {part.get('code')}")
    if not unusable:
        yield ok("ready", "every part of it can be used")


def _port(host: str, port: int, check: str) -> Iterator[Finding]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            words = {
                errno.EADDRINUSE: "another program has it",
                errno.EACCES: "this user may not bind it",
                errno.EADDRNOTAVAIL: "the machine has no such address",
            }
            says = f"{host}:{port} cannot be listened on: {words.get(error.errno or 0, error.strerror)}"
            yield fail(check, says, "end the other program, or choose another address")
            return
    yield ok(check, f"nothing listens at {host}:{port}; it is free")


def check_witnesses(server: ServerConfiguration) -> Iterator[Finding]:
    """Each witness: reached, and the one whose key is configured."""
    for witness in server.log.witnesses:
        needed = server.log.cosignatures > 0
        try:
            with httpx.Client(timeout=_TIMEOUT, trust_env=witness.url.startswith("https:")) as client:
                answer = client.get(f"{witness.url}/healthz")
            reached = answer.status_code < httpx.codes.INTERNAL_SERVER_ERROR
        except httpx.HTTPError:
            reached = False
        if reached:
            yield ok("witness", f"{witness.key.name} answers")
        else:
            advice = "network, TLS, or the witness is down; `sealmark witness serve` there"
            found = fail if needed else warn
            yield found("witness", f"{witness.key.name} at {witness.url} cannot be reached", advice)
