"""A Sealmark service for a while: fresh state, free port, started by its own commands as a stranger would start it.

Talks to it by HTTP alone; knows nothing of the service's code.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import httpx

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

START_SECONDS = 60
STOP_SECONDS = 30
PROGRAMS = Path(sys.executable).parent

JsonObject: TypeAlias = dict[str, Any]


def no_arguments(_state: Path) -> Sequence[str]:
    """What `sealmark init` is told besides --state: nothing, so that its database is a file there."""
    return ()


init_arguments: Callable[[Path], Sequence[str]] = no_arguments  # the tests set another one where they run on PostgreSQL


class ServiceError(Exception):
    """The service did not do what it should; the message says what, with the end of its log."""


class Caller:
    """Calls the service as one principal. `token` None: without credentials. `authority` issued its TLS certificate."""

    def __init__(self, url: str, token: str | None, authority: Path | None = None) -> None:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._client = httpx.Client(
            base_url=url, headers=headers, timeout=60, trust_env=False, verify=_tls_context(authority)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def json(self, method: str, path: str, body: object = None) -> JsonObject:
        """The decoded answer. Raises: `ServiceError` for any status but 2xx, with the problem's detail."""
        answer: JsonObject = self._send(method, path, body).json()
        return answer

    def text(self, path: str) -> str:
        """The answer's text."""
        return self._send("GET", path, None).text

    def content(self, path: str) -> bytes:
        """The answer's bytes."""
        return self._send("GET", path, None).content

    def _send(self, method: str, path: str, body: object) -> httpx.Response:
        answer = (
            self._client.request(method, path, json=body) if body is not None else self._client.request(method, path)
        )
        if not answer.is_success:
            problem = answer.json() if "json" in answer.headers.get("content-type", "") else {}
            raise ServiceError(f"{method} {path}: {answer.status_code} {problem.get('code')}: {problem.get('detail')}")
        return answer


class Service:
    """A running service: its address and the state directory that `init` made."""

    def __init__(
        self, url: str, state: Path, process: subprocess.Popen[bytes], log: Path, authority: Path | None = None
    ) -> None:
        self.url = url
        self.authority = authority
        self.state = state
        self.process = process
        self.log = log

    def caller(self, token: str | None = None) -> Caller:
        """Somebody with this token, or nobody."""
        return Caller(self.url, token, self.authority)

    def token_of(self, name: str) -> str:
        """The token that `init` wrote for `admin` or `key-admin`."""
        return (self.state / f"{name}.token").read_text(encoding="ascii").strip()

    def secrets(self) -> list[str]:
        """What `init` wrote for the service and its first people, which must stand in no log."""
        return [
            path.read_text(encoding="ascii").strip() for path in (self.state / "hsm.pin", *self.state.glob("*.token"))
        ]

    def enrolled(self, name: str, duty: str) -> str:
        """Makes a principal and enrols it; returns its token, which nobody else sees."""
        with self.caller(self.token_of("admin")) as administrator, self.caller() as newcomer:
            made = administrator.json("POST", "/v1/principals", {"name": name, "duty": duty})
            return str(newcomer.json("POST", "/v1/enrolments", {"code": made["enrolment_code"]})["token"])


def _tls_context(authority: Path | None) -> ssl.SSLContext:
    """Who is trusted: that authority, or nobody where no TLS is spoken; to read the machine's own takes long."""
    if authority is None:
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return ssl.create_default_context(cafile=authority)


def free_port() -> int:
    """A port of the loopback interface that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run(*command: str | Path, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end without input, with these variables besides its own.

    Raises: `ServiceError` with its last words if it fails.
    """
    words = [str(word) for word in command]
    done = subprocess.run(
        words,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **(environment or {})},
    )
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()[-2000:]
        raise ServiceError(f"{' '.join(words)}: exit {done.returncode}\n{said}")
    return done


@contextlib.contextmanager
def running_service(folder: Path, settings: Sequence[str] = (), *, authority: Path | None = None) -> Iterator[Service]:
    """`sealmark init` and `sealmark serve` in `folder`, until the end of the block; then nothing of it runs.

    `settings` are lines of `[server]`; with `authority` (PEM) they say that it speaks TLS, by whose certificate.
    """
    state, log = folder / "state", folder / "serve.log"
    run(PROGRAMS / "sealmark", "init", "--state", state, *init_arguments(state))
    if settings:
        with (state / "sealmark.toml").open("a", encoding="utf-8") as file:
            file.write("\n".join(["", "[server]", *settings, ""]))
    address = f"127.0.0.1:{free_port()}"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(PROGRAMS / "sealmark"), "serve", "--state", str(state), "--bind", address],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            start_new_session=True,
        )
    scheme = "http" if authority is None else "https"
    service = Service(f"{scheme}://{address}", state, process, log, authority)
    try:
        _wait_until_ready(service)
        yield service
    finally:
        _stop(service)


def _wait_until_ready(service: Service) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if service.process.poll() is not None:
            break
        with contextlib.suppress(httpx.TransportError):
            context = _tls_context(service.authority)
            if httpx.get(f"{service.url}/readyz", timeout=5, trust_env=False, verify=context).is_success:
                return
        time.sleep(0.1)
    raise ServiceError(f"the service did not become ready:\n{service.log.read_text(errors='replace')[-3000:]}")


def _stop(service: Service) -> None:
    process = service.process
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        # Its whole session, so that no worker is left behind.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise ServiceError(f"the service did not stop within {STOP_SECONDS} s of SIGTERM") from None
    if not _is_gone(process.pid):
        os.killpg(process.pid, signal.SIGKILL)
        raise ServiceError("the service stopped but left a process behind")


def _is_gone(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False
