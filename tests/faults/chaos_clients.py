"""Clients of the chaos (`tests.faults.chaos`): requests of many kinds, one retry each, and every answer checked.

A client waits as long as `Retry-After` says before it asks again, once, with the same `X-Request-Id` and, where it gave
one, the same `Idempotency-Key`. What is wrong in an answer is an `AssertionError` or the verifier's refusal.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import random
import select
import threading
import time
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_der_public_key

from tests.log_audit import KeptProof, require_signature_proved
from tests.scale.deployment import AUDIENCE, new_name
from tests.scale.mixture import digest
from tests.scale.scene import ALGORITHM, ALIAS, PATH

if TYPE_CHECKING:
    from collections.abc import Callable

    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

    from tests.scale.scene import Scene
    from verifier.notes import NoteKey

VAULT: Final = "vault"
TOKENS: Final = "/v1/keys/tokens/jwts"
_SECONDS: Final = 60  # a client's patience with one answer
_PAUSE: Final = 0.005  # seconds between two requests of one client: they are callers, and not a benchmark
_BETWEEN_TRIES: Final = 0.05  # seconds, where nothing is said: the connection broke
_GOOD: Final = 200
_WIRE: Final = "application/x-amz-json-1.1"


@dataclass(frozen=True, slots=True)
class Readers:
    """What an outsider knows, by which answers are checked."""

    scene: Scene
    log: NoteKey
    tokens: EllipticCurvePublicKey

    @staticmethod
    def of(scene: Scene, log: NoteKey, tokens: bytes) -> Readers:
        """`tokens` is the DER of the key of the tokens."""
        key: Any = load_der_public_key(tokens)
        return Readers(scene, log, key)


@dataclass(frozen=True, slots=True)
class Try:
    """One request and what came of it: `status` 0 where there was no whole answer. Times are monotonic seconds."""

    began: float
    ended: float
    status: int
    cause: str
    retry_after: float | None
    said: Any = field(repr=False)


@dataclass(frozen=True, slots=True)
class Asked:
    """What one client asked for, and its tries: one, or two."""

    kind: str
    request_id: str
    tries: tuple[Try, ...]

    @property
    def succeeded(self) -> bool:
        return self.tries[-1].status == _GOOD


@dataclass(slots=True)
class Ledger:
    """What one client asked and was given. `released` are the SHA-256 of signatures, in hexadecimal."""

    asked: list[Asked] = field(default_factory=list)
    proofs: list[KeptProof] = field(default_factory=list)
    released: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


class Client:
    """One thread, one kept connection, and not more than one request in flight."""

    def __init__(self, url: str, readers: Readers, seed: object, longest_wait: float, *, probes: bool = False) -> None:
        """`longest_wait`: the most seconds that it waits before it asks again, whatever it is told. `probes`: it only
        asks for one signature after the other, so as to see how long there are none."""
        address = urlsplit(url)
        self._connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=_SECONDS)
        self._readers = readers
        self._longest_wait = longest_wait
        self._turns = random.Random(str(seed))  # noqa: S311 - which request comes next
        self._stop = threading.Event()
        self._kinds = {Client.sign_one: 1} if probes else KINDS
        self._thread = threading.Thread(target=self._run, name=f"client-{seed}")
        self.ledger = Ledger()
        self._thread.start()

    def stop(self) -> None:
        """What it is at, it ends."""
        self._stop.set()

    def join(self) -> None:
        self._thread.join()
        self._connection.close()

    def _run(self) -> None:
        kinds, weights = list(self._kinds), list(self._kinds.values())
        while not self._stop.wait(_PAUSE):
            kind = self._turns.choices(kinds, weights)[0]
            try:
                kind(self)
            except Exception as error:  # noqa: BLE001 - an answer that does not hold is what is looked for
                self.ledger.wrong.append(f"{kind.__name__}: {type(error).__name__}: {error}"[:500])

    # Kinds of requests.

    def sign_one(self) -> None:
        self._sign_raw("single", {})

    def sign_once(self) -> None:
        self._sign_raw("single, idempotent", {"Idempotency-Key": new_name()})

    def _sign_raw(self, kind: str, head: dict[str, str]) -> None:
        item = digest()
        answer = self._ask(kind, PATH, item, head)
        if answer is not None:
            (result,) = answer["results"]
            self._require_raw(item, result)

    def sign_batch(self) -> None:
        items = [digest() for _ in range(self._turns.randint(2, 20))]
        answer = self._ask("batch", PATH, {"items": items})
        if answer is not None:
            for item, result in zip(items, answer["results"], strict=True):
                self._require_raw(item, result)

    def issue_token(self) -> None:
        name = new_name()
        answer = self._ask("token", TOKENS, {"claims": {"sub": name}})
        if answer is None:
            return
        (result,) = answer["results"]
        claims = jwt.decode(result["token"], self._readers.tokens, algorithms=["ES256"], audience=AUDIENCE)
        assert claims["sub"] == name, claims
        octets = jwt.utils.base64url_decode(result["token"].rpartition(".")[2])
        half = len(octets) // 2
        signature = encode_dss_signature(int.from_bytes(octets[:half], "big"), int.from_bytes(octets[half:], "big"))
        self._keep(result["proof"], signature)

    def encrypt_and_decrypt(self) -> None:
        plaintext = base64.b64encode(os.urandom(24)).decode()
        context = {"run": new_name()}
        sealed = self._ask("encrypt", f"/v1/keys/{VAULT}/encrypt", {"plaintext": plaintext, "context": context})
        if sealed is None:
            return
        body = {"ciphertext": sealed["results"][0]["ciphertext"], "context": context}
        opened = self._ask("decrypt", "/v1/decrypt", body)
        if opened is not None:
            assert opened["results"][0]["plaintext"] == plaintext, "decrypted to something else"

    def sign_by_wire(self) -> None:
        item = digest()
        body = {"KeyId": f"alias/{ALIAS}", "Message": item["digest"], "MessageType": "DIGEST"}
        answer = self._ask_wire("Sign", {**body, "SigningAlgorithm": ALGORITHM})
        if answer is not None:
            self._release(self._require_signature(item, answer["Signature"]))

    def encrypt_and_decrypt_by_wire(self) -> None:
        plaintext = base64.b64encode(os.urandom(24)).decode()
        sealed = self._ask_wire("Encrypt", {"KeyId": f"alias/{VAULT}", "Plaintext": plaintext})
        if sealed is None:
            return
        opened = self._ask_wire("Decrypt", {"CiphertextBlob": sealed["CiphertextBlob"]})
        assert opened is None or opened["Plaintext"] == plaintext, "decrypted to something else"

    # What is right.

    def _require_raw(self, item: dict[str, str], result: dict[str, Any]) -> None:
        self._keep(result["proof"], self._require_signature(item, result["signature"]))

    def _require_signature(self, item: dict[str, str], signature: str) -> bytes:
        self._readers.scene.verify(base64.b64decode(item["digest"]), signature)
        return base64.b64decode(signature, validate=True)

    def _release(self, signature: bytes) -> None:
        self.ledger.released.append(hashlib.sha256(signature).hexdigest())

    def _keep(self, proof: str, signature: bytes) -> None:
        self.ledger.proofs.append(require_signature_proved(proof, self._readers.log, signature))
        self._release(signature)

    # Asking.

    def _ask_wire(self, operation: str, body: dict[str, Any]) -> Any:
        head = {"X-Amz-Target": f"TrentService.{operation}", "Content-Type": _WIRE}
        return self._ask(f"wire {operation}", "/", body, head)

    def _ask(self, kind: str, path: str, body: dict[str, Any], head: dict[str, str] | None = None) -> Any:
        """The decoded answer of 200; None if there was none at the second try either."""
        request_id = str(uuid.uuid4())
        known = {"Authorization": f"Bearer {self._readers.scene.token}", "X-Request-Id": request_id}
        whole = {"Content-Type": "application/json", **known, **(head or {})}
        octets = json.dumps(body).encode()
        tries = [self._try(path, octets, whole)]
        if tries[0].status != _GOOD:
            told = tries[0].retry_after
            time.sleep(min(_BETWEEN_TRIES if told is None else told, self._longest_wait))
            tries.append(self._try(path, octets, whole))
        self.ledger.asked.append(Asked(kind, request_id, tuple(tries)))
        return tries[-1].said if tries[-1].status == _GOOD else None

    def _try(self, path: str, octets: bytes, head: dict[str, str]) -> Try:
        began = time.monotonic()
        if _is_dropped(self._connection):
            self._connection.close()
        try:
            self._connection.request("POST", path, octets, head)
            answer = self._connection.getresponse()
            said = json.loads(answer.read())
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            return Try(began, time.monotonic(), 0, f"no answer: {type(error).__name__}", None, None)
        if answer.will_close:
            self._connection.close()
        told = answer.getheader("Retry-After")
        problem = said.get("code") or said.get("__type")
        cause = "" if answer.status == _GOOD else f"{answer.status} {problem}"
        kept = said if answer.status == _GOOD else None
        return Try(began, time.monotonic(), answer.status, cause, None if told is None else float(told), kept)


def _is_dropped(connection: http.client.HTTPConnection) -> bool:
    """Whether a kept connection has ended since its last answer: there is something to read, and it is its end. Every
    client that keeps connections looks so before it sends, or it would send to a worker that is long gone."""
    return connection.sock is not None and bool(select.select([connection.sock], [], [], 0)[0])


# How often each kind comes, for one another.
KINDS: Final[dict[Callable[[Client], None], int]] = {
    Client.sign_one: 45,
    Client.sign_once: 8,
    Client.sign_batch: 10,
    Client.issue_token: 12,
    Client.encrypt_and_decrypt: 8,
    Client.sign_by_wire: 6,
    Client.encrypt_and_decrypt_by_wire: 3,
}
