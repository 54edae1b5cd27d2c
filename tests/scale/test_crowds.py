"""A crowd, and callers who take their time, at one running service: small forms of `overload` and `slow_clients`."""

from __future__ import annotations

import json
import socket
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from signer.web.http import MAXIMUM_BODY
from tests.scale.clients import connected
from tests.scale.crowd import Tenant, crowd, signing_request
from tests.scale.scene import ALGORITHM, PATH, serving
from tests.scale.slow import KINDS, half_a_handshake

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.scale.scene import Scene
    from tools.service import Service

SETTINGS = {"workers": 1, "threads": 2, "waiting": 3, "head_seconds": 1, "body_seconds": 1, "connections": 48}
ITEM = {"digest": "A" * 43 + "=", "algorithm": ALGORITHM}
BODY = json.dumps(ITEM).encode()
LONG = json.dumps({"items": [ITEM] * 20}).encode()  # that nobody answers so fast that all of a crowd are served


@pytest.fixture(scope="module")
def scene(made_scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    folder = tmp_path_factory.mktemp("crowds")
    folder.chmod(0o700)
    return made_scene.copied(folder, SETTINGS)


@pytest.fixture(scope="module")
def service(scene: Scene) -> Iterator[Service]:
    """In the end, what it told nobody's own record of stands in the log as a count."""
    with serving(scene) as running:
        yield running
    counts = scene.query("SELECT detail FROM log_entries WHERE kind = 'count' AND code = 'overloaded'")
    assert sum(json.loads(str(detail))["role/scale"] for (detail,) in counts) > 0


@pytest.fixture
def address(service: Service) -> tuple[str, int]:
    parts = urlsplit(service.url)
    return str(parts.hostname), int(parts.port or 0)


def request_of(scene: Scene) -> bytes:
    return signing_request("s", PATH, scene.token, BODY)


@pytest.mark.parametrize("kind", [*KINDS, "half a handshake"])
def test_others_are_served_beside_slow_callers_who_are_then_ended(
    scene: Scene, service: Service, address: tuple[str, int], kind: str
) -> None:
    slow = {**KINDS, "half a handshake": half_a_handshake}[kind]
    with slow(address, 12) as socks:
        with connected(service.url, scene, 2) as clients:
            for client in clients:
                assert all(client.sign() for _ in range(3)), client.seen
        if kind == "never reading":
            return
        for sock in socks:
            sock.settimeout(30)
            told = bytearray()
            while octets := _received(sock):
                told += octets
            assert told[:13] in WAYS_OUT[kind], bytes(told)


def _received(sock: socket.socket) -> bytes:
    try:
        return sock.recv(65536)
    except ConnectionResetError:
        return b""


WAYS_OUT = {
    "nothing sent": (b"",),
    "slow heads": (b"HTTP/1.1 408 ",),
    "slow bodies": (b"HTTP/1.1 408 ",),
    "huge bodies": (b"HTTP/1.1 413 ", b"HTTP/1.1 429 ", b""),
    "almost whole": (b"HTTP/1.1 408 ",),
    "chunks without end": (b"HTTP/1.1 408 ",),
    "half a handshake": (b"HTTP/1.1 400 ",),
}


@pytest.mark.parametrize("idle", [15, 16, 48])
def test_a_newcomer_is_let_in_where_idle_callers_have_all_connections(
    made_scene: Scene, tmp_path: Path, idle: int
) -> None:
    """Who never asked anything makes room for each of them, long before its own time is over."""
    patient = made_scene.copied(tmp_path, SETTINGS | {"connections": 16, "head_seconds": 60})
    with serving(patient) as service:
        parts = urlsplit(service.url)
        with KINDS["nothing sent"]((str(parts.hostname), int(parts.port or 0)), idle):
            for _ in range(20):
                with socket.create_connection((str(parts.hostname), int(parts.port or 0)), timeout=20) as newcomer:
                    newcomer.sendall(request_of(patient))
                    assert newcomer.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_a_crowd_is_told_to_come_again_and_counted(scene: Scene, service: Service, address: tuple[str, int]) -> None:
    (tally,) = crowd(address, [Tenant(30, signing_request("s", PATH, scene.token, LONG))], 1.0)
    assert set(tally.statuses) == {200, 429}
    assert tally.lost == 0
    head, _, body = tally.last_refusal.partition(b"\r\n\r\n")
    headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
    problem = json.loads(body)
    assert problem["code"] == "overloaded"
    assert headers["Retry-After"] == "1"
    assert headers["Content-Type"] == "application/problem+json"
    assert headers["X-Request-Id"] == problem["request_id"]
    assert not scene.query("SELECT 1 FROM log_entries WHERE request_id = ?", problem["request_id"])
    assert tally.statuses[200] <= sum(scene.signatures_by_epoch().values())


def test_health_and_reads_are_answered_meanwhile(scene: Scene, service: Service, address: tuple[str, int]) -> None:
    read = f"GET /v1/keys/probe HTTP/1.1\r\nHost: s\r\nAuthorization: Bearer {scene.token}\r\n\r\n".encode()
    health = b"GET /healthz HTTP/1.1\r\nHost: s\r\n\r\n"
    _, looks, alive = crowd(address, [Tenant(30, request_of(scene)), Tenant(4, read), Tenant(1, health)], 1.0)
    assert set(looks.statuses) == set(alive.statuses) == {200}


def test_aws_clients_are_throttled_as_aws_throttles(scene: Scene, address: tuple[str, int]) -> None:
    body = json.dumps({"KeyId": "alias/probe", "Message": "A" * 43 + "=", "MessageType": "DIGEST",
                       "SigningAlgorithm": ALGORITHM}).encode()  # fmt: skip
    request = signing_request("s", "/", scene.token, body).replace(
        b"application/json", b"application/x-amz-json-1.1\r\nX-Amz-Target: TrentService.Sign"
    )
    (tally,) = crowd(address, [Tenant(30, request)], 1.0)
    assert set(tally.statuses) == {200, 400}
    head, _, told = tally.last_refusal.partition(b"\r\n\r\n")
    assert json.loads(told)["__type"] == "ThrottlingException"
    assert b"x-amzn-ErrorType: ThrottlingException" in head
    assert b"x-amz-retry-after: 1000" in head


def test_requests_in_one_go_are_answered_in_order(scene: Scene, address: tuple[str, int]) -> None:
    health = b"GET /healthz HTTP/1.1\r\nHost: s\r\n\r\n"
    last = b"GET /readyz HTTP/1.1\r\nHost: s\r\nConnection: close\r\n\r\n"
    with socket.create_connection(address, timeout=30) as sock:
        sock.sendall(health + request_of(scene) + health[:20])
        time.sleep(0.1)
        sock.sendall(health[20:] + last)
        told = bytearray()
        while octets := sock.recv(65536):
            told += octets
    assert [part[:3] for part in bytes(told).split(b"HTTP/1.1 ")[1:]] == [b"200"] * 4
    assert told.index(b'"alive"') < told.index(b'"signature"') < told.rindex(b'"alive"') < told.index(b'"ready"')


@pytest.mark.parametrize("beyond", [1, 2, MAXIMUM_BODY])
def test_a_body_that_is_declared_too_large_is_refused_unread(
    scene: Scene, address: tuple[str, int], beyond: int
) -> None:
    """And the answer says that the connection ends: what follows could not be told from the body."""
    declared = f"Content-Length: {MAXIMUM_BODY + beyond}".encode()
    head = request_of(scene).partition(b"\r\n\r\n")[0].replace(f"Content-Length: {len(BODY)}".encode(), declared)
    assert declared in head
    with socket.create_connection(address, timeout=30) as sock:
        sock.sendall(head + b"\r\n\r\n")
        told = bytearray()
        while octets := sock.recv(65536):
            told += octets
    assert told.startswith(b"HTTP/1.1 413 "), told
    assert b"\r\nConnection: close\r\n" in told


def test_a_request_whose_body_breaks_off_is_recorded(scene: Scene, address: tuple[str, int]) -> None:
    named = f"broken-{time.time_ns()}"
    octets = request_of(scene).replace(b"\r\nContent-Length", f"\r\nX-Request-Id: {named}\r\nContent-Length".encode())
    assert named.encode() in octets
    with socket.create_connection(address, timeout=30) as sock:
        sock.sendall(octets[:-7])
    asked = "SELECT outcome, code FROM log_entries WHERE caller_request_id = ?"
    for _ in range(2_000):
        if found := scene.query(asked, named):
            break
        time.sleep(0.01)
    assert found == [("denied", "malformed_request")]


def test_who_waits_to_be_asked_for_the_body_is_asked(scene: Scene, address: tuple[str, int]) -> None:
    head, _, body = request_of(scene).partition(b"\r\n\r\n")
    with socket.create_connection(address, timeout=30) as sock:
        sock.sendall(head + b"\r\nExpect: 100-continue\r\n\r\n")
        assert sock.recv(100).startswith(b"HTTP/1.1 100 ")
        sock.sendall(body)
        told = b""
        while not told.endswith(b"}"):
            told += sock.recv(65536)
        assert b"200 OK" in told
