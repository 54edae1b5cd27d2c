"""Between Flask and the pipeline: a request becomes a `Call`, an answer or an error becomes a response."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import msgspec
import structlog
from flask import Response, g, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, RequestEntityTooLarge, UnsupportedMediaType

from signer.audit.identifiers import new_request_id
from signer.authn import signed_request, sigv4_request
from signer.call import Answer, Call
from signer.errors import MalformedRequest, NotFound, RequestTooLarge
from signer.logs import place_of
from signer.problems import RETRY_AFTER_SECONDS, SERVER_FAULTS, code_of, problem, problem_for
from signer.tracing import begun
from signer.web.peer import client_certificate, is_secure, source_of_call

if TYPE_CHECKING:
    from signer.config import ServerConfiguration

MAXIMUM_BODY: Final = 1024 * 1024  # octets
PROBLEM_MEDIA_TYPE: Final = "application/problem+json"
CALLER_REQUEST_ID: Final = re.compile(r"[\x21-\x7e]{1,128}")
_CODES_OF_STATUS: Final = {
    404: "not_found",
    405: "method_not_allowed",
    413: "request_too_large",
    415: "unsupported_media_type",
}
RESPONSE_HEADERS: Final = (("X-Content-Type-Options", "nosniff"), ("Cache-Control", "no-store"))
_TOO_LARGE: Final = "a request body is at most 1 MiB"
_log = structlog.get_logger("sealmark.http")


def current_call(configuration: ServerConfiguration, media_type: str = "application/json") -> Call:
    """The request as the pipeline sees it. Raises `RequestTooLarge`, `UnsupportedMediaType`, `MalformedRequest`."""
    body = _body()
    if body and request.mimetype != media_type:
        msg = f"send the body as {media_type}"
        raise UnsupportedMediaType(msg)
    g.call = _call(configuration, body, _caller_request_id())
    call: Call = g.call
    return call


def turned_away_call(configuration: ServerConfiguration) -> Call | None:
    """The same of a request that was refused before it got so far: with what of it can be used. None where nothing of
    it could prove whose it is."""
    given = request.headers.get("X-Request-Id")
    usable = given is not None and CALLER_REQUEST_ID.fullmatch(given)
    try:
        body, whole = _body(), True
    except (RequestTooLarge, HTTPException):
        body, whole = b"", False
    call = _call(configuration, body, given if usable else None)
    if signed_request.is_signed(call) or sigv4_request.is_signed(call):
        return call if whole else None  # the signature covers the body
    return call if call.authorization is not None or call.client_certificate is not None else None


def _body() -> bytes:
    """Read once, however often it is asked for; not at all where it is declared too large, since the rest may not come.
    Raises `RequestTooLarge`."""
    if (request.content_length or 0) > MAXIMUM_BODY:
        raise RequestTooLarge(_TOO_LARGE)
    if "body" not in g:
        try:
            g.body = request.get_data(cache=False)
        except RequestEntityTooLarge as error:
            raise RequestTooLarge(_TOO_LARGE) from error
    body: bytes = g.body
    if len(body) > MAXIMUM_BODY:
        raise RequestTooLarge(_TOO_LARGE)
    return body


def _call(configuration: ServerConfiguration, body: bytes, caller_request_id: str | None) -> Call:
    return Call(
        request_id=request_id(),
        caller_request_id=caller_request_id,
        source=source_of_call(configuration),
        authorization=request.headers.get("Authorization"),
        idempotency_key=request.headers.get("Idempotency-Key"),
        body=body,
        method=str(request.environ["REQUEST_METHOD"]),  # as it was sent: Werkzeug's own is in capitals
        target=str(request.environ.get("RAW_URI") or request.full_path.rstrip("?")),
        secure=is_secure(configuration),
        headers={name.lower(): value for name, value in request.headers.items()},
        client_certificate=client_certificate(configuration),
        trace=begun(request.headers.get("traceparent")),
    )


def request_id() -> str:
    """This request's own id, 32 hex digits, the same for its whole life."""
    if "request_id" not in g:
        g.request_id = new_request_id()
    identifier: str = g.request_id
    return identifier


def _caller_request_id() -> str | None:
    given = request.headers.get("X-Request-Id")
    if given is not None and not CALLER_REQUEST_ID.fullmatch(given):
        msg = "X-Request-Id is 1 to 128 visible ASCII characters"
        raise MalformedRequest(msg, field="X-Request-Id")
    return given


def json_response(answer: Answer) -> Response:
    """The answer as `application/json`."""
    return Response(msgspec.json.encode(answer.content), answer.status, mimetype="application/json")


def error_response(error: Exception) -> Response:
    """Any exception as a problem; what is not ours is logged and answered without its words."""
    code = g.refused_with = code_of_any(error)
    if isinstance(error, HTTPException):
        body = problem(code, error.description or code, request_id=request_id())
    else:
        body = problem_for(error, request_id=request_id())
        if code == "internal_error":
            body["detail"] = problem(code, "")["detail"]
        report_fault(error, code)
    status = body["status"]
    response = Response(
        msgspec.json.encode(body), status if isinstance(status, int) else 500, mimetype=PROBLEM_MEDIA_TYPE
    )
    if isinstance(error, MethodNotAllowed) and error.valid_methods:
        response.headers["Allow"] = ", ".join(sorted(error.valid_methods))  # RFC 9110 section 15.5.6
    if code == "unauthenticated":
        response.headers["WWW-Authenticate"] = "Bearer"
    if response.status_code in (429, 503):
        response.headers["Retry-After"] = str(getattr(error, "retry_after", RETRY_AFTER_SECONDS))
    return response


def report_fault(error: Exception, code: str) -> None:
    """Tells the log of what is the service's own fault. Integrity failures name the row here and nowhere else."""
    if code in SERVER_FAULTS:
        _log.error("call_failed", alarm=True, code=code, kind=type(error).__name__, reason=_reason(error, code))


def code_of_any(error: Exception) -> str:
    """The stable code of an exception, Flask's own among them."""
    if not isinstance(error, HTTPException):
        return code_of(error)
    status = error.code or 500
    return _CODES_OF_STATUS.get(status, "internal_error" if status >= 500 else "malformed_request")


def _reason(error: Exception, code: str) -> str:
    # Words of an unforeseen exception may hold anything, a secret too: its kind and place are enough.
    if code != "internal_error":
        return str(error)
    return place_of(error)


def refuse_strange_paths() -> None:
    """`%2F`, `..` and `//` are 404 before routing: no segment holds what another reader might split differently."""
    raw = (
        str(request.environ.get("RAW_URI") or request.environ.get("REQUEST_URI") or request.path)
        .partition("?")[0]
        .lower()
    )
    if "%2f" in raw or "%5c" in raw or "//" in raw or ".." in raw or "%2e" in raw:
        msg = "there is no such path"
        raise NotFound(msg)
