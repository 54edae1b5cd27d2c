"""How much may be asked for: what the configuration allows within a window of time, in all workers and nodes together.

What a call needs is taken out of what this worker has claimed in the database, ahead of use, for the window: never
more is claimed in all than the quota has, so never more is used. A claim is a part of what is left, smaller towards the
end (`keystore.quotas`), so that little lies idle with a worker that has nothing to do; a quota of a few calls is
claimed one by one. What a worker claimed and did not use ends with the window, and so does what it was refused: no
claim is made again for what is known to be used up. A database that cannot be written refuses the call.

Only calls that access allowed are counted: a stranger uses up nobody's quota. Decided in docs/adr/0045.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import structlog

from keystore.errors import NotFound
from keystore.quotas import claim
from signer.errors import QuotaExceeded
from signer.quota_settings import compiled

if TYPE_CHECKING:
    import re
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    from keystore.api import Key
    from keystore.db.engine import Database
    from keystore.keystore import Keystore
    from signer.access.duties import Action
    from signer.quota_settings import Quota

_MOST_PURSES: Final = 10_000
_log = structlog.get_logger("sealmark.quotas")


@dataclass(slots=True)
class _Purse:
    """What one worker holds of one quota for one subject, in the window of that number. `rest`: more than so much
    cannot be had in this window."""

    window: int = -1
    held: int = 0
    rest: int | None = None
    guard: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True, slots=True)
class _Rule:
    quota: Quota
    principal: re.Pattern[str] | None
    key: re.Pattern[str] | None

    def applies(self, principal: str, action: Action, key: Key | None) -> bool:
        if self.quota.actions and action not in self.quota.actions:
            return False
        if self.principal is not None and not self.principal.fullmatch(principal):
            return False
        if self.key is None:
            return key is not None or self.quota.each in ("principal", "all")
        return key is not None and any(self.key.fullmatch(name) for name in (key.id, *key.aliases))

    def subject(self, principal: str, key: Key | None) -> str:
        parts = {"principal": (principal,), "key": (_id(key),), "principal-and-key": (principal, _id(key)), "all": ()}
        return " ".join(parts[self.quota.each])


class Quotas:
    """One per worker."""

    def __init__(self, database: Database, clock: Callable[[], datetime], quotas: Sequence[Quota]) -> None:
        self._database = database
        self._clock = clock
        self._rules = tuple(
            _Rule(
                quota,
                None if quota.principal is None else compiled(quota.principal),
                None if quota.key is None else compiled(quota.key),
            )
            for quota in quotas
        )
        self._purses: dict[str, _Purse] = {}
        self._guard = threading.Lock()

    def take(self, principal: str, action: Action, key: Key | None, items: int = 1) -> None:
        """Counts a permitted call of so many items. Raises `QuotaExceeded`, and then nothing of it is counted;
        `StoreUnavailable`."""
        if not self._rules:
            return
        taken: list[tuple[_Purse, int, int]] = []
        for rule in self._rules:
            if not rule.applies(principal, action, key):
                continue
            subject = rule.subject(principal, key)
            for what, limit, needed in (("requests", rule.quota.requests, 1), ("items", rule.quota.items, items)):
                if limit is None or not needed:
                    continue
                try:
                    taken.append(self._take(rule.quota, what, subject, limit, needed))
                except QuotaExceeded:
                    _give_back(taken)
                    raise

    def _take(self, quota: Quota, what: str, subject: str, limit: int, needed: int) -> tuple[_Purse, int, int]:
        name = f"{quota.name} {what} {subject}".rstrip()
        purse = self._purse(name)
        present = self._clock()
        window, over = divmod(int(present.timestamp() * 1_000_000), quota.seconds * 1_000_000)
        with purse.guard:
            if window > purse.window:
                purse.window, purse.held, purse.rest = window, 0, None
            if purse.held < needed and (purse.rest is None or needed - purse.held <= purse.rest):
                self._claim(purse, name, limit, quota.burst, needed - purse.held)
            if purse.held < needed:
                wait = quota.seconds - over // 1_000_000
                msg = f"quota {quota.name}: {_said(quota, what, limit)} are used up; wait {wait} s"
                raise QuotaExceeded(msg, quota=quota.name, retry_after=wait)
            purse.held -= needed
            return purse, purse.window, needed

    def _claim(self, purse: _Purse, name: str, limit: int, burst: int, needed: int) -> None:
        """Moves a part of what is left of the window into the purse."""
        made = claim(self._database, name, purse.window, limit=limit, burst=burst, needed=needed)
        if made.window > purse.window:  # another node's clock is ahead: its window holds
            purse.window, purse.held = made.window, 0
        purse.held += made.claimed
        purse.rest = made.left

    def _purse(self, name: str) -> _Purse:
        purse = self._purses.get(name)
        if purse is None:
            with self._guard:
                if len(self._purses) >= _MOST_PURSES:
                    self._purses = {}  # what was in them is lost until the window's end
                purse = self._purses.setdefault(name, _Purse())
        return purse


def report_strange_quotas(quotas: Iterable[Quota], keystore: Keystore) -> None:
    """Tells the log of quotas of somebody, or of a key, that is not there: another may have been meant, or it was
    deleted. It may also be made later."""
    for quota in quotas:
        for what, name, find in (
            ("principal", quota.principal, keystore.find_principal),
            ("key", quota.key, keystore.get_key),
        ):
            if name is not None and "*" not in name and not _is_there(find, name):
                _log.warning("quota_names_nobody", alarm=True, quota=quota.name, what=what, named=name)


def _is_there(find: Callable[[str], object], name: str) -> bool:
    try:
        return find(name) is not None
    except NotFound:
        return False


def _give_back(taken: Iterable[tuple[_Purse, int, int]]) -> None:
    for purse, window, needed in taken:
        with purse.guard:
            if purse.window == window:
                purse.held += needed


def _said(quota: Quota, what: str, limit: int) -> str:
    """Whose quota it is, and how much: never what another has used."""
    burst = f" (and {quota.burst} of what was not used before)" if quota.burst else ""
    whose = {"all": "of all", "key": "of the key", "principal": "of the caller"}.get(
        quota.each, "of the caller and key"
    )
    return f"the {limit} {what}{burst} {whose} a {quota.every}"


def _id(key: Key | None) -> str:
    return "-" if key is None else key.id
