"""Usage for charge-back: requests and items of each day, principal, key, action and outcome, in pages."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import msgspec

from keystore.errors import NotFound as NoSuchRow
from signer.audit.usage import DAY, Used, days_used, used_between
from signer.auditing import bounds, known_action, microseconds
from signer.errors import MalformedRequest, Unprocessable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from keystore.keystore import Keystore
    from signer.audit_questions import UsageQuery

LONGEST_PERIOD_DAYS: Final = 366
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC).date()
_Place = tuple[int, str, str, str, str]  # day, principal, key, action, outcome: pages go on from it


class Usage:
    """One per worker."""

    def __init__(self, keystore: Keystore) -> None:
        self._keystore = keystore

    def usage(self, query: UsageQuery, after: str | None, limit: int) -> tuple[dict[str, object], str | None]:
        """At most `limit` rows beyond the place `after`, and the place after which to go on (None: no more).

        Raises `Unprocessable` for a period that is too long, or has no time in it, `MalformedRequest`.
        """
        begin, end = self._period(query)
        action = None if query.action is None else known_action(query.action)
        place = None if after is None else _read_place(after)
        told: dict[str, object] = {"from": _moment(begin), "to": _moment(end)}
        found = days_used(self._keystore.database, begin, end)
        rows: list[dict[str, Any]] = []
        if found is None:
            return told | {"usage": rows}, None
        first = max(begin, found[0] // DAY * DAY, 0 if place is None else place[0] * DAY)
        last: _Place | None = None
        for day in range(first // DAY, found[1] // DAY + 1):
            for one in self._of_day(query, action, max(begin, day * DAY), min(end, (day + 1) * DAY)):
                here = (day, *one[:4])
                if place is not None and here <= place:
                    continue
                if len(rows) == limit:
                    return told | {"usage": rows}, None if last is None else msgspec.json.encode(last).decode()
                rows.append(self._shown(day, one))
                last = here
        return told | {"usage": rows}, None

    def _period(self, query: UsageQuery) -> tuple[int, int]:
        """This month, unless another period is asked for."""
        bounds(query)
        now = self._keystore.clock()
        month = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        end = query.end or now + timedelta(seconds=1)
        begin = query.begin or min(month, end - timedelta(days=1))
        if end - begin > timedelta(days=LONGEST_PERIOD_DAYS):
            msg = f"a period has at most {LONGEST_PERIOD_DAYS} days"
            raise Unprocessable(msg, field="from")
        if begin >= end:
            msg = "nothing lies between these times: `from` is in the future"
            raise Unprocessable(msg, field="from")
        return microseconds(begin) or 0, microseconds(end) or 0

    def _of_day(self, query: UsageQuery, action: str | None, begin: int, end: int) -> list[Used]:
        keys = () if query.key is None else self._names(query.key)
        found = used_between(self._keystore.database, begin, end, principal=query.principal, keys=keys, action=action)
        return sorted(self._by_id(found))

    def _names(self, reference: str) -> tuple[str, ...]:
        key = self._key(reference)
        return (reference,) if key is None else (key.id, *key.aliases)

    def _by_id(self, found: Iterable[Used]) -> Iterable[Used]:
        """Refused calls name their key as the caller did: by an alias that still names one, it is that key."""
        merged: dict[tuple[str, str, str, str], Used] = {}
        for one in found:
            key = self._key(one.key) if one.key else None
            named = one if key is None else one._replace(key=key.id)
            known = merged.get(named[:4])
            if known is not None:
                named = named._replace(requests=named.requests + known.requests, items=named.items + known.items)
            merged[named[:4]] = named
        return merged.values()

    def _shown(self, day: int, one: Used) -> dict[str, Any]:
        key = self._key(one.key) if one.key else None
        return {
            "day": (_EPOCH + timedelta(days=day)).isoformat(),
            "principal": one.principal,
            "key_id": one.key or None,
            "key_alias": None if key is None else key.alias,
            "action": one.action,
            "outcome": one.outcome,
            "requests": one.requests,
            "items": one.items,
        }

    def _key(self, reference: str) -> Any:  # noqa: ANN401 - a key, if there is one
        try:
            return self._keystore.get_key(reference)
        except NoSuchRow:
            return None


def _moment(time: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time)


def _read_place(text: str) -> _Place:
    try:
        return msgspec.json.decode(text.encode(), type=tuple[int, str, str, str, str])
    except msgspec.DecodeError as error:
        msg = "cursor is not one that this service gave"
        raise MalformedRequest(msg, field="cursor") from error
