"""gunicorn's worker of threads, of which no thread waits for a caller: neither for what it sends nor for its turn.

gunicorn gives a connection to a thread as soon as it is readable, and the thread then reads until the request is there:
eight callers that send an octet a second are eight threads. Here the main thread takes in what has come, without
waiting, and a request goes to a thread when it is whole (`reception`) and its caller's turn (`admission`). TLS
handshakes have two threads of their own, which do not wait either. Whoever takes too long is left: `head_seconds` for a
handshake and a head, `body_seconds` for a body, `ANSWER_SECONDS` for taking an answer. A worker that has as many
connections as it may ends the one that has been idle longest for a newcomer. Decided in docs/adr/0045.
"""

from __future__ import annotations

import socket
import ssl
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from enum import Enum
from functools import partial
from selectors import EVENT_READ, EVENT_WRITE
from typing import TYPE_CHECKING, Any, Final, cast

from gunicorn.http.errors import NoMoreData
from gunicorn.http.parser import RequestParser
from gunicorn.sock import ssl_wrap_socket
from gunicorn.workers.gthread import TConn, ThreadWorker

from signer.admission import NOBODY, FairQueue
from signer.outgoing import Outgoing
from signer.reception import Incoming, Stage
from signer.tls_steps import of_the_connection
from signer.turning_away import CONTINUE, UNFIT, Overload

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping
    from concurrent.futures import Future
    from wsgiref.types import WSGIEnvironment

    from signer.services import Services

    Watch = tuple[int, Callable[["Connection"], None]]  # which event is waited for, and what is called then

ANSWER_SECONDS: Final = 30.0  # for a caller to take an answer
LINGER_SECONDS: Final = 2.0  # for a caller to end a connection that the service has ended (RFC 9112 section 9.6)
MOST_HELD: Final = 64 * 1024 * 1024  # octets of requests that are not whole and of answers not taken, in one worker
STAY_SECONDS: Final = 0.002  # that a thread waits for a caller's next request, where nobody waits for the thread
_HANDSHAKE_THREADS: Final = 2
_READ_SIZE: Final = 64 * 1024
_SWEEP_SECONDS: Final = 0.5
_TICK_SECONDS: Final = 0.01  # while somebody waits for a place
_SOCKET: Final = "gunicorn.socket"  # of the WSGI environment


class Phase(Enum):
    """What the main thread keeps a connection for. Who waits for a turn, or is answered, is in none of them."""

    FRESH = "fresh"  # it never had a whole request
    KEPT = "kept"  # it had one
    WRITING = "writing"  # its caller has not taken all of an answer
    LINGERING = "lingering"  # it is at its end


class Connection(TConn):
    """One caller's connection. It belongs to the main thread, but while a thread answers its request.

    Its socket never waits, and what is sent stays in `out` until the caller takes it.
    """

    def __init__(self, cfg: Any, sock: socket.socket, client: Any, server: Any, deadline: float) -> None:  # noqa: ANN401
        super().__init__(cfg, sock, client, server)
        self.incoming = Incoming()
        self.out = Outgoing(sock)
        self.deadline = deadline
        self.caller = NOBODY
        self.requests: RequestParser | None = None  # gunicorn's, over the connection as it is after a handshake
        self.watch: Watch | None = None
        self.waited = 0.0  # seconds for the database, behind others, before its request was looked at
        self.keep = True  # whether it goes on after what is being written

    @property
    def watched(self) -> bool:
        """Whether the poller waits for it."""
        return self.watch is not None

    def hand_over(self) -> RequestParser:
        """Gives what has come to the parser, which need not read then."""
        if self.requests is None:
            self.requests = RequestParser(self.cfg, self.sock, self.client)
        self.requests.unreader.unread(bytes(self.incoming.octets))
        return self.requests

    def take_back(self) -> None:
        """Begins the next request with what the parser was given beyond the one that was answered."""
        self.incoming = Incoming()
        left = b"" if self.requests is None else self.requests.unreader.take_buffered()
        if left:
            self.incoming.feed(left)

    def take_in(self) -> bool:
        """Takes in what has come; false where the caller has gone."""
        try:
            while True:
                octets = of_the_connection(partial(self.sock.recv, _READ_SIZE))
                if not octets:
                    return False
                self.incoming.feed(octets)
                if not isinstance(self.sock, ssl.SSLSocket) or not self.sock.pending():
                    return True
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return True
        except OSError:
            return False

    def asks_again(self) -> bool:
        """Whether the next request is whole within moments."""
        if self.incoming.stage is Stage.NOTHING and not self.out.readable_within(STAY_SECONDS):
            return False
        return self.is_whole() or (self.take_in() and self.is_whole())

    def is_whole(self) -> bool:
        """Whether a request can be answered."""
        return self.incoming.stage is Stage.WHOLE


