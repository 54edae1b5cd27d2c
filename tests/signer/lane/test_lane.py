"""The lane's loop: many calls together, none of which harms another; and callers who behave as callers do."""

from __future__ import annotations

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from keystore.db import patience
from keystore.errors import StoreUnavailable
from signer.admission import GRACE
from signer.lane.connection import MOST_AHEAD
from tests.signer.lane.harness import Caller, Running, answer_of, close_all, request_of, running_lane

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from signer.audit.logged import Due
    from signer.call import Call


@pytest.fixture
def running() -> Iterator[Running]:
    with running_lane() as made:
        yield made
    close_all(made)


def eventually(happens: Callable[[], bool]) -> None:
    for _ in range(2000):
        if happens():
            return
        time.sleep(0.01)
    pytest.fail("it did not come to it")


def test_a_call_is_answered_as_gunicorn_would_write_it(running: Running) -> None:
    caller = running.caller()
    caller.send(request_of(7))
    status, headers, body = caller.answer()
    assert (status, body) == (200, b'{"made":7}')
    assert list(headers) == [
        *("server", "date", "connection", "content-type", "content-length", "x-request-id"),
        *("x-content-type-options", "cache-control"),
    ]
    assert (headers["connection"], headers["content-type"]) == ("keep-alive", "application/json")
    assert len(headers["x-request-id"]) == 32
    caller.send(request_of(8, "X-Amz-Target: TrentService.Sign", path="/", media="application/x-amz-json-1.1"))
    _, headers, body = caller.answer()
    assert (headers["x-amzn-requestid"], body) == (headers["x-request-id"], b'{"made":8}')


def test_what_came_together_is_written_together(running: Running) -> None:
    """All intents in one group, then all leaves in one."""
    callers = [running.caller() for _ in range(9)]
    with running.standing_still():
        for at, caller in enumerate(callers):
            caller.send(request_of(at))
    assert [caller.made() for caller in callers] == list(range(9))
    kinds = [
        (len([due for due in group if due.intents]), len([due for due in group if due.entries]))
        for group in running.writer.groups
    ]
    assert kinds == [(9, 0), (0, 9)]


def test_what_came_while_nobody_looked_is_handed_over_with_its_wait(running: Running) -> None:
    """It has waited for the database behind the lane's own calls, and may wait the less for it elsewhere."""
    writing, go = threading.Event(), threading.Event()

    def hold(_due: Due) -> None:
        writing.set()
        assert go.wait(20)

    running.writer.fault = hold
    caller, other = running.caller(), running.caller()
    caller.send(request_of(1))
    assert writing.wait(20)
    other.send(b"GET /v1/whoami HTTP/1.1\r\n\r\n")
    time.sleep(0.2)
    go.set()
    assert caller.made() == 1
    eventually(lambda: len(running.host.handed) == 1)
    assert running.host.handed[0][0].waited >= 0.2
    running.caller().send(b"GET /v1/whoami HTTP/1.1\r\n\r\n")
    eventually(lambda: len(running.host.handed) == 2)
    assert running.host.handed[1][0].waited < 0.1  # at most what the last write took


def test_leaves_wait_once_for_those_who_have_just_begun(running: Running) -> None:
    """So a checkpoint is for all of them; nobody waits twice."""
    first, *others = (running.caller() for _ in range(4))
    going, go = threading.Event(), threading.Event()

    def hold(call: Call) -> None:
        if call.body == b"0":
            going.set()
            assert go.wait(20)

    running.roads.at["signed"] = hold
    first.send(request_of(0))
    assert going.wait(20)
    for caller in others:
        caller.send(request_of(1))
    go.set()
    assert [caller.made() for caller in (first, *others)] == [0, 1, 1, 1]
    kinds = [(sum(map(bool, [due.intents for due in group])), len(group)) for group in running.writer.groups]
    assert kinds == [(1, 1), (3, 3), (0, 4)]


