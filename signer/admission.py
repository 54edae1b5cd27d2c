"""Who gets a worker's next free place, and who is told to come again: so that a crowd costs nobody else the service.

A request that has come in whole takes a place if one is free. Otherwise it waits, in the line (the *flow*) of its
caller. The next free place goes to the flow that has had least (start-time fair queueing: Goyal, Vin, Cheng 1996), by
what its requests weigh, not by how many clients it has. So a caller with ten times the connections of another gets no
more of a busy worker. There are `seats` for those who wait, shared out evenly among the flows; whoever waits beyond its
flow's share is answered 429 after `GRACE`, unless its turn came before: neither at once, since who is refused at once
comes back at once, nor later.

Who came within the last moments has its share of the places kept free for its next request, which is on its way: nobody
holds more than an even share of them, but what the others do not need (`_level`).

Callers of whom nothing is known but an address have half of the places at most: whatever they ask for, and however long
it takes, does not keep out those who are known. What reads, and health, has flows of its own and is not refused for
want of a seat. Connections on which nothing was asked are not counted at all. Decided in docs/adr/0045.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from keystore.measures import GAUGES

if TYPE_CHECKING:
    from collections.abc import Iterable

GRACE: Final = 0.025  # seconds that a request without a seat waits for a place
LONGEST_WAIT: Final = 5.0  # seconds that any request waits for one
OCTETS_OF_ONE: Final = 1024  # of a body, that weigh as much as a request without one
_OWED: Final = 16.0  # weight that a flow which was empty for a moment makes up for: its answers were on their way
_LATELY: Final = 0.5  # seconds since a caller's last request in which its next one is waited for
_LEVEL_SECONDS: Final = 0.002  # between two looks at what each would use
_FIRST: Final = float("-inf")
_MOST_FLOWS: Final = 4_096  # that are remembered though nobody waits in them
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose request it is, as far as that is known before anybody looks the credential up.

    `name` is a principal's, or where that is not known the address; `reads`: nothing is changed or signed.
    """

    name: str
    known: bool = False
    reads: bool = False
    health: bool = False

    @property
    def stranger(self) -> bool:
        """Whether nothing is known of it but an address."""
        return not self.known and not self.health


NOBODY: Final = Caller("", known=True)


@dataclass(slots=True)
class _Waiting(Generic[Item]):
    item: Item
    cost: float
    since: float


@dataclass(slots=True, eq=False)
class _Flow(Generic[Item]):
    """`had` is where its next request begins in virtual time: what the flow has had, in weights; `need` how many places
    it would have used lately, `seen` when somebody of it came last."""

    caller: Caller
    had: float = 0.0
    holds: int = 0
    need: int = 0
    seen: float = 0.0
    waiting: deque[_Waiting[Item]] = field(default_factory=deque)


_Turn = tuple[float, int, _Flow[Item]]


