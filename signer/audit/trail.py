"""The audit trail: what is written before and after every use of a key, and for every refusal.

`open` returns only when the intent is durable; `close` only when the outcomes are. Each has its form in steps
(`opening`, `closing`), which stops where something must be written, so that one thread writes for many calls at once;
`run` takes such steps to their end by itself. What cannot be written raises
`AuditUnavailable`, and then nothing is signed, or what was signed is not released. An outcome that could not be written
in time is kept and written as soon as the database can be written again: a signature as failed, since nobody got it; a
change that took effect as what it is, with the code that its caller was answered. What a dead worker left open is
closed as `unknown` by any living one.

Each decision is one leaf of the transparency log (`sequencer`): each item signed, each change, each look at something
that needs a credential, each refusal of somebody known. What strangers do, public documents, and who is too fast are
counted, one leaf a minute each.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

import structlog
from sqlalchemy import Integer, bindparam, exists, literal_column, select, update

from keystore.db import patience
from keystore.db.schema import AUDIT_EPOCHS, AUDIT_INTENTS, LOG_ENTRIES
from keystore.errors import Conflict, EpochClosed, HsmUnavailable, KeystoreError
from keystore.measures import GAUGES
from signer.audit.doubt import still_owed
from signer.audit.epochs import BEAT_SECONDS, Epoch, Watch, claimed, forget
from signer.audit.groups import LOCK_SECONDS
from signer.audit.identifiers import time_ordered_id
from signer.audit.logged import Due, NotPublished
from signer.audit.outcomes import outcomes_of
from signer.audit.records import (
    AuditedKey,
    ItemsRefused,
    Outcome,
    OutcomeKind,
    RecordedIntent,
    canonical,
    decision,
    recorded,
)
from signer.audit.sequencer import Sequencer
from signer.authn.tokens import blanked
from signer.errors import AuditUnavailable, Judged, SealmarkError
from signer.logs import place_of
from signer.problems import SERVER_FAULTS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from keystore.db.engine import Database, Value
    from signer.access import Permit
    from signer.audit.anchor import Anchor
    from signer.audit.cosigned_heads import Witnessing
    from signer.audit.logged import Logged, Steps
    from signer.audit.records import Entry
    from signer.authn.principal import Principal
    from signer.call import Call

SWEEP_SECONDS = 0.25  # what a dead worker left open is closed within two seconds, also on a busy machine
COUNT_SECONDS = 60.0
_ONE: Final = literal_column("1", Integer)
_ENDING: Final = literal_column("-1", Integer)  # in place of an epoch's beats: nothing of it is taken any more
REPEATED: Final = "repeated"  # an answer that was given before, given again
_Result = TypeVar("_Result")
_log = structlog.get_logger("sealmark.audit")


class AuditTrail:
    """One per worker process."""

    def __init__(self, database: Database, locks: Path, anchor: Anchor, witnessing: Witnessing | None = None) -> None:
        self._database = database
        self._locks = locks
        self.log = Sequencer(database, anchor, witnessing)
        self._epoch = Epoch(locks)
        self._overdue: list[Callable[[], Sequence[Entry]]] = []
        self._overdue_guard = threading.Lock()
        self._counts: dict[str, Counter[str]] = {}
        self._counts_guard = threading.Lock()
        self._counted_at = time.monotonic()
        GAUGES["audit_overdue",] = lambda: len(self._overdue)
        self._stopping = threading.Event()
        self._watch = Watch()
        self._beaten_at = time.monotonic()
        epoch = AUDIT_EPOCHS.c
        mine = (epoch.id == bindparam("this"), epoch.closed_at.is_(None))
        self._count_up = database.prepare_change(update(AUDIT_EPOCHS).where(*mine).values(beats=epoch.beats + _ONE))
        self._end = database.prepare_change(update(AUDIT_EPOCHS).where(*mine).values(beats=_ENDING))
        try:
            self._begin_epoch()
        except KeystoreError:
            forget(locks, self._epoch.id)
            self._epoch.release()
            raise
        self._sweeper = threading.Thread(target=self._sweep_for_ever, name="audit-sweeper", daemon=True)
        self._sweeper.start()

    def run(self, steps: Steps[_Result]) -> _Result:
        """Takes the steps to their end: what they give. Raises what they raise."""
        try:
            due = next(steps)
            while True:
                try:
                    logged = self.log.write(due)
                except KeystoreError as fault:
                    due = steps.throw(fault)
                else:
                    due = steps.send(logged)
        except StopIteration as end:
            result: _Result = end.value
            return result

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
        """`opening`, to its end."""
        return self.run(self.opening(permit, call, key, items, context, subject=subject))

    def opening(
        self,
        permit: Permit,
        call: Call,
        key: AuditedKey | None,
        items: int,
        context: dict[str, str] | None = None,
        *,
        subject: str | None = None,
    ) -> Steps[RecordedIntent]:
        """Writes down what is about to be done; gives it once that is durable. Raises `AuditUnavailable`, also where
        the log could not take the outcome, and `HsmUnavailable` where the log key could not sign it."""
        key = key or AuditedKey(permit.key_id or "")
        row = {
            "id": time_ordered_id(),
            "epoch": self._epoch.id,
            "time": _now(),
            **_asked(permit.principal, permit.action.value, call, subject),
            "key_id": key.key_id or permit.key_id,
            "version_id": key.version_id,
            "version": key.version,
            "key_sha256": key.key_sha256,
            "algorithm": key.algorithm,
            "purpose": key.purpose,
            "domain": key.domain,
            "items": items,
            "context": None if context is None else canonical(context),
            "policy_revision": permit.policy_revision,
            "decided_by": permit.decided_by,
            "approval": permit.approval,
        }
        try:
            self._require_usable(proved=row["version"] is not None)
        except (HsmUnavailable, AuditUnavailable) as fault:
            with suppress(AuditUnavailable):
                yield from self.refusing(
                    permit.principal, permit.action.value, call, key.key_id or permit.key_id, fault.code, subject
                )
            raise
        try:
            yield from _written(Due(intents=[row]))
        except AuditUnavailable:
            self._doubt(row)
            raise
        call.trace.lap("intent")
        return recorded(row, permit)

    def _doubt(self, row: dict[str, Any]) -> None:
        """An intent that could not be written, as far as is known: if it is there after all, it is closed."""
        outcomes = [Outcome(item, "failed", "audit_unavailable") for item in range(row["items"])]
        with self._overdue_guard:
            self._overdue.append(lambda: outcomes_of(row, outcomes, time=_now(), epoch=self._epoch.id))

    def close(
        self, closings: Sequence[tuple[RecordedIntent, Sequence[Outcome]]], refused: ItemsRefused | None = None
    ) -> list[list[str]]:
        """`closing`, to its end."""
        return self.run(self.closing(closings, refused))

    def closing(
        self, closings: Sequence[tuple[RecordedIntent, Sequence[Outcome]]], refused: ItemsRefused | None = None
    ) -> Steps[list[list[str]]]:
        """Writes down what became of every item of each intent, and of the items refused before there was an intent,
        all at once; gives, once that is durable and provable, the proofs of each intent's items, in their order.

        Raises `AuditUnavailable` if not: then nothing may be released. What is not in the log then is written later,
        signatures as failed.
        """
        entries = [entry for intent, outcomes in closings for entry in self._closed(intent, outcomes)]
        if refused is not None:
            entries += self._refused_items(refused)
        try:
            proved = any(_released(outcome) for _, outcomes in closings for outcome in outcomes)
            logged = yield from _written(Due(entries=entries, proved=proved))
        except AuditUnavailable as fault:
            # Conflict: others have closed it already, who took this worker for dead.
            if closings and not isinstance(fault.__cause__, NotPublished | Conflict):
                self._keep(closings, refused)
            raise
        return _proofs(logged, closings)

    def refuse(
        self,
        principal: Principal,
        action: str,
        call: Call,
        key: str | None,
        code: str,
        subject: str | None = None,
        judged: Judged | None = None,
    ) -> None:
        """`refusing`, to its end."""
        self.run(self.refusing(principal, action, call, key, code, subject, judged))

    def refusing(
        self,
        principal: Principal,
        action: str,
        call: Call,
        key: str | None,
        code: str,
        subject: str | None = None,
        judged: Judged | None = None,
    ) -> Steps[None]:
        """Records that an authenticated call was denied or malformed, or failed before any intent. `key` is what the
        caller called it, `judged` what access decided, where it came to that."""
        kind: OutcomeKind = "failed" if code in SERVER_FAULTS else "denied"
        entry = self._decided(principal, action, call, key, kind, code, subject=subject, judged=judged)
        yield from _written(Due(entries=[entry]))

    def note(
        self,
        principal: Principal | str,
        action: str,
        call: Call,
        *,
        key: str | None = None,
        subject: str | None = None,
        detail: Mapping[str, object] | None = None,
        code: str | None = None,
        judged: Judged | None = None,
    ) -> None:
        """`noting`, to its end."""
        self.run(
            self.noting(principal, action, call, key=key, subject=subject, detail=detail, code=code, judged=judged)
        )

    def noting(
        self,
        principal: Principal | str,
        action: str,
        call: Call,
        *,
        key: str | None = None,
        subject: str | None = None,
        detail: Mapping[str, object] | None = None,
        code: str | None = None,
        judged: Judged | None = None,
    ) -> Steps[None]:
        """Records what needs no intent: a look at something, an answer given again, what somebody is about to do who
        has no credential yet (an enrolment, by the principal's name)."""
        told = None if detail is None else canonical(detail)
        entry = self._decided(
            principal, action, call, key, "succeeded", code, subject=subject, detail=told, judged=judged
        )
        yield from _written(Due(entries=[entry]))

    def count(self, what: str, code: str) -> None:
        """Counts what has no record of its own: one leaf a minute for each `what` says how many of each code, so that
        strangers cannot fill the trail."""
        with self._counts_guard:
            self._counts.setdefault(what, Counter())[code] += 1

    def count_unauthenticated(self, code: str, *, of: str = "") -> None:
        """Counts a refusal of somebody unknown, or of somebody who is too fast; `of` is what was asked for, before the
        code."""
        self.count("too_many_requests" if code == "too_many_requests" else "unauthenticated", f"{of}{code}")

    def _closed(self, intent: RecordedIntent, outcomes: Sequence[Outcome]) -> list[Entry]:
        return outcomes_of(intent.row, outcomes, time=_now(), epoch=self._epoch.id)

    def _keep(self, closings: Sequence[tuple[RecordedIntent, Sequence[Outcome]]], refused: ItemsRefused | None) -> None:
        """Outcomes of what has happened already, which cannot be written now, are written later."""
        late: list[Callable[[], Sequence[Entry]]] = [
            partial(self._closed, intent, [_overdue(outcome) for outcome in outcomes]) for intent, outcomes in closings
        ]
        if refused is not None:
            late.append(partial(list, self._refused_items(refused)))
        with self._overdue_guard:
            self._overdue += late

    def _refused_items(self, refused: ItemsRefused) -> list[Entry]:
        permit, call = refused.permit, refused.call
        asked = _asked(permit.principal, permit.action.value, call, None) | {"key_id": permit.key_id}
        return [
            self._decision(asked | {"outcome": "denied", "code": code, "item": position})
            for position, code in refused.items
        ]

    def _decided(
        self,
        principal: Principal | str,
        action: str,
        call: Call,
        key: str | None,
        kind: OutcomeKind,
        code: str | None,
        *,
        subject: str | None,
        detail: str | None = None,
        judged: Judged | None = None,
    ) -> Entry:
        told = {"outcome": kind, "code": code, "item": 0, "key_id": _named(key), "detail": detail}
        if judged is not None:
            told |= {"policy_revision": judged.policy_revision, "decided_by": judged.decided_by}
            told["key_id"] = judged.key_id or told["key_id"]
        return self._decision(_asked(principal, action, call, subject) | told)

    def _decision(self, values: Mapping[str, Any], kind: str = "decision") -> Entry:
        return decision(values, time=_now(), epoch=self._epoch.id, kind=kind)

    def probe(self) -> None:
        """Raises `AuditUnavailable` unless the trail can be written to right now, and is no older than it was."""
        try:
            self.log.follow()
            self.log.require_usable(proved=True)
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
            self.log.keep()
        except (KeystoreError, SealmarkError, OSError) as fault:
            _log.error("audit_left_open", alarm=True, kind=type(fault).__name__, reason=str(fault))
        finally:
            self.log.stop()
            self._epoch.release()

    def _append(self, entries: Sequence[Entry]) -> Logged:
        return self.run(_written(Due(entries=entries)))

    def _require_usable(self, *, proved: bool) -> None:
        try:
            self.log.require_usable(proved=proved)
        except HsmUnavailable:  # nothing is wrong with the trail itself
            raise
        except KeystoreError as fault:
            raise _unavailable(fault) from fault

    def _begin_epoch(self) -> None:
        statement = self._database.prepare_insert(AUDIT_EPOCHS)
        values: dict[str, Value] = {
            "id": self._epoch.id,
            "started_at": _now(),
            "closed_at": None,
            "node": self._epoch.node,
            "beats": 0,
        }
        self._database.epoch = None
        with self._database.append(LOCK_SECONDS) as append:
            append(statement, [tuple(values[name] for name in statement.names)], alone=True)
        if self._database.shared:
            self._database.epoch = self._epoch.id

    def _sweep_for_ever(self) -> None:
        while not self._stopping.wait(SWEEP_SECONDS):
            with suppress(OSError):  # of a log that cannot be written: this thread must outlive a full disk
                self._sweep_or_postpone()

    def _sweep_or_postpone(self) -> None:
        try:
            with patience.limited():  # requests may stand in line behind this thread
                self._sweep()
        except (KeystoreError, SealmarkError, OSError) as fault:  # a full disk, a lost folder: try again
            _log.warning("audit_sweep_postponed", kind=type(fault).__name__, reason=str(fault))
        except Exception as fault:  # noqa: BLE001 - whatever it was: what waits to be written must be tried again
            # Words of an unforeseen exception may hold anything, a secret too.
            _log.error("audit_sweep_postponed", alarm=True, kind=type(fault).__name__, place=place_of(fault))

    def _sweep(self) -> None:
        if self._database.shared:
            self._beat()
        self._close_what_the_dead_left_open()
        self._write_overdue()
        self._write_counts()
        self.log.follow()
        if self.log.pending_rows:
            self._append([])
        self.log.keep()
        self.log.publish()

    def _write_overdue(self) -> None:
        with self._overdue_guard:
            late, self._overdue = self._overdue, []
        if not late:
            return
        try:
            self._append_owed([entry for make in late for entry in make()])
        except AuditUnavailable:
            with self._overdue_guard:
                self._overdue[:0] = late
            raise

    def _append_owed(self, entries: Sequence[Entry]) -> None:
        try:
            owed = still_owed(self._database, entries)
        except KeystoreError as fault:
            raise _unavailable(fault) from fault
        if owed:
            self._append(owed)

    def _write_counts(self) -> None:
        if time.monotonic() - self._counted_at < COUNT_SECONDS:
            return
        with self._counts_guard:
            counts, self._counts = self._counts, {}
        if counts:
            told = [
                {"outcome": "counted", "code": what, "detail": canonical(dict(counter))}
                for what, counter in sorted(counts.items())
            ]
            try:
                self._append([self._decision(values, "count") for values in told])
            except AuditUnavailable:
                with self._counts_guard:
                    for what, counter in counts.items():
                        self._counts.setdefault(what, Counter()).update(counter)
                raise
        self._counted_at = time.monotonic()

    def _beat(self) -> None:
        """Tells other machines that this worker lives; begins another epoch where one of them has closed this one."""
        if time.monotonic() - self._beaten_at < BEAT_SECONDS:
            return
        try:
            with self._database.append(LOCK_SECONDS) as appending:
                appending.run(self._count_up, (self._epoch.id,))
        except EpochClosed:
            _log.error("epoch_was_closed", alarm=True, epoch=self._epoch.id)
            former, self._epoch = self._epoch, Epoch(self._locks)
            self._begin_epoch()
            forget(self._locks, former.id)
            former.release()
        self._beaten_at = time.monotonic()

    def _close_what_the_dead_left_open(self) -> None:
        column = AUDIT_EPOCHS.c
        with self._database.read() as connection:
            found = connection.execute(
                select(column.id, column.node, column.beats).where(column.closed_at.is_(None))
            ).all()
        others = [(epoch, node, beats) for epoch, node, beats in found if epoch != self._epoch.id]
        far = {epoch: beats for epoch, node, beats in others if self._database.shared and node != self._epoch.node}
        for epoch in self._watch.silent(far):
            # Two nodes may come to it at once: what the second one writes is refused, as no item has two outcomes.
            self._report_closed(epoch, self._close_epoch(epoch))
        for epoch in (epoch for epoch, _, _ in others if epoch not in far):
            with claimed(self._locks, epoch) as dead:
                if dead:
                    self._report_closed(epoch, self._close_epoch(epoch))

    def _report_closed(self, epoch: str, closed: int) -> None:
        report = _log.warning if closed else _log.info
        report("epoch_closed", epoch=epoch, alarm=bool(closed), intents_closed_as_unknown=closed)

    def _close_epoch(self, epoch: str) -> int:
        """Closes every open intent of an ended worker as `unknown`. Its lock is held, so that two sweepers of a machine
        cannot both do it; a sweeper that dies half-way has closed some or all of them, and the next one ends it.

        Where the database is shared, the epoch is closed first: nothing of it is taken from then on.
        """
        has_outcome = exists().where(LOG_ENTRIES.c.intent_id == AUDIT_INTENTS.c.id)
        left_open = select(AUDIT_INTENTS).where(AUDIT_INTENTS.c.epoch == epoch, ~has_outcome)
        column = AUDIT_EPOCHS.c
        still_open = select(column.id).where(column.id == epoch, column.closed_at.is_(None))
        if self._database.shared and epoch != self._epoch.id:
            with self._database.append(LOCK_SECONDS) as appending:
                appending.run(self._end, (epoch,))
        with self._database.read() as connection:
            if connection.execute(still_open).one_or_none() is None:
                forget(self._locks, epoch)
                return 0
            intents = [dict(intent) for intent in connection.execute(left_open).mappings()]
        entries = [entry for intent in intents for entry in self._unknown(intent)]
        if entries:
            self._append(entries)
        if epoch == self._epoch.id:
            self._database.epoch = None
        with self._database.write() as connection:
            connection.execute(update(AUDIT_EPOCHS).where(column.id == epoch).values(closed_at=_now()))
        forget(self._locks, epoch)
        return len(intents)

    def _unknown(self, intent: dict[str, Any]) -> list[Entry]:
        outcomes = [Outcome(item, "unknown", "worker_died") for item in range(intent["items"])]
        return outcomes_of(intent, outcomes, time=_now(), epoch=self._epoch.id)


def _written(due: Due) -> Steps[Logged]:
    """The one step of which all others are made. Raises `AuditUnavailable`."""
    try:
        return (yield due)
    except KeystoreError as fault:
        raise _unavailable(fault) from fault


def _unavailable(fault: KeystoreError) -> AuditUnavailable:
    with suppress(OSError):  # the log may be on the same full disk; that must not hide what matters here
        _log.error("audit_unavailable", alarm=True, code=fault.code, reason=str(fault))
    return AuditUnavailable("the audit trail cannot be written")


def _asked(principal: Principal | str, action: str, call: Call, subject: str | None) -> dict[str, Any]:
    """Who asks for what, and from where."""
    name, credential, proof = (
        (principal, None, None)
        if isinstance(principal, str)
        else (principal.name, principal.credential, principal.proof)
    )
    return {
        "request_id": call.request_id,
        "caller_request_id": call.caller_request_id,
        "principal": name,
        "credential": credential,
        "proof": proof,
        "source": call.source,
        "action": action,
        "subject": _named(subject),
    }


def _proofs(logged: Logged, closings: Sequence[tuple[RecordedIntent, Sequence[Outcome]]]) -> list[list[str]]:
    proofs, place = [], 0
    for _, outcomes in closings:
        proofs.append([logged.proof(place + at) if _released(outcome) else "" for at, outcome in enumerate(outcomes)])
        place += len(outcomes)
    return proofs


def _released(outcome: Outcome) -> bool:
    """Whether somebody is to be given a signature, and the proof with it."""
    return outcome.kind == "succeeded" and bool(outcome.signatures)


def _overdue(outcome: Outcome) -> Outcome:
    """An outcome that could not be recorded in time, as it is recorded later.

    A signature was not released: that is a failure, whatever the HSM did. A change cannot be taken back: it stays a
    success, with the code that its caller was answered. A failure or refusal stays what it is.
    """
    if outcome.kind != "succeeded":
        return outcome
    return replace(outcome, kind="failed" if outcome.signatures else "succeeded", code="audit_unavailable")


def _named(name: str | None) -> str | None:
    """A name as a caller wrote it, who may have pasted a token into the path, or a NUL, which PostgreSQL has no place
    for."""
    return None if name is None else blanked(name).replace("\0", "\N{REPLACEMENT CHARACTER}")


def _now() -> int:
    """Microseconds since the epoch."""
    return time.time_ns() // 1000