def test_leaves_that_wait_for_others_have_waited_for_the_database(running: Running) -> None:
    """Else a call would wait twice as long as any may, where the database cannot be written."""
    first, second = running.caller(), running.caller()
    going, go = threading.Event(), threading.Event()
    allowed: list[tuple[bool, float]] = []

    def hold(call: Call) -> None:
        if call.body == b"0":
            going.set()
            assert go.wait(20)

    def write(due: Due) -> None:
        allowed.append((bool(due.entries), patience.allowed(99.0)))
        if going.is_set() and due.intents:
            time.sleep(0.3)
            raise StoreUnavailable("locked")

    running.roads.at["signed"] = hold
    running.writer.fault = write
    first.send(request_of(0))
    assert going.wait(20)
    second.send(request_of(1))
    go.set()
    assert first.made() == 0
    assert [leaves for leaves, _ in allowed] == [False, False, True]
    assert allowed[2][1] <= patience.REQUEST_SECONDS - 0.3


def test_a_call_that_waits_on_its_way_may_wait_the_less_for_its_write(running: Running) -> None:
    """Behind the sweeper, say, which waits for the same database."""
    allowed: list[float] = []

    def wait(_call: Call) -> None:
        since = time.monotonic()
        time.sleep(0.3)
        patience.spend(since)

    running.roads.at["begin"] = wait
    running.writer.fault = lambda _due: allowed.append(patience.allowed(99.0))
    caller = running.caller()
    caller.send(request_of(0))
    assert caller.made() == 0
    assert len(allowed) == 2
    assert max(allowed) <= patience.REQUEST_SECONDS - 0.3


@pytest.mark.parametrize("size", [1, 7])
def test_a_request_may_come_octet_by_octet(running: Running, size: int) -> None:
    caller, octets = running.caller(), request_of({"x": "y" * 40})
    caller.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    for at in range(0, len(octets), size):
        caller.send(octets[at : at + size])
        if at % 50 == 0:
            time.sleep(0.001)
    # Whoever takes longer than a moment is handed over with what has come, and nothing of it is lost.
    if running.host.handed:
        ((_, handed),) = running.host.handed
        assert octets.startswith(handed)
    else:
        assert caller.made() == {"x": "y" * 40}


def test_pipelined_requests_are_answered_in_order(running: Running) -> None:
    caller = running.caller()
    caller.send(b"".join(request_of(at) for at in range(30)))
    assert [caller.made() for _ in range(30)] == list(range(30))
    assert running.roads.begun == [b"%d" % at for at in range(30)]


def test_what_is_not_plain_goes_over_with_every_octet_and_what_follows_it(running: Running) -> None:
    other = b"GET /healthz HTTP/1.1\r\nHost: here\r\n\r\n" + request_of(2)
    caller = running.caller()
    caller.send(request_of(1) + other)
    assert caller.made() == 1
    eventually(lambda: bool(running.host.handed))
    ((connection, octets),) = running.host.handed
    assert octets == other
    assert connection.origin is caller
    running.lane.adopt(connection.sock, "127.0.0.1", caller, request_of(3))  # as it comes back, with read-ahead
    assert caller.made() == 3
    caller.send(request_of(4))
    assert caller.made() == 4


@pytest.mark.parametrize(
    "octets",
    [
        b"\x16\x03\x01\x02\x00\x01",
        b"PRI * HTTP/2.0\r\n\r\n",
        b"POST /" + b"x" * 9000,
        b"POST /v1/keys/k/signatures HTTP/1.1\r\n" + b"X: y\r\n" * 3000,
        b"\r\nPOST /v1/keys/k/signatures HTTP/1.1\r\n\r\n",
        request_of(1, "Expect: 100-continue"),
        request_of("x" * 40000),
    ],
    ids=["tls", "http2", "long line", "huge head", "empty line first", "expect", "long body"],
)
def test_what_the_lane_does_not_read_is_handed_over_whole(running: Running, octets: bytes) -> None:
    caller = running.caller()
    caller.send(octets)
    eventually(lambda: bool(running.host.handed))
    ((connection, handed),) = running.host.handed
    connection.sock.setblocking(True)
    while len(handed) < len(octets):
        handed += connection.sock.recv(65536)
    assert handed == octets
    assert running.roads.begun == []


