"""What is not known after a failed write: whether it was written nevertheless.

A server that dies while it commits, or a connection that breaks then, leaves it open. Nothing is released then, and the
sweeper looks again once the database answers: an intent that is there after all is closed, an outcome that is there is
not written a second time. (That one item never has two outcomes, the database itself sees to.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import select

from keystore.db.schema import AUDIT_INTENTS, LOG_ENTRIES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keystore.db.engine import Database
    from signer.audit.records import Entry

_MOST: Final = 500  # intents asked for at once


def still_owed(database: Database, entries: Sequence[Entry]) -> list[Entry]:
    """Those of the entries that belong into the log: of an intent that is there, of an item without an outcome; and
    those of no intent. Raises `StoreUnavailable`."""
    with database.append() as appending:
        appending.begin()  # whoever was committing when this began has ended
    intents = sorted({entry["intent_id"] for entry in entries if entry["intent_id"] is not None})
    there: set[str] = set()
    decided: set[tuple[str, int]] = set()
    with database.read() as connection:
        for start in range(0, len(intents), _MOST):
            some = intents[start : start + _MOST]
            there.update(connection.execute(select(AUDIT_INTENTS.c.id).where(AUDIT_INTENTS.c.id.in_(some))).scalars())
            outcomes = select(LOG_ENTRIES.c.intent_id, LOG_ENTRIES.c.item).where(LOG_ENTRIES.c.intent_id.in_(some))
            decided.update((intent, item) for intent, item in connection.execute(outcomes))
    return [
        entry
        for entry in entries
        if entry["intent_id"] is None
        or (entry["intent_id"] in there and (entry["intent_id"], entry["item"]) not in decided)
    ]
