"""From a plan to recorded results: intent, open key, output by output, outcome.

All or nothing at the HSM: a fault of the HSM, of a row's integrity or of the audit trail fails the whole call, and
nothing that was made is given out. An item that cannot be made as asked fails alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from keystore.errors import HsmFault, KeystoreError
from signer.audit import AuditedKey, Outcome
from signer.errors import AuditUnavailable, SealmarkError, Unprocessable
from signer.formats.observed import ObservedKey
from signer.operations.base import Output, Prepared
from signer.problems import code_of, problem_for

if TYPE_CHECKING:
    from keystore.api import Key, KeyVersion
    from keystore.keystore import Keystore
    from signer.access import Permit
    from signer.audit import AuditTrail, RecordedIntent
    from signer.call import Call
    from signer.operations.base import Plan

_log = structlog.get_logger("sealmark.signing")


@dataclass(slots=True)
class _Batch:
    """The items of one algorithm: one intent, one open key."""

    intent: RecordedIntent
    positions: list[int]
    outcomes: list[Outcome] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Making:
    """One call on its way through the HSM."""

    keystore: Keystore
    audit: AuditTrail
    permit: Permit
    call: Call
    key: Key
    version: KeyVersion

    def make_all(self, plan: Plan) -> list[Output]:
        """One result an item, in the order asked: what was made, or `error`. All are recorded before this returns.

        Raises: the item's own `Unprocessable` where the call has but one item; faults of the HSM, the keystore and the
        audit trail.
        """
        results: list[Output] = [{} for _ in plan.items]
        refused = {position: item for position, item in enumerate(plan.items) if isinstance(item, Unprocessable)}
        batches: list[_Batch] = []
        try:
            for algorithm, positions in _by_algorithm(plan).items():
                batch = _Batch(self._open(algorithm, positions, plan), positions)
                batches.append(batch)
                refused |= self._make_batch(batch, algorithm, plan, results)
        except Exception as error:
            self._record_failure(batches, error)
            raise
        if batches:
            self.audit.close([(batch.intent, batch.outcomes) for batch in batches])
        self._record_refusals(refused, batches)
        if plan.single and refused:
            raise refused[0]
        for position, refusal in refused.items():
            results[position] = {"error": problem_for(refusal, request_id=self.call.request_id)}
        return results

    def _open(self, algorithm: str, positions: list[int], plan: Plan) -> RecordedIntent:
        version = self.version
        audited = AuditedKey(self.key.id, version.id, version.number, algorithm, self.key.purpose.value)
        return self.audit.open(self.permit, self.call, audited, len(positions), plan.context)

    def _make_batch(self, batch: _Batch, algorithm: str, plan: Plan, results: list[Output]) -> dict[int, Unprocessable]:
        """Makes every item of the batch into `results`; returns the items that turned out not to be makeable."""
        opened = self.keystore.signing_key(batch.intent)
        common: Output = {
            "key_id": self.key.id,
            "key_version": self.version.number,
            "algorithm": algorithm,
            "request_id": self.call.request_id,
        }
        refused: dict[int, Unprocessable] = {}
        for position in batch.positions:
            item = plan.items[position]
            if not isinstance(item, Prepared):
                continue
            observed = ObservedKey(opened)
            try:
                results[position] = common | item.make(observed)
            except Unprocessable as refusal:
                refused[position] = refusal
                batch.outcomes.append(Outcome(position, "denied", refusal.code))
            finally:
                batch.outcomes.extend(
                    Outcome(position, "succeeded", None, made.message_digest, made.signature_sha256)
                    for made in observed.made
                )
        return refused

    def _record_failure(self, batches: list[_Batch], error: Exception) -> None:
        """Nothing is released: every item of every batch has failed, whatever the HSM returned for it."""
        code = code_of(error)
        if isinstance(error, HsmFault):
            _log.critical("hsm_fault", alarm=True, key_id=self.key.id, reason=str(error))
        elif isinstance(error, KeystoreError) or not isinstance(error, SealmarkError):
            _log.error("signing_failed", alarm=True, key_id=self.key.id, code=code, reason=str(error))
        closings = [
            (
                batch.intent,
                [
                    Outcome(made.item, "failed", code, made.digest, made.signature_sha256)
                    for made in batch.outcomes
                    if made.signature_sha256 is not None
                ]
                or [Outcome(position, "failed", code) for position in batch.positions],
            )
            for batch in batches
        ]
        if not closings:
            return
        try:
            self.audit.close(closings)
        except AuditUnavailable:
            _log.error("failure_recorded_late", alarm=True, key_id=self.key.id, code=code)

    def _record_refusals(self, refused: dict[int, Unprocessable], batches: list[_Batch]) -> None:
        """Items refused before the HSM was asked; those refused while they were made are in their batch's outcomes."""
        recorded = {outcome.item for batch in batches for outcome in batch.outcomes if outcome.kind == "denied"}
        unrecorded = [(position, refusal.code) for position, refusal in refused.items() if position not in recorded]
        if unrecorded:
            self.audit.refuse_items(self.permit, self.call, self.key.id, unrecorded)


def _by_algorithm(plan: Plan) -> dict[str, list[int]]:
    groups: dict[str, list[int]] = {}
    for position, item in enumerate(plan.items):
        if isinstance(item, Prepared):
            groups.setdefault(item.algorithm, []).append(position)
    return groups