@pytest.mark.parametrize("where", ["begin", "signed", "proved"])
def test_a_call_that_fails_harms_none_of_its_round(running: Running, where: str) -> None:
    def fail(call: Call) -> None:
        if call.body == b"3":
            raise ZeroDivisionError("a bug of this one")

    running.roads.at[where] = fail
    callers = [running.caller() for _ in range(8)]
    for at, caller in enumerate(callers):
        caller.send(request_of(at))
    for at, caller in enumerate(callers):
        status, _, body = caller.answer()
        assert (status, body) == ((503, b"refused") if at == 3 else (200, b'{"made":%d}' % at))
    assert [type(error) for error in running.host.refused] == [ZeroDivisionError]
    callers[3].send(request_of(9))
    assert callers[3].made() == 9


def test_a_row_that_cannot_be_written_fails_its_call_alone(running: Running) -> None:
    def fault(due: Due) -> StoreUnavailable | None:
        return StoreUnavailable("this row") if any(entry["of"] == b"2" for entry in due.entries) else None

    running.writer.fault = fault
    callers = [running.caller() for _ in range(5)]
    for at, caller in enumerate(callers):
        caller.send(request_of(at))
    assert [caller.answer()[0] for caller in callers] == [200, 200, 503, 200, 200]
    assert [str(error) for error in running.host.refused] == ["this row"]


def test_a_writer_that_breaks_is_an_answer_to_each_and_the_lane_goes_on(running: Running) -> None:
    running.writer.breaks = ZeroDivisionError("a bug")
    callers = [running.caller() for _ in range(3)]
    for caller in callers:
        caller.send(request_of(1))
    assert [caller.answer()[0] for caller in callers] == [503] * 3
    running.writer.breaks = None
    callers[0].send(request_of(5))
    assert callers[0].made() == 5


@pytest.mark.parametrize("where", ["begin", "signed", "proved"])
@pytest.mark.parametrize("abruptly", [False, True])
def test_a_caller_who_goes_at_any_point_harms_nobody(running: Running, where: str, abruptly: bool) -> None:
    going, staying = running.caller(), running.caller()

    def leave(call: Call) -> None:
        if call.body == b"1":
            if abruptly:
                going.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            going.sock.close()

    running.roads.at[where] = leave
    going.send(request_of(1))
    staying.send(request_of(2))
    assert staying.made() == 2
    eventually(lambda: running.host.forgotten == 1)
    staying.send(request_of(3))
    assert staying.made() == 3


def test_a_caller_who_has_said_all_is_answered_and_then_left(running: Running) -> None:
    caller = running.caller()
    caller.send(request_of(1) + request_of(2))
    caller.sock.shutdown(socket.SHUT_WR)
    assert [caller.made(), caller.made()] == [1, 2]
    assert caller.is_closed()
    eventually(lambda: running.host.forgotten == 1)


def test_a_caller_who_goes_in_the_middle_of_a_head_is_forgotten(running: Running) -> None:
    caller = running.caller()
    caller.send(b"POST /v1/keys")
    caller.sock.shutdown(socket.SHUT_WR)
    eventually(lambda: running.host.forgotten == 1)
    assert running.host.handed == []


def test_the_connection_is_closed_where_the_caller_or_the_worker_says_so(running: Running) -> None:
    caller = running.caller()
    caller.send(request_of(1, "Connection: close"))
    _, headers, _ = caller.answer()
    assert headers["connection"] == "close"
    assert caller.is_closed()
    running.host.closes = True
    other = running.caller()
    other.send(request_of(1))
    assert other.answer()[1]["connection"] == "close"
    assert other.is_closed()


