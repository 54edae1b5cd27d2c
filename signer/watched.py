"""A gunicorn worker with a watchdog (`signer.watchdog`): what that answers for a thread, the thread answers no more."""

from __future__ import annotations

import errno
import os
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import structlog
from gunicorn.workers.gthread import ThreadWorker

from signer.watchdog import Waiting, Watchdog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, MutableMapping
    from concurrent.futures import Future

    from gunicorn.http.message import Request
    from gunicorn.workers.gthread import TConn

    _StartResponse = Callable[[str, Iterable[tuple[str, str]]], None]
    _Application = Callable[[MutableMapping[str, Any], _StartResponse], Iterable[bytes]]

DEADLINE_SECONDS: Final = 5.0
_log = structlog.get_logger("sealmark.server")


class _Served:
    """A request that a thread of the pool is at. Whoever claims its answer first, gives it."""

    __slots__ = ("_claimed", "connection", "ended", "finished", "wire")

    def __init__(self, connection: TConn, *, wire: bool) -> None:
        self.connection = connection
        self.wire = wire
        self.ended = False  # its connection, because of the watchdog
        self.finished = False  # its thread
        self._claimed = threading.Lock()

    def claim(self) -> bool:
        return self._claimed.acquire(blocking=False)


class _Claiming:
    """The application, whose answer goes out only if the thread may still give it."""

    def __init__(self, application: _Application, served: dict[int, _Served]) -> None:
        self.extensions: dict[str, Any] = getattr(application, "extensions", {})
        self._application = application
        self._served = served

    def __call__(self, environ: MutableMapping[str, Any], start_response: _StartResponse) -> Iterable[bytes]:
        body = self._application(environ, start_response)
        served = self._served.get(threading.get_ident())
        if served is None or served.claim():
            return body
        close = getattr(body, "close", None)
        if close is not None:
            close()
        raise BrokenPipeError(
            errno.EPIPE, "the watchdog has answered"
        )  # which gunicorn takes for a caller who has gone


class WatchedWorker(ThreadWorker):
    """Answers for calls that hang in the HSM, and then ends itself."""

    retired = False

    def init_process(self) -> None:
        """As gunicorn's, after the fork."""
        self._served: dict[int, _Served] = {}  # by thread
        self._hung: dict[TConn, _Served] = {}
        super().init_process()

    def run(self) -> None:
        """As gunicorn's. One whose HSM hangs ends without its threads, which nobody can stop, and without the HSM."""
        self.wsgi = _Claiming(self.wsgi, self._served)
        seconds = getattr(self.app, "hsm_deadline", DEADLINE_SECONDS)
        Watchdog(seconds, self._claimed_callers, partial(self.method_queue.defer, self._take_out)).start()
        super().run()
        if self.retired:
            _log.error("worker_ends", alarm=True, reason="a call into its HSM hangs")
            os._exit(0)

    def handle_request(self, req: Request, conn: TConn) -> bool:
        """As gunicorn's; the watchdog knows meanwhile whom this thread serves."""
        thread = threading.get_ident()
        self._served[thread] = _Served(conn, wire=req.path == "/")
        try:
            return bool(super().handle_request(req, conn))
        finally:
            del self._served[thread]

    def finish_request(self, conn: TConn, fs: Future[bool]) -> None:
        """As gunicorn's, but for a connection that has ended already."""
        served = self._hung.pop(conn, None)
        if served is not None:
            served.finished = True
        if served is None or not served.ended:
            super().finish_request(conn, fs)

    def _claimed_callers(self, thread: int) -> Iterator[Waiting]:
        served = self._served.get(thread)
        if served is not None and served.claim():
            self._hung[served.connection] = served
            ended = partial(self.method_queue.defer, self._end, served)
            yield Waiting(served.connection.sock, served.wire, ended)

    def _end(self, served: _Served) -> None:
        """In the main thread: the connection counts no more, though its thread may never be back."""
        if not served.finished:
            served.ended = True
            self.nr_conns -= 1
            served.connection.close()

    def _take_out(self) -> None:
        """In the main thread: from here on as when gunicorn ends a worker, but for what is still to be accepted."""
        self.retired = True
        self.alive = False
