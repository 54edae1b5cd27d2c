"""The gunicorn worker of `sealmark serve`: gunicorn accepts, balances, renews and ends; the lane answers plain calls.

A new connection from this machine goes to the lane. A request of it that is not plain, or does not come at once, comes
back with what was read of it, and goes the way of all others (`receiving_worker`); then the connection is the lane's
again. Connections over TLS, and from elsewhere, are never the lane's.
"""

from __future__ import annotations

import select
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

import structlog
from gunicorn import SERVER
from gunicorn.http import wsgi
from gunicorn.http.parser import RequestParser

from keystore.db import patience
from keystore.errors import HsmUnavailable, StoreUnavailable
from signer.admission import FairQueue
from signer.lane.heads import NOT_PLAIN, HeadReader
from signer.lane.lane import Lane
from signer.logs import place_of
from signer.receiving_worker import LINGER_SECONDS
from signer.receiving_worker import Connection as ReceivedConnection
from signer.reception import Incoming, Stage
from signer.watchdog import Waiting
from signer.watched import WatchedWorker
from signer.web.lane import THIS_MACHINE, SigningLane

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from signer.admission import Caller
    from signer.balance import WorkerShare
    from signer.call import Call
    from signer.lane.connection import Connection
    from signer.lane.flight import Flight

# Calls that the lane has begun, for each thread of the pool beside it: those of one round share a commit.
PLACES_OF_A_THREAD: Final = 2
_TRY_AGAIN_SECONDS: Final = 0.3
_BALANCE_SECONDS: Final = 0.05  # between two looks at how many connections others have
_log = structlog.get_logger("sealmark.server")


