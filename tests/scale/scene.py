"""A state directory with a key and its user in it, and the service started over it by its own command."""

from __future__ import annotations

import base64
import contextlib
import os
import shutil
import signal
import ssl
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import httpx
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import load_der_public_key

from tests.databases import copy, hand, is_postgresql, url_of
from tools.service import PROGRAMS, Service, free_port, running_service

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ALIAS: Final = "probe"
ALGORITHM: Final = "ECDSA_SHA_256"
PATH: Final = f"/v1/keys/{ALIAS}/signatures"
_ALGORITHM: Final = ECDSA(Prehashed(hashes.SHA256()))
SERVE: Final = (str(PROGRAMS / "sealmark"), "serve")
_NO_AUTHORITIES: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # plain HTTP; to read the machine's own takes long
_START_SECONDS: Final = 60
_STOP_SECONDS: Final = 60


@dataclass(frozen=True)
class Scene:
    """A state directory that nobody serves just now. `public_key` is what the service published of its P-256 key."""

    state: Path
    token: str = field(repr=False)
    public_key: bytes

    def copied(self, folder: Path, settings: Mapping[str, int] | None = None) -> Scene:
        """The same scene in a folder of its own, with these settings in `[server]`."""
        state = folder / "state"
        shutil.copytree(self.state, state)
        if is_postgresql():
            own, copied = self.state / "sealmark.db", state / "sealmark.db"
            copy(own, copied)
            configuration = state / "sealmark.toml"
            configuration.write_text(configuration.read_text().replace(url_of(own), url_of(copied)))
        if settings:
            lines = ["", "[server]", *(f"{name} = {value}" for name, value in settings.items()), ""]
            with (state / "sealmark.toml").open("a", encoding="utf-8") as file:
                file.write("\n".join(lines))
        return Scene(state, self.token, self.public_key)

    def verify(self, digest: bytes, signature: str) -> None:
        """Raises `InvalidSignature`. `signature` is base64, as it was answered."""
        public_key = load_der_public_key(self.public_key)
        assert isinstance(public_key, EllipticCurvePublicKey)
        public_key.verify(base64.b64decode(signature, validate=True), digest, _ALGORITHM)

    def query(self, sql: str, *parameters: str) -> list[tuple[str | int | None, ...]]:
        """Rows of the database, read past the service."""
        with hand(self.state / "sealmark.db") as connection:
            return connection.rows(sql, *parameters)

    def signatures_by_epoch(self) -> dict[str, int]:
        """How many signatures each worker has begun; those of a worker that has ended too."""
        found = self.query("SELECT epoch, COUNT(*) FROM audit_intents WHERE algorithm = ? GROUP BY epoch", ALGORITHM)
        return {str(epoch): int(count or 0) for epoch, count in found}

    def epochs(self) -> set[str]:
        """Every worker that ever came up."""
        return {str(epoch) for (epoch,) in self.query("SELECT id FROM audit_epochs")}


def make_scene(folder: Path) -> Scene:
    """`sealmark init`, a P-256 key and its user, made by the service's own commands and calls."""
    with running_service(folder) as service:
        token = service.enrolled("role/scale", "key-user")
        key = {"alias": ALIAS, "spec": "ECC_NIST_P256", "purpose": "general", "users": ["role/scale"]}
        with service.caller(service.token_of("key-admin")) as administrator:
            administrator.json("POST", "/v1/keys", key)
        with service.caller(token) as user:
            public_key = user.content(f"/v1/keys/{ALIAS}/public-key?format=der")
    shutil.rmtree(service.state / "ceremony")
    return Scene(service.state, token, public_key)


@contextlib.contextmanager
def serving(scene: Scene, *options: str, program: Sequence[str] = SERVE) -> Iterator[Service]:
    """`sealmark serve` (or a program that takes its options) over the scene. At the end of the block it is stopped,
    unless the block did so."""
    log = scene.state.parent / "serve.log"
    port = free_port()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*program, "--state", str(scene.state), "--bind", f"127.0.0.1:{port}", *options],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    service = Service(f"http://127.0.0.1:{port}", scene.state, process, log)
    try:
        _wait_until_ready(service)
        yield service
        process.terminate()
        assert process.wait(_STOP_SECONDS) == 0, log.read_text(errors="replace")[-3000:]
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_until_ready(service: Service) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and service.process.poll() is None:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{service.url}/readyz", timeout=30, trust_env=False, verify=_NO_AUTHORITIES).is_success:
                return
        time.sleep(0.05)
    raise AssertionError(f"not ready: {service.log.read_text(errors='replace')[-3000:]}")


def worker_pids(service: Service) -> list[int]:
    """The workers of a running service, oldest first."""
    children = Path(f"/proc/{service.process.pid}/task/{service.process.pid}/children").read_text(encoding="ascii")
    return sorted(int(pid) for pid in children.split())
