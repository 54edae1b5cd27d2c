"""The lane: one thread that takes plain calls from its sockets, all that have come together, through the pipeline.

In each round it reads what has come, begins the new calls, and has what all of them must have durable written in one
transaction: the intents of those that came now, the leaves of those that have signed. Then all go on, to the HSM or to
their answers. Callers who were answered together, and ask again, are waited for half a millisecond, for as long as they
do: they go together again (`lane.company`). Nothing of one call depends on another: what one raises is its own answer,
and a row of one that cannot be written fails that one alone (`audit.groups`).

A request that is not plain leaves with its connection and every octet for gunicorn's own threads, and the connection
comes back when it is answered. Sockets never block: who does not read, or does not send, keeps nobody else waiting.

All state is the lane's thread's own; others leave word in the inbox. `take_over` gives everything to a new thread,
where the old one hangs in a call of the HSM: whatever comes of that call then is thrown away.
"""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from email.utils import formatdate
from typing import TYPE_CHECKING, Final, Protocol

import structlog

from keystore.clock import system_clock
from keystore.db import patience
from keystore.errors import StoreUnavailable
from keystore.measures import GAUGES
from signer.audit.identifiers import new_request_id
from signer.call import Call
from signer.lane.company import Company
from signer.lane.connection import MOST_AHEAD, Connection, Stage
from signer.lane.flight import Ended, Flight
from signer.lane.heads import BEGINNING, END, LONGEST_HEAD, HeadReader
from signer.logs import place_of
from signer.measuring import call_ended
from signer.tracing import begun
from signer.web.http import RESPONSE_HEADERS
from signer.web.kms import REQUEST_ID

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
    from concurrent.futures import Executor
    from contextlib import AbstractContextManager

    from keystore.errors import KeystoreError
    from signer.admission import Caller, FairQueue
    from signer.audit.logged import Due, Logged
    from signer.lane.heads import PlainHead

_TICK: Final = 0.01  # seconds without a look at who is to be told to come again, while anybody waits for a place
_ENOUGH: Final = 32  # calls that are worth a checkpoint by themselves
_LONGEST_WAIT: Final = 1.0  # seconds without a look at what is overdue
_TO_TAKE: Final = 30.0  # seconds for a caller to take an answer
_TO_LINGER: Final = 2.0  # seconds for a caller to close, after the last answer (RFC 9112 section 9.6)
_READ: Final = select.EPOLLIN
_WRITE: Final = select.EPOLLOUT
_BROKEN: Final = select.EPOLLHUP | select.EPOLLERR
_FIXED: Final = "".join(f"{name}: {value}\r\n" for name, value in RESPONSE_HEADERS)
_log = structlog.get_logger("sealmark.lane")


class _TakenOver(Exception):
    """Another thread goes on in this one's place."""


class Writer(Protocol):
    """`audit.sequencer.Sequencer`."""

    def write_each(self, dues: Sequence[Due]) -> list[Logged | KeystoreError]: ...


class Host(Protocol):
    """The worker that the lane is part of. Called in the lane's thread, and must not block it."""

    @property
    def keep_alive_seconds(self) -> float:
        """How long a connection may be idle."""

    @property
    def head_seconds(self) -> float:
        """How long one on which nothing was ever asked."""

    def hand_over(self, connection: Connection) -> None:
        """Answers a request that is not plain, and may have `waited`; `adopt` gives the connection back."""

    def refuse(self, flight: Flight, error: Exception) -> None:
        """Makes an error's answer; `answered` gives it back."""

    def caller_of(self, call: Call) -> Caller:
        """Whose call it seems to be, by which places are shared out."""

    def overloaded(self, flight: Flight, *, closes: bool) -> bytes:
        """The whole answer of a call for which there is no place. It is not looked up."""

    def call_ended(self) -> bool:
        """Counts a call. True if its connection is to be closed after the answer."""

    def forget(self, connection: Connection) -> None:
        """The connection is closed."""


