"""The log's entries one after the other, for whoever follows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select

from keystore.db.schema import LOG_ENTRIES, LOG_HEADS

if TYPE_CHECKING:
    from keystore.db.engine import Database


@dataclass(frozen=True, slots=True)
class Followed:
    """One entry, its place in all logs and in its own. `record` is None for a leaf of the sealed rows' journal."""

    seq: int
    origin: str
    index: int
    leaf: bytes
    leaf_hash: bytes
    nonce: bytes | None
    record: str | None


def entries_from(database: Database, seq: int, limit: int) -> list[Followed]:
    """At most `limit` entries from the place `seq` on."""
    columns = LOG_ENTRIES.c
    wanted = (
        select(columns.seq, columns.leaf, columns.leaf_hash, columns.nonce, columns.record)
        .where(columns.seq >= seq)
        .order_by(columns.seq)
        .limit(limit)
    )
    with database.read() as connection:
        rows = connection.execute(wanted).all()
        logs = connection.execute(select(LOG_HEADS.c.first, LOG_HEADS.c.origin).order_by(LOG_HEADS.c.log.desc())).all()
    found = []
    for place, leaf, leaf_hash, nonce, record in rows:
        first, origin = next((log.first, log.origin) for log in logs if log.first <= place)
        found.append(Followed(place, origin, place - first, leaf, leaf_hash, nonce, record))
    return found
