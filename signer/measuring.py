"""Where a call ends: its figures, and its trace where traces are on. Costs a microsecond or two.

An operation is named by its action, a caller's text never becomes a label. Keys have figures of their own by their ids,
so many at the most: those that come after are counted together, as `other`.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Final

from keystore.measures import GAUGES, count, observe
from signer.problems import SERVER_FAULTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from signer.call import Trace

OTHER: Final = "other"
DEFAULT_KEYS: Final = 200


class _Watch:
    """What this process is told at its start, and what it has come to know since."""

    def __init__(self) -> None:
        self.most_keys = DEFAULT_KEYS
        self.keys: set[str] = set()
        self.emit: Callable[[Trace, str, str | None, float], None] | None = None
        self.in_flight: list[None] = []  # appending and popping are one step each


WATCH: Final = _Watch()
GAUGES["calls_in_flight",] = lambda: len(WATCH.in_flight)


def call_begins() -> None:
    """A call has come in; `call_leaves` follows, whatever becomes of it."""
    WATCH.in_flight.append(None)


def call_leaves() -> None:
    """A call has been answered."""
    WATCH.in_flight.pop()


def call_ended(trace: Trace, code: str | None, otherwise: str) -> None:
    """The figures of a call that is about to be answered: `code` is the problem's, where it is refused or has failed.

    `otherwise` names the operation of a call that did not get so far as to have one.
    """
    seconds = perf_counter() - trace.began
    operation = trace.operation or otherwise
    if code is None:
        outcome = "succeeded"
    else:
        outcome = "failed" if code in SERVER_FAULTS else "denied"
        count(("refusals", operation, code))
    observe(("call_seconds", operation, outcome), seconds)
    key = trace.key
    if key is not None:
        count(("key_calls", key if key in WATCH.keys else _admitted(key), outcome))
    if WATCH.emit is not None:
        WATCH.emit(trace, operation, code, seconds)


def know_keys(keys: Iterable[str]) -> None:
    """Keys that another worker has figures of: they keep them here."""
    for key in keys:
        _admitted(key)


def _admitted(key: str) -> str:
    if key != OTHER and len(WATCH.keys) < WATCH.most_keys:
        WATCH.keys.add(key)
        return key
    return key if key in WATCH.keys else OTHER