class Lane:
    """One per worker. `moment` is what the reads of calls that are stepped together are shared within."""

    def __init__(
        self,
        host: Host,
        heads: HeadReader,
        writer: Writer,
        moment: Callable[[], AbstractContextManager[None]],
        *,
        server: str,
        queue: FairQueue[Flight],
        elsewhere: Executor | None = None,
    ) -> None:
        """`server` names itself in answers; `queue` says whose call is next, and who is refused. `elsewhere`: where
        calls go on once their intents are written, so that nobody waits for a slow HSM's answer to somebody else; what
        is due is then written by a thread of its own."""
        self._host = host
        self._heads = heads
        self._writer = writer
        self._moment = moment
        self._server = server
        self._queue = queue
        self._elsewhere = elsewhere
        self._writes = None if elsewhere is None else ThreadPoolExecutor(1, "lane-writes")
        self._epoll = select.epoll()
        self._connections: dict[int, Connection] = {}
        self._inbox: deque[Callable[[], None]] = deque()
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._bell, _READ)
        self._new: list[Flight] = []
        self._due: list[Flight] = []  # that wait for a write
        self._held = False  # whether leaves have waited for newcomers already
        self._company = Company()
        self._writing: list[Flight] = []  # whose write is under way
        self._stepping: list[Flight] = []  # of this moment, the one that is stepped now first
        self._elsewhere_at: dict[int, Flight] = {}  # by thread
        self._waited = 0.0  # seconds for the database in the last round
        self._behind = 0.0  # of them, those in which nobody looked at what came: none, once that was read
        self._date = (0, "")
        self._turned_away_at = 0.0  # monotonic
        self._look_at = time.monotonic() + _LONGEST_WAIT  # when what is overdue is looked for next
        self._ends_at: float | None = None  # monotonic; when idle connections are closed at the latest
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._turn = threading.Lock()  # held by the thread, but while it is away: of all that is above
        GAUGES["calls_in_lane",] = self._calls

    def _calls(self) -> float:
        places: tuple[Sized, ...] = (self._new, self._due, self._writing, self._stepping, self._elsewhere_at)
        return float(sum(map(len, places)))

    # What others call.

    def start(self) -> None:
        """Begins to serve."""
        self._thread = threading.Thread(target=self._run, name="lane", daemon=True)
        self._thread.start()

    def adopt(
        self, sock: socket.socket, address: str, origin: object, octets: bytes = b"", *, fresh: bool = False
    ) -> None:
        """Serves a connection; `octets` were read from it already. `fresh`: nothing was ever asked on it."""
        self._post(lambda: self._adopt(sock, address, origin, octets, fresh))

    def answered(self, flight: Flight, octets: bytes, *, closes: bool) -> None:
        """The whole answer of a call that ended with an error, or was given up."""
        self._post(lambda: self._give(flight, octets, closes))

    def make_room(self, most: int) -> None:
        """Ends the connection that has been idle for longest, if there are so many; the worker may not know yet that
        some have ended."""
        self._post(lambda: self._end_longest(most))

    def wind_down(self, seconds: float) -> None:
        """Ends every connection that stays idle, within so many seconds at the latest."""
        self._post(lambda: self._wind_down(time.monotonic() + seconds))

    def stop(self) -> None:
        """Ends the thread; connections that are left are closed."""
        self._post(self._stop)
        if self._thread is not None:
            self._thread.join(timeout=5)

    def take_over(self, thread: int) -> list[Flight]:
        """The calls that wait for what the thread of this identity hangs in, one step or one write: they are the
        watchdog's from now on, to be `answered`. All others go on, with a new thread in place of that one.
        """
        lost = self._elsewhere_at.pop(thread, None)
        if lost is not None:
            lost.lost = True
            self._post(lambda: self._free(lost))
            return [lost]
        with self._turn:
            if self._thread is None or self._thread.ident != thread:
                return []
            hung = self._stepping[:1] or self._writing
            self._new[:0] = self._stepping[1:]
            self._stepping, self._writing = [], []
            for flight in hung:
                self._free(flight)
            self.start()
            os.eventfd_write(self._bell, 1)
        return hung

    # The thread.

    def _is_mine(self) -> bool:
        return threading.current_thread() is self._thread

    def _run(self) -> None:
        self._turn.acquire()
        try:
            while not self._stopping:
                try:
                    self._round()
                except _TakenOver:
                    raise
                except Exception as fault:  # noqa: BLE001 - the callers of this worker need the thread
                    # Words of an unforeseen exception may hold anything, a secret too.
                    _log.error("lane_fault", alarm=True, kind=type(fault).__name__, place=place_of(fault))
                    self._abandon_all()
            self._close_all()
        except _TakenOver:
            return  # what the HSM said at last is thrown away
        finally:
            self._turn.release()

    def _round(self) -> None:
        """What has come; then what must be written, for all of them; then on."""
        goes_on = self._new or (self._due and not self._writing)
        with self._away():
            ready = self._epoll.poll(0.0 if goes_on else _TICK if self._queue.waiting else _LONGEST_WAIT)
            if self._company.wanted(len(ready), alone=not goes_on):
                ready = self._company.gathered(self._epoll)
        for descriptor, mask in ready:
            if descriptor == self._bell:
                self._read_inbox()
            elif (connection := self._connections.get(descriptor)) is not None:
                self._attend(connection, mask)
        self._behind = self._waited = 0.0
        new, self._new = self._new, []
        if new:
            self._step(new)
        if self._due and not self._writing:
            self._write_due()
        now = time.monotonic()
        while (more := self._queue.more(now)) is not None:
            self._begin_now(more)
        self._turn_away(now)
        if now >= self._look_at:
            self._end_overdue(now)

    def _turn_away(self, now: float) -> None:
        """Tells those for whom there is no place; within a round too, which may be long."""
        self._turned_away_at = now
        for flight, _ in self._queue.refused(now):
            closes = not flight.head.keeps_alive
            self._give(flight, self._host.overloaded(flight, closes=closes), closes)

    def _free(self, flight: Flight) -> None:
        """The flight's place is the next one's."""
        following = self._queue.next(flight.caller)
        if following is not None:
            self._begin_now(following)

    def _begin_now(self, flight: Flight) -> None:
        """A call that has waited for its turn."""
        flight.left = max(patience.LEAST, patience.REQUEST_SECONDS - self._waited)
        self._new.append(flight)

    def _step(self, flights: list[Flight]) -> None:
        """Takes each of them as far as it goes. What they read, they read of one moment, which begins now."""
        self._stepping = flights
        allowance = min(flight.left for flight in flights)
        with patience.limited(allowance), self._moment():
            while self._stepping:
                flight = self._stepping[0]
                with self._away():
                    ended = flight.step()
                self._stepping = self._stepping[1:]
                self._settle(flight, ended)
                if self._queue.waiting and (now := time.monotonic()) - self._turned_away_at > _TICK:
                    self._turn_away(now)
            self._have_waited(flights, patience.spent(allowance))

    def _have_waited(self, flights: Iterable[Flight], seconds: float, *, elsewhere: bool = False) -> None:
        """For the database, these calls and whoever comes meanwhile: so much the less may they wait from here on."""
        self._waited += seconds
        if not elsewhere:
            self._behind += seconds
        for flight in flights:
            flight.left = max(patience.LEAST, flight.left - seconds)

    @contextmanager
    def _away(self) -> Iterator[None]:
        """While the thread is in the HSM or the database, or waits, somebody may take over."""
        self._turn.release()
        try:
            yield
        finally:
            self._turn.acquire()
            if not self._is_mine():
                raise _TakenOver

    def _settle(self, flight: Flight, ended: Ended | None) -> None:
        try:
            if flight.lost:
                return
            if ended is None:
                self._due.append(flight)
            elif ended.error is not None:
                self._host.refuse(flight, ended.error)
            else:
                self._answer(flight, ended.body)
        except Exception as fault:  # noqa: BLE001 - of this one's connection, and of nobody else's
            _log.error("lane_answer_fault", alarm=True, kind=type(fault).__name__, place=place_of(fault))
            self._close(flight.connection)
        finally:
            if ended is not None and not flight.lost:
                self._free(flight)

    def _write_due(self) -> None:
        """All that is due, in one transaction; then on with those calls.

        Where some have just begun and others have signed, the leaves of these wait, once, for those: so callers who
        ask again and again come to go together, and a checkpoint is signed for more of them.
        """
        flights, self._due = self._due, []
        begun = [flight for flight in flights if flight.due is not None and not flight.due.entries]
        self._held = not self._held and 0 < len(begun) < len(flights) < _ENOUGH
        if self._held:
            self._due, flights = [flight for flight in flights if flight not in begun], begun
        self._writing = flights
        if self._writes is not None:
            self._writes.submit(self._write_elsewhere, flights)
            return
        with self._away():
            waited = self._write(flights)
        self._writing = []
        self._have_waited([*flights, *self._due], waited)
        self._step(flights)

    def _write(self, flights: list[Flight]) -> float:
        """Returns how many seconds it took."""
        began = time.monotonic()
        with patience.limited(min(flight.left for flight in flights)):
            results = self._written([flight.due for flight in flights if flight.due is not None])
        waited = time.monotonic() - began
        for flight, result in zip(flights, results, strict=True):
            flight.logged = result
        return waited

    def _write_elsewhere(self, flights: list[Flight]) -> None:
        waited = self._write(flights)
        self._post(lambda: self._go_on_elsewhere(flights, waited))

    def _go_on_elsewhere(self, flights: list[Flight], waited: float) -> None:
        self._writing = []
        self._have_waited([*flights, *self._due], waited, elsewhere=True)
        for flight in flights:
            if self._elsewhere is not None:
                self._elsewhere.submit(self._step_elsewhere, flight)

    def _step_elsewhere(self, flight: Flight) -> None:
        self._elsewhere_at[threading.get_ident()] = flight
        with patience.limited(flight.left):
            ended = flight.step()
        self._elsewhere_at.pop(threading.get_ident(), None)
        self._post(lambda: self._settle(flight, ended))

    def _written(self, dues: list[Due]) -> list[Logged | KeystoreError]:
        try:
            return self._writer.write_each(dues)
        except Exception as fault:  # noqa: BLE001 - it is the fault of one of them, and of none of the others
            _log.error("lane_write_fault", alarm=True, kind=type(fault).__name__, place=place_of(fault))
            return [StoreUnavailable("the rows were not committed") for _ in dues]

    # Connections.

    def _adopt(self, sock: socket.socket, address: str, origin: object, octets: bytes, fresh: bool) -> None:
        sock.setblocking(False)
        connection = Connection(sock, address, origin)
        connection.ins, connection.fresh = octets, fresh
        patience_with_it = self._host.head_seconds if fresh else self._host.keep_alive_seconds
        connection.until = time.monotonic() + patience_with_it
        self._connections[sock.fileno()] = connection
        self._epoll.register(sock.fileno(), _READ)
        connection.mask = _READ
        if octets:
            self._take(connection)
        else:  # what it has sent meanwhile has waited as long as the lane
            self._attend(connection, _READ)

    def _attend(self, connection: Connection, mask: int) -> None:
        if mask & _BROKEN:
            self._close(connection)
        elif connection.stage is Stage.LINGERING:
            if not connection.drain():
                self._close(connection)
        elif mask & _WRITE:
            self._send(connection)
        elif not connection.receive():
            self._close(connection)
        elif connection.stage is Stage.READING:
            self._take(connection)
        elif connection.ended or len(connection.ins) > MOST_AHEAD:
            self._listen(connection, 0)  # until it is answered

    def _take(self, connection: Connection) -> None:
        """Begins the call whose request is there, if it is whole and plain."""
        octets = connection.ins
        end = octets.find(END)
        if end < 0:
            if len(octets) > LONGEST_HEAD or not octets.startswith(BEGINNING[: len(octets)]):
                self._hand_over(connection)
            elif connection.ended:
                self._close(connection)
            return
        end += len(END)
        head = self._heads.read(octets[:end]) if end <= LONGEST_HEAD and octets.startswith(BEGINNING) else None
        if head is None:
            self._hand_over(connection)
            return
        whole = end + head.length
        if len(octets) < whole:
            if connection.ended:
                self._hand_over(connection)
            return
        connection.ins = octets[whole:]
        self._begin(connection, head, octets[:whole], octets[end:whole])

    def _begin(self, connection: Connection, head: PlainHead, octets: bytes, body: bytes) -> None:
        """The one place where a call enters."""
        call = Call(
            request_id=new_request_id(),
            caller_request_id=head.caller_request_id,
            source=connection.address,
            authorization=head.authorization,
            idempotency_key=None,
            body=body,
            method="POST",
            target=head.path,
            headers=head.headers,
            trace=begun(head.traceparent),
        )
        connection.stage, connection.fresh = Stage.BUSY, False
        left = max(patience.LEAST, patience.REQUEST_SECONDS - self._waited)  # it may have come while that was written
        flight = connection.flight = Flight(connection, head, call, octets, head.road.steps(call), left)
        flight.caller = self._host.caller_of(call)
        if self._queue.arrive(flight, flight.caller, len(body), time.monotonic()):
            self._new.append(flight)

    def _answer(self, flight: Flight, body: bytes) -> None:
        """Gives out a 200. What came to an error is answered by the worker, in Flask's words."""
        head, closes = flight.head, self._host.call_ended() or not flight.head.keeps_alive
        call_ended(flight.call.trace, None, "none")
        octets = (
            f"HTTP/1.1 200 OK\r\nServer: {self._server}\r\nDate: {self._now()}\r\n"
            f"Connection: {'close' if closes else 'keep-alive'}\r\nContent-Type: {head.road.media_type}\r\n"
            f"Content-Length: {len(body)}\r\nX-Request-Id: {flight.call.request_id}\r\n"
            f"{self._wire_line(flight)}{_FIXED}\r\n"
        )
        self._give(flight, octets.encode("ascii") + body, closes)

    @staticmethod
    def _wire_line(flight: Flight) -> str:
        return f"{REQUEST_ID}: {flight.call.request_id}\r\n" if flight.head.road.wire else ""

    def _give(self, flight: Flight, octets: bytes, closes: bool) -> None:
        connection = flight.connection
        if connection.flight is not flight or connection.sock.fileno() < 0:
            return  # given up, or closed
        connection.flight = None
        connection.outs = octets
        connection.closes = closes
        self._send(connection)

    def _send(self, connection: Connection) -> None:
        if not connection.send():
            self._close(connection)
        elif connection.outs:
            if connection.stage is not Stage.WRITING:
                connection.stage = Stage.WRITING
                connection.until = time.monotonic() + _TO_TAKE
            self._listen(connection, _WRITE)
        elif connection.closes or (connection.ended and not connection.ins):
            self._linger(connection)
        else:
            self._listen(connection, _READ)
            connection.stage = Stage.READING
            connection.until = time.monotonic() + self._host.keep_alive_seconds
            self._company.answered += 1
            if connection.ins:
                self._take(connection)

    def _linger(self, connection: Connection) -> None:
        """Closes without cutting off what the caller has not read yet."""
        try:
            connection.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._close(connection)
            return
        connection.stage = Stage.LINGERING
        connection.until = time.monotonic() + _TO_LINGER
        self._listen(connection, _READ)
        if connection.ended or not connection.drain():
            self._close(connection)

    def _listen(self, connection: Connection, mask: int) -> None:
        if connection.mask != mask:
            self._epoll.modify(connection.sock.fileno(), mask)
            connection.mask = mask

    def _hand_over(self, connection: Connection) -> None:
        self._let_go(connection)
        connection.waited = self._behind
        self._host.hand_over(connection)

    def _let_go(self, connection: Connection) -> None:
        descriptor = connection.sock.fileno()
        del self._connections[descriptor]
        self._epoll.unregister(descriptor)

    def _close(self, connection: Connection) -> None:
        if connection.sock.fileno() < 0:
            return
        self._let_go(connection)
        with suppress(OSError):
            connection.sock.close()
        self._host.forget(connection)

    # Now and then.

    def _end_overdue(self, now: float) -> None:
        self._look_at = now + _LONGEST_WAIT
        if self._ends_at is not None:
            self._look_at = now + 0.1
        for connection in list(self._connections.values()):
            if connection.stage is Stage.BUSY:
                continue
            until, reads = connection.until, connection.stage is Stage.READING
            if reads and connection.ins:
                self._hand_over(connection)  # what does not come at once is waited for elsewhere
                continue
            if self._ends_at is not None and reads and not connection.fresh:
                until = min(until, self._ends_at)
            if now >= until:
                self._close(connection)

    def _end_longest(self, most: int) -> None:
        if len(self._connections) < most:
            return
        idle = [connection for connection in self._connections.values() if connection.stage is Stage.READING]
        if idle:
            self._close(min(idle, key=lambda connection: connection.until))

    def _wind_down(self, ends_at: float) -> None:
        self._ends_at = ends_at
        self._look_at = 0.0

    def _abandon_all(self) -> None:
        """After a fault of the lane itself: nobody waits for an answer that will not come."""
        lost: Iterable[Flight] = [*self._new, *self._due, *self._writing, *self._stepping]
        self._new, self._due, self._writing, self._stepping = [], [], [], []
        for flight in lost:
            self._free(flight)
            if flight.connection.flight is flight:
                self._host.refuse(flight, StoreUnavailable("the call was lost by a fault of the worker"))

    def _close_all(self) -> None:
        for connection in list(self._connections.values()):
            self._close(connection)
        self._epoll.close()
        os.close(self._bell)
        for pool in (self._writes, self._elsewhere):
            if pool is not None:
                pool.shutdown(wait=False)

    def _stop(self) -> None:
        self._stopping = True

    def _post(self, word: Callable[[], None]) -> None:
        self._inbox.append(word)
        with suppress(OSError):  # it has stopped
            os.eventfd_write(self._bell, 1)

    def _read_inbox(self) -> None:
        with suppress(BlockingIOError):
            os.eventfd_read(self._bell)
        while self._inbox:
            self._inbox.popleft()()

    def _now(self) -> str:
        second = int(system_clock().timestamp())
        if self._date[0] != second:
            self._date = second, formatdate(second, usegmt=True)
        return self._date[1]