class ReceivingWorker(ThreadWorker):
    """See above. What the configuration sets is known when the application is made, before requests come."""

    services: Services | None = None
    application: Any  # Flask's
    queue: FairQueue[Connection]
    overload: Overload
    head_seconds: float
    body_seconds: float

    def __init__(self, *arguments: Any, **named: Any) -> None:  # noqa: ANN401
        super().__init__(*arguments, **named)
        self._held: dict[Phase, dict[Connection, None]] = {phase: {} for phase in Phase}  # each longest first
        self._swept = 0.0
        self._handshakes = ThreadPoolExecutor(_HANDSHAKE_THREADS, "handshakes")  # begins threads when it needs them

    # What comes in.

    def accept(self, listener: socket.socket) -> None:
        """As gunicorn's, but no thread is given to a connection on which nothing was asked."""
        try:
            client, address = listener.accept()
        except OSError:  # it is gone, or another worker was faster
            return
        self.nr_conns += 1
        if client.family != socket.AF_UNIX:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        deadline = time.monotonic() + self.head_seconds
        conn = Connection(self.cfg, client, address, listener.getsockname(), deadline)
        if self.nr_conns >= self.worker_connections:
            self._make_room()
        self._held[Phase.FRESH][conn] = None
        self.begin(conn)

    def begin(self, conn: Connection) -> None:
        """With the first octets of a newcomer."""
        if self.cfg.is_ssl:
            self._shake_hands(conn)
        else:
            self._receive(conn)

    def hold(self, conn: Connection) -> None:
        """Has a connection that was somewhere else."""
        self._held[Phase.KEPT][conn] = None

    def _make_room(self) -> bool:
        """Ends the connection that did nothing for longest, one that never asked anything first; whether there was one
        to end."""
        for phase in (Phase.LINGERING, Phase.FRESH, Phase.KEPT, Phase.WRITING):
            for conn in self._held[phase]:
                if conn.watched:
                    self._end(conn)
                    return True
        return False

    def _shake_hands(self, conn: Connection) -> None:
        self._unwatch(conn)
        done = self._handshakes.submit(_handshake, conn)
        done.add_done_callback(lambda future: self.method_queue.defer(self._shaken, conn, future))

    def _shaken(self, conn: Connection, future: Future[int]) -> None:
        if future.cancelled() or future.exception() is not None:
            # The alert is sent. With TLS 1.3 the caller may have asked already: closed at once over what was not read,
            # the connection would be reset, and the alert lost.
            self._let_go(conn)
            self._linger(conn)
        elif event := future.result():
            self._watch(conn, event, self._shake_hands)
        else:
            self._receive(conn)

    def _watch(self, conn: Connection, event: int, then: Callable[[Connection], None]) -> None:
        """Has `then` called whenever the connection is ready. Who sends octet after octet is registered once."""
        if conn.watch == (event, then):
            return
        self._unwatch(conn)
        conn.watch = event, then
        self.poller.register(conn.sock, event, partial(self._ready, conn))

    @staticmethod
    def _ready(conn: Connection, _socket: object) -> None:
        if conn.watch is not None:  # it may have ended since the poller saw it
            conn.watch[1](conn)

    def _unwatch(self, conn: Connection) -> None:
        if conn.watch is not None:
            conn.watch = None
            with suppress(KeyError, ValueError, OSError):
                self.poller.unregister(conn.sock)

    def _receive(self, conn: Connection) -> None:
        """Takes in what has come, and goes on as far as the request has."""
        was = conn.incoming.stage
        if conn.take_in():
            self._go_on(conn, was)
        elif was is Stage.BODY:
            conn.incoming.break_off()
            self._go_on(conn, was)
        else:
            self._end(conn)

    def _go_on(self, conn: Connection, was: Stage) -> None:
        incoming, now = conn.incoming, time.monotonic()
        if incoming.stage is Stage.WHOLE:
            self._let_go(conn)
            conn.caller = self.overload.caller_of(conn)
            if self.queue.arrive(conn, conn.caller, incoming.body_octets, now):
                self.tpool.submit(self._work, conn)
            return
        if incoming.stage in UNFIT:
            self._say(conn, UNFIT[incoming.stage], keep=False)
            return
        if incoming.stage is not was:
            conn.deadline = now + (self.head_seconds if incoming.stage is Stage.HEAD else self.body_seconds)
            if incoming.stage is Stage.BODY and incoming.wants_continue:
                conn.out.sendall(CONTINUE)
        self._watch(conn, EVENT_READ, self._receive)

    # What is answered, in a thread.

    def _work(self, conn: Connection) -> None:
        """Answers a request, and then those whose turn it is, for as long as anybody waits."""
        following: Connection | None = conn
        while following is not None:
            answered, keep = following, False
            try:
                keep = self.serve(answered)
            finally:
                following = self.queue.next(answered.caller)
                self.method_queue.defer(self._answered, answered, keep)

    def serve(self, conn: Connection) -> bool:
        """Answers a request that is whole; then the caller's next ones, as long as they come at once and nobody waits
        for a place. The way back to the poller and out again costs two hand-overs between threads for each.

        Returns whether the connection goes on.
        """
        while self._answer(conn):
            conn.take_back()
            if not self.stays_with(conn):
                return True
        return False

    def stays_with(self, conn: Connection) -> bool:
        """Whether the thread answers the caller's next request at once."""
        stays = self.alive and not self.queue.waiting and not conn.out.waiting
        return stays and not isinstance(conn.sock, ssl.SSLSocket) and conn.asks_again()

    def _answer(self, conn: Connection) -> bool:
        request = None
        try:
            requests = conn.hand_over()
            request = next(requests)
            if conn.incoming.last:
                request.force_close()  # the answer says so
            goes_on = self.handle_request(request, cast("TConn", _Answered(conn)))
            # The rest of a body that is refused is not read.
            if not goes_on or conn.incoming.last or getattr(request.body, "failed", False):
                return False
            requests.finish_body()
            return True
        except (NoMoreData, StopIteration, OSError) as reason:
            self.log.debug("Closing connection. %s", reason)
        except Exception as error:  # noqa: BLE001 - as gunicorn's: what is no HTTP, and what nobody has caught
            self.handle_error(request, cast("socket.socket", conn.out), conn.client, error)
        return False

    def load_wsgi(self) -> None:
        """As gunicorn's; the application is shown the connection itself, whose certificate it looks at."""
        super().load_wsgi()
        self.application = application = cast("Any", self.wsgi)
        self.services = services = application.extensions["sealmark"]
        configuration = services.configuration
        self.head_seconds, self.body_seconds = configuration.head_seconds, configuration.body_seconds
        self.queue = FairQueue(self.cfg.threads, configuration.waiting)
        self.overload = Overload(services)

        def shown(environ: MutableMapping[str, Any], start_response: Any) -> Any:  # noqa: ANN401
            environ[_SOCKET] = environ[_SOCKET].socket
            return application(cast("WSGIEnvironment", environ), start_response)

        self.wsgi = shown

    def _answered(self, conn: Connection, keep: bool) -> None:
        """Back in the main thread."""
        conn.keep = keep
        if conn.out.waiting:
            conn.deadline = time.monotonic() + ANSWER_SECONDS
            self._held[Phase.WRITING][conn] = None
            self._write(conn)
        elif keep:
            self._keep(conn)
        else:
            self._linger(conn)

    def _write(self, conn: Connection) -> None:
        try:
            if conn.out.send_on():
                self._watch(conn, EVENT_WRITE, self._write)
                return
        except OSError:
            self._end(conn)
            return
        self._let_go(conn)
        self._answered(conn, conn.keep)

    def _keep(self, conn: Connection) -> None:
        now = time.monotonic()
        conn.deadline = now + (self.cfg.keepalive if self.alive else LINGER_SECONDS)
        self._held[Phase.KEPT][conn] = None
        self._go_on(conn, Stage.NOTHING)

    # Who is turned away, and what ends.

    def _turn_away(self) -> None:
        for conn, caller in self.queue.refused(time.monotonic()):
            keep = conn.incoming.keeps_alive and self.alive
            answer = self.overload.answer(conn.incoming.target, caller, keeps_alive=keep)
            conn.incoming = Incoming()
            self._say(conn, answer, keep=keep)

    def _say(self, conn: Connection, answer: bytes, *, keep: bool) -> None:
        self._let_go(conn)
        try:
            conn.out.sendall(answer)
        except OSError:
            self._end(conn)
        else:
            self._answered(conn, keep)

    def _linger(self, conn: Connection) -> None:
        """Ends the connection when its caller does, or soon: else the end of the answer might be lost."""
        try:
            conn.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._end(conn)
            return
        conn.deadline = time.monotonic() + LINGER_SECONDS
        self._held[Phase.LINGERING][conn] = None
        self._watch(conn, EVENT_READ, self._drop)

    def _drop(self, conn: Connection) -> None:
        """Looks no more at what comes on a connection at its end."""
        try:
            if not of_the_connection(partial(conn.sock.recv, _READ_SIZE)):
                self._end(conn)
                return
        except (BlockingIOError, ssl.SSLWantReadError):
            pass
        except OSError:
            self._end(conn)
            return
        self._watch(conn, EVENT_READ, self._drop)

    def _let_go(self, conn: Connection) -> None:
        self._unwatch(conn)
        for held in self._held.values():
            held.pop(conn, None)

    def _end(self, conn: Connection) -> None:
        self._let_go(conn)
        self.nr_conns -= 1
        conn.close()

    # Time.

    def wait_for_and_dispatch_events(self, timeout: float | None) -> None:
        """As gunicorn's; awake often enough for those who wait for a place."""
        most = _TICK_SECONDS if self.queue.waiting else 1.0 if self.alive else 0.05
        super().wait_for_and_dispatch_events(most if timeout is None else min(timeout, most))
        if self.queue.waiting:
            while (more := self.queue.more(time.monotonic())) is not None:
                self.tpool.submit(self._work, more)
            self._turn_away()

    def murder_keepalived(self, force: bool = False) -> None:
        """Ends connections whose time is over, and those that keep too much waiting (`force`: all)."""
        now = time.monotonic()
        if self.alive and not force and now - self._swept < _SWEEP_SECONDS:
            return
        self._swept, held = now, 0
        for phase in (Phase.LINGERING, Phase.KEPT, Phase.FRESH, Phase.WRITING):
            for conn in [*self._held[phase]]:
                held += len(conn.incoming.octets) + conn.out.waiting
                if not conn.watched and not force:  # in the middle of a step of its handshake
                    continue
                if force or held > MOST_HELD or conn.deadline <= now:
                    held -= len(conn.incoming.octets) + conn.out.waiting
                    self._expire(conn, phase)

    def _expire(self, conn: Connection, phase: Phase) -> None:
        late = UNFIT.get(conn.incoming.stage.late)
        if late is None or phase in (Phase.WRITING, Phase.LINGERING):
            self._end(conn)
        else:
            self._say(conn, late, keep=False)

    def _cap_keepalive(self, deadline: float) -> None:
        for conn in self._held[Phase.KEPT]:
            if conn.incoming.stage is Stage.NOTHING:
                conn.deadline = min(conn.deadline, deadline)


class _Answered:
    """What gunicorn takes for the connection while it writes an answer."""

    def __init__(self, conn: Connection) -> None:
        self.sock, self.client, self.server = conn.out, conn.client, conn.server


def _handshake(conn: Connection) -> int:
    """One step of TLS, without waiting: what event to wait for, 0 when it is done. Raises `OSError`."""
    if not isinstance(conn.sock, ssl.SSLSocket):
        conn.sock = ssl_wrap_socket(conn.sock, conn.cfg)
        conn.sock.setblocking(False)
        conn.out = Outgoing(conn.sock)
    try:
        of_the_connection(conn.sock.do_handshake)
    except ssl.SSLWantReadError:
        return EVENT_READ
    except ssl.SSLWantWriteError:
        return EVENT_WRITE
    return 0
