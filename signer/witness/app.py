"""The witness over HTTP: a WSGI application of three addresses.

POST /add-checkpoint  C2SP tlog-witness
GET  /HEX/checkpoint  the newest checkpoint cosigned of the log whose origin's SHA-256 is HEX
GET  /, /healthz      alive, and the store readable
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from signer.witness.cosigning import Cosigner
from signer.witness.errors import ForkRefusal, Refusal, WitnessStateError
from signer.witness.protocol import MAXIMUM_BODY
from signer.witness.store import StoreBusy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from signer.witness.state import WitnessState

    StartResponse = Callable[[str, list[tuple[str, str]]], object]

SIZE_TYPE: Final = "text/x.tlog.size"
_TEXT: Final = "text/plain; charset=utf-8"
_CHECKPOINT: Final = re.compile(r"/([0-9a-f]{64})/checkpoint")


class WitnessApplication:
    """A WSGI application (PEP 3333) over an open state."""

    def __init__(self, state: WitnessState, cosigner: Cosigner | None = None) -> None:
        self._state = state
        self._cosigner = cosigner or Cosigner(state)

    def __call__(self, environ: Mapping[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        try:
            status, kind, text = self._answer(environ)
        except Refusal as refusal:
            if isinstance(refusal, ForkRefusal):
                _log("log_forked", alarm=True, reason=refusal.message)
            status, kind, text = refusal.status, _TEXT, f"{refusal.message}\n"
            if refusal.size is not None:
                kind, text = SIZE_TYPE, f"{refusal.size}\n"
        except (StoreBusy, WitnessStateError) as fault:
            _log("store_unusable", alarm=True, reason=str(fault))
            status, kind, text = HTTPStatus.SERVICE_UNAVAILABLE, _TEXT, "the witness cannot use its store just now\n"
        body = text.encode()
        headers = [("Content-Type", kind), ("Content-Length", str(len(body))), ("Cache-Control", "no-store")]
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            headers.append(("Allow", "POST" if environ["PATH_INFO"] == "/add-checkpoint" else "GET"))
        start_response(f"{status.value} {status.phrase}", headers)
        return [body]

    def _answer(self, environ: Mapping[str, Any]) -> tuple[HTTPStatus, str, str]:
        path, method = environ.get("PATH_INFO", ""), environ["REQUEST_METHOD"]
        checkpoint = _CHECKPOINT.fullmatch(path)
        if path == "/add-checkpoint":
            _require(method, "POST")
            return HTTPStatus.OK, _TEXT, self._cosigner.add_checkpoint(_body(environ))
        if path in ("/", "/healthz"):
            _require(method, "GET")
            self._state.store.logs()
            return HTTPStatus.OK, _TEXT, f"{self._state.key.public}\n"
        if checkpoint:
            _require(method, "GET")
            return HTTPStatus.OK, _TEXT, self._newest(checkpoint[1])
        raise Refusal(HTTPStatus.NOT_FOUND, "there is nothing at this address: POST /add-checkpoint")

    def _newest(self, origin_hash: str) -> str:
        for log in self._state.store.logs():
            if hashlib.sha256(log.key.name.encode()).hexdigest() == origin_hash and log.note is not None:
                return log.note.decode()
        raise Refusal(HTTPStatus.NOT_FOUND, "this witness has cosigned nothing of that log")


def _require(method: str, right: str) -> None:
    if method != right:
        raise Refusal(HTTPStatus.METHOD_NOT_ALLOWED, f"this address takes {right}")


def _body(environ: Mapping[str, Any]) -> bytes:
    """The whole body, never more than a request can have."""
    length = environ.get("CONTENT_LENGTH") or ""
    if length and not (length.isascii() and length.isdigit()):
        raise Refusal(HTTPStatus.BAD_REQUEST, "Content-Length must be a number")
    if length and int(length) > MAXIMUM_BODY:
        raise Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a request has at most {MAXIMUM_BODY} octets")
    # Without a length the server ends the input where a chunked body ends.
    body: bytes = environ["wsgi.input"].read(int(length) if length else MAXIMUM_BODY + 1)
    if length and len(body) != int(length):
        raise Refusal(HTTPStatus.BAD_REQUEST, "the body is shorter than Content-Length says")
    return body


def _log(event: str, **members: object) -> None:
    """One JSON line on standard error, in the form of the service's."""
    sys.stderr.write(json.dumps({"event": event, **members}) + "\n")
