"""A deployment with many keys in the folder of one drill: made, stopped, started and asked by its own commands."""

from __future__ import annotations

import base64
import http.client
import json
import os
import signal
import subprocess
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import load_der_public_key

from tools.service import PROGRAMS, Service, free_port, run, running_service

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

USER: Final = "role/drill"
ALGORITHM: Final = "ECDSA_SHA_256"
THRESHOLD: Final = 3
_START_SECONDS: Final = 120


@dataclass(frozen=True)
class Made:
    """A state directory that nobody serves, what was carried away of it, and the public keys as they were published."""

    state: Path
    carried: Path
    token: str = field(repr=False)
    public_keys: dict[str, bytes]  # by the key's id
    on_token: tuple[str, ...]  # keys that the HSM cannot wrap

    def shares(self) -> list[str | Path]:
        """Enough custodians, as a command is told of them."""
        files = [self.carried / f"custodian-{number}.share" for number in range(1, THRESHOLD + 1)]
        return [word for file in files for word in ("--share", file)]

    @property
    def officer_pin(self) -> Path:
        return self.carried / "so.pin"


def make(folder: Path, keys: int, on_token: int = 2) -> Made:
    """`sealmark init`, and so many P-256 keys, by the service's own calls."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with running_service(folder) as service:
        token = service.enrolled(USER, "key-user")
        with service.caller(service.token_of("key-admin")) as administrator:

            def made(spec: str) -> str:
                new = {"spec": spec, "purpose": "general", "users": [USER]}
                return str(administrator.json("POST", "/v1/keys", new)["id"])

            wrapped = [made("ECC_NIST_P256") for _ in range(keys)]
            kept = [made("ECC_NIST_EDWARDS25519") for _ in range(on_token)]
        with service.caller(token) as user:
            public = {key: user.content(f"/v1/keys/{key}/public-key?format=der") for key in wrapped}
    carried = folder / "carried"
    (service.state / "ceremony").rename(carried)
    return Made(service.state, carried, token, public, tuple(kept))


def sealmark(*arguments: str | Path, environment: dict[str, str] | None = None) -> str:
    """A command's standard output. Raises: `ServiceError`."""
    return run(PROGRAMS / "sealmark", *arguments, environment=environment).stdout


@contextmanager
def serving(state: Path) -> Iterator[Service]:
    """`sealmark serve`, which may be unable to sign: nobody waits for it here."""
    port, log = free_port(), state.parent / f"{state.name}.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            [str(PROGRAMS / "sealmark"), "serve", "--state", str(state), "--bind", f"127.0.0.1:{port}"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield Service(f"http://127.0.0.1:{port}", state, process, log)
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(60)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


class Signer:
    """One keep-alive connection; every answer is verified with the public key of before."""

    def __init__(self, url: str, made: Made) -> None:
        address = urlsplit(url)
        self._connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=60)
        self._made = made
        self._headers = {"Authorization": f"Bearer {made.token}", "Content-Type": "application/json"}

    def sign(self, key: str) -> str:
        """`signed`, or what happened instead."""
        digest = os.urandom(32)
        body = json.dumps({"digest": base64.b64encode(digest).decode(), "algorithm": ALGORITHM})
        status, answer = self._call("POST", f"/v1/keys/{key}/signatures", body)
        if status != 200:
            return f"{status} {answer.get('code', '')}"
        public = load_der_public_key(self._made.public_keys[key])
        assert isinstance(public, EllipticCurvePublicKey)
        signature = base64.b64decode(answer["results"][0]["signature"], validate=True)
        try:
            public.verify(signature, digest, ECDSA(Prehashed(hashes.SHA256())))
        except InvalidSignature:
            return "a signature that does not verify with the key that was published before"
        return "signed"

    def _call(self, method: str, path: str, body: str) -> tuple[int, dict[str, Any]]:
        try:
            self._connection.request(method, path, body, self._headers)
            answer = self._connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            return 0, {"code": type(error).__name__}
        with suppress(ValueError):
            return answer.status, json.loads(content)
        return answer.status, {}

    def message_signed(self, key: str) -> str:
        """The same of a key that signs messages, unverified."""
        status, answer = self._call("POST", f"/v1/keys/{key}/signatures", json.dumps({"message": "AAAA"}))
        return "signed" if status == 200 else f"{status} {answer.get('code', '')}"

    def close(self) -> None:
        self._connection.close()


def first_signature(service: Service, made: Made, seconds: float = _START_SECONDS) -> float:
    """Asks until something is signed; the moment of it (`time.monotonic`). Raises: `AssertionError` after `seconds`."""
    signer, deadline = Signer(service.url, made), time.monotonic() + seconds
    key, said = next(iter(made.public_keys)), ""
    try:
        while time.monotonic() < deadline:
            said = signer.sign(key)
            if said == "signed":
                return time.monotonic()
            time.sleep(0.05)
    finally:
        signer.close()
    raise AssertionError(f"nothing was signed: {said}: {service.log.read_text(errors='replace')[-2000:]}")
