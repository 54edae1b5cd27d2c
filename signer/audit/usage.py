"""How much was asked for on each day (UTC): by whom, with which key, for what, and what became of it.

Counted from the trail's own entries by the database, a day at a time: a request is one `request_id`, an item one entry.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import case, distinct, func, select

from keystore.db.schema import LOG_ENTRIES
from signer.audit.trail import REPEATED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keystore.db.engine import Database

DAY: Final = 86_400_000_000  # microseconds
_ROW: Final = LOG_ENTRIES.c


class Used(NamedTuple):
    """The requests and items of one day that have all of this in common. `key` is as the entries have it."""

    principal: str
    key: str
    action: str
    outcome: str  # repeated: an answer that was given before
    requests: int
    items: int


def used_between(
    database: Database,
    begin: int,
    end: int,
    *,
    principal: str | None = None,
    keys: Sequence[str] = (),
    action: str | None = None,
) -> list[Used]:
    """What was used from `begin` on and before `end` (microseconds); with `keys`: with one that has such a name."""
    outcome = case((_ROW.code == REPEATED, REPEATED), else_=_ROW.outcome).label("became")
    names = (func.coalesce(_ROW.principal, ""), func.coalesce(_ROW.key_id, ""), func.coalesce(_ROW.action, ""))
    found = (
        select(*names, outcome, func.count(distinct(_ROW.request_id)), func.count())
        .where(_ROW.time >= begin, _ROW.time < end, _ROW.kind == "decision")
        .group_by(*names, outcome)
    )
    if principal is not None:
        found = found.where(_ROW.principal == principal)
    if keys:
        found = found.where(_ROW.key_id.in_(list(keys)))
    if action is not None:
        found = found.where(_ROW.action == action)
    with database.read() as connection:
        return [Used(*row) for row in connection.execute(found)]


def days_used(database: Database, begin: int, end: int) -> tuple[int, int] | None:
    """The times of the first and the last entry within; None where there is none."""
    found = select(func.min(_ROW.time), func.max(_ROW.time)).where(_ROW.time >= begin, _ROW.time < end)
    with database.read() as connection:
        first, last = connection.execute(found).one()
    return None if first is None else (int(first), int(last))
