"""The worker with a watchdog (`signer.watchdog`): what that answers for a thread, the thread answers no more."""

from __future__ import annotations

import errno
import os
import threading
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import structlog

from signer.receiving_worker import ReceivingWorker
from signer.watchdog import Waiting, Watchdog

if TYPE_CHECKING:
    from collections.abc import Iterator, MutableMapping

    from gunicorn.http.message import Request
    from gunicorn.workers.gthread import TConn

    from signer.receiving_worker import Connection

DEADLINE_SECONDS: Final = 5.0
_log = structlog.get_logger("sealmark.server")


class _Served:
    """A request that a thread of the pool is at. Whoever claims its answer first, gives it."""

    __slots__ = ("_claimed", "connection", "ended", "finished", "wire")

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.wire = False  # whether it is one of AWS's protocol
        self.ended = False  # its connection, because of the watchdog
        self.finished = False  # its thread
        self._claimed = threading.Lock()

    def claim(self) -> bool:
        return self._claimed.acquire(blocking=False)


class WatchedWorker(ReceivingWorker):
    """Answers for calls that hang in the HSM, and then ends itself."""

    retired = False

    def init_process(self) -> None:
        """As gunicorn's, after the fork."""
        self._served: dict[int, _Served] = {}  # by thread
        self._hung: dict[Connection, _Served] = {}
        super().init_process()

    def load_wsgi(self) -> None:
        """As gunicorn's; an answer goes out only if its thread may still give it."""
        super().load_wsgi()
        application: Any = self.wsgi

        def claiming(environ: MutableMapping[str, Any], start_response: Any) -> Any:  # noqa: ANN401
            body = application(environ, start_response)
            served = self._served.get(threading.get_ident())
            if served is None or served.claim():
                return body
            with suppress(AttributeError):
                body.close()
            raise BrokenPipeError(errno.EPIPE, "the watchdog has answered")  # as of a caller who has gone

        self.wsgi = claiming

    def run(self) -> None:
        """As gunicorn's. One whose HSM hangs ends without its threads, which nobody can stop, and without the HSM."""
        seconds = getattr(self.app, "hsm_deadline", DEADLINE_SECONDS)
        Watchdog(seconds, self._claimed_callers, partial(self.method_queue.defer, self._take_out)).start()
        super().run()
        if self.retired:
            _log.error("worker_ends", alarm=True, reason="a call into its HSM hangs")
            os._exit(0)

    def handle_request(self, req: Request, conn: TConn) -> bool:
        """As gunicorn's; the watchdog learns how the caller is to be answered."""
        self._served[threading.get_ident()].wire = req.path == "/"
        return bool(super().handle_request(req, conn))

    def _answer(self, conn: Connection) -> bool:
        thread = threading.get_ident()
        self._served[thread] = _Served(conn)
        try:
            return super()._answer(conn)
        finally:
            del self._served[thread]

    def _answered(self, conn: Connection, keep: bool) -> None:
        served = self._hung.pop(conn, None)
        if served is not None:
            served.finished = True
        if served is None or not served.ended:
            super()._answered(conn, keep)

    def _claimed_callers(self, thread: int) -> Iterator[Waiting]:
        served = self._served.get(thread)
        if served is not None and served.claim():
            self._hung[served.connection] = served
            yield Waiting(served.wire, partial(self._answer_instead, served))

    def _answer_instead(self, served: _Served, octets: bytes) -> None:
        with suppress(OSError):  # the caller has gone
            served.connection.out.sendall(octets)
        self.method_queue.defer(self._end_instead, served)

    def _end_instead(self, served: _Served) -> None:
        """In the main thread: the connection goes its way, though its thread may never be back."""
        if not served.finished:
            served.ended = True
            super()._answered(served.connection, False)

    def _take_out(self) -> None:
        """In the main thread: from here on as when gunicorn ends a worker, but for what is still to be accepted."""
        self.retired = True
        self.alive = False