def test_a_slow_reader_keeps_nobody_waiting(running: Running) -> None:
    """Its answers do not fit what the kernel keeps for it; it gets them all when it reads at last."""
    slow, quick = running.caller(kept=4096), running.caller()
    large = "x" * 30_000
    slow.send(b"".join(request_of(large) for _ in range(3)))
    sent = threading.Thread(target=lambda: slow.send(b"".join(request_of(large) for _ in range(27))))
    sent.start()
    for at in range(20):
        quick.send(request_of(at))
        assert quick.made() == at
    assert len(running.roads.begun) < 50  # nor does the lane work ahead for somebody who does not read
    assert [slow.made() for _ in range(30)] == [large] * 30
    sent.join(20)


def test_a_caller_who_sends_and_never_reads_is_not_read_for_ever(running: Running) -> None:
    flooding, quick = running.caller(), running.caller()
    flooding.sock.setblocking(False)
    flood, sent = request_of("x" * 20_000) * 10, 0
    quick.send(request_of(0))
    assert quick.made() == 0
    for _ in range(300):
        try:
            sent += flooding.sock.send(flood[sent % len(flood) :])
        except BlockingIOError:
            time.sleep(0.002)
    for at in range(5):
        quick.send(request_of(at))
        assert quick.made() == at
    (busy,) = [one for one in running.lane._connections.values() if one.origin is flooding]
    assert len(busy.ins) <= MOST_AHEAD + 65536


def test_idle_connections_end_when_their_time_is_over(running: Running) -> None:
    running.host.keep_alive_seconds = 0.01
    callers = [running.caller() for _ in range(3)]
    assert all(caller.is_closed() for caller in callers)
    eventually(lambda: running.host.forgotten == 3)


def test_winding_down_ends_idle_connections_and_answers_the_others(running: Running) -> None:
    idle, busy = running.caller(), running.caller()
    holding, go = threading.Event(), threading.Event()

    def hold(_call: Call) -> None:
        holding.set()
        assert go.wait(20)

    running.roads.at["signed"] = hold
    busy.send(request_of(1))
    assert holding.wait(20)
    running.host.closes = True
    running.lane.wind_down(0.0)
    go.set()
    assert busy.made() == 1
    assert busy.is_closed()
    assert idle.is_closed()


def test_room_is_made_by_whoever_was_idle_longest(running: Running) -> None:
    first, second = running.caller(), running.caller()
    for caller in (first, second, first):
        caller.send(request_of(1))
        caller.made()
    running.lane.make_room(1)
    assert second.is_closed()
    first.send(request_of(2))
    assert first.made() == 2


def test_another_thread_goes_on_where_one_hangs(running: Running) -> None:
    """As a watchdog does it: the one call is given up, the others of its round go on, and what comes of it later is
    thrown away."""
    hung, go = threading.Event(), threading.Event()

    def hang(call: Call) -> None:
        if call.body == b"0":
            hung.set()
            assert go.wait(30)

    running.roads.at["signed"] = hang
    callers = [running.caller() for _ in range(6)]
    with running.standing_still():
        for at, caller in enumerate(callers):
            caller.send(request_of(at))
    assert hung.wait(20)
    assert len(running.lane._stepping) > 1
    old = running.lane._thread
    assert old is not None
    assert running.lane.take_over(threading.get_ident()) == []
    (lost,) = running.lane.take_over(old.ident or 0)
    running.lane.answered(lost, answer_of(b"given up", 503), closes=True)
    assert callers[0].answer()[0] == 503
    assert [caller.made() for caller in callers[1:]] == [1, 2, 3, 4, 5]
    go.set()
    old.join(20)
    assert not old.is_alive()
    assert callers[0].is_closed()
    written = [entry["of"] for group in running.writer.groups for due in group for entry in due.entries]
    assert sorted(written) == [b"1", b"2", b"3", b"4", b"5"]
    callers[1].send(request_of(9))
    assert callers[1].made() == 9


