"""When a key was used last, as the log has it: its newest entry of a use that succeeded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import select

from keystore.db.schema import LOG_ENTRIES
from keystore.values import time_of
from signer.audit.reading import heads
from signer.audit.showing import checked_record, log_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from keystore.db.engine import Database

_ROW: Final = LOG_ENTRIES.c


@dataclass(frozen=True, slots=True)
class LastUse:
    """One use of a key: what was done, when, by which call (`intent` names the record, `request_id` the request)."""

    action: str
    time: datetime
    intent: str
    request_id: str


def last_use(database: Database, key_id: str, actions: Iterable[str]) -> LastUse | None:
    """The newest use among `actions` that succeeded; an answer that was given again is none. None: there is none.

    Raises `IntegrityFailure` where the entry is not what was written.
    """
    used = select(LOG_ENTRIES).where(
        _ROW.key_id == key_id,
        _ROW.kind == "decision",
        _ROW.outcome == "succeeded",
        _ROW.code.is_(None),
        _ROW.action.in_(sorted(actions)),
    )
    with database.read() as connection:
        found = connection.execute(used.order_by(_ROW.time.desc(), _ROW.seq.desc()).limit(1)).mappings().one_or_none()
    if found is None:
        return None
    row = dict(found)
    checked_record(log_of(heads(database), row["seq"]), row)
    return LastUse(row["action"], time_of(row["time"]), row["intent_id"], row["request_id"])


def begun_at(database: Database) -> datetime | None:
    """Since when there is a log at all: the time of its first entry."""
    with database.read() as connection:
        first = connection.execute(select(_ROW.time).order_by(_ROW.seq).limit(1)).scalar_one_or_none()
    return None if first is None else time_of(first)
