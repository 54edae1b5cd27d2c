"""How long a thread may wait for the database in all while it answers one request.

Each lock has a longest wait of its own. Someone who asks for several of them one after the other, each in vain, would
wait for their sum: within `limited` the waits share one allowance. Time that passes in any other way, such as in the
HSM, is not counted. Whoever has used the allowance up still waits `LEAST` for each further lock: enough where nothing
is wrong, and little where nothing can be written anyway.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Final

from keystore.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

REQUEST_SECONDS: Final = 1.1  # so that a request that cannot be recorded is answered within two seconds
LEAST: Final = 0.1  # seconds
_thread = threading.local()


@contextmanager
def limited(seconds: float = REQUEST_SECONDS) -> Iterator[None]:
    """Within the block this thread waits no longer than that for locks, all in all; an inner block has its own."""
    outer: float | None = getattr(_thread, "left", None)
    _thread.left = seconds
    try:
        yield
    finally:
        _thread.left = outer


@contextmanager
def late(seconds: float) -> Iterator[None]:
    """Within the block this thread answers a request that has waited so long already, behind others who waited."""
    _thread.late = seconds
    try:
        yield
    finally:
        _thread.late = 0.0


def request_seconds() -> float:
    """How long this thread's request may wait: `REQUEST_SECONDS`, less what it has waited before it began."""
    waited: float = getattr(_thread, "late", 0.0)
    return max(REQUEST_SECONDS - waited, LEAST)


def allowed(most: float) -> float:
    """How many seconds the next wait may take, `most` at the longest."""
    left: float | None = getattr(_thread, "left", None)
    return most if left is None else min(most, max(left, LEAST))


def spent(allowance: float) -> float:
    """How many seconds of what `limited` allowed this thread has waited so far."""
    left: float = getattr(_thread, "left", allowance)
    return allowance - left


def spend(since: float) -> None:
    """Counts what has passed since then (monotonic) as waited."""
    left: float | None = getattr(_thread, "left", None)
    if left is not None:
        _thread.left = left - (monotonic() - since)


@contextmanager
def holding(lock: threading.Lock, most: float) -> Iterator[None]:
    """Holds a lock whose holder may itself be waiting for the database. Raises `StoreUnavailable`."""
    since = monotonic()
    if not lock.acquire(timeout=allowed(most)):
        spend(since)
        raise StoreUnavailable("another thread has been waiting for the database for too long")
    try:
        spend(since)
        yield
    finally:
        lock.release()