def test_slow_calls_of_the_hsm_overlap_where_they_go_elsewhere() -> None:
    """Eight calls wait in the HSM at once: none of them goes on before all have come."""
    together = threading.Barrier(8)
    with ThreadPoolExecutor(9) as pool, running_lane(pool) as running:
        running.roads.at["signed"] = lambda _call: (together.wait(30), None)[1]
        callers = [running.caller() for _ in range(8)]
        for at, caller in enumerate(callers):
            caller.send(request_of(at))
        assert [caller.made() for caller in callers] == list(range(8))
    close_all(running)


def test_a_call_that_hangs_elsewhere_is_given_up_alone() -> None:
    hung, go = threading.Event(), threading.Event()
    where: list[int] = []

    def hang(call: Call) -> None:
        if call.body == b"0":
            where.append(threading.get_ident())
            hung.set()
            assert go.wait(30)

    with ThreadPoolExecutor(2) as pool, running_lane(pool) as running:
        running.roads.at["signed"] = hang
        stuck, other = running.caller(), running.caller()
        stuck.send(request_of(0))
        assert hung.wait(20)
        other.send(request_of(1))
        assert other.made() == 1
        (lost,) = running.lane.take_over(where[0])
        running.lane.answered(lost, answer_of(b"given up", 503), closes=True)
        assert stuck.answer()[0] == 503
        go.set()
        other.send(request_of(2))
        assert other.made() == 2
    assert sum(len(due.entries) for group in running.writer.groups for due in group) == 2
    close_all(running)


def test_elsewhere_too_a_call_that_fails_harms_nobody() -> None:
    def fail(call: Call) -> None:
        if call.body == b"3":
            raise ZeroDivisionError("a bug of this one")

    with ThreadPoolExecutor(4) as pool, running_lane(pool) as running:
        running.roads.at["signed"] = fail
        callers = [running.caller() for _ in range(8)]
        for at, caller in enumerate(callers):
            caller.send(request_of(at))
        assert [caller.answer()[0] for caller in callers] == [200, 200, 200, 503, 200, 200, 200, 200]
        assert sum(len(group) for group in running.writer.groups) == 15
    close_all(running)


def test_stopping_ends_every_connection() -> None:
    with running_lane() as running:
        callers: list[Caller] = [running.caller() for _ in range(3)]
        callers[0].send(request_of(1))
        assert callers[0].made() == 1
    assert all(caller.is_closed() for caller in callers)
    close_all(running)


def test_who_has_no_place_is_told_to_come_again_and_the_others_are_answered() -> None:
    holding, go = threading.Event(), threading.Event()

    def hold(_call: Call) -> None:
        holding.set()
        go.wait(20)

    with running_lane(places=1, seats=1) as running:
        running.roads.at["begin"] = hold
        first = running.caller()
        first.send(request_of(0))
        assert holding.wait(20)
        others = [running.caller() for _ in range(4)]
        for at, caller in enumerate(others):
            caller.send(request_of(at + 1))
        time.sleep(2 * GRACE)  # nobody is looked at while the thread is in a call
        go.set()
        assert first.made() == 0
        answers = [caller.answer() for caller in others]
        for caller, (status, _, body) in zip(others, answers, strict=True):
            if status == 429:
                assert body == b"overloaded"
                running.roads.at.clear()
                caller.send(request_of(9))
                assert caller.made() == 9
        assert 200 in {status for status, _, _ in answers}
        assert len(running.roads.begun) == 1 + 4
        eventually(lambda: running.lane._queue.taken == 0)
    close_all(running)


def test_places_are_given_back_whatever_becomes_of_a_call() -> None:
    with running_lane(places=2, seats=8) as running:
        running.writer.fault = lambda due: StoreUnavailable("full") if due.intents else None
        for at in range(5):
            caller = running.caller()
            caller.send(request_of(at))
            assert caller.answer()[0] == 503
        running.writer.breaks = ValueError("broken")
        caller = running.caller()
        caller.send(request_of(7))
        assert caller.answer()[0] == 503
        eventually(lambda: running.lane._queue.taken == 0)
    close_all(running)
