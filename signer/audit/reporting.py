"""Counting entries, key by key: who used it for what, when first and last, what was denied, what was changed.

All of it is read from one index of the entries' columns and aggregated by the database, for a page of keys at a time;
the entries themselves are not looked at. So a report is as good as the columns are: `showing` tells how an entry is
held against its record, and an export is what a report can be checked with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from sqlalchemy import ColumnElement, and_, func, select

from keystore.db.schema import LOG_ENTRIES
from signer.audit.trail import REPEATED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from keystore.db.engine import Database

Period = Literal["day", "week"]
_ROW: Final = LOG_ENTRIES.c
# An answer that was given before, given again: nothing was done for it.
_NOT_REPEATED: Final = func.coalesce(_ROW.code, "") != REPEATED
_DAY: Final = 86_400_000_000  # microseconds
_LENGTHS: Final[dict[Period, int]] = {"day": _DAY, "week": 7 * _DAY}
# 1970-01-01 was a Thursday: weeks begin on the Monday before.
_SHIFTS: Final[dict[Period, int]] = {"day": 0, "week": 3 * _DAY}


class Counted(NamedTuple):
    """How often a principal's calls of one action, with one key, had one outcome; the first and the last time."""

    key: str
    principal: str
    action: str
    outcome: str
    code: str | None
    calls: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Range:
    """`begin` <= time < `end`, in microseconds since 1970; None: no bound."""

    begin: int | None = None
    end: int | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """As conditions of a SELECT over the entries."""
        bounds = [] if self.begin is None else [_ROW.time >= self.begin]
        return bounds if self.end is None else [*bounds, _ROW.time < self.end]


def counts(database: Database, names: Mapping[str, str], within: Range) -> list[Counted]:
    """The counts of these keys; `names` maps what entries call a key (its id, its alias) to its id."""
    grouped = (_ROW.key_id, _ROW.principal, _ROW.action, _ROW.outcome, _ROW.code)
    found = (
        select(*grouped, func.count(), func.min(_ROW.time), func.max(_ROW.time))
        .where(_ROW.key_id.in_(list(names)), *within.conditions())
        .group_by(*grouped)
    )
    merged: dict[tuple[str, str, str, str, str | None], Counted] = {}
    with database.read() as connection:
        for key, principal, action, outcome, code, calls, first, last in connection.execute(found):
            row = Counted(names[key], principal or "", action or "", outcome or "", code, calls, first, last)
            known = merged.get(row[:5])
            if known is not None:
                row = row._replace(
                    calls=row.calls + known.calls, first=min(row.first, known.first), last=max(row.last, known.last)
                )
            merged[row[:5]] = row
    return list(merged.values())


def newest(
    database: Database, names: Mapping[str, str], actions: Sequence[str], *, outcome: str = "succeeded"
) -> dict[str, dict[str, Any]]:
    """The newest entry of each key that is about one of these actions: when, who, what."""
    mine = and_(_ROW.key_id.in_(list(names)), _ROW.action.in_(list(actions)), _ROW.outcome == outcome, _NOT_REPEATED)
    last = select(_ROW.key_id, func.max(_ROW.time).label("time")).where(mine).group_by(_ROW.key_id).subquery()
    found = (
        select(_ROW.key_id, _ROW.time, _ROW.principal, _ROW.action)
        .join(last, and_(_ROW.key_id == last.c.key_id, _ROW.time == last.c.time))
        .where(_ROW.action.in_(list(actions)), _ROW.outcome == outcome, _NOT_REPEATED)
        .order_by(_ROW.time)
    )
    shown: dict[str, dict[str, Any]] = {}
    with database.read() as connection:
        for key, time, principal, action in connection.execute(found):
            known = shown.get(names[key])
            if known is None or time >= known["time"]:
                shown[names[key]] = {"time": time, "principal": principal, "action": action}
    return shown


def uses_by_period(
    database: Database, names: Sequence[str], actions: Sequence[str], within: Range, period: Period, limit: int
) -> list[tuple[int, int, int]]:
    """(beginning in microseconds, uses, denials) of each day or week (UTC, from Monday) that has any, oldest first."""
    length, shift = _LENGTHS[period], _SHIFTS[period]
    bucket = ((_ROW.time + shift) // length).label("bucket")
    found = (
        select(bucket, _ROW.outcome, func.count())
        .where(
            _ROW.key_id.in_(list(names)),
            _ROW.action.in_(list(actions)),
            _ROW.outcome.in_(("succeeded", "denied")),
            _NOT_REPEATED,
            *within.conditions(),
        )
        .group_by(bucket, _ROW.outcome)
        .order_by(bucket)
    )
    periods: dict[int, list[int]] = {}
    with database.read() as connection:
        for number, outcome, count in connection.execute(found):
            counted = periods.setdefault(number * length - shift, [0, 0])
            counted[outcome == "denied"] += count
            if len(periods) > limit:
                break
    return [(begin, uses, denied) for begin, (uses, denied) in periods.items()][:limit]
