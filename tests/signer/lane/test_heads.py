"""Which heads are plain: everything that could be read in two ways, or needs a second look, is not."""

from __future__ import annotations

from typing import Any

import pytest

from signer.lane.heads import LONGEST_BODY, NOT_PLAIN, HeadReader
from signer.lane.roads import Roads

GOOD = (
    b"POST /v1/keys/release/signatures HTTP/1.1\r\nHost: 127.0.0.1:8200\r\nAuthorization: Bearer smk_abc\r\n"
    b"Accept: */*\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n"
)


@pytest.fixture
def reader() -> HeadReader:
    anything: Any = object()
    return HeadReader(Roads(anything, {"signatures": anything}))


def test_a_plain_head_is_read(reader: HeadReader) -> None:
    for _ in range(2):  # remembered
        head = reader.read(GOOD)
        assert head is not None
        assert (head.path, head.length, head.keeps_alive) == ("/v1/keys/release/signatures", 12, True)
        assert (head.authorization, head.caller_request_id, head.headers) == ("Bearer smk_abc", None, {})
        assert "smk_abc" not in repr(head)


def test_what_a_signature_covers_is_there(reader: HeadReader) -> None:
    head = reader.read(GOOD.replace(b"Bearer smk_abc", b"aws4-HMAC-SHA256 Credential=x").replace(b"Accept:", b"X-A-b:"))
    assert head is not None
    assert head.headers == {
        "host": "127.0.0.1:8200",
        "authorization": "aws4-HMAC-SHA256 Credential=x",
        "x-a-b": "*/*",
        "content-type": "application/json",
        "content-length": "12",
    }
    wire = GOOD.replace(b"/v1/keys/release/signatures", b"/").replace(
        b"application/json", b"application/x-amz-json-1.1"
    )
    assert reader.read(wire) is None
    head = reader.read(wire.replace(b"Accept: */*", b"X-Amz-Target: TrentService.Sign"))
    assert head is not None
    assert head.road.wire
    assert head.headers["x-amz-target"] == "TrentService.Sign"
    assert reader.read(wire.replace(b"Accept: */*", b"X-Amz-Target: TrentService.ListKeys")) is None


def test_a_caller_may_end_its_connection(reader: HeadReader) -> None:
    for said, keeps in ((b"close", False), (b"Close", False), (b"keep-alive", True)):
        head = reader.read(GOOD.replace(b"Accept: */*", b"Connection: " + said))
        assert head is not None
        assert head.keeps_alive is keeps
    assert reader.read(GOOD.replace(b"Accept: */*", b"Connection: upgrade")) is None
    assert reader.read(GOOD.replace(b"Accept: */*", b"Connection: keep-alive, close")) is None


def test_the_callers_own_id_is_taken(reader: HeadReader) -> None:
    head = reader.read(GOOD.replace(b"Accept: */*", b"X-Request-Id: build-7"))
    assert head is not None
    assert head.caller_request_id == "build-7"
    for wrong in (b"a b", b"x" * 129, b""):
        assert reader.read(GOOD.replace(b"Accept: */*", b"X-Request-Id: " + wrong)) is None


REPLACED = [
    (b"POST", b"post"),
    (b"POST", b"GET"),
    (b"POST ", b"POST  "),
    (b"HTTP/1.1", b"HTTP/1.0"),
    (b"HTTP/1.1", b"HTTP/2.0"),
    (b"/signatures", b"/signatures?x=1"),
    (b"/signatures", b"/rotate"),
    (b"/signatures", b"/%73ignatures"),
    (b"/v1", b"//v1"),
    (b"/v1", b"http://here/v1"),
    (b"Host: 127.0.0.1:8200\r\n", b""),
    (b"Host:", b"Host :"),
    (b"Host:", b" Host:"),
    (b"Accept: */*", b"Accept: */*\r\n folded"),
    (b"Accept: */*", b"Accept: */*\nX: y"),
    (b"Accept: */*", b"Accept: */*\rX: y"),
    (b"Accept: */*", b"Accept: \x00"),
    (b"Accept: */*", b"Accept: \xc3\xa9"),
    (b"Accept: */*", b"Accept: \x7f"),
    (b"Accept: */*", b"Acc_ept: */*"),
    (b"Accept: */*", b"Acc\xe9pt: */*"),
    (b"Accept: */*", b": */*"),
    (b"Accept: */*", b"Accept"),
    (b"Accept: */*", b"Host: elsewhere"),
    (b"Accept: */*", b"Content-Length: 12"),
    (b"Accept: */*", b"content-length: 13"),
    (b"Accept: */*", b"Transfer-Encoding: chunked"),
    (b"Accept: */*", b"Transfer-Encoding: identity"),
    (b"Accept: */*", b"Authorization: Bearer smk_other"),
    (b"Accept: */*", b"X-Twice: 1\r\nx-twice: 1"),
    (b"Content-Length: 12", b"Content-Length: 0"),
    (b"Content-Length: 12", b"Content-Length: 012"),
    (b"Content-Length: 12", b"Content-Length: +12"),
    (b"Content-Length: 12", b"Content-Length: -1"),
    (b"Content-Length: 12", b"Content-Length: 0x12"),
    (b"Content-Length: 12", b"Content-Length: 12, 12"),
    (b"Content-Length: 12", b"Content-Length: 1 2"),
    (b"Content-Length: 12", b"Content-Length: 99999999999999999999"),
    (b"Content-Length: 12", b"Content-Length: %d" % (LONGEST_BODY + 1)),
    (b"Content-Length: 12\r\n", b""),
    (b"application/json", b"application/json; charset=utf-8"),
    (b"application/json", b"text/plain"),
    (b"Content-Type: application/json\r\n", b""),
    *((b"Accept:", b"%b:" % name.encode()) for name in sorted(NOT_PLAIN)),
    *((b"Accept:", b"%b:" % name.upper().encode()) for name in ("idempotency-key", "x-forwarded-for", "expect")),
    (b"Accept: */*", b"\r\n".join(b"X-%d: y" % at for at in range(60))),
]


@pytest.mark.parametrize("change", REPLACED, ids=lambda change: change[1].decode("latin-1")[:40])
def test_what_is_not_plain_is_left_to_others(reader: HeadReader, change: tuple[bytes, bytes]) -> None:
    assert reader.read(GOOD) is not None
    changed = GOOD.replace(*change)
    assert changed != GOOD
    assert reader.read(changed) is None
