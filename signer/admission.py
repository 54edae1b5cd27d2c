"""Who gets a worker's next free place, and who is told to come again: so that a crowd costs nobody else the service.

A request that has come in whole takes a place if one is free. Otherwise it waits, in the line (the *flow*) of its
caller. The next free place goes to the flow that has had least (start-time fair queueing: Goyal, Vin, Cheng 1996), by
what its requests weigh, not by how many clients it has. So a caller with ten times the connections of another gets no
more of a busy worker. There are `seats` for those who wait, shared out evenly among the flows; whoever waits beyond its
flow's share is answered 429 after `GRACE`, unless its turn came before: neither at once, since who is refused at once
comes back at once, nor later.

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

GRACE: Final = 0.04  # seconds that a request without a seat waits for a place
LONGEST_WAIT: Final = 5.0  # seconds that any request waits for one
OCTETS_OF_ONE: Final = 1024  # of a body, that weigh as much as a request without one
_OWED: Final = 16.0  # weight that a flow which was empty for a moment makes up for: its answers were on their way
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
    """`had` is where its next request begins in virtual time: what the flow has had, in weights."""

    caller: Caller
    had: float = 0.0
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
            if self._taken < self._places and self._may_begin(caller) and not self._turns[caller.stranger]:
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
            self._taken_by_strangers -= done.stranger
            flow = self._first()
            if flow is None:
                self._taken -= 1
                return None
            chosen = flow.waiting.popleft()
            self.waiting -= 1
            self._begin(flow, chosen.cost)
            if flow.waiting:
                self._line_up(flow)
            return chosen.item

    def _first(self) -> _Flow[Item] | None:
        """The flow whose turn it is, taken off its heap."""
        for turns in self._turns:
            while turns and not turns[0][2].waiting:
                heappop(turns)  # those who waited were refused meanwhile
        known, strangers = self._turns
        if self._taken_by_strangers >= self._for_strangers or not strangers:
            return heappop(known)[2] if known else None
        return heappop(known if known and known[0] < strangers[0] else strangers)[2]

    def _may_begin(self, caller: Caller) -> bool:
        return not caller.stranger or self._taken_by_strangers < self._for_strangers

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
        kept = {
            caller: flow for caller, flow in self._flows.items() if flow.waiting or flow.had > self._present - _OWED
        }
        self._flows = kept if len(kept) < _MOST_FLOWS else {who: flow for who, flow in kept.items() if flow.waiting}

    def _line_up(self, flow: _Flow[Item]) -> None:
        self._number += 1
        turn = _FIRST if flow.caller.health else self._beginning(flow)
        heappush(self._turns[flow.caller.stranger], (turn, self._number, flow))

    def _begin(self, flow: _Flow[Item], cost: float) -> None:
        begins = self._beginning(flow)
        flow.had = begins + cost
        self._taken_by_strangers += flow.caller.stranger
        if not flow.caller.health:
            self._present = max(self._present, begins)

    def _beginning(self, flow: _Flow[Item]) -> float:
        """Where its next request begins: who comes anew, or was away, is owed no more than a moment's worth."""
        return max(flow.had, self._present - _OWED)


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
