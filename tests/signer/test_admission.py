"""Who gets the next place: callers share evenly, whatever the number of their connections."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from signer.admission import GRACE, LONGEST_WAIT, Caller, FairQueue

if TYPE_CHECKING:
    from collections.abc import Sequence

MANY, FEW = Caller("role/many", known=True), Caller("role/few", known=True)
READER = Caller("role/many", known=True, reads=True)
HEALTH = Caller("health", reads=True, health=True)


def full(places: int = 1, seats: int = 4) -> FairQueue[str]:
    """A queue all of whose places are taken by one caller."""
    queue: FairQueue[str] = FairQueue(places, seats)
    for at in range(places):
        assert queue.arrive(f"first {at}", MANY, 0, 0.0)
    return queue


def waiting(queue: FairQueue[str], caller: Caller, names: Sequence[str], now: float = 0.0, octets: int = 0) -> None:
    for name in names:
        assert not queue.arrive(name, caller, octets, now)


def served(queue: FairQueue[str], count: int) -> list[str]:
    """Who is answered next, one after the other, in the one place."""
    found, done = [], MANY
    for _ in range(count):
        found.append(str(queue.next(done)))
        done = FEW if found[-1].startswith("few") else MANY
    return found


def test_who_came_lately_has_its_share_kept_for_its_next_request() -> None:
    queue: FairQueue[str] = FairQueue(4, 100)
    assert all(queue.arrive(f"few {at}", FEW, 0, 1.0) for at in range(2))
    waiting_or_not = [queue.arrive(f"many {at}", MANY, 0, 1.01 + at / 400) for at in range(12)]
    assert waiting_or_not.count(True) == 2
    assert [queue.next(FEW), queue.next(FEW)] == [None, None]  # the next ones are on their way
    assert queue.more(1.06) is None
    assert queue.arrive("few 2", FEW, 0, 1.07)
    assert str(queue.next(MANY)).startswith("many")
    assert queue.next(FEW) is None
    more = [queue.more(3.0 + at / 100) for at in range(3)]  # nobody came
    assert [item is not None for item in more] == [True, True, False]
    assert queue.taken == 4


def test_what_others_do_not_need_is_not_kept() -> None:
    queue: FairQueue[str] = FairQueue(8, 100)
    assert queue.arrive("few", FEW, 0, 1.0)
    begun = [queue.arrive(f"many {at}", MANY, 0, 1.01 + at / 100) for at in range(9)]
    assert begun.count(True) == 7


def test_a_free_place_is_taken_at_once_and_given_back() -> None:
    queue = full(places=2)
    assert queue.taken == 2
    waiting(queue, MANY, ["third"])
    assert [queue.next(MANY), queue.next(MANY), queue.next(MANY)] == ["third", None, None]
    assert queue.taken == 0
    assert queue.arrive("fourth", MANY, 0, 0.0)


def test_nobody_passes_by_those_who_wait() -> None:
    queue = full(places=2)
    waiting(queue, FEW, ["waits"])
    assert queue.next(MANY) == "waits"
    waiting(queue, FEW, ["waits too"])


def test_two_callers_take_turns_whatever_the_number_of_their_clients() -> None:
    queue = full(seats=100)
    waiting(queue, MANY, [f"many {at}" for at in range(40)])
    waiting(queue, FEW, [f"few {at}" for at in range(10)])
    turns = Counter(item.split(" ")[0] for item in served(queue, 20))
    assert turns["few"] == 10
    assert turns["many"] == 10


def test_each_callers_requests_keep_their_order() -> None:
    queue = full(seats=100)
    waiting(queue, MANY, ["a", "b", "c"])
    assert [queue.next(MANY) for _ in range(3)] == ["a", "b", "c"]


def test_a_large_request_weighs_more() -> None:
    queue = full(seats=100)
    waiting(queue, MANY, [f"many {at}" for at in range(10)], octets=9 * 1024)
    waiting(queue, FEW, [f"few {at}" for at in range(40)])
    turns = Counter(item.split(" ")[0] for item in served(queue, 22))
    assert turns["many"] in (2, 3)


def test_who_was_away_does_not_save_up() -> None:
    queue = full(seats=1000)
    for _ in range(200):  # the other one has had the service for itself
        waiting(queue, MANY, ["many"])
        queue.next(MANY)
    waiting(queue, MANY, ["many"] * 100)
    waiting(queue, FEW, ["few"] * 100)
    turns = served(queue, 60)
    assert turns.count("many") >= 20


def test_the_excess_is_refused_after_a_moment_and_the_first_keep_their_seats() -> None:
    queue = full(seats=4)
    waiting(queue, MANY, list("abcdef"))
    assert queue.refused(GRACE / 2) == []
    assert [item for item, _ in queue.refused(GRACE)] == ["e", "f"]
    assert queue.waiting == 4
    assert [queue.next(MANY) for _ in range(5)] == ["a", "b", "c", "d", None]


def test_seats_are_shared_out_evenly() -> None:
    queue = full(seats=6)
    waiting(queue, MANY, [f"m{at}" for at in range(20)])
    waiting(queue, FEW, ["f0", "f1"])
    assert {caller for _, caller in queue.refused(GRACE)} == {MANY}
    assert queue.waiting == 6  # the two of one, and what they leave of the seats to the other


def test_a_caller_who_came_late_is_not_refused_for_the_others_crowd() -> None:
    queue = full(seats=2)
    waiting(queue, MANY, [f"m{at}" for at in range(20)])
    waiting(queue, FEW, ["f0"], now=GRACE)
    assert all(caller is MANY for _, caller in queue.refused(3 * GRACE))
    assert "f0" in (queue.next(MANY), queue.next(MANY))


def test_what_reads_is_not_refused_for_want_of_a_seat() -> None:
    queue = full(seats=1)
    waiting(queue, READER, [f"r{at}" for at in range(20)])
    assert queue.refused(GRACE * 2) == []


def test_health_goes_first() -> None:
    queue = full(seats=100)
    waiting(queue, MANY, ["a", "b"])
    waiting(queue, HEALTH, ["health"])
    assert queue.next(MANY) == "health"


def test_nobody_waits_for_ever() -> None:
    queue = full(seats=100)
    waiting(queue, READER, ["reads"])
    waiting(queue, MANY, ["signs"])
    assert {item for item, _ in queue.refused(LONGEST_WAIT + 0.1)} == {"reads", "signs"}
    assert queue.next(MANY) is None


def test_strangers_have_half_of_the_places_at_most() -> None:
    queue: FairQueue[int] = FairQueue(4, 8)
    strangers = [Caller(f"192.0.2.{at}", reads=True) for at in range(6)]
    assert [queue.arrive(at, stranger, 0, 0.0) for at, stranger in enumerate(strangers)] == [True, True, *[False] * 4]
    assert queue.arrive(10, MANY, 0, 0.0)
    assert queue.next(strangers[0]) == 2
    assert queue.next(MANY) is None
    assert queue.arrive(11, FEW, 0, 0.0)


def test_flows_of_strangers_do_not_pile_up() -> None:
    queue: FairQueue[int] = FairQueue(1, 4)
    for at in range(10_000):
        stranger = Caller(f"192.0.2.{at}")
        if not queue.arrive(at, stranger, 0, 0.0):
            queue.next(stranger)
    assert len(queue._flows) <= 4_096
