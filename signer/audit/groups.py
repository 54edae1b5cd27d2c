"""Group commit: many requests' rows in one durable transaction, without a thread of its own.

The first request to come while nobody leads does: it takes the database's write lock, then gathers whatever is waiting
by then (later ones too: the group is filled after the lock is held), writes and commits once. Then one of those still
waiting leads, while the first one ends what is to be done for its group after the commit and wakes it. So a lone
request pays no hand-over between threads, and a crowd shares commits.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from keystore.db import patience
from keystore.errors import KeystoreError, StoreUnavailable
from keystore.measures import GAUGES, count, observe

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

WAIT_SECONDS: Final = 1.1  # in line, behind somebody who leads and may be waiting for the database
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(slots=True, eq=False)
class _Ticket(Generic[Item, Result]):
    item: Item
    woken: threading.Lock = field(default_factory=threading.Lock)
    done: bool = False
    error: KeystoreError | None = None
    result: Result | None = None


class Groups(Generic[Item, Result]):
    """A line of requests, the first of which works for those that stand behind it.

    `commit` is called by whoever leads, with what gathers the group: a list of items, in the order in which they came.
    It returns what is to be done after the commit, out of the others' way: that gives one result for each item.
    """

    def __init__(
        self,
        commit: Callable[[Callable[[], list[Item]]], Callable[[], Sequence[Result]]],
        *,
        name: str = "rows",
        limit: int,
        together: Callable[[Item, Item], bool] = lambda _first, _other: True,
    ) -> None:
        self._commit = commit
        self._limit = limit
        self._waited, self._grouped = ("line_seconds", name), ("line_groups", name)
        GAUGES["line_waiting", name] = lambda: len(self.waiting)
        self._together = together
        self._guard = threading.Lock()
        self._led = False
        self.waiting: deque[_Ticket[Item, Result]] = deque()

    def submit(self, item: Item) -> Result:
        """Returns once the item's group is done. Raises `KeystoreError`, of a kind of its own for each request."""
        ticket: _Ticket[Item, Result] = _Ticket(item)
        ticket.woken.acquire()
        with self._guard:
            self.waiting.append(ticket)
            leads = not self._led
            self._led = True
        since = monotonic()
        # `woken` is released when the group is done, or when it is this thread's turn to lead.
        if not leads and not ticket.woken.acquire(timeout=patience.allowed(WAIT_SECONDS)):
            self._withdraw(ticket, since)
        if not ticket.done:
            self._lead()
        else:
            patience.spend(since)  # whoever led has waited for all
        observe(self._waited, monotonic() - since)
        if ticket.error is not None or ticket.result is None:
            fault = ticket.error or StoreUnavailable("the group was left by whoever led it")
            raise type(fault)(str(fault)) from fault
        return ticket.result

    def _withdraw(self, ticket: _Ticket[Item, Result], since: float) -> None:
        """For a thread that has waited long enough. Raises `StoreUnavailable`, unless its turn has come meanwhile."""
        with self._guard:
            if ticket.woken.acquire(blocking=False):
                return
            if ticket in self.waiting:
                self.waiting.remove(ticket)
                patience.spend(since)
                msg = "others have been waiting for the database for too long"
                raise StoreUnavailable(msg)
        ticket.woken.acquire()  # it is being written

    def _lead(self) -> None:
        group: list[_Ticket[Item, Result]] = []
        # Whatever happens, nobody waits for ever and nobody takes an uncommitted row for a durable one.
        error: KeystoreError | None = StoreUnavailable("the rows were not committed")
        results: Sequence[Result] = ()

        def gather() -> list[Item]:
            group.extend(self._gather())
            return [ticket.item for ticket in group]

        try:
            try:
                after = self._commit(gather)
            finally:
                if not group:
                    group.extend(self._gather())
                self._hand_on()
            results = after()
            error = None
            count(self._grouped)
        except KeystoreError as fault:
            error = fault
        finally:
            self._wake(group, results, error)

    def _gather(self) -> list[_Ticket[Item, Result]]:
        """The first that waits, and those that can share its transaction."""
        with self._guard:
            group: list[_Ticket[Item, Result]] = []
            others: list[_Ticket[Item, Result]] = []
            first = self.waiting[0].item
            for ticket in self.waiting:
                fits = len(group) < self._limit and self._together(first, ticket.item)
                (group if fits else others).append(ticket)
            self.waiting = deque(others)
            return group

    def _hand_on(self) -> None:
        with self._guard:
            leader = self.waiting[0] if self.waiting else None
            self._led = leader is not None
            if leader is not None:
                leader.woken.release()

    def _wake(self, group: list[_Ticket[Item, Result]], results: Sequence[Result], error: KeystoreError | None) -> None:
        for at, ticket in enumerate(group):
            ticket.error = error
            ticket.result = None if error is not None else results[at]
            ticket.done = True
            ticket.woken.release()
