"""The short way of a plain signing call: from the WSGI environment to the pipeline and back, past Flask's machinery.

Only what needs no second look goes this way: a POST to one of the four signing calls, its path spelled plainly, its
body of known length and declared as JSON, from this machine, with no credential but a token. Everything else goes
through Flask, and so does the wording of every error, so that a caller sees no difference. Why: docs/adr/0011.
"""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING, Any, Final

import msgspec
from flask import g

from keystore.db import patience
from signer.call import Call
from signer.web.http import CALLER_REQUEST_ID, MAXIMUM_BODY, RESPONSE_HEADERS, error_response
from signer.web.peer import environment_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from wsgiref.types import StartResponse, WSGIApplication

    from flask import Flask

    from signer.operations.base import Operation
    from signer.services import Services

_PATH: Final = re.compile(r"/v1/keys/(?P<key>[A-Za-z0-9_-]{1,250})/(?P<call>[a-z]+)")
_THIS_MACHINE: Final = frozenset({"127.0.0.1", "::1"})
# What says that the call was signed, or came through a proxy that may speak for its caller.
_FOR_FLASK: Final = frozenset(
    {
        *("HTTP_SIGNATURE", "HTTP_SIGNATURE_INPUT", "HTTP_SEALMARK_APPROVAL"),
        *("HTTP_X_FORWARDED_FOR", "HTTP_X_FORWARDED_PROTO"),
    }
)


class SigningLane:
    """A WSGI application in front of Flask's own."""

    def __init__(self, app: Flask, services: Services, operations: Mapping[str, Operation[Any]]) -> None:
        self._app = app
        self._flask: WSGIApplication = app.wsgi_app
        self._pipeline = services.pipeline
        self._operations = operations
        header = services.configuration.client_certificate_header
        self._for_flask = _FOR_FLASK if header is None else _FOR_FLASK | {environment_name(header)}

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        with patience.limited():
            return self._answered(environ, start_response)

    def _answered(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        found = self._eligible(environ)
        if found is None:
            return self._flask(environ, start_response)
        reference, operation, length = found
        call = Call(
            request_id=secrets.token_hex(16),
            caller_request_id=environ.get("HTTP_X_REQUEST_ID"),
            source=environ["REMOTE_ADDR"],
            authorization=environ.get("HTTP_AUTHORIZATION"),
            idempotency_key=environ.get("HTTP_IDEMPOTENCY_KEY"),
            body=environ["wsgi.input"].read(length),
            secure=environ["wsgi.url_scheme"] == "https",
        )
        try:
            body = msgspec.json.encode(self._pipeline.sign(call, reference, operation).content)
        except Exception as error:  # noqa: BLE001 - here errors become answers, as in Flask's handler
            return self._refused(error, call, environ, start_response)
        headers = [
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(body))),
            ("X-Request-Id", call.request_id),
            *RESPONSE_HEADERS,
        ]
        start_response("200 OK", headers)
        return (body,)

    def _eligible(self, environ: dict[str, Any]) -> tuple[str, Operation[Any], int] | None:
        """The key's reference, the call and the body's length; None for what Flask is to look at."""
        path = environ["PATH_INFO"]
        matched = _PATH.fullmatch(path)
        if matched is None or environ["REQUEST_METHOD"] != "POST" or environ.get("RAW_URI", path) != path:
            return None
        operation = self._operations.get(matched["call"])
        length = environ.get("CONTENT_LENGTH", "")
        if operation is None or not (length.isascii() and length.isdigit() and 0 < int(length[:9]) <= MAXIMUM_BODY):
            return None
        if environ.get("CONTENT_TYPE") != "application/json" or "HTTP_TRANSFER_ENCODING" in environ:
            return None
        if environ.get("HTTP_AUTHORIZATION", "").startswith("AWS4"):  # whose signature covers the whole request
            return None
        # Over TLS there may be a certificate to look at.
        if environ["wsgi.url_scheme"] != "http" or not self._for_flask.isdisjoint(environ):
            return None
        if environ.get("REMOTE_ADDR") not in _THIS_MACHINE:
            return None
        asked = environ.get("HTTP_X_REQUEST_ID")
        if environ.get("QUERY_STRING") or (asked is not None and not CALLER_REQUEST_ID.fullmatch(asked)):
            return None
        return matched["key"], operation, int(length)

    def _refused(
        self, error: Exception, call: Call, environ: dict[str, Any], start_response: StartResponse
    ) -> Iterable[bytes]:
        with self._app.request_context(environ):
            g.request_id, g.call = call.request_id, call
            response = self._app.process_response(error_response(error))
            return response(environ, start_response)
