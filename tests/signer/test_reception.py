"""A request on its way in: whole exactly when its last octet is there, and never more than may be kept."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signer.reception import MOST_HEAD, Incoming, Stage
from signer.web.http import MAXIMUM_BODY

HEAD = b"POST /v1/keys/k/signatures HTTP/1.1\r\nHost: s\r\nAuthorization: Bearer t\r\n"
WITH_LENGTH = HEAD + b"Content-Length: 11\r\n\r\nhello world"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;ext=1\r\n world\r\n0\r\nX-Trailer: t\r\n\r\n"
WITHOUT_BODY = b"GET /healthz HTTP/1.1\r\nHost: s\r\n\r\n"


@pytest.mark.parametrize("request_", [WITH_LENGTH, CHUNKED, WITHOUT_BODY])
def test_octet_by_octet(request_: bytes) -> None:
    incoming = Incoming()
    for at in range(len(request_)):
        assert incoming.stage is not Stage.WHOLE, at
        incoming.feed(request_[at : at + 1])
    assert incoming.stage is Stage.WHOLE
    assert incoming.octets == request_
    assert incoming.keeps_alive


@given(st.lists(st.integers(1, len(CHUNKED) - 1), max_size=6))
def test_however_it_is_cut(cuts: list[int]) -> None:
    incoming, places = Incoming(), [0, *sorted(cuts), len(CHUNKED)]
    for begin, end in itertools.pairwise(places):
        if begin != end:
            incoming.feed(CHUNKED[begin:end])
    assert incoming.stage is Stage.WHOLE
    assert incoming.body_octets == 11
    assert (incoming.method, incoming.target) == ("POST", "/v1/keys/k/signatures")
    assert incoming.headers["authorization"] == "Bearer t"


def test_what_comes_after_it_is_kept_and_not_taken_for_it() -> None:
    incoming = Incoming()
    incoming.feed(WITH_LENGTH + b"GET /other HTTP/1.1\r\nHost: s\r\nAuthorization: Bearer other\r\n\r\n")
    assert incoming.stage is Stage.WHOLE
    assert (incoming.method, incoming.target) == ("POST", "/v1/keys/k/signatures")
    assert incoming.headers["authorization"] == "Bearer t"
    assert not incoming.keeps_alive  # where the next begins, only the parser knows that answers this one


def test_the_end_of_the_connection_is_known() -> None:
    incoming = Incoming()
    incoming.feed(HEAD + b"Connection: close\r\nContent-Length: 0\r\n\r\n")
    assert incoming.stage is Stage.WHOLE
    assert not incoming.keeps_alive


@pytest.mark.parametrize(
    "request_",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
        b"GET\r\n\r\n",
        HEAD + b"Content-Length: x\r\n\r\n",
        HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
        HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"GET / HTTP/1.1\nHost : s\n\n",
        HEAD + b"Upgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 100\r\n\r\n",
    ],
)
def test_what_is_no_http(request_: bytes) -> None:
    assert Incoming().feed(request_) is Stage.BROKEN


def test_an_offer_of_another_protocol_is_passed_over() -> None:
    incoming = Incoming()
    incoming.feed(b"GET / HTTP/1.1\r\nHost: s\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n")
    assert incoming.stage is Stage.WHOLE
    assert not incoming.keeps_alive


def test_a_body_that_is_declared_too_large_is_not_waited_for() -> None:
    incoming = Incoming()
    incoming.feed(HEAD + b"Expect: 100-continue\r\nContent-Length: 10737418240\r\n\r\n")
    assert incoming.stage is Stage.WHOLE
    assert incoming.last
    assert not incoming.wants_continue


def test_chunks_without_end_are_cut_off() -> None:
    incoming = Incoming()
    incoming.feed(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    chunk = b"10000\r\n" + bytes(0x10000) + b"\r\n"
    for _ in range(2 * MAXIMUM_BODY // 0x10000):
        if incoming.feed(chunk) is Stage.WHOLE:
            break
    assert incoming.last
    assert MAXIMUM_BODY < incoming.body_octets < 2 * MAXIMUM_BODY


def test_extensions_of_chunks_without_end_are_no_http() -> None:
    incoming = Incoming()
    incoming.feed(HEAD + b"Transfer-Encoding: chunked\r\n\r\n1;")
    for _ in range(20 * MAXIMUM_BODY // MOST_HEAD):
        if incoming.feed(b"x" * MOST_HEAD) is Stage.BROKEN:
            break
    assert incoming.stage is Stage.BROKEN


def test_a_head_without_end_is_too_large() -> None:
    incoming = Incoming()
    for _ in range(MOST_HEAD // 1024 + 1):
        incoming.feed(b"X: y\r\n" * 171 if incoming.octets else HEAD)
    assert incoming.stage in (Stage.HEAD_TOO_LARGE, Stage.BROKEN)
