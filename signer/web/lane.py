"""The short way of a plain signing call through any WSGI server: from the environment to the pipeline and back, past
Flask's machinery. `sealmark serve` has the lane itself in front of it; over TLS, and in another server, there is this.

Only what needs no second look goes this way: a POST to one of the signing calls or of AWS's operations, its path
spelled plainly, its body of known length and declared as what it must be, from this machine, its credential in the
header `Authorization`. Everything else goes through Flask, and so does the wording of every error, so that a caller
sees no difference. Why: docs/adr/0011.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from flask import g

from keystore.db import patience
from signer.audit.identifiers import new_request_id
from signer.call import Call
from signer.lane.roads import WIRE_PATH, Road, Roads
from signer.measuring import call_begins, call_ended, call_leaves
from signer.tracing import begun
from signer.web.http import CALLER_REQUEST_ID, MAXIMUM_BODY, RESPONSE_HEADERS, error_response
from signer.web.kms import REQUEST_ID, is_wire
from signer.web.kms import error_response as wire_error_response
from signer.web.peer import environment_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from wsgiref.types import StartResponse, WSGIApplication

    from flask import Flask

    from signer.operations.base import Operation
    from signer.services import Services

THIS_MACHINE: Final = frozenset({"127.0.0.1", "::1"})
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
        self.services = services
        self.roads = Roads(services, operations)
        header = services.configuration.client_certificate_header
        self._for_flask = _FOR_FLASK if header is None else _FOR_FLASK | {environment_name(header)}

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        call_begins()
        try:
            with patience.limited(patience.request_seconds()):
                return self._answered(environ, start_response)
        finally:
            call_leaves()

    def _answered(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        road = self._road(environ)
        if road is None:
            return self._flask(environ, start_response)
        call = Call(
            request_id=new_request_id(),
            caller_request_id=environ.get("HTTP_X_REQUEST_ID"),
            source=environ["REMOTE_ADDR"],
            authorization=environ.get("HTTP_AUTHORIZATION"),
            idempotency_key=environ.get("HTTP_IDEMPOTENCY_KEY"),
            body=environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])),
            method="POST",
            target=environ["PATH_INFO"],
            secure=environ["wsgi.url_scheme"] == "https",
            headers=_headers(environ) if road.wire or _is_aws_signed(environ) else {},
            trace=begun(environ.get("HTTP_TRACEPARENT")),
        )
        try:
            body = self.services.audit.run(road.steps(call))
        except Exception as error:  # noqa: BLE001 - here errors become answers, as in Flask's handler
            return self.refused(error, call, environ, start_response)
        headers = [
            ("Content-Type", road.media_type),
            ("Content-Length", str(len(body))),
            ("X-Request-Id", call.request_id),
            *([(REQUEST_ID, call.request_id)] if road.wire else []),
            *RESPONSE_HEADERS,
        ]
        call_ended(call.trace, None, "none")
        start_response("200 OK", headers)
        return (body,)

    def _road(self, environ: dict[str, Any]) -> Road | None:
        """What answers the call; None for what Flask is to look at."""
        path = environ["PATH_INFO"]
        if environ["REQUEST_METHOD"] != "POST" or environ.get("RAW_URI", path) != path:
            return None
        target = environ.get("HTTP_X_AMZ_TARGET", "")
        road = self.roads.wire(target) if path == WIRE_PATH else self.roads.native(path)
        if road is None or environ.get("CONTENT_TYPE") != road.media_type or not self._is_plain(environ):
            return None
        return road

    def _is_plain(self, environ: dict[str, Any]) -> bool:
        """Whether nothing of the request needs a second look."""
        length = environ.get("CONTENT_LENGTH", "")
        if not (length.isascii() and length.isdigit() and 0 < int(length[:9]) <= MAXIMUM_BODY):
            return False
        if "HTTP_TRANSFER_ENCODING" in environ:
            return False
        # Over TLS there may be a certificate to look at.
        if environ["wsgi.url_scheme"] != "http" or not self._for_flask.isdisjoint(environ):
            return False
        if environ.get("REMOTE_ADDR") not in THIS_MACHINE:
            return False
        asked = environ.get("HTTP_X_REQUEST_ID")
        return not environ.get("QUERY_STRING") and (asked is None or CALLER_REQUEST_ID.fullmatch(asked) is not None)

    def refused(
        self, error: Exception, call: Call, environ: dict[str, Any], start_response: StartResponse
    ) -> Iterable[bytes]:
        """The answer to a call that ended with an error, in Flask's words."""
        with self._app.request_context(environ):
            g.request_id, g.call = call.request_id, call
            refused = wire_error_response(error, self.services) if is_wire() else error_response(error)
            return self._app.process_response(refused)(environ, start_response)


def _is_aws_signed(environ: Mapping[str, Any]) -> bool:
    """Whether the credential is a signature over the request and its headers."""
    return str(environ.get("HTTP_AUTHORIZATION", ""))[:4].upper() == "AWS4"


def _headers(environ: Mapping[str, Any]) -> dict[str, str]:
    """The request's headers by their lower-case names, from the WSGI environment (PEP 3333)."""
    found = {name[5:].replace("_", "-").lower(): value for name, value in environ.items() if name.startswith("HTTP_")}
    return found | {"content-type": environ["CONTENT_TYPE"], "content-length": environ["CONTENT_LENGTH"]}
