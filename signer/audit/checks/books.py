"""The books beside the log: the sealed rows' journal, the sealed rows, intents and their outcomes, workers' epochs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import bindparam, exists, func, or_, select

from keystore.db.schema import AUDIT_EPOCHS, AUDIT_INTENTS, LOG_ENTRIES, ROW_JOURNAL, ROW_JOURNAL_HEAD, SEALED_TABLES
from keystore.journal import CHUNK, ENTRY_COLUMNS, GENESIS, JournalEntry, chain
from keystore.sealing import Uncanonical

if TYPE_CHECKING:
    from keystore.db.schema import SealedTable
    from keystore.db.snapshot import Snapshot
    from signer.audit.checks.findings import Findings

_entry = ROW_JOURNAL.c
_JOURNAL: Final = select(*ENTRY_COLUMNS).where(_entry.seq > bindparam("after")).order_by(_entry.seq).limit(CHUNK)
_JOURNAL_BEFORE: Final = select(_entry.seq).where(_entry.seq < 1).order_by(_entry.seq).limit(1)
_JOURNAL_HEAD: Final = select(ROW_JOURNAL_HEAD.c.id, ROW_JOURNAL_HEAD.c.seq, ROW_JOURNAL_HEAD.c.link)
_TWICE: Final = (
    select(LOG_ENTRIES.c.intent_id, LOG_ENTRIES.c.item, func.max(LOG_ENTRIES.c.seq))
    .where(LOG_ENTRIES.c.intent_id.is_not(None))
    .group_by(LOG_ENTRIES.c.intent_id, LOG_ENTRIES.c.item)
    .having(func.count() > 1)
)
_outcomes = (
    select(func.count()).where(LOG_ENTRIES.c.intent_id == AUDIT_INTENTS.c.id).correlate(AUDIT_INTENTS).scalar_subquery()
)
_OPEN: Final = (
    select(
        AUDIT_INTENTS.c.id, AUDIT_INTENTS.c.time, AUDIT_INTENTS.c.principal, AUDIT_INTENTS.c.action,
        AUDIT_INTENTS.c.key_id, AUDIT_INTENTS.c.epoch,
    )
    .where(_outcomes < AUDIT_INTENTS.c["items"])
    .order_by(AUDIT_INTENTS.c.id)
)  # fmt: skip
_EPOCHS: Final = select(AUDIT_EPOCHS.c.id, AUDIT_EPOCHS.c.closed_at)
_INTENT_EPOCHS: Final = select(AUDIT_INTENTS.c.epoch, func.min(AUDIT_INTENTS.c.id)).group_by(AUDIT_INTENTS.c.epoch)
OPEN_MICROSECONDS: Final = 60 * 1_000_000  # an intent this old should have an outcome


@dataclass(frozen=True, slots=True)
class OpenIntent:
    """An intent without an outcome for each of its items. `time` in microseconds since 1970."""

    id: str
    time: int
    principal: str
    action: str
    key_id: str | None


@dataclass(frozen=True, slots=True)
class Books:
    """What is no fault, and has to be told: intents long open, and how many entries the rows' journal has."""

    open_intents: tuple[OpenIntent, ...]
    journal: int


def check_books(snapshot: Snapshot, epochs: set[str], now: int, findings: Findings) -> Books:
    """Checks all of them. `epochs` are those that records name, `now` is in microseconds since 1970."""
    journal = _check_journal(snapshot, findings)
    for shape in SEALED_TABLES.values():
        if shape.journaled:
            _check_sealed(snapshot, shape, findings)
    for intent, item, seq in snapshot.rows(_TWICE):
        message = f"the item {item} of the intent {intent} has more than one outcome"
        findings.add(message, table="log_entries", row=_place(seq))
    return Books(_open_intents(snapshot, epochs, now, findings), journal)


