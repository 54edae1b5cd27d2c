"""What of each quota is claimed in its window, by all processes together: one row a quota and subject, no secret, no
seal (to make one would ask the HSM for each claim)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import insert, select, update

from keystore.db.schema import QUOTA_WINDOWS

if TYPE_CHECKING:
    from keystore.db.engine import Database

PART_OF_ALL: Final = 32  # a claim is this part of the quota at most ...
PART_OF_REST: Final = 16  # ... and of what is left of it
_ROW: Final = QUOTA_WINDOWS.c


class Claim(NamedTuple):
    """How many were claimed, in which window, and how many are left to claim in it."""

    window: int
    claimed: int
    left: int


def claim(database: Database, name: str, window: int, *, limit: int, burst: int, needed: int) -> Claim:
    """Claims a part of a window ahead of use: what is needed, or some more while there is much; nothing where less than
    that is left. Never is more claimed in all than `limit` and what up to `burst` the windows before have left.

    A later window than `window` may hold already, by another node's clock. Raises `StoreUnavailable`.
    """
    with database.write() as connection:
        mine = select(_ROW.window, _ROW.used, _ROW.carried).where(_ROW.id == name)
        found = connection.execute(mine).one_or_none()
        holds, used, carried = (window, 0, 0) if found is None else found
        if holds < window:
            carried = min(burst, max(0, (window - holds) * limit + carried - used))
            used = 0
        left = max(0, limit + carried - used)
        wanted = max(needed, min(limit // PART_OF_ALL, left // PART_OF_REST))
        made = Claim(max(window, holds), min(left, wanted) if left >= needed else 0, left)
        values = {"window": made.window, "used": used + made.claimed, "carried": carried}
        if found is None:
            connection.execute(insert(QUOTA_WINDOWS).values(id=name, **values))
        elif made.claimed:
            connection.execute(update(QUOTA_WINDOWS).where(_ROW.id == name).values(**values))
    return made._replace(left=left - made.claimed)
