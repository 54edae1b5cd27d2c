"""What is done about a call into the HSM that does not come back: it cannot be interrupted in the process.

A thread looks at who is inside the HSM (`keystore.stays`). Whoever stays beyond the deadline is given up: the callers
that wait for that thread are answered 503 here, on their sockets, and the connection ends; what the HSM brings after
all is released to nobody. The worker is then taken out: it accepts no more, its other requests finish, the process
ends, and the master forks another one. The intents of the calls that were given up are closed as `unknown` by a living
worker.

Ages are counted in this thread's own time: a process that was stopped as a whole (a suspended machine) does not find
all its calls overdue when it goes on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from keystore.errors import HsmUnavailable
from keystore.stays import STAYS, Stays, Work
from signer.audit.identifiers import new_request_id
from signer.call import Trace
from signer.kms.errors import TYPE_HEADER, fault_for
from signer.kms.operations import MEDIA_TYPE
from signer.problems import PROBLEMS, RETRY_AFTER_SECONDS, problem_for

if TYPE_CHECKING:
    from collections.abc import Iterable

    from keystore.stays import Stay

GENERATION_SECONDS: Final = 60.0  # an RSA-4096 key takes some; so does a login to an HSM that is slow
_LOOKS: Final = 20  # in the time of a deadline ...
_SHORTEST_PAUSE: Final = 0.005  # ... but not more often than this, seconds
_LONGEST_PAUSE: Final = 0.1
_RETIRED_SECONDS: Final = 0.1  # what is left of a deadline in a process whose HSM has hung already
_log = structlog.get_logger("sealmark.watchdog")


@dataclass(frozen=True, slots=True)
class Waiting:
    """A caller who waits for a thread: whether it speaks AWS's protocol, and what takes its whole HTTP response, after
    which the connection ends."""

    wire: bool
    answer: Callable[[bytes], None]


class Watchdog:
    """`callers` claims those who wait for a thread: nobody but the watchdog answers them from then on. `retire` takes
    the worker out."""

    def __init__(
        self,
        seconds: float,
        callers: Callable[[int], Iterable[Waiting]],
        retire: Callable[[], None],
        stays: Stays = STAYS,
    ) -> None:
        self._allowed = {
            Work.USE: seconds,
            Work.GENERATION: max(seconds, GENERATION_SECONDS),
            Work.LOGIN: max(seconds, GENERATION_SECONDS),
        }
        self._pause = min(max(seconds / _LOOKS, _SHORTEST_PAUSE), _LONGEST_PAUSE)
        self._callers = callers
        self._retire = retire
        self._stays = stays
        self._ages: dict[Stay, tuple[int, float]] = {}  # what it had made, and seconds since
        self._retired = False

    def start(self) -> None:
        """Watches until the process ends."""
        threading.Thread(target=self._watch, name="hsm-watchdog", daemon=True).start()

    def look(self, passed: float) -> None:
        """Gives up whoever is overdue, `passed` seconds after the last look."""
        self._ages = {stay: self._age(stay, passed) for stay in self._stays.now()}
        for stay, (_, age) in self._ages.items():
            allowed = self._allowed[stay.work]
            if self._retired and stay.work is Work.USE:
                allowed = min(allowed, _RETIRED_SECONDS)
            if age > allowed and self._stays.give_up(stay):
                self._give_up(stay, age)

    def _age(self, stay: Stay, passed: float) -> tuple[int, float]:
        """A batch is as old as its last result."""
        made, age = self._ages.get(stay, (-1, 0.0))
        return (made, age + passed) if made == len(stay.made) else (len(stay.made), 0.0)

    def _give_up(self, stay: Stay, age: float) -> None:
        waiting = list(self._callers(stay.thread))
        _log.critical(
            "hsm_call_hangs",
            alarm=True,
            work=stay.work.value,
            seconds=round(age, 3),
            callers=len(waiting),
            advice="this worker ends when its other requests are answered, and another one takes its place",
        )
        if not self._retired:
            self._retired = True
            self._retire()
        for one in waiting:
            one.answer(unavailable(new_request_id(), wire=one.wire))

    def _watch(self) -> None:
        last = time.monotonic()
        while True:
            time.sleep(self._pause)
            now = time.monotonic()
            try:
                self.look(min(now - last, 2 * self._pause))
            except Exception as error:  # noqa: BLE001 - it must go on watching, whatever a socket or a log does
                with suppress(OSError):
                    _log.error("watchdog_failed", alarm=True, kind=type(error).__name__)
            last = now


def unavailable(request_id: str, *, wire: bool) -> bytes:
    """The whole HTTP response, after which the connection ends."""
    error = HsmUnavailable("the HSM does not answer")
    headers = {"Retry-After": str(RETRY_AFTER_SECONDS), "X-Request-Id": request_id}
    if wire:
        fault = fault_for(error, Trace(), "", code=error.code)
        status, media_type = fault.status, MEDIA_TYPE
        body = msgspec.json.encode({"__type": fault.name, "message": fault.message})
        headers |= {
            "x-amzn-RequestId": request_id,
            TYPE_HEADER: fault.name,
            "x-amz-retry-after": str(1000 * RETRY_AFTER_SECONDS),
        }
    else:
        status, media_type = PROBLEMS[error.code].status, "application/problem+json"
        body = msgspec.json.encode(problem_for(error, request_id=request_id))
    headers |= {
        "Content-Type": media_type,
        "Content-Length": str(len(body)),
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
        "Connection": "close",
    }
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("ascii") + body
