"""The key sets of trusted issuers, kept for a while: one for each issuer and revision, in each worker.

Fetched when they are asked for, never on a timer, by one thread for all that wait, and while no lock is held:

- what is younger than `FRESH` is used as it is;
- an unknown `kid` makes it be fetched again, once in `PAUSE` at most, so that a stranger's invented `kid`s do not make
  this service knock at the issuer's door;
- what cannot be fetched again (an outage) is used until it is `HARD_AGE` old, then nothing is: an issuer that cannot be
  asked cannot withdraw a key either;
- after a failure nobody asks again for `PAUSE`.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog

from signer.authn.fetching import NotFetched, fetch_key_set
from signer.authn.token_keys import parse_key_set

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from keystore.clock import Clock
    from keystore.trust import TrustedIssuer
    from signer.authn.token_keys import KeySet, TokenAlgorithm, TokenKey

FRESH: Final = timedelta(minutes=5)
PAUSE: Final = timedelta(seconds=30)
HARD_AGE: Final = timedelta(hours=1)
_MOST_ISSUERS: Final = 256
_log = structlog.get_logger("sealmark.key_sets")


class NoKey(Exception):
    """No key of the issuer verifies this; `code` is for the log: `unknown_kid`, `ambiguous_kid` or `no_key_set`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(slots=True)
class _Entry:
    """What is known of one issuer's keys. Changed under the lock of `KeySets` alone."""

    keys: KeySet | None = None
    fetched_at: datetime | None = None
    failed_at: datetime | None = None
    missed_at: datetime | None = None  # when an unknown kid last made it be fetched again
    running: Future[None] | None = field(default=None, repr=False)

    def is_younger(self, age: timedelta, now: datetime) -> bool:
        return self.fetched_at is not None and timedelta(0) <= now - self.fetched_at < age

    def may_ask_again(self, now: datetime) -> bool:
        return self.failed_at is None or not timedelta(0) <= now - self.failed_at < PAUSE

    def may_look_again(self, now: datetime) -> bool:
        return self.missed_at is None or not timedelta(0) <= now - self.missed_at < PAUSE


class _Turn(NamedTuple):
    """Who fetches: this thread, or the one whose end `running` tells."""

    running: Future[None]
    mine: bool


class KeySets:
    """One per worker, for many threads. `fetch` is given by tests alone."""

    def __init__(self, clock: Clock, fetch: Callable[[TrustedIssuer], KeySet] = fetch_key_set) -> None:
        self._clock = clock
        self._fetch = fetch
        self._entries: OrderedDict[tuple[str, int], _Entry] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, issuer: TrustedIssuer, kid: str, algorithm: TokenAlgorithm) -> TokenKey:
        """The one key of this issuer, and of no other, that has this `kid` and verifies so. Raises `NoKey`."""
        if issuer.jwks is not None:
            return _only(parse_key_set(issuer.jwks.encode()), kid, algorithm)
        entry = self._entry(issuer)
        if self._fetched(issuer, entry, self._turn_if_due(entry)):
            keys = self._usable(entry)
        else:
            keys = self._usable(entry)
            if not keys.find(kid, algorithm) and self._fetched(issuer, entry, self._turn_if_unknown(entry)):
                keys = self._usable(entry)
        return _only(keys, kid, algorithm)

    def _entry(self, issuer: TrustedIssuer) -> _Entry:
        with self._lock:
            name = (issuer.name, issuer.revision)
            entry = self._entries.setdefault(name, _Entry())
            self._entries.move_to_end(name)
            if len(self._entries) > _MOST_ISSUERS:
                self._entries.popitem(last=False)
            return entry

    def _turn_if_due(self, entry: _Entry) -> _Turn | None:
        now = self._clock()
        with self._lock:
            if entry.is_younger(FRESH, now) or not entry.may_ask_again(now):
                return None
            return _turn(entry)

    def _turn_if_unknown(self, entry: _Entry) -> _Turn | None:
        now = self._clock()
        with self._lock:
            if not (entry.may_look_again(now) and entry.may_ask_again(now)):
                return None
            entry.missed_at = now
            return _turn(entry)

    def _usable(self, entry: _Entry) -> KeySet:
        with self._lock:
            if entry.keys is None:
                raise NoKey("no_key_set", "the issuer's key set could not be fetched")
            if not entry.is_younger(HARD_AGE, self._clock()):
                raise NoKey("no_key_set", "the issuer's key set could not be fetched for an hour")
            return entry.keys

    def _fetched(self, issuer: TrustedIssuer, entry: _Entry, turn: _Turn | None) -> bool:
        """Fetch, or wait for the thread that does; how it ended stands in the entry. False: it was nobody's turn."""
        if turn is None:
            return False
        if not turn.mine:
            turn.running.result()  # the fetch has a time limit of its own
            return True
        keys: KeySet | None = None
        try:
            keys = self._fetch(issuer)
            _log.info("key_set_fetched", trusted_issuer=issuer.name, keys=len(keys.keys), left_out=list(keys.left_out))
        except NotFetched as reason:
            _log.error("key_set_not_fetched", alarm=True, trusted_issuer=issuer.name, reason=str(reason))
        finally:
            now = self._clock()
            with self._lock:
                if keys is None:
                    entry.failed_at = now
                else:
                    entry.keys, entry.fetched_at, entry.failed_at = keys, now, None
                entry.running = None
            turn.running.set_result(None)
        return True


def _turn(entry: _Entry) -> _Turn:
    if entry.running is not None:
        return _Turn(entry.running, mine=False)
    entry.running = Future()
    return _Turn(entry.running, mine=True)


def _only(keys: KeySet, kid: str, algorithm: TokenAlgorithm) -> TokenKey:
    found = keys.find(kid, algorithm)
    if not found:
        raise NoKey("unknown_kid", "the issuer has no key of this kid for this algorithm")
    if len(found) > 1:
        raise NoKey("ambiguous_kid", "the issuer has two keys of this kid")
    return found[0]
