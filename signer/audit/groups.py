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
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Final, Generic, TypeVar

import structlog

from keystore.db import patience
from keystore.errors import Conflict, KeystoreError, StoreUnavailable
from keystore.measures import GAUGES, count, observe
from signer.logs import place_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LOCK_SECONDS: Final = 1.1  # whoever cannot write within that is told so, well within two seconds
WAIT_SECONDS: Final = 1.1  # in line, behind somebody who leads and may be waiting for the database
_log = structlog.get_logger("sealmark.audit")
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
        limit: int,
        name: str = "rows",
    ) -> None:
        self._commit = commit
        self._limit = limit
        self._waited, self._grouped = ("line_seconds", name), ("line_groups", name)
        GAUGES["line_waiting", name] = lambda: len(self.waiting)
        self._guard = threading.Lock()
        self._led = False
        self.waiting: deque[_Ticket[Item, Result]] = deque()

    def submit(self, item: Item) -> Result:
        """Returns once the item's group is done. Raises `KeystoreError`, of a kind of its own for each request."""
        ((ticket, leads),) = self._in_line([item])
        return self._done(ticket, leads)

    def submit_each(self, items: Sequence[Item]) -> list[Result | KeystoreError]:
        """The same for several requests of one thread: what came of each, in their order."""
        done: list[Result | KeystoreError] = []
        for ticket, leads in self._in_line(items):
            try:
                done.append(self._done(ticket, leads))
            except KeystoreError as fault:
                done.append(fault)
        return done

    def _in_line(self, items: Sequence[Item]) -> list[tuple[_Ticket[Item, Result], bool]]:
        """Tickets for them, and whether it is with this one that its thread leads at once."""
        tickets: list[_Ticket[Item, Result]] = [_Ticket(item) for item in items]
        for ticket in tickets:
            ticket.woken.acquire()
        with self._guard:
            self.waiting.extend(tickets)
            leads = bool(tickets) and not self._led
            self._led = self._led or leads
        return [(ticket, leads and at == 0) for at, ticket in enumerate(tickets)]

    def _done(self, ticket: _Ticket[Item, Result], leads: bool) -> Result:
        since = monotonic()
        # `woken` is released when the group is done, or when it is this thread's turn to lead.
        if not leads and not ticket.woken.acquire(timeout=patience.allowed(WAIT_SECONDS)):
            self._withdraw(ticket, since)
        if not leads:
            patience.spend(since)  # whoever led has waited for all, and for whoever leads next
        if not ticket.done:
            self._lead()
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
        gathered = False

        def gather() -> list[Item]:
            nonlocal gathered
            gathered = True
            group.extend(self._gather())
            return [ticket.item for ticket in group]

        try:
            try:
                after = self._commit(gather)
            except Exception as fault:
                if len(group) < 2 or not _is_of_one(fault):
                    raise
                self._commit_each_alone(group)
                after, group = tuple, []
            finally:
                if not gathered:
                    group.extend(self._gather())
                self._hand_on()
            results = after()
            error = None
            count(self._grouped)
        except KeystoreError as fault:
            error = fault
        finally:
            self._wake(group, results, error)

    def _commit_each_alone(self, group: list[_Ticket[Item, Result]]) -> None:
        """After something of one of them could not be written: the others must not fail with it."""
        for ticket in group:
            error: KeystoreError | None = None
            results: Sequence[Result] = ()
            try:
                results = self._commit(partial(list, [ticket.item]))()
            except KeystoreError as fault:
                error = fault
            except Exception as fault:  # noqa: BLE001 - its own fault, in a thread that may be another's
                # Words of an unforeseen exception may hold anything, a secret too.
                _log.error("rows_not_writable", alarm=True, kind=type(fault).__name__, place=place_of(fault))
                error = StoreUnavailable("the rows were not committed")
            self._wake([ticket], results, error)

    def _gather(self) -> list[_Ticket[Item, Result]]:
        """Those that wait, the first of them first."""
        with self._guard:
            return [self.waiting.popleft() for _ in range(min(self._limit, len(self.waiting)))]

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


def _is_of_one(fault: Exception) -> bool:
    """Whether it says something of what one of the group wanted written, and not of the database."""
    return isinstance(fault, Conflict) or not isinstance(fault, KeystoreError)