class GracefulWorker(WatchedWorker):
    """A worker that takes its fair share of connections, has plain calls answered by its lane, and answers all that was
    accepted for it before it ends. A `signer.lane.lane.Host`."""

    share: WorkerShare | None = None  # set in the master, before the fork
    lane: Lane | None = None
    _signing: SigningLane
    _looked_at_others = 0.0
    _connections = 0
    _most_kept_alive = 0

    @property
    def nr_conns(self) -> int:
        """gunicorn's own count of open connections, which the other workers see too."""
        return self._connections

    @nr_conns.setter
    def nr_conns(self, connections: int) -> None:
        self._connections = connections
        if self.share is not None:
            self.share.set_connections(connections)

    @property
    def max_keepalived(self) -> int:
        """Beyond so many idle connections gunicorn ends the one that it answers: none, if others have far fewer."""
        too_many = self.share is not None and self.share.has_too_many()
        return 0 if too_many else self._most_kept_alive

    @max_keepalived.setter
    def max_keepalived(self, most: int) -> None:
        self._most_kept_alive = most

    def load_wsgi(self) -> None:
        """As gunicorn's; but a worker of a service that has begun waits for what it needs (a full disk, a lock, an HSM
        that is away): gunicorn would end the whole service with it."""
        while True:
            try:
                super().load_wsgi()
            except (StoreUnavailable, HsmUnavailable) as fault:
                if self.share is None or not self.share.service_has_begun():
                    raise
                _log.error("worker_waits", alarm=True, code=fault.code, reason=str(fault))
                time.sleep(_TRY_AGAIN_SECONDS)
                if not self.alive:
                    raise SystemExit(0) from fault
                self.notify()
            else:
                return

    def accept(self, listener: socket.socket) -> None:
        """As gunicorn's, unless another worker has fewer connections: then the newcomer is left to that one."""
        if self.alive and self.share is not None and self.share.leaves_it_to_others():
            return  # the poller tells of it again at once
        super().accept(listener)

    def run(self) -> None:
        """As gunicorn's, with the lane beside it."""
        application = self.application.wsgi_app
        if isinstance(application, SigningLane) and not self.cfg.is_ssl:
            self._signing = application
            self.lane = self._lane_of(application)
            self.lane.start()
        try:
            super().run()
        finally:
            if self.lane is not None:
                self.lane.stop()

    def _lane_of(self, application: SigningLane) -> Lane:
        services = application.services
        header = services.configuration.client_certificate_header
        concurrent = int(getattr(self.app, "hsm_concurrent_calls", 0))
        return Lane(
            self,
            HeadReader(application.roads, NOT_PLAIN if header is None else NOT_PLAIN | {header.lower()}),
            services.audit.log,
            services.keystore.store.moment,
            server=SERVER,
            queue=FairQueue(PLACES_OF_A_THREAD * self.cfg.threads, services.configuration.waiting),
            elsewhere=ThreadPoolExecutor(concurrent, "hsm-calls") if concurrent else None,
        )

    def caller_of(self, call: Call) -> Caller:
        return self.overload.caller_of_call(call)

    def overloaded(self, flight: Flight, *, closes: bool) -> bytes:
        return self.overload.answer(flight.call.target, flight.caller, keeps_alive=not closes)

    def begin(self, conn: ReceivedConnection) -> None:
        """As of all workers; a newcomer from this machine is the lane's."""
        if self._give_to_lane(conn, fresh=True):
            self._let_go(conn)
        else:
            super().begin(conn)

    def _keep(self, conn: ReceivedConnection) -> None:
        if not self._give_to_lane(conn):
            super()._keep(conn)

    def _give_to_lane(self, conn: ReceivedConnection, *, fresh: bool = False) -> bool:
        if self.lane is None or _address(conn) not in THIS_MACHINE:
            return False
        octets, conn.incoming = bytes(conn.incoming.octets), Incoming()
        self.lane.adopt(conn.sock, _address(conn), conn, octets, fresh=fresh)
        return True

    def _make_room(self) -> bool:
        if super()._make_room():
            return True
        if self.lane is None:
            return False
        elsewhere = 1 + sum(len(held) for held in self._held.values())  # with the newcomer, who is nowhere yet
        self.lane.make_room(self.worker_connections - elsewhere)
        return True

    def stays_with(self, conn: ReceivedConnection) -> bool:
        """As of all workers, but for what the lane answers faster."""
        if not super().stays_with(conn):
            return False
        incoming = conn.incoming
        return self.lane is None or incoming.method != "POST" or self._signing.roads.native(incoming.target) is None

    def _claimed_callers(self, thread: int) -> Iterator[Waiting]:
        """As of all workers; where it is the lane's thread that hangs, another one goes on with all other calls."""
        yield from super()._claimed_callers(thread)
        if (lane := self.lane) is not None:
            for flight in lane.take_over(thread):
                yield Waiting(flight.head.road.wire, partial(lane.answered, flight, closes=True))

    # For the lane, in its thread.

    @property
    def keep_alive_seconds(self) -> float:
        return float(self.cfg.keepalive)

    def hand_over(self, connection: Connection) -> None:
        self.method_queue.defer(self._take_from_lane, connection.origin, connection.ins, connection.waited)

    def _take_from_lane(self, conn: ReceivedConnection, octets: bytes, waited: float) -> None:
        conn.deadline = time.monotonic() + self.head_seconds
        self.hold(conn)
        conn.incoming.feed(octets)
        conn.waited = waited
        self._go_on(conn, Stage.NOTHING)

    def _answer(self, conn: ReceivedConnection) -> bool:
        """As of all workers. What waited behind the lane's write has the less left for its own."""
        waited, conn.waited = conn.waited, 0.0
        with patience.late(waited):
            return super()._answer(conn)

    def refuse(self, flight: Flight, error: Exception) -> None:
        self.tpool.submit(self._refuse, flight, error)

    def _refuse(self, flight: Flight, error: Exception) -> None:
        """In a thread of the pool."""
        closes = self.call_ended() or not flight.head.keeps_alive
        try:
            octets = self.refusal(flight, error, closes=closes)
        except Exception as fault:  # noqa: BLE001 - the caller must not wait for ever
            _log.error("refusal_failed", alarm=True, kind=type(fault).__name__, place=place_of(fault))
            octets, closes = b"", True
        if self.lane is not None:
            self.lane.answered(flight, octets, closes=closes)

    def refusal(self, flight: Flight, error: Exception, *, closes: bool) -> bytes:
        """The whole answer of a call that ended with an error, as gunicorn and Flask write it."""
        conn = cast("ReceivedConnection", flight.connection.origin)
        request = next(RequestParser(self.cfg, iter([flight.octets]), conn.client))
        sink = _Sink()
        response, environ = wsgi.create(request, cast("socket.socket", sink), conn.client, conn.server, self.cfg)
        if closes:
            response.force_close()
        for some in self._signing.refused(error, flight.call, dict(environ), cast("Any", response.start_response)):
            response.write(some)
        response.close()
        return bytes(sink.octets)

    def call_ended(self) -> bool:
        self.nr += 1
        if self.nr >= self.max_requests and self.alive:
            self.log.info("Autorestarting worker after current request.")
            self.alive = False
            self.method_queue.defer(_nothing)  # the poller looks up
        return not self.alive or self._has_too_many()

    def _has_too_many(self) -> bool:
        """Whether another worker has far fewer connections: looked up now and then, and after each that is ended."""
        if self.share is None or not self.cfg.keepalive:
            return not self.cfg.keepalive
        now = time.monotonic()
        if now - self._looked_at_others >= _BALANCE_SECONDS:
            self._looked_at_others, too_many = now, self.share.has_too_many()
            return too_many
        return False

    def forget(self, connection: Connection) -> None:
        self.method_queue.defer(self._forget)

    def _forget(self) -> None:
        self.nr_conns -= 1

    def set_accept_enabled(self, enabled: bool | None) -> None:
        """As gunicorn's. A worker that is about to end takes what is left in the queue before it stops listening."""
        super().set_accept_enabled(enabled)
        if self.share is not None:
            self.share.set_accepting(bool(enabled))
        if not enabled and not self.alive:
            if self.lane is not None:
                self.lane.wind_down(LINGER_SECONDS)
            for listener in self.sockets:
                if self.retired:
                    listener.close()  # others take what is left
                else:
                    self._take_what_is_left(listener)
            self.sockets = []

    def _take_what_is_left(self, listener: socket.socket) -> None:
        listener.setblocking(False)  # another worker may be quicker
        waiting = select.poll()
        waiting.register(listener.fileno(), select.POLLIN)
        while waiting.poll(0):
            self.accept(listener)
        listener.close()


class _Sink:
    """A socket as far as gunicorn's responses use one."""

    def __init__(self) -> None:
        self.octets = bytearray()

    def sendall(self, octets: bytes) -> None:
        self.octets += octets

    send = sendall


def _address(conn: ReceivedConnection) -> str:
    """The caller's; empty where it has none."""
    return conn.client[0] if isinstance(conn.client, tuple) else ""


def _nothing() -> None:
    return
