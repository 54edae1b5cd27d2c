"""Which worker takes a newcomer, and which one sends callers elsewhere: the counts that workers share."""

from __future__ import annotations

import os

import pytest

from signer.balance import ConnectionCounts, WorkerShare


def workers(counts: ConnectionCounts, *connections: int) -> list[WorkerShare]:
    """A worker that takes connections for each number."""
    shares = []
    for number in connections:
        share = counts.claim()
        assert share is not None
        share.set_accepting(True)
        share.set_connections(number)
        shares.append(share)
    return shares


@pytest.fixture(autouse=True)
def a_slow_minute(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that only pauses move."""
    clock = [0.0]
    monkeypatch.setattr("signer.balance.monotonic", lambda: clock[0])
    monkeypatch.setattr("signer.balance.sleep", lambda seconds: clock.__setitem__(0, clock[0] + seconds))
    return clock


def test_the_worker_with_fewer_takes_the_newcomer() -> None:
    few, many = workers(ConnectionCounts(), 3, 4)
    assert not few.leaves_it_to_others()
    assert many.leaves_it_to_others()


def test_a_service_has_begun_once_any_worker_takes_connections_and_for_good() -> None:
    counts = ConnectionCounts()
    starting = counts.claim()
    assert starting is not None
    assert not starting.service_has_begun()
    (other,) = workers(counts, 1)
    assert starting.service_has_begun()
    other.set_accepting(False)
    assert starting.service_has_begun()


def test_equals_and_a_lone_worker_take_it_at_once() -> None:
    for share in workers(ConnectionCounts(), 5, 5) + workers(ConnectionCounts(), 9):
        assert not share.leaves_it_to_others()


def test_whom_nobody_fetches_is_taken_all_the_same(a_slow_minute: list[float]) -> None:
    _, many = workers(ConnectionCounts(), 0, 8)
    offers = 0
    while many.leaves_it_to_others():
        offers += 1
    assert offers > 1
    assert a_slow_minute[0] < 0.03  # seconds
    assert many.leaves_it_to_others()  # the next newcomer is offered again


def test_a_worker_that_takes_nobody_is_not_counted_on() -> None:
    starting, many = workers(ConnectionCounts(), 0, 8)
    starting.set_accepting(False)
    assert not many.leaves_it_to_others()
    assert not many.has_too_many()
    starting.set_accepting(True)
    assert many.leaves_it_to_others()
    assert many.has_too_many()


@pytest.mark.parametrize(
    ("fewest", "mine", "too_many"),
    [(0, 0, False), (0, 1, False), (0, 2, True), (7, 8, False), (7, 9, True), (100, 125, False), (100, 126, True)],
)
def test_callers_are_sent_away_only_where_it_matters(fewest: int, mine: int, too_many: bool) -> None:
    shares = workers(ConnectionCounts(), fewest, mine, fewest + 1)
    assert shares[1].has_too_many() is too_many
    assert not shares[0].has_too_many()


def test_a_place_is_given_again_after_its_worker_ended() -> None:
    counts = ConnectionCounts(2)
    first, second = workers(counts, 1, 6)
    assert counts.claim() is None  # more workers than places: they do without
    counts.free(first)
    assert not second.has_too_many()
    third = counts.claim()
    assert third is not None
    assert third.place == first.place


def test_other_processes_see_the_numbers() -> None:
    counts = ConnectionCounts()
    mine, other = workers(counts, 4, 4)
    child = os.fork()
    if not child:
        other.set_connections(0)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert mine.has_too_many()
