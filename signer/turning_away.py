"""What a worker says itself, past the application: that it has too much to do, and why it ends a connection.

Whoever is refused for overload is not looked up, and costs no more than these octets: the answer's form is that of
every other, natively or over AWS's protocol, and the audit trail has a count of it by whoever it seemed to be.
"""

from __future__ import annotations

import ipaddress
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import msgspec

from keystore.measures import count
from signer.audit.identifiers import new_request_id
from signer.kms.errors import EXCEPTIONS, TYPE_HEADER
from signer.kms.operations import MEDIA_TYPE
from signer.problems import OVERLOADED_RETRY_SECONDS, PROBLEMS, problem
from signer.reception import Stage
from signer.web.http import PROBLEM_MEDIA_TYPE, RESPONSE_HEADERS
from signer.web.kms import PATH as WIRE_PATH
from signer.web.kms import REQUEST_ID

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from signer.admission import Caller
    from signer.call import Call
    from signer.config import Network
    from signer.services import Services

CODE: Final = "overloaded"
UNKNOWN: Final = "unknown"  # by what name callers are counted whose credential was not seen before
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_WORDS: Final = "the service has more to do than it can: the call was not looked at; send it again"


def _plain(status: str, words: str) -> bytes:
    body = f"{words}\n".encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body


# Of a request that never got to the application: it has no id, and proves nothing.
UNREAD: Final = "none"  # the operation of a call that nobody has looked at
UNFIT: Final[Mapping[Stage, bytes]] = MappingProxyType(
    {
        Stage.BROKEN: _plain("400 Bad Request", "this is no HTTP request"),
        Stage.HEAD_TOO_LARGE: _plain("431 Request Header Fields Too Large", "the headers are too large"),
        Stage.HEAD_LATE: _plain("408 Request Timeout", "the headers did not come in time"),
        Stage.BODY_LATE: _plain("408 Request Timeout", "the body did not come in time"),
    }
)


class Overload:
    """One per worker, over its application's parts."""

    def __init__(self, services: Services) -> None:
        self._audit = services.audit
        self._callers = services.callers
        self._proxies = services.configuration.trusted_proxies
        self._asks_for_certificates = services.configuration.client_ca is not None

    def caller_of(self, conn: Any) -> Caller:  # noqa: ANN401 - a connection of the worker
        """Whose request this looks like."""
        incoming = conn.incoming
        peer = str(conn.client[0]) if isinstance(conn.client, tuple) and conn.client else "unknown"
        source = _source(peer, incoming.headers.get("x-forwarded-for"), self._proxies)
        certificate = None
        if self._asks_for_certificates and hasattr(conn.sock, "getpeercert"):
            certificate = conn.sock.getpeercert(True)
        return self._callers.caller_of(incoming.method, incoming.target, source, incoming.headers, certificate)

    def caller_of_call(self, call: Call) -> Caller:
        """The same of a call that has been read, from this machine."""
        headers = call.headers if call.authorization is None else {**call.headers, "authorization": call.authorization}
        return self._callers.caller_of(call.method, call.target, call.source, headers)

    def answer(self, target: str, caller: Caller, *, keeps_alive: bool) -> bytes:
        """429 in the caller's protocol; the audit trail counts it."""
        self._audit.count(CODE, caller.name if caller.known else UNKNOWN)
        count(("refusals", UNREAD, CODE))
        request_id, seconds = new_request_id(), OVERLOADED_RETRY_SECONDS
        headers = [("X-Request-Id", request_id), ("Retry-After", str(seconds)), *RESPONSE_HEADERS]
        if target.partition("?")[0] == WIRE_PATH:
            name = EXCEPTIONS[CODE] or CODE
            status, media_type = "400 Bad Request", MEDIA_TYPE
            body = msgspec.json.encode({"__type": name, "message": _WORDS})
            headers += [(TYPE_HEADER, name), (REQUEST_ID, request_id), ("x-amz-retry-after", str(1000 * seconds))]
        else:
            status, media_type = f"{PROBLEMS[CODE].status} Too Many Requests", PROBLEM_MEDIA_TYPE
            body = msgspec.json.encode(problem(CODE, _WORDS, request_id=request_id))
        headers += [("Content-Type", media_type), ("Content-Length", str(len(body)))]
        if not keeps_alive:
            headers.append(("Connection", "close"))
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
        return f"HTTP/1.1 {status}\r\n{lines}\r\n".encode() + body


def _source(peer: str, forwarded: str | None, proxies: Sequence[Network]) -> str:
    """The address that `signer.web.peer` takes the caller to have."""
    if forwarded is None or not proxies:
        return peer
    nearest = forwarded.rpartition(",")[2].strip()
    try:
        if any(ipaddress.ip_address(peer) in network for network in proxies):
            return str(ipaddress.ip_address(nearest))
    except ValueError:
        pass
    return peer
