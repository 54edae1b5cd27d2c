"""A client that keeps its own ledger: of every request that it sent, by the caller's `X-Request-Id`, how many decisions
it must have become. What it is answered is checked at once, every proof too."""

from __future__ import annotations

import base64
import http.client
import json
import random
import socket
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import httpx
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from tests.log_audit import KeptProof, require_signature_proved

if TYPE_CHECKING:
    from tests.scale.deployment import Deployment
    from verifier.notes import NoteKey

_SECONDS: Final = 60
_GOOD: Final = 200
_TOO_LARGE: Final = 413
_STRANGER: Final = "127.0.0.2"  # where wrong credentials come from: nobody else is to wait for them


@dataclass(slots=True)
class Ledger:
    """What one client sent and got."""

    leaves: dict[str, int] = field(default_factory=dict)  # by the caller's request id
    kinds: dict[str, str] = field(default_factory=dict)
    proofs: list[KeptProof] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    gone: int = 0  # requests whose caller did not wait for the answer
    strangers: Counter[int] = field(default_factory=Counter)
    stranger_ids: set[str] = field(default_factory=set)
    slowest: float = 0.0


class Teller:
    """One thread's client. Not more than one request is in flight."""

    def __init__(self, url: str, deployment: Deployment, key: NoteKey, seed: object = None) -> None:
        """`key` is the log's; `seed` what its `turns` follow from."""
        address = urlsplit(url)
        self._host, self._port = str(address.hostname), int(address.port or 80)
        self._url = url
        self._deployment = deployment
        self._key = key
        self._connection = http.client.HTTPConnection(self._host, self._port, timeout=_SECONDS)
        self.ledger = Ledger()
        self.turns = random.Random(str(seed))  # noqa: S311 - which request comes next
        self.kind = ""

    def send(
        self,
        who: str | None,
        method: str,
        path: str,
        body: object = None,
        headers: dict[str, str] | None = None,
        *,
        status: int,
        leaves: int = 1,
    ) -> Any:
        """Sends it as `who` (None: as a signed request of the user) and returns the decoded answer."""
        content, head = self._request(who, method, path, body, headers)
        self._note(head, leaves)
        try:
            found, said = self._exchange(method, path, content, head)
        except OSError:
            # A body that is too large is answered before it was read: the connection then ends as it likes.
            if status != _TOO_LARGE:
                raise
            return None
        assert found == status, f"{method} {path}: {found} instead of {status}: {said[:300]!r}"
        return json.loads(said) if said[:1] in (b"{", b"[") else None

    def ask(self, who: str, method: str, path: str, body: object) -> tuple[int, Any]:
        """Status and decoded answer, whatever they are. Raises `OSError` if the connection breaks."""
        content, head = self._request(who, method, path, body, None)
        status, said = self._exchange(method, path, content, head)
        return status, json.loads(said)

    def sign_if_possible(
        self, who: str | None, path: str, body: dict[str, Any], items: int, headers: dict[str, str] | None = None
    ) -> int:
        """Sends it and returns the status; what was signed is checked. Raises `OSError` if the connection breaks."""
        content, head = self._request(who, "POST", path, body, headers)
        status, said = self._exchange("POST", path, content, head)
        if status == _GOOD:
            results = json.loads(said)["results"]
            assert len(results) == items
            for result in results:
                self._require_proved(result)
        return status

    def _exchange(self, method: str, path: str, content: bytes | None, head: dict[str, str]) -> tuple[int, bytes]:
        """Status and content. Raises `OSError` whenever there is no whole answer."""
        began = time.monotonic()
        try:
            self._connection.request(method, path, content, head)
            answer = self._connection.getresponse()
            said = answer.read()
        except http.client.HTTPException as error:
            self._connection.close()
            raise ConnectionError(repr(error)) from error
        except OSError:
            self._connection.close()
            raise
        if answer.will_close:
            self._connection.close()
        self.ledger.slowest = max(self.ledger.slowest, time.monotonic() - began)
        self.ledger.statuses[answer.status] += 1
        return answer.status, said

    def sign(
        self, who: str | None, path: str, body: dict[str, Any], items: int, headers: dict[str, str] | None = None
    ) -> Any:
        """Sends it, one leaf expected for each item, and checks the proof of each signature."""
        answer = self.send(who, "POST", path, body, headers, status=200, leaves=items)
        assert len(answer["results"]) == items
        for result in answer["results"]:
            if "error" not in result:
                self._require_proved(result)
        return answer

    def send_and_go(
        self, who: str, method: str, path: str, body: object, *, leaves: int, part: float = 1.0, wait: float = 0.0
    ) -> None:
        """Sends it, or its head and this part of its body, and closes the connection before there is an answer."""
        content, head = self._request(who, method, path, body, None)
        octets = content or b""
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self._host}", f"Content-Length: {len(octets)}"]
        lines += [f"{name}: {value}" for name, value in head.items()]
        self._note(head, leaves)
        self.ledger.gone += 1
        with socket.create_connection((self._host, self._port), timeout=_SECONDS) as connection:
            connection.sendall("\r\n".join([*lines, "", ""]).encode() + octets[: int(len(octets) * part)])
            time.sleep(wait)

    def be_a_stranger(self) -> None:
        """Sends a wrong credential, or none: counted, and no decision."""
        connection = http.client.HTTPConnection(self._host, self._port, _SECONDS, source_address=(_STRANGER, 0))
        head = {"X-Request-Id": str(uuid.uuid4()), "Authorization": f"Bearer smk_{uuid.uuid4().hex}"}
        self.ledger.stranger_ids.add(head["X-Request-Id"])
        connection.request("GET", "/v1/whoami", headers=head)
        self.ledger.strangers[connection.getresponse().status] += 1
        connection.close()

    def close(self) -> None:
        self._connection.close()

    def _request(
        self, who: str | None, method: str, path: str, body: object, headers: dict[str, str] | None
    ) -> tuple[bytes | None, dict[str, str]]:
        content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        head = {"X-Request-Id": str(uuid.uuid4()), **(headers or {})}
        if content is not None:
            head.setdefault("Content-Type", "application/json")
        if who is not None:
            return content, {**head, "Authorization": f"Bearer {self._deployment.tokens[who]}"}
        request = httpx.Request(method, self._url + path, content=content, headers=head)
        self._deployment.signer.sign(request)
        signed = ("content-digest", "signature", "signature-input")
        return content, {**head, **{name: request.headers[name] for name in signed if name in request.headers}}

    def _note(self, head: dict[str, str], leaves: int) -> None:
        self.ledger.leaves[head["X-Request-Id"]] = leaves
        self.ledger.kinds[head["X-Request-Id"]] = self.kind

    def _require_proved(self, result: dict[str, Any]) -> None:
        if "token" in result:
            signature = _der_of(result["token"].rpartition(".")[2])
        else:
            signature = base64.b64decode(result.get("signature") or result["signatures"]["raw"], validate=True)
        self.ledger.proofs.append(require_signature_proved(result["proof"], self._key, signature))


def _der_of(encoded: str) -> bytes:
    """An ES256 signature of a JWS as the HSM gave it: the leaf names it so."""
    octets = base64.urlsafe_b64decode(encoded + "==")
    half = len(octets) // 2
    return encode_dss_signature(int.from_bytes(octets[:half], "big"), int.from_bytes(octets[half:], "big"))
