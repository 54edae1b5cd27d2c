"""Keys that are rotated by themselves: their schedule, and which of them are due. Pure, but for the look-ups.

The rotation itself is that of every key (`keystore.creation`); it moves the schedule on in its own transaction, so that
of several processes that find a key due one makes the version.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from sqlalchemy import select

from keystore.algorithms import Origin, Purpose
from keystore.api import KeyState, RotationSchedule
from keystore.db.schema import KEYS
from keystore.errors import Unsupported
from keystore.keys import existing, require_primary_here
from keystore.lifecycle import require_enabled
from keystore.values import optional_stored_time, rotation_of, stored_time

if TYPE_CHECKING:
    from datetime import datetime

    from keystore.sealing import SealedRow
    from keystore.store import SealedStore

SHORTEST_PERIOD: Final = 90  # days (AWS KMS API Reference, EnableKeyRotation)
LONGEST_PERIOD: Final = 2560
DEFAULT_PERIOD: Final = 365
MOST_ON_DEMAND: Final = 25  # rotations on demand of one key (AWS KMS API Reference, RotateKeyOnDemand)


def tells_versions_apart(purpose: Purpose, spec: str) -> bool:
    """Whether such a key can be rotated without anybody's noticing: a symmetric one, whose ciphertexts name their
    version. Whoever verifies with a public key, or makes the same MAC again, has to be told of a new version."""
    return purpose is Purpose.ENCRYPT and spec == "SYMMETRIC_DEFAULT"


def is_rotatable(purpose: Purpose, spec: str, origin: Origin) -> bool:
    """Whether it can be rotated by itself, too: new material has to be made here for that."""
    return tells_versions_apart(purpose, spec) and origin is Origin.AWS_KMS


def next_rotation(schedule: RotationSchedule, now: datetime) -> datetime:
    """When a key is due again that was due by `schedule` and is rotated `now`: a period later, or, where that has
    passed too (the key was disabled for long), a period from now."""
    period = timedelta(days=schedule.period_days)
    following = schedule.next_at + period
    return following if following > now else now + period


class RotationRepository:
    """Reads and writes schedules."""

    def __init__(self, store: SealedStore) -> None:
        self._store = store

    def schedule_rotation(self, key_id: str, days: int, now: datetime) -> None:
        """Rotate a key every so many days from now on.

        Raises: `NotFound`; `WrongState` unless it is enabled; `Unsupported` for other days and other keys.
        """
        if not SHORTEST_PERIOD <= days <= LONGEST_PERIOD:
            raise Unsupported(f"days must be {SHORTEST_PERIOD} to {LONGEST_PERIOD}", field="days")
        self._set_schedule(key_id, RotationSchedule(days, now + timedelta(days=days)))

    def unschedule_rotation(self, key_id: str) -> None:
        """Rotate a key by itself no more. Raises as `schedule_rotation` does."""
        self._set_schedule(key_id, None)

    def _set_schedule(self, key_id: str, schedule: RotationSchedule | None) -> None:
        with self._store.transaction() as transaction:
            row = existing(transaction, "keys", key_id)
            if not is_rotatable(Purpose(row.text("purpose")), row.text("spec"), Origin(row.text("origin"))):
                raise Unsupported("only a SYMMETRIC_DEFAULT key that was made here is rotated by itself", field="key")
            require_primary_here(transaction, row)
            require_enabled(KeyState(row.text("state")))
            days = None if schedule is None else schedule.period_days
            at = optional_stored_time(None if schedule is None else schedule.next_at)
            transaction.update(row, {"rotation_days": days, "rotation_at": at})

    def keys_to_rotate(self, now: datetime) -> list[str]:
        """The ids of the enabled keys whose rotation is due, as far as anybody can tell without looking at each."""
        due = select(KEYS.c.id).where(KEYS.c.rotation_at <= stored_time(now), KEYS.c.state == KeyState.ENABLED.value)
        with self._store.database.read() as connection:
            return [str(key_id) for (key_id,) in connection.execute(due.order_by(KEYS.c.rotation_at))]


def due_schedule(row: SealedRow, now: datetime) -> RotationSchedule | None:
    """The schedule by which the key of this row is due, or None: it is not, or not any more."""
    schedule = rotation_of(row.optional_number("rotation_days"), row.optional_number("rotation_at"))
    return schedule if schedule is not None and schedule.next_at <= now else None
