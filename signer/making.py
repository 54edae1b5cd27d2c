"""From a plan to recorded results: intent, open key, output by output, outcome.

All or nothing at the HSM: a fault of the HSM, of a row's integrity or of the audit trail fails the whole call, and
nothing that was made is given out. An item that cannot be made as asked fails alone. Each item has exactly one outcome,
and all outcomes of a call are recorded at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import structlog

from keystore.algorithms import SIGNING_PURPOSES
from keystore.errors import HsmFault, KeystoreError
from keystore.measures import count
from signer.audit import ItemsRefused, Outcome, audited
from signer.audit.records import canonical
from signer.errors import AuditUnavailable, Unprocessable
from signer.formats.observed import ObservedKey
from signer.operations.base import Output, Prepared
from signer.problems import SERVER_FAULTS, code_of, problem_for

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keystore.api import Key, KeyVersion, SigningKey
    from keystore.keystore import Keystore
    from signer.access import Permit
    from signer.audit import AuditTrail, RecordedIntent
    from signer.audit.logged import Steps
    from signer.audit.records import OutcomeKind
    from signer.call import Call
    from signer.formats.observed import MadeSignature
    from signer.operations.base import Plan

_log = structlog.get_logger("sealmark.signing")


@dataclass(slots=True)
class _Batch:
    """The items of one algorithm: one intent, one open key; by position what the HSM signed and what was refused."""

    intent: RecordedIntent
    plan: Plan
    positions: list[int]
    made: dict[int, list[MadeSignature]] = field(default_factory=dict)
    refused: dict[int, Unprocessable] = field(default_factory=dict)

    def outcomes(self, kind: OutcomeKind, code: str | None) -> list[Outcome]:
        """One for each item: this one, or its own refusal."""
        return [
            _outcome(self.plan, position, "denied", self.refused[position].code, self.made.get(position, ()))
            if position in self.refused
            else _outcome(self.plan, position, kind, code, self.made.get(position, ()))
            for position in self.positions
        ]


@dataclass(frozen=True, slots=True)
class Making:
    """One call on its way through the HSM."""

    keystore: Keystore
    audit: AuditTrail
    permit: Permit
    call: Call
    key: Key
    version: KeyVersion

    def make_all(self, plan: Plan) -> Steps[list[Output]]:
        """One result an item, in the order asked: what was made, or `error`. All are recorded before this ends.

        Raises: the item's own `Unprocessable` where the call has but one item; faults of the HSM, the keystore and the
        audit trail.
        """
        results: list[Output] = [{} for _ in plan.items]
        refused = {position: item for position, item in enumerate(plan.items) if isinstance(item, Unprocessable)}
        never_intended = ItemsRefused(self.permit, self.call, [(at, refusal.code) for at, refusal in refused.items()])
        batches: list[_Batch] = []
        try:
            for algorithm, positions in _by_algorithm(plan).items():
                intent = yield from self._open(algorithm, positions, plan)
                batch = _Batch(intent, plan, positions)
                batches.append(batch)
                self._make_batch(batch, algorithm, plan, results)
                self.call.trace.lap("hsm")
                refused |= batch.refused
        except Exception as error:
            yield from self._record_failure(batches, never_intended, error)
            raise
        closings = [(batch.intent, batch.outcomes("succeeded", None)) for batch in batches]
        made = yield from self.audit.closing(closings, never_intended)
        for batch, proofs in zip(batches, made, strict=True):
            for position, proof in zip(batch.positions, proofs, strict=True):
                if proof:  # of what was signed; the rest is in the log as durably, under its next checkpoint
                    results[position]["proof"] = proof
        self.call.trace.lap("commit")
        count(("items", self.permit.action.value, "succeeded"), len(plan.items) - len(refused))
        if refused:
            count(("items", self.permit.action.value, "denied"), len(refused))
        if plan.single and refused:
            raise refused[0]
        for position, refusal in refused.items():
            results[position] = {"error": problem_for(refusal, request_id=self.call.request_id)}
        return results

    def _open(self, algorithm: str, positions: list[int], plan: Plan) -> Steps[RecordedIntent]:
        key = audited(self.key, self.version, algorithm)
        return self.audit.opening(self.permit, self.call, key, len(positions), plan.context)

    def _make_batch(self, batch: _Batch, algorithm: str, plan: Plan, results: list[Output]) -> None:
        """Makes every item of the batch into `results`, or finds that it cannot be made."""
        items = [item for position in batch.positions if isinstance(item := plan.items[position], Prepared)]
        opened = None if all(item.needs_no_key for item in items) else self.keystore.open_key(batch.intent)
        signs = self.key.purpose in SIGNING_PURPOSES
        common: Output = {
            "key_id": self.key.id,
            "key_version": self.version.number,
            "algorithm": algorithm,
            "request_id": self.call.request_id,
        }
        together = [] if opened is None or not signs else _digests_of(batch)
        if len(together) > 1:
            self._sign_together(batch, cast("SigningKey", opened), together, common, results)
        for position in batch.positions:
            item = plan.items[position]
            if not isinstance(item, Prepared) or position in batch.made:
                continue
            key: Any = opened
            if signs and opened is not None:
                key = ObservedKey(cast("SigningKey", opened))
                batch.made[position] = key.made
            try:
                results[position] = common | item.make(key)
            except Unprocessable as refusal:
                batch.refused[position] = refusal

    def _sign_together(
        self,
        batch: _Batch,
        opened: SigningKey,
        together: Sequence[tuple[int, bytes]],
        common: Output,
        results: list[Output],
    ) -> None:
        """Signs digests one after the other: (position, digest) of each. What is made is kept as it comes."""
        key = ObservedKey(opened)
        signatures = key.sign_digests([digest for _, digest in together])
        for (position, _), signature in zip(together, signatures, strict=True):
            batch.made[position] = [key.made[-1]]
            results[position] = common | {"signature": signature}

    def _record_failure(self, batches: list[_Batch], never_intended: ItemsRefused, error: Exception) -> Steps[None]:
        """Nothing is released: every item of every batch has failed, whatever the HSM returned for it."""
        code = code_of(error)
        kind: OutcomeKind = "failed" if code in SERVER_FAULTS else "denied"  # denied: the key was disabled meanwhile
        if isinstance(error, HsmFault):
            _log.critical("hsm_fault", alarm=True, key_id=self.key.id, reason=str(error))
        elif kind == "failed":
            # Words of an unforeseen exception may hold anything, a secret too.
            reason = str(error) if isinstance(error, KeystoreError) else type(error).__name__
            _log.error("signing_failed", alarm=True, key_id=self.key.id, code=code, reason=reason)
        if not batches:  # no intent could be written: nothing has happened that a record is owed
            return
        try:
            yield from self.audit.closing(
                [(batch.intent, batch.outcomes(kind, code)) for batch in batches], never_intended
            )
        except AuditUnavailable:
            _log.error("failure_recorded_late", alarm=True, key_id=self.key.id, code=code)


def _outcome(plan: Plan, position: int, kind: OutcomeKind, code: str | None, made: Sequence[MadeSignature]) -> Outcome:
    """The outcome of one item, which names every signature that the HSM made for it, released or not."""
    item = plan.items[position]
    about, digest = (item.about, item.artifact_digest) if isinstance(item, Prepared) else (None, None)
    told = None if about is None else canonical(about)
    return Outcome(position, kind, code, tuple(made), about=told, artifact_digest=digest)


def _digests_of(batch: _Batch) -> list[tuple[int, bytes]]:
    """The items that are nothing but a digest to be signed: (position, digest) of each."""
    items = ((position, batch.plan.items[position]) for position in batch.positions)
    return [
        (position, item.digest) for position, item in items if isinstance(item, Prepared) and item.digest is not None
    ]


def _by_algorithm(plan: Plan) -> dict[str, list[int]]:
    groups: dict[str, list[int]] = {}
    for position, item in enumerate(plan.items):
        if isinstance(item, Prepared):
            groups.setdefault(item.algorithm, []).append(position)
    return groups
