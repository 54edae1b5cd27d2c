"""What a database looks like from outside, in numbers: for metrics and for `sealmark doctor`, never for a decision.

Plain columns are read and no seal is checked, so that it costs little and needs no HSM. Whatever is decided is decided
elsewhere, from sealed rows.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import column, func, select, table

from keystore.algorithms import Protection, Purpose
from keystore.api import KeyState
from keystore.db.schema import (
    CERTIFICATES,
    KEY_VERSIONS,
    KEYS,
    LOG_ENTRIES,
    LOG_HEADS,
    ROW_JOURNAL_HEAD,
    SIGNED_DOCUMENTS,
)
from keystore.values import stored_time, time_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime, timedelta

    from sqlalchemy import Select

    from keystore.db.engine import Database

    Rows = Callable[[Select[Any]], Sequence[Sequence[Any]]]  # of one moment: `reading`, or `Snapshot.rows`

REVOCATION_LIST: Final = "certificate-revocation-list"  # the name of the document
_SIGNATURE: Final = "\u2014 "  # begins each signature line of a note (c2sp.org/signed-note)


@dataclass(frozen=True, slots=True)
class LogState:
    """The newest log. Ages are of leaves, as they were written: of the newest that a checkpoint covers, and of the
    oldest that none covers, or no witness has cosigned (None: there is no such leaf)."""

    origin: str
    size: int
    root: bytes
    checkpoint_size: int
    cosigned_size: int
    cosignatures: int  # that its last cosigned checkpoint carries
    rows_waiting: int  # entries of the sealed rows' journal that are no leaves yet
    newest_covered: datetime | None
    oldest_uncovered: datetime | None
    oldest_uncosigned: datetime | None


@dataclass(frozen=True, slots=True)
class CertificateEnd:
    """The newest certificate of a key's newest version, if it ends soon or has ended."""

    key_id: str
    ends: datetime
    authority: bool  # the built-in authority's own


@dataclass(frozen=True, slots=True)
class KeyCounts:
    """Keys by state, software keys, versions that live on the token, and the earliest deletion that is due."""

    by_state: dict[str, int]
    software: int
    on_token: int  # versions whose key is kept on the token itself
    next_deletion: datetime | None


@contextmanager
def reading(database: Database) -> Iterator[Rows]:
    """Of the database as it is at one moment. Raises `StoreUnavailable`."""
    with database.read() as connection:
        yield lambda statement: [tuple(row) for row in connection.execute(statement).all()]


def schema_version(rows: Rows) -> str:
    """The revision of the schema."""
    ((found,),) = rows(select(column("version_num")).select_from(table("alembic_version")))
    return str(found)


def log_state(rows: Rows) -> LogState | None:
    """The newest log; None where no service has run with the database yet."""
    head = LOG_HEADS.c
    columns = (
        head.origin,
        head.root,
        head.first,
        head.size,
        head.journal,
        head.checkpoint_size,
        head.cosigned_size,
        head.cosigned,
    )
    found = rows(select(*columns).order_by(head.log.desc()).limit(1))
    if not found:
        return None
    origin, root, first, size, journal, checkpoint_size, cosigned_size, note = found[0]
    covered = max(0, checkpoint_size)  # -1: there was no checkpoint yet
    last_row = _number(rows, select(ROW_JOURNAL_HEAD.c.seq)) or 0
    return LogState(
        origin=origin,
        size=size,
        root=root,
        checkpoint_size=covered,
        cosigned_size=cosigned_size,
        cosignatures=max(0, sum(line.startswith(_SIGNATURE) for line in (note or "").splitlines()) - 1),
        rows_waiting=max(0, last_row - journal),
        newest_covered=_time_of_leaf(rows, first + covered - 1) if covered else None,
        oldest_uncovered=_time_of_leaf(rows, first + covered) if covered < size else None,
        oldest_uncosigned=_time_of_leaf(rows, first + cosigned_size) if cosigned_size < size else None,
    )


def _number(rows: Rows, statement: Select[Any]) -> int | None:
    """The only column of the only row."""
    found = rows(statement)
    return int(found[0][0]) if found and found[0][0] is not None else None


def _time(rows: Rows, statement: Select[Any]) -> datetime | None:
    found = _number(rows, statement)
    return None if found is None else time_of(found)


def _time_of_leaf(rows: Rows, seq: int) -> datetime | None:
    return _time(rows, select(LOG_ENTRIES.c.time).where(LOG_ENTRIES.c.seq == seq))


def ending_certificates(rows: Rows, now: datetime, within: timedelta, most: int) -> list[CertificateEnd]:
    """Those that end within so long, or have ended, of keys that are not deleted: the soonest first."""
    certificates, newer, later_version = CERTIFICATES.c, CERTIFICATES.alias(), KEY_VERSIONS.alias()
    replaced = select(newer.c.id).where(
        newer.c.version_id == certificates.version_id, newer.c.not_before > certificates.not_before
    )
    rotated = select(later_version.c.id).where(
        later_version.c.key_id == KEY_VERSIONS.c.key_id, later_version.c.number > KEY_VERSIONS.c.number
    )
    found = (
        select(certificates.key_id, certificates.not_after, KEYS.c.purpose)
        .join(KEY_VERSIONS, KEY_VERSIONS.c.id == certificates.version_id)
        .join(KEYS, KEYS.c.id == certificates.key_id)
        .where(
            certificates.not_after <= stored_time(now + within),
            certificates.state == "valid",
            KEYS.c.state != KeyState.DELETED.value,
            KEYS.c.state != KeyState.PENDING_DELETION.value,
            ~replaced.exists(),
            ~rotated.exists(),
        )
        .order_by(certificates.not_after)
        .limit(most)
    )
    return [CertificateEnd(key_id, time_of(ends), purpose == Purpose.CA.value) for key_id, ends, purpose in rows(found)]


def authority_validity(rows: Rows) -> tuple[datetime, datetime] | None:
    """From when and until when the built-in authority's certificate is valid; None where there is none."""
    certificates = CERTIFICATES.c
    found = (
        select(certificates.not_before, certificates.not_after)
        .join(KEYS, KEYS.c.id == certificates.key_id)
        .where(KEYS.c.purpose == Purpose.CA.value)
        .order_by(certificates.not_after.desc())
        .limit(1)
    )
    valid = rows(found)
    return (time_of(valid[0][0]), time_of(valid[0][1])) if valid else None


def revocation_list_end(rows: Rows) -> datetime | None:
    """When the revocation list ends that is published; None where none was signed yet."""
    return _time(rows, select(SIGNED_DOCUMENTS.c.valid_until).where(SIGNED_DOCUMENTS.c.id == REVOCATION_LIST))


def key_counts(rows: Rows) -> KeyCounts:
    """How many keys there are, of which kind."""
    columns = KEYS.c
    counted = rows(select(columns.state, func.count()).group_by(columns.state))
    due = select(func.min(columns.deletion_at)).where(columns.state == KeyState.PENDING_DELETION.value)
    software = select(func.count()).where(
        columns.protection == Protection.SOFTWARE.value, columns.state != KeyState.DELETED.value
    )
    kept = select(func.count()).select_from(KEY_VERSIONS).where(KEY_VERSIONS.c.token_label.is_not(None))
    return KeyCounts(
        by_state={str(state): int(number) for state, number in counted},
        software=_number(rows, software) or 0,
        on_token=_number(rows, kept) or 0,
        next_deletion=_time(rows, due),
    )