def _check_journal(snapshot: Snapshot, findings: Findings) -> int:
    """Follows the whole chain; returns the number of its last entry. The HSM's seals of links are not looked at."""
    for (seq,) in snapshot.rows(_JOURNAL_BEFORE):
        findings.add(f"row_journal: an entry is numbered {seq}", table="row_journal", row=_place(seq))
    last, link = 0, GENESIS
    while rows := snapshot.rows(_JOURNAL, {"after": last}):
        for entry in map(JournalEntry._make, rows):
            if entry.seq != last + 1:
                findings.add(f"row_journal: entry {last + 1} is missing", table="row_journal", row=last + 1)
            elif _link_of(entry, link) != entry.link:
                findings.add(
                    f"row_journal: the chain is broken at entry {entry.seq}", table="row_journal", row=entry.seq
                )
            last = entry.seq
            link = entry.link
    heads = snapshot.rows(_JOURNAL_HEAD)
    if list(map(tuple, heads)) != [(1, last, link)]:
        findings.add(f"row_journal_head: is not the end of the journal, entry {last}", table="row_journal_head", row=1)
    return last


def _link_of(entry: JournalEntry, before: bytes) -> bytes | None:
    try:
        return chain(before, *entry[:6])
    except Uncanonical:
        return None


def _check_sealed(snapshot: Snapshot, shape: SealedTable, findings: Findings) -> None:
    """That each row is there as its newest journal entry has it: revision and seal."""
    row, later = shape.table.c, ROW_JOURNAL.alias()
    newest = (
        select(func.max(later.c.revision))
        .where(later.c.table_name == _entry.table_name, later.c.row_id == _entry.row_id)
        .scalar_subquery()
    )
    others = (
        select(_entry.row_id, row.id)
        .select_from(ROW_JOURNAL.outerjoin(shape.table, row.id == _entry.row_id))
        .where(
            _entry.table_name == bindparam("table"),
            _entry.revision == newest,
            or_(
                row.id.is_(None), row.revision.is_distinct_from(_entry.revision), row.seal.is_distinct_from(_entry.seal)
            ),
        )
        .order_by(_entry.row_id)
    )
    known = exists().where(_entry.table_name == bindparam("table"), _entry.row_id == row.id)
    for row_id, found in snapshot.rows(others, {"table": shape.name}):
        what = "is in the journal, and missing" if found is None else "is not the newest that the journal has"
        _note_row(findings, shape, row_id, what)
    for (row_id,) in snapshot.rows(select(row.id).where(~known).order_by(row.id), {"table": shape.name}):
        _note_row(findings, shape, row_id, "is not in the journal")


def _note_row(findings: Findings, shape: SealedTable, row_id: object, what: str) -> None:
    findings.add(f"the row {row_id} of {shape.name} {what}", table=shape.name, row=str(row_id))


def _open_intents(snapshot: Snapshot, epochs: set[str], now: int, findings: Findings) -> tuple[OpenIntent, ...]:
    """Those that have no outcome for long. A worker that has ended leaves none."""
    closed_at: dict[str, int | None] = dict(snapshot.rows(_EPOCHS))
    for epoch, intent in snapshot.rows(_INTENT_EPOCHS):
        if epoch not in closed_at:
            message = f"the intent {intent} is of the worker {epoch}, which there was not"
            findings.add(message, table="audit_intents", row=str(intent), column="epoch")
    for epoch in sorted(epochs - closed_at.keys()):
        findings.add(f"the worker {epoch} wrote entries, and is missing", table="audit_epochs", row=epoch)
    left = []
    for intent, time, principal, action, key_id, epoch in snapshot.rows(_OPEN):
        if closed_at.get(epoch) is not None:
            message = f"the intent {intent} has no outcome for each of its items, and its worker has ended"
            findings.add(message, table="audit_intents", row=str(intent))
        elif not isinstance(time, int) or now - time > OPEN_MICROSECONDS:
            named = None if key_id is None else str(key_id)
            left.append(
                OpenIntent(str(intent), time if isinstance(time, int) else 0, str(principal), str(action), named)
            )
    return tuple(left)


def _place(seq: object) -> int | str:
    return seq if isinstance(seq, int) else str(seq)