class FairQueue(Generic[Item]):
    """One per worker. Safe to use from many threads; every call is short."""

    def __init__(self, places: int, seats: int) -> None:
        self._places, self._seats = places, seats
        self._for_strangers = max(1, places // 2)
        self._taken = self._taken_by_strangers = 0
        self._present = 0.0  # virtual time: where the request that began last began
        self._flows: dict[Caller, _Flow[Item]] = {}
        # Two heaps: a turn for each flow in which somebody waits, of those who are known and of strangers.
        self._turns: tuple[list[_Turn[Item]], list[_Turn[Item]]] = [], []
        self._number = 0
        self._level = places  # how many places one flow may have
        self._levelled_at = 0.0
        self._guard = threading.Lock()
        self.waiting = 0
        GAUGES["calls_waiting",] = lambda: self.waiting

    @property
    def taken(self) -> int:
        """How many places are in use."""
        return self._taken

    def arrive(self, item: Item, caller: Caller, octets: int, now: float) -> bool:
        """Whether the request has a place: then it is to be begun at once. Else it waits for `next`.

        `octets` are those of its body, by which it is weighed.
        """
        cost = 1.0 + octets / OCTETS_OF_ONE
        with self._guard:
            flow = self._flow(caller)
            flow.need = max(flow.need if now - flow.seen < _LATELY else 0, flow.holds + len(flow.waiting) + 1)
            flow.seen = now
            self._find_level(now)
            if self._taken < self._places and self._may_begin(flow) and not flow.waiting:
                self._taken += 1
                self._begin(flow, cost)
                return True
            flow.waiting.append(_Waiting(item, cost, now))
            self.waiting += 1
            if len(flow.waiting) == 1:
                self._line_up(flow)
            return False

    def next(self, done: Caller) -> Item | None:
        """Whose turn it is for a place that `done` is done with; None: nobody waits for it, and the place is free."""
        with self._guard:
            self._taken -= 1
            self._taken_by_strangers -= done.stranger
            self._flow(done).holds -= 1
            return self._chosen()

    def more(self, now: float) -> Item | None:
        """Somebody who waits and may begin, since those for whom places were kept have not come; asked now and then."""
        if not self.waiting:
            return None
        with self._guard:
            self._find_level(now)
            return self._chosen()

    def _chosen(self) -> Item | None:
        flow = self._first() if self._taken < self._places else None
        if flow is None:
            return None
        self._taken += 1
        chosen = flow.waiting.popleft()
        self.waiting -= 1
        self._begin(flow, chosen.cost)
        if flow.waiting:
            self._line_up(flow)
        return chosen.item

    def _first(self) -> _Flow[Item] | None:
        """The flow whose turn it is, taken off its heap."""
        found: list[_Turn[Item]] = []
        passed: list[_Turn[Item]] = []
        for turns in self._turns:
            while turns:
                turn = turns[0]
                if not turn[2].waiting:
                    heappop(turns)  # those who waited were refused meanwhile
                elif self._may_begin(turn[2]):
                    found.append(turn)
                    break
                elif turn[2].caller.stranger and self._taken_by_strangers >= self._for_strangers:
                    break  # none of them may
                else:
                    passed.append(heappop(turns))
        first = min(found, default=None, key=_turn_of)
        if first is not None:
            heappop(self._turns[first[2].caller.stranger])
        for turn in passed:
            heappush(self._turns[turn[2].caller.stranger], turn)
        return None if first is None else first[2]

    def _may_begin(self, flow: _Flow[Item]) -> bool:
        if flow.caller.stranger and self._taken_by_strangers >= self._for_strangers:
            return False
        return flow.holds < self._level or flow.caller.health

    def _find_level(self, now: float) -> None:
        """How many places one flow may have, by what each would have used lately."""
        if now - self._levelled_at < _LEVEL_SECONDS and self._levelled_at:
            return
        self._levelled_at = now
        needs = (
            max(flow.need if now - flow.seen < _LATELY else 0, flow.holds + len(flow.waiting))
            for flow in self._flows.values()
        )
        self._level = _even_share(self._places, (need for need in needs if need))

    def refused(self, now: float) -> list[tuple[Item, Caller]]:
        """Those who are to be told to come again later. They wait no more."""
        if not self.waiting:
            return []
        found: list[tuple[Item, Caller]] = []
        with self._guard:
            lines = [flow for flow in self._flows.values() if flow.waiting]
            share = _even_share(self._seats, (len(flow.waiting) for flow in lines if _takes_seats(flow.caller)))
            for flow in lines:
                found += [(item, flow.caller) for item in self._without_seat(flow, share, now)]
            self.waiting -= len(found)
        return found

    @staticmethod
    def _without_seat(flow: _Flow[Item], share: int, now: float) -> list[Item]:
        out = []
        if now - flow.waiting[0].since > LONGEST_WAIT:
            out = [one for one in flow.waiting if now - one.since > LONGEST_WAIT]
            flow.waiting = deque(one for one in flow.waiting if now - one.since <= LONGEST_WAIT)
        if _takes_seats(flow.caller) and len(flow.waiting) > share and now - flow.waiting[share].since >= GRACE:
            everybody = list(flow.waiting)
            stay = [one for one in everybody[share:] if now - one.since < GRACE]
            out += [one for one in everybody[share:] if now - one.since >= GRACE]
            flow.waiting = deque([*everybody[:share], *stay])
        return [one.item for one in out]

    def _flow(self, caller: Caller) -> _Flow[Item]:
        flow = self._flows.get(caller)
        if flow is None:
            if len(self._flows) >= _MOST_FLOWS:
                self._forget()
            flow = self._flows[caller] = _Flow(caller)
        return flow

    def _forget(self) -> None:
        """Flows that have had no more than those who come anew."""
        owed = self._present - _OWED
        kept = {who: flow for who, flow in self._flows.items() if flow.waiting or flow.holds or flow.had > owed}
        if len(kept) >= _MOST_FLOWS:
            kept = {who: flow for who, flow in kept.items() if flow.waiting or flow.holds}
        self._flows = kept

    def _line_up(self, flow: _Flow[Item]) -> None:
        self._number += 1
        turn = _FIRST if flow.caller.health else self._beginning(flow)
        heappush(self._turns[flow.caller.stranger], (turn, self._number, flow))

    def _begin(self, flow: _Flow[Item], cost: float) -> None:
        begins = self._beginning(flow)
        flow.had = begins + cost
        flow.holds += 1
        self._taken_by_strangers += flow.caller.stranger
        if not flow.caller.health:
            self._present = max(self._present, begins)

    def _beginning(self, flow: _Flow[Item]) -> float:
        """Where its next request begins: who comes anew, or was away, is owed no more than a moment's worth."""
        return max(flow.had, self._present - _OWED)


def _turn_of(turn: tuple[float, int, object]) -> tuple[float, int]:
    return turn[:2]


def _takes_seats(caller: Caller) -> bool:
    return not caller.reads and not caller.health


def _even_share(seats: int, lengths: Iterable[int]) -> int:
    """How many seats a line may have, so that all together have no more than there are; at least one each."""
    left, lines = seats, sorted(lengths)
    for at, length in enumerate(lines):
        even = left // (len(lines) - at)
        if length > even:
            return max(1, even)
        left -= length
    return max(1, seats)
