"""The audit trail: what is written before and after every use of a key, and for every refusal.

`open` returns only when the intent is durable; `close` only when the outcomes are. What cannot be written raises
`AuditUnavailable`, and then nothing is signed, or what was signed is not released. An outcome that could not be written
in time is kept and written as soon as the database can be written again: a signature as failed, since nobody got it; a
change that took effect as what it is, with the code that its caller was answered. What a dead worker left open is
closed as `unknown` by any living one.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import structlog
from sqlalchemy import exists, select, update

from keystore.db.schema import AUDIT_EPOCHS, AUDIT_INTENTS, AUDIT_OUTCOMES
from keystore.errors import KeystoreError
from signer.audit.committer import GroupCommitter, Rows
from signer.audit.epochs import Epoch, forget, is_dead
from signer.audit.identifiers import time_ordered_id
from signer.audit.records import AuditedKey, ItemsRefused, Outcome, OutcomeKind, RecordedIntent, canonical, recorded
from signer.authn.tokens import blanked
from signer.errors import AuditUnavailable, SealmarkError
from signer.logs import place_of
from signer.problems import SERVER_FAULTS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from keystore.db.engine import Database
    from signer.access import Permit
    from signer.authn.principal import Principal
    from signer.call import Call

SWEEP_SECONDS = 2.0
COUNT_SECONDS = 60.0
_log = structlog.get_logger("sealmark.audit")


class AuditTrail:
    """One per worker process."""

    def __init__(self, database: Database, locks: Path) -> None:
        self._database = database
        self._locks = locks
        self._committer = GroupCommitter(database)
        self._epoch = Epoch(locks)
        self._overdue: list[dict[str, Any]] = []
        self._overdue_guard = threading.Lock()
        self._unauthenticated: Counter[str] = Counter()
        self._unauthenticated_guard = threading.Lock()
        self._counted_at = time.monotonic()
        self._stopping = threading.Event()
        self._commit([(AUDIT_EPOCHS, [{"id": self._epoch.id, "started_at": _now(), "closed_at": None}])])
        self._sweeper = threading.Thread(target=self._sweep_for_ever, name="audit-sweeper", daemon=True)
        self._sweeper.start()

    def open(
        self,
        permit: Permit,
        call: Call,
        key: AuditedKey | None,
        items: int,
        context: dict[str, str] | None = None,
        *,
        subject: str | None = None,
    ) -> RecordedIntent:
        """Writes down what is about to be done; returns once that is durable. Raises `AuditUnavailable`."""
        intent_id = time_ordered_id()
        row = {
            "id": intent_id,
            "epoch": self._epoch.id,
            "time": _now(),
            "request_id": call.request_id,
            "caller_request_id": call.caller_request_id,
            "principal": permit.principal.name,
            "credential": permit.principal.credential,
            "proof": permit.principal.proof,
            "source": call.source,
            "action": permit.action.value,
            "subject": _named(subject),
            "key_id": key.key_id if key else permit.key_id,
            "version_id": key.version_id if key else None,
            "version": key.version if key else None,
            "algorithm": key.algorithm if key else None,
            "purpose": key.purpose if key else None,
            "items": items,
            "context": _json(context),
            "policy_revision": permit.policy_revision,
            "decided_by": permit.decided_by,
            "approval": permit.approval,
        }
        self._commit([(AUDIT_INTENTS, [row])])
        return recorded(intent_id, key, permit, call, _named(subject))

    def close(
        self, closings: Sequence[tuple[RecordedIntent, Sequence[Outcome]]], refused: ItemsRefused | None = None
    ) -> None:
        """Writes down what became of every item of each intent, and of the items refused before there was an intent,
        all at once; returns once that is durable.

        Raises `AuditUnavailable` if not: then nothing may be released, and it is written later, signatures as failed.
        """
        rows = [_outcome_row(self._epoch.id, intent, outcome) for intent, outcomes in closings for outcome in outcomes]
        if refused is not None:
            rows += self._refused_rows(refused)
        if closings:
            self._commit_or_keep(rows)
        else:
            self._commit([(AUDIT_OUTCOMES, rows)])

    def refuse(
        self, principal: Principal, action: str, call: Call, key: str | None, code: str, subject: str | None = None
    ) -> None:
        """Records that an authenticated call was denied or malformed, or failed before any intent."""
        kind: OutcomeKind = "failed" if code in SERVER_FAULTS else "denied"
        row = self._without_intent(principal.name, action, call, key, kind, code)
        self._commit([(AUDIT_OUTCOMES, [row | _proved(principal) | {"subject": _named(subject)}])])

    def note(
        self,
        principal: Principal | str,
        action: str,
        call: Call,
        *,
        key: str | None = None,
        subject: str | None = None,
        detail: Mapping[str, object] | None = None,
    ) -> None:
        """Records what needs no intent: what somebody is about to do who has no credential yet (an enrolment, by the
        principal's name), or what break glass has looked at."""
        name = principal if isinstance(principal, str) else principal.name
        row = self._without_intent(name, action, call, key, "succeeded", None)
        proved = {} if isinstance(principal, str) else _proved(principal)
        more = {"subject": _named(subject), "detail": None if detail is None else canonical(detail)}
        self._commit([(AUDIT_OUTCOMES, [row | proved | more])])

    def _commit_or_keep(self, rows: list[dict[str, Any]]) -> None:
        """Writes outcomes of what has happened already: those that cannot be written now are written later."""
        try:
            self._commit([(AUDIT_OUTCOMES, rows)])
        except AuditUnavailable:
            with self._overdue_guard:
                self._overdue.extend(_overdue(row) for row in rows)
            raise

    def _refused_rows(self, refused: ItemsRefused) -> list[dict[str, Any]]:
        permit, call = refused.permit, refused.call
        name, action, proved = permit.principal.name, permit.action.value, _proved(permit.principal)
        return [
            {**self._without_intent(name, action, call, permit.key_id, "denied", code), **proved, "item": position}
            for position, code in refused.items
        ]

    def _without_intent(
        self, principal: str, action: str, call: Call, key: str | None, kind: OutcomeKind, code: str | None
    ) -> dict[str, Any]:
        return {
            **_EMPTY_OUTCOME,
            "epoch": self._epoch.id,
            "time": _now(),
            "outcome": kind,
            "code": code,
            "request_id": call.request_id,
            "caller_request_id": call.caller_request_id,
            "principal": principal,
            "source": call.source,
            "action": action,
            "key_id": _named(key),
        }

    def count_unauthenticated(self, code: str) -> None:
        """Counts a refusal of somebody unknown: one row a minute says how many, so that strangers cannot fill the
        trail."""
        with self._unauthenticated_guard:
            self._unauthenticated[code] += 1

    def probe(self) -> None:
        """Raises `AuditUnavailable` unless the trail can be written to right now."""
        try:
            with self._database.write() as connection:
                # There and back: SQLite writes nothing at all for a row that is set to what it is.
                for step in (1, -1):
                    own = update(AUDIT_EPOCHS).where(AUDIT_EPOCHS.c.id == self._epoch.id)
                    connection.execute(own.values(started_at=AUDIT_EPOCHS.c.started_at + step))
        except KeystoreError as fault:
            msg = "the audit trail cannot be written"
            raise AuditUnavailable(msg) from fault

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stopping.is_set()

    def stop(self) -> None:
        """Writes what is still to be written and ends this worker's epoch."""
        self._stopping.set()
        self._sweeper.join(timeout=10)
        self._counted_at = -COUNT_SECONDS  # however little time has passed
        try:
            self._sweep()
            self._close_epoch(self._epoch.id)
        except (KeystoreError, SealmarkError, OSError) as fault:
            _log.error("audit_left_open", alarm=True, kind=type(fault).__name__, reason=str(fault))
        finally:
            self._epoch.release()

    def _commit(self, rows: Sequence[Rows]) -> None:
        try:
            self._committer.commit(rows)
        except KeystoreError as fault:
            with suppress(OSError):  # the log may be on the same full disk; that must not hide what matters here
                _log.error("audit_unavailable", alarm=True, reason=str(fault))
            msg = "the audit trail cannot be written"
            raise AuditUnavailable(msg) from fault

    def _sweep_for_ever(self) -> None:
        while not self._stopping.wait(SWEEP_SECONDS):
            with suppress(OSError):  # of a log that cannot be written: this thread must outlive a full disk
                self._sweep_or_postpone()

    def _sweep_or_postpone(self) -> None:
        try:
            self._sweep()
        except (KeystoreError, SealmarkError, OSError) as fault:  # a full disk, a lost folder: try again
            _log.warning("audit_sweep_postponed", kind=type(fault).__name__, reason=str(fault))
        except Exception as fault:  # noqa: BLE001 - whatever it was: what waits to be written must be tried again
            # Words of an unforeseen exception may hold anything, a secret too.
            _log.error("audit_sweep_postponed", alarm=True, kind=type(fault).__name__, place=place_of(fault))

    def _sweep(self) -> None:
        self._write_overdue()
        self._write_counts()
        self._close_what_the_dead_left_open()

    def _write_overdue(self) -> None:
        with self._overdue_guard:
            rows, self._overdue = self._overdue, []
        if not rows:
            return
        try:
            self._commit([(AUDIT_OUTCOMES, rows)])
        except AuditUnavailable:
            with self._overdue_guard:
                self._overdue[:0] = rows
            raise

    def _write_counts(self) -> None:
        if time.monotonic() - self._counted_at < COUNT_SECONDS:
            return
        with self._unauthenticated_guard:
            counts, self._unauthenticated = self._unauthenticated, Counter()
        if not counts:
            return
        row = {
            **_EMPTY_OUTCOME,
            "epoch": self._epoch.id,
            "time": _now(),
            "outcome": "denied",
            "code": "unauthenticated",
            "detail": _json(dict(counts)),
        }
        try:
            self._commit([(AUDIT_OUTCOMES, [row])])
        except AuditUnavailable:
            with self._unauthenticated_guard:
                self._unauthenticated.update(counts)
            raise
        self._counted_at = time.monotonic()

    def _close_what_the_dead_left_open(self) -> None:
        with self._database.read() as connection:
            open_epochs = connection.execute(select(AUDIT_EPOCHS.c.id).where(AUDIT_EPOCHS.c.closed_at.is_(None)))
            others = [epoch for (epoch,) in open_epochs if epoch != self._epoch.id]
        for epoch in others:
            if is_dead(self._locks, epoch):
                closed = self._close_epoch(epoch)
                report = _log.warning if closed else _log.info
                report("epoch_closed", epoch=epoch, alarm=bool(closed), intents_closed_as_unknown=closed)

    def _close_epoch(self, epoch: str) -> int:
        """Closes every open intent of a dead worker as `unknown`, in one transaction: two sweepers cannot both do
        it."""
        has_outcome = exists().where(AUDIT_OUTCOMES.c.intent_id == AUDIT_INTENTS.c.id)
        left_open = select(AUDIT_INTENTS).where(AUDIT_INTENTS.c.epoch == epoch, ~has_outcome)
        still_open = update(AUDIT_EPOCHS).where(AUDIT_EPOCHS.c.id == epoch, AUDIT_EPOCHS.c.closed_at.is_(None))
        with self._database.write() as connection:
            if connection.execute(still_open.values(closed_at=_now())).rowcount != 1:
                return 0
            rows = [self._unknown(dict(intent)) for intent in connection.execute(left_open).mappings()]
            if rows:
                connection.execute(AUDIT_OUTCOMES.insert(), rows)
        forget(self._locks, epoch)
        return len(rows)

    def _unknown(self, intent: dict[str, Any]) -> dict[str, Any]:
        copied = ("request_id", "caller_request_id", "principal", "source", "action", "subject", "key_id")
        return {
            **_EMPTY_OUTCOME,
            **{name: intent[name] for name in copied},
            "intent_id": intent["id"],
            "epoch": self._epoch.id,
            "time": _now(),
            "outcome": "unknown",
            "code": "worker_died",
        }


_EMPTY_OUTCOME: dict[str, Any] = {
    "intent_id": None,
    "item": 0,
    "code": None,
    "request_id": "",
    "caller_request_id": None,
    "principal": None,
    "credential": None,
    "proof": None,
    "source": None,
    "action": "",
    "subject": None,
    "key_id": None,
    "digest": None,
    "signature_sha256": None,
    "detail": None,
}


def _outcome_row(epoch: str, intent: RecordedIntent, outcome: Outcome) -> dict[str, Any]:
    return {
        "intent_id": intent.intent_id,
        "item": outcome.item,
        "epoch": epoch,
        "time": _now(),
        "outcome": outcome.kind,
        "code": outcome.code,
        "request_id": intent.request_id,
        "caller_request_id": intent.caller_request_id,
        "principal": intent.permit.principal.name,
        **_proved(intent.permit.principal),
        "source": intent.source,
        "action": intent.permit.action.value,
        "subject": intent.subject,
        "key_id": intent.key_id or intent.permit.key_id,
        "digest": outcome.digest,
        "signature_sha256": outcome.signature_sha256,
        "detail": outcome.detail,
    }


def _proved(principal: Principal) -> dict[str, Any]:
    return {"credential": principal.credential, "proof": principal.proof}


def _overdue(row: dict[str, Any]) -> dict[str, Any]:
    """An outcome that could not be recorded in time, as it is recorded later.

    A signature was not released: that is a failure, whatever the HSM did. A change cannot be taken back: it stays a
    success, with the code that its caller was answered. A failure or refusal stays what it is.
    """
    if row["outcome"] != "succeeded":
        return row
    kind = "succeeded" if row["signature_sha256"] is None else "failed"
    return {**row, "outcome": kind, "code": "audit_unavailable"}


def _json(value: dict[str, Any] | None) -> str | None:
    return None if value is None else canonical(value)


def _named(name: str | None) -> str | None:
    """A name as a caller wrote it, who may have pasted a token into the path."""
    return None if name is None else blanked(name)


def _now() -> int:
    """Microseconds since the epoch."""
    return time.time_ns() // 1000
