"""A service whose HSM is the forwarding module over SoftHSM, and a client of it that keeps what it was answered."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import re
import secrets
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from tests import databases
from tests.faults.forwarding import Control, forwarding, until
from tests.faults.kills import epoch_of
from tests.hsm_support import SOFTHSM
from tests.scale.scene import ALGORITHM, PATH, Scene, serving, worker_pids

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from tools.service import Service

_SECONDS: Final = 120  # a client's patience: nothing here is judged by it


@dataclass(frozen=True)
class Answered:
    """One answer to one signing call."""

    status: int
    code: str | None  # of the problem
    retry_after: str | None
    request_id: str
    closes: bool  # the connection ends with it
    signature: str | None = field(repr=False)
    digest: bytes = field(repr=False)
    body: Any = field(repr=False)


class Client:
    """Signs one digest after the other over one connection, which it opens again where it was closed."""

    def __init__(self, url: str, token: str) -> None:
        address = urlsplit(url)
        self._connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=_SECONDS)
        self._head = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def sign(self, path: str = PATH, request_id: str | None = None) -> Answered:
        """`request_id`: the caller's own name for the call, for the record."""
        head = self._head if request_id is None else {**self._head, "X-Request-Id": request_id}
        digest = hashlib.sha256(secrets.token_bytes(16)).digest()
        body = json.dumps({"digest": base64.b64encode(digest).decode(), "algorithm": ALGORITHM})
        try:
            self._connection.request("POST", path, body, head)
            answer = self._connection.getresponse()
        except (http.client.RemoteDisconnected, ConnectionError):  # a kept connection that its worker has closed
            self._connection.close()
            self._connection.request("POST", path, body, head)
            answer = self._connection.getresponse()
        said = json.loads(answer.read())
        return Answered(
            answer.status,
            said.get("code"),
            answer.getheader("Retry-After"),
            answer.getheader("X-Request-Id", ""),
            answer.will_close,
            said["results"][0].get("signature") if "results" in said else None,
            digest,
            said,
        )

    def close(self) -> None:
        self._connection.close()


@dataclass(frozen=True)
class Forwarded:
    """The running service, its HSM's other side, and what it recorded."""

    scene: Scene
    service: Service
    control: Control

    def client(self) -> Client:
        return Client(self.service.url, self.scene.token)

    def outcomes(self, request_id: str) -> list[tuple[str | None, str | None, bool]]:
        """(outcome, code, whether a signature is named) of each leaf of a request."""
        asked = "SELECT outcome, code, leaf FROM log_entries WHERE request_id = ?"
        return [
            (outcome, code, b'"signatures":[{' in bytes(leaf)) for outcome, code, leaf in self._rows(asked, request_id)
        ]

    def outcomes_of_caller(self, request_id: str) -> list[str]:
        """Of each leaf of the call that its caller named so."""
        asked = "SELECT outcome FROM log_entries WHERE caller_request_id = ?"
        return [str(outcome) for (outcome,) in self._rows(asked, request_id)]

    def open_intents(self) -> int:
        """Intents of anybody that have no outcome."""
        asked = """SELECT id FROM audit_intents WHERE NOT EXISTS
            (SELECT 1 FROM log_entries WHERE log_entries.intent_id = audit_intents.id)"""
        return len(self._rows(asked))

    def _rows(self, sql: str, *parameters: str) -> list[Any]:
        with databases.hand(self.scene.state / "sealmark.db") as reader:
            return reader.rows(sql, *parameters)

    def unknown_or_failed(self) -> int:
        """Leaves of intents that ended otherwise than well."""
        asked = "SELECT seq FROM log_entries WHERE intent_id IS NOT NULL AND outcome IN ('unknown', 'failed')"
        return len(self._rows(asked))

    def serving_workers(self) -> list[int]:
        """The workers that have logged in to the HSM and begun their epoch."""
        return [pid for pid in worker_pids(self.service) if epoch_of(pid, self.scene.state / "locks")]

    def signed_by(self, pid: int) -> int:
        """How many leaves with a signature the worker has made."""
        epoch = epoch_of(pid, self.scene.state / "locks")
        asked = "SELECT COUNT(*) FROM log_entries WHERE epoch = ? AND outcome = 'succeeded'"
        ((count,),) = self._rows(asked, str(epoch))
        return int(count)

    def logged(self) -> str:
        return self.service.log.read_text(errors="replace")

    def sign_until_good(self, client: Client) -> tuple[Answered, list[Answered]]:
        """The first good signature, verified, and what was answered before it."""
        refused: list[Answered] = []

        def good() -> bool:
            refused.append(client.sign())
            return refused[-1].status == 200

        until(good, "a good signature")
        first = refused.pop()
        assert first.signature is not None
        self.scene.verify(first.digest, first.signature)
        return first, refused


@contextmanager
def forwarded_service(
    scene: Scene,
    folder: Path,
    *options: str,
    hsm: Mapping[str, object] | None = None,
    before: Callable[[Control], None] = lambda _control: None,
) -> Iterator[Forwarded]:
    """`sealmark serve` over a copy of the scene, through the forwarding module; `hsm` are more settings of `[hsm]`,
    `before` is done to the HSM before anybody uses it."""
    with forwarding(folder) as (module, control):
        before(control)
        copied = scene.copied(folder)
        configuration = copied.state / "sealmark.toml"
        text = configuration.read_text(encoding="utf-8")
        assert SOFTHSM in text
        text = text.replace(SOFTHSM, str(module))
        more = "".join(f"{name} = {value}\n" for name, value in (hsm or {}).items())
        configuration.write_text(re.sub(r"(?m)^\[hsm\]\n", f"[hsm]\n{more}", text), encoding="utf-8")
        with serving(copied, *options) as service:
            yield Forwarded(copied, service, control)
