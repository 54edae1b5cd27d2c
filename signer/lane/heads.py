"""Which requests are plain: everything that is not gets gunicorn's own parser, and Flask, with every octet as it came.

A head is plain if it can be read in one way only, by any parser: written as most clients write it, each field once, of
visible ASCII, the body's length in digits and no transfer coding; and if it asks for nothing that needs a second look.
llhttp parses it strictly; the conditions here are narrower than gunicorn's and its own. A head that is not plain is
never refused here.

Callers who keep their connection send nearly the same head each time, so what was found of a head is remembered by its
octets: it follows from them alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import httptools

from signer.kms.operations import TARGET
from signer.lane.roads import WIRE_PATH
from signer.web.http import CALLER_REQUEST_ID

if TYPE_CHECKING:
    from collections.abc import Mapping

    from signer.lane.roads import Road, Roads

LONGEST_HEAD: Final = 8 * 1024  # octets; gunicorn's limits are wider
LONGEST_BODY: Final = 32 * 1024  # octets: what has more takes longer, and is not stepped together with others
END: Final = b"\r\n\r\n"
BEGINNING: Final = b"POST /"
_MOST_FIELDS: Final = 50  # as gunicorn is set up
_FIELD: Final = re.compile(rb"[A-Za-z0-9-]+: ?[\x20-\x7e]*")
_REQUEST_LINE: Final = re.compile(rb"POST /[\x21-\x7e]{0,1024} HTTP/1\.1")
_LENGTH: Final = re.compile(r"[1-9][0-9]{0,6}")
_REMEMBERED: Final = 1024  # heads
# Of a request with one of these, somebody else sees to it: it is signed otherwise, comes through a proxy, is not framed
# by its length alone, wants to be asked before it sends, or is to be answered only once.
NOT_PLAIN: Final = frozenset(
    {
        *("signature", "signature-input", "sealmark-approval", "x-forwarded-for", "x-forwarded-proto"),
        *("transfer-encoding", "te", "trailer", "upgrade", "http2-settings", "expect", "proxy-connection"),
        *("keep-alive", "idempotency-key", "script-name", "content-encoding"),
    }
)


@dataclass(frozen=True, slots=True)
class PlainHead:
    """The head of a plain call. `length` is that of its body in octets; `headers` (lower-case names) are there where a
    signature covers them."""

    path: str
    road: Road
    length: int
    keeps_alive: bool
    authorization: str | None = field(repr=False)
    caller_request_id: str | None
    headers: Mapping[str, str] = field(repr=False)
    traceparent: str | None = None


class HeadReader:
    """One per lane."""

    def __init__(self, roads: Roads, not_plain: frozenset[str] = NOT_PLAIN) -> None:
        self._roads = roads
        self._not_plain = not_plain
        self._known: dict[bytes, PlainHead] = {}

    def read(self, octets: bytes) -> PlainHead | None:
        """What a head says that ends with its empty line; None if it is not plain."""
        found = self._known.get(octets)
        if found is not None:
            return found
        head = self._plain(octets)
        if head is not None and not head.headers and head.traceparent is None:  # those never come again
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[octets] = head
        return head

    def _plain(self, octets: bytes) -> PlainHead | None:
        first, *fields = octets[: -len(END)].split(b"\r\n")
        if not _REQUEST_LINE.fullmatch(first) or not 0 < len(fields) <= _MOST_FIELDS:
            return None
        if not all(map(_FIELD.fullmatch, fields)):
            return None
        parsed = _Parsed()
        parser = httptools.HttpRequestParser(parsed)
        try:
            parser.feed_data(octets)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            return None
        if not parsed.complete or len(parsed.headers) != len(fields):  # none of them twice
            return None
        return self._of(parsed.target, parsed.headers)

    def _of(self, path: str, headers: dict[str, str]) -> PlainHead | None:
        road = self._roads.wire(headers.get(TARGET, "")) if path == WIRE_PATH else self._roads.native(path)
        if road is None or road.slow or headers.get("content-type") != road.media_type or "host" not in headers:
            return None
        length, connection = headers.get("content-length", ""), headers.get("connection", "keep-alive").lower()
        if not _LENGTH.fullmatch(length) or int(length) > LONGEST_BODY or not self._not_plain.isdisjoint(headers):
            return None
        asked = headers.get("x-request-id")
        if connection not in ("keep-alive", "close") or (
            asked is not None and CALLER_REQUEST_ID.fullmatch(asked) is None
        ):
            return None
        authorization = headers.get("authorization")
        covered = road.wire or (authorization or "")[:4].upper() == "AWS4"
        return PlainHead(
            path=path,
            road=road,
            length=int(length),
            keeps_alive=connection == "keep-alive",
            authorization=authorization,
            caller_request_id=asked,
            headers=headers if covered else {},
            traceparent=headers.get("traceparent"),
        )


class _Parsed:
    """What llhttp tells of a head."""

    def __init__(self) -> None:
        self.target = ""
        self.headers: dict[str, str] = {}
        self.complete = False

    def on_url(self, url: bytes) -> None:
        self.target += url.decode("ascii")

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("ascii").lower()] = value.decode("ascii").strip(" \t")

    def on_headers_complete(self) -> None:
        self.complete = True
