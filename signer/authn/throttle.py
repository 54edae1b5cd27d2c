"""Who fails too often waits: failed attempts are counted by source, and by what was claimed, before any look-up.

After `MOST` failures within `WINDOW` seconds nothing more is looked up for `FIRST_WAIT` seconds; then one attempt is
free, and when that fails too the wait is twice as long, up to `LONGEST_WAIT`. A credential that was right the last time
it came is let through (and then checked like any other): an attacker behind the same address does not lock out who
works there already. A newcomer there waits.

Each worker counts for itself, in bounded memory and by monotonic time. No secret is kept: what is remembered of a
credential is Python's keyed hash of it, 64 bits whose key dies with the process. Decided in docs/adr/0024.
"""

from __future__ import annotations

import ipaddress
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil
from time import monotonic
from typing import TYPE_CHECKING, Final

import structlog

from signer.errors import TooManyRequests, Unauthenticated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MOST: Final = 10  # failures
WINDOW: Final = 60.0  # seconds in which they are counted
FIRST_WAIT: Final = 5.0  # seconds
LONGEST_WAIT: Final = 300.0  # seconds
_PLACES: Final = 4_096  # of sources and claims that failed, and of claims that were right
_ADDRESSES_OF_ONE: Final = 64  # bits of an IPv6 address that name a network: who has one has all addresses in it
_log = structlog.get_logger("sealmark.throttle")


@dataclass(slots=True)
class _Failures:
    """Of one source or one claim."""

    since: float
    count: int = 0
    wait: float = 0.0
    until: float = 0.0


class Throttle:
    """One per worker. Safe to use from many threads; `admit` and `succeeded` take no lock."""

    def __init__(self, most: int = MOST, *, now: Callable[[], float] = monotonic, places: int = _PLACES) -> None:
        self._most = most
        self._now = now
        self._places = places
        self._failures: dict[str | int, _Failures] = {}
        self._right: set[int] = set()
        self._right_before: set[int] = set()
        self._guard = threading.Lock()

    def admit(self, source: str, claimed: str | None) -> None:
        """Lets an attempt through to its look-ups.

        `claimed` is what came that only the credential's holder can send (a token, a signature), None where nothing
        came: never a public name, or one could claim another's and be let through, or shut the other out.

        Raises: `TooManyRequests`.
        """
        if not self._failures:
            return
        claim = hash(claimed)
        if claim in self._right or claim in self._right_before:
            return
        moment = self._now()
        waits = [self._failures.get(network_of(source)), None if claimed is None else self._failures.get(claim)]
        until = max((failures.until for failures in waits if failures is not None), default=0.0)
        if until > moment:
            wait = ceil(until - moment)
            msg = f"too many attempts failed: wait {wait} s, and send a valid credential then"
            raise TooManyRequests(msg, retry_after=wait)

    def succeeded(self, claimed: str | None) -> None:
        """The attempt was right."""
        if claimed is None:
            return
        claim = hash(claimed)
        if claim in self._right:
            return
        with self._guard:
            if len(self._right) >= self._places:
                self._right_before, self._right = self._right, set()
            self._right.add(claim)

    def failed(self, source: str, claimed: str | None) -> None:
        """The attempt was wrong. One without any credential guesses nothing, costs no look-up and is not counted."""
        if claimed is None:
            return
        claim, network = hash(claimed), network_of(source)
        with self._guard:
            self._right.discard(claim)
            self._right_before.discard(claim)
            self._count(claim)
            wait = self._count(network)
        if wait == FIRST_WAIT:
            _log.warning("failed_attempts_throttled", source=network, wait_seconds=wait)

    @contextmanager
    def attempt(self, source: str, claimed: str) -> Iterator[None]:
        """Around a block that raises `Unauthenticated` where the claim is wrong. Raises: `TooManyRequests`."""
        self.admit(source, claimed)
        try:
            yield
        except Unauthenticated:
            self.failed(source, claimed)
            raise
        self.succeeded(claimed)

    def _count(self, key: str | int) -> float:
        """Counts one failure; returns the wait that begins with it, 0 for none."""
        moment = self._now()
        failures = self._failures.pop(key, None)
        if failures is None or moment - max(failures.since, failures.until) > WINDOW:
            failures = _Failures(moment)
        self._failures[key] = failures  # at the end: the first one is the one that failed longest ago
        if len(self._failures) > self._places:
            del self._failures[next(iter(self._failures))]
        failures.count += 1
        if failures.count < self._most or failures.until > moment:  # a crowd that was let in together waits once
            return 0.0
        failures.wait = min(failures.wait * 2, LONGEST_WAIT) or FIRST_WAIT
        failures.until = moment + failures.wait
        return failures.wait


def network_of(source: str) -> str:
    """The address, or for IPv6 its network."""
    if ":" not in source:
        return source
    try:
        address = ipaddress.IPv6Address(source)
    except ValueError:
        return source
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(address), _ADDRESSES_OF_ONE), strict=False))
