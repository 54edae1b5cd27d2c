"""One request on its way in, octet by octet: when it is whole, and what is wrong with it before it is.

No thread waits for a slow sender: what has come is kept here until the request is whole, and only then does anybody
else hear of it. llhttp (RFC 9112) finds where it ends; whoever answers it parses it anew. What is kept is bounded: a
head of `MOST_HEAD` octets, a body of `MAXIMUM_BODY`, which is refused by its declared length before it is read.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

import httptools

from signer.web.http import MAXIMUM_BODY

MOST_HEAD: Final = 64 * 1024  # octets: gunicorn's own limits are within
_BEYOND: Final = 128 * 1024  # octets of a body of unknown length that are read beyond the most: then it is too large
_MOST_OCTETS: Final = MOST_HEAD + 8 * MAXIMUM_BODY  # of a body with the sizes of its chunks: an octet each needs six


class Stage(Enum):
    """How far a request has come."""

    NOTHING = "nothing"
    HEAD = "head"
    BODY = "body"
    WHOLE = "whole"
    BROKEN = "broken"  # it is no HTTP
    HEAD_TOO_LARGE = "head_too_large"
    HEAD_LATE = "head_late"
    BODY_LATE = "body_late"

    @property
    def late(self) -> Stage:
        """What it is when its time is over."""
        return _LATE.get(self, Stage.NOTHING)


_LATE: Final = {Stage.HEAD: Stage.HEAD_LATE, Stage.BODY: Stage.BODY_LATE}


class Incoming:
    """One request. `last`: nothing that comes after it on its connection can be told from its body."""

    def __init__(self) -> None:
        self.stage = Stage.NOTHING
        self.octets = bytearray()
        self.headers: dict[str, str] = {}
        self.target = ""
        self.last = False
        self.wants_continue = False
        self.body_octets = 0
        self._declared: int | None = None
        self._chunked = False
        self._begun = 0
        self._keeps_alive = False
        self.method = ""  # as it was sent; empty before the head is whole
        self._parser = httptools.HttpRequestParser(self)

    @property
    def keeps_alive(self) -> bool:
        """Whether the caller may ask again on the connection, and it is known where the next request begins."""
        return not self.last and self._begun == 1 and self._keeps_alive

    def feed(self, octets: bytes) -> Stage:
        """Takes what has come; returns how far the request is then. Octets beyond its end are kept with it."""
        self.octets += octets
        if self.stage is Stage.NOTHING:
            self.stage = Stage.HEAD
        try:
            self._parser.feed_data(octets)
        except httptools.HttpParserUpgrade:  # the caller offers another protocol, which is not taken up
            self._upgrade_refused()
        except httptools.HttpParserError:
            if self.stage is not Stage.WHOLE:
                self.stage = Stage.BROKEN
        if self.stage is Stage.HEAD and len(self.octets) > MOST_HEAD:
            self.stage = Stage.HEAD_TOO_LARGE
        elif self.stage is Stage.BODY and len(self.octets) > _MOST_OCTETS:
            self.stage = Stage.BROKEN  # extensions of chunks without end, or chunks of an octet each
        return self.stage

    def break_off(self) -> None:
        """Its caller has gone after the head: it is passed on as it is, so that its refusal is recorded."""
        self.stage, self.last = Stage.WHOLE, True

    def _upgrade_refused(self) -> None:
        """Where the head is all of the request it goes on as if nothing had been offered."""
        if self._declared or self._chunked:
            self.stage = Stage.BROKEN
        else:
            self.stage, self.last = Stage.WHOLE, True

    # httptools calls these.

    def on_message_begin(self) -> None:
        self._begun += 1

    def on_url(self, url: bytes) -> None:
        if self._begun == 1:
            self.target += url.decode("latin-1")

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._begun != 1:
            return
        title, said = name.decode("latin-1").lower(), value.decode("latin-1")
        if title == "content-length" and said.isascii() and said.isdigit():
            self._declared = int(said[:19])
        elif title == "transfer-encoding":
            self._chunked = True
        elif title == "expect":
            self.wants_continue = said.lower() == "100-continue"
        self.headers[title] = said

    def on_headers_complete(self) -> None:
        if self._begun != 1:
            return
        self.stage = Stage.BODY
        self.method = self._parser.get_method().decode("ascii")
        self._keeps_alive = bool(self._parser.should_keep_alive())
        if self._declared is not None and self._declared > MAXIMUM_BODY:
            self._too_large()

    def on_body(self, body: bytes) -> None:
        if self._begun != 1:
            return
        self.body_octets += len(body)
        if self.body_octets > MAXIMUM_BODY + _BEYOND:
            self._too_large()

    def on_message_complete(self) -> None:
        if self._begun == 1 and self.stage is Stage.BODY:
            self.stage = Stage.WHOLE

    def _too_large(self) -> None:
        """It is passed on as it is, to be refused by whoever would have read it."""
        self.stage, self.last, self.wants_continue = Stage.WHOLE, True, False
