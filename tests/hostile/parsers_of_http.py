"""HTTP: heads and requests as the lane and the receiving worker read them, beside gunicorn's own parser."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from signer.config import ServerConfiguration
from signer.lane.heads import END, HeadReader
from signer.lane.roads import Roads
from signer.reception import Incoming, Stage
from signer.server import gunicorn_options
from tests.hostile.parser import (
    Parser,
)

_HEAD: Final = (
    b"POST /v1/keys/release/signatures HTTP/1.1\r\nHost: 127.0.0.1:8200\r\nAuthorization: Bearer smk_abc\r\n"
    b"Accept: */*\r\nX-Request-Id: build-7\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n"
)
_WIRE_HEAD: Final = (
    b"POST / HTTP/1.1\r\nhost: sign.example\r\nx-amz-target: TrentService.Sign\r\nx-amz-date: 20261126T120000Z\r\n"
    b"authorization: AWS4-HMAC-SHA256 Credential=AKIAAAAAAAAAAAAAAAAA/20261126/us-east-1/kms/aws4_request\r\n"
    b"content-type: application/x-amz-json-1.1\r\nconnection: close\r\ncontent-length: 12\r\n\r\n"
)
_ANYTHING: Final[Any] = object()


def _plain_heads() -> HeadReader:
    return HeadReader(Roads(_ANYTHING, {"signatures": _ANYTHING}))


class Disagreement(Exception):
    """Two readers of one request read it differently: one of them could be made to see another call."""


def read_head(data: bytes) -> None:
    """What the lane takes as plain, gunicorn and llhttp read in the same way, to the same octet."""
    octets = data.partition(END)[0] + END
    head = _plain_heads().read(octets)
    if head is None:
        return
    body = b"x" * head.length
    theirs = _by_gunicorn(octets + body + b"GET /beyond HTTP/1.1\r\n\r\n")
    if theirs is None:
        raise Disagreement("gunicorn refuses what the lane takes as plain")
    fields, path, read, keeps = theirs
    ours = (head.path, body, head.authorization, head.caller_request_id, head.keeps_alive)
    seen = (path, read, fields.get("AUTHORIZATION"), fields.get("X-REQUEST-ID"), keeps)
    if ours != seen:
        raise Disagreement(f"the lane reads {ours!r}, gunicorn {seen!r}")
    incoming = Incoming()
    if incoming.feed(octets + body) is not Stage.WHOLE or incoming.body_octets != head.length:
        raise Disagreement("what is plain is no whole request where requests are taken in")


def _by_gunicorn(octets: bytes) -> tuple[dict[str, str], str, bytes, bool] | None:
    from gunicorn.http.errors import ParseException

    try:
        request = next(_gunicorn_parser(octets))
        body = request.body.read()
    except (ParseException, StopIteration):
        return None
    uri = request.uri
    return dict(request.headers), uri, body, not request.should_close()


def _gunicorn_parser(octets: bytes) -> Any:
    from gunicorn.http.parser import RequestParser

    return RequestParser(_gunicorn_settings(), iter([octets]), ("127.0.0.1", 1))


@cache
def _gunicorn_settings() -> Any:
    from gunicorn.config import Config

    made = Config()
    for name, value in gunicorn_options(ServerConfiguration(), "127.0.0.1:0").items():
        if name.startswith(("limit_", "forwarded_", "secure_")):
            made.set(name, value)
    return made


def take_in(data: bytes) -> None:
    """However the octets are cut, the request ends at the same octet."""
    whole, cut = Incoming(), Incoming()
    stage = whole.feed(data)
    half = len(data) // 2
    for part in (data[:half], data[half:]):
        if part and cut.stage not in (Stage.WHOLE, Stage.BROKEN, Stage.HEAD_TOO_LARGE):
            cut.feed(part)
    ended = (Stage.WHOLE, Stage.BROKEN, Stage.HEAD_TOO_LARGE)
    if stage is Stage.WHOLE and cut.stage in ended and cut.stage is not Stage.WHOLE:
        raise Disagreement(f"whole at once is {stage}, in two parts {cut.stage}")
    if stage is Stage.WHOLE and cut.stage is Stage.WHOLE and (whole.method, whole.target) != (cut.method, cut.target):
        raise Disagreement("whole at once is another request than in two parts")


PARSERS: Final = (
    Parser("heads", lambda: [_HEAD, _WIRE_HEAD], read_head, ()),
    Parser(
        "reception",
        lambda: [
            _HEAD + b"x" * 12,
            _HEAD.replace(b"Content-Length: 12", b"Transfer-Encoding: chunked")
            + b"5;a=b\r\nhello\r\n0\r\nA: b\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
        ],
        take_in,
        (),
    ),
)
