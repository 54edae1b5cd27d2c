"""From a planned re-encryption to its recorded result: both intents, both keys, both outcomes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import structlog

from keystore.errors import HsmFault, KeystoreError
from signer.audit import Outcome, audited
from signer.errors import AuditUnavailable
from signer.operations.encryption import material_of, require_room
from signer.problems import SERVER_FAULTS, code_of

if TYPE_CHECKING:
    from keystore.api import EncryptionKey
    from keystore.keystore import Keystore
    from signer.access import Permit
    from signer.audit import AuditTrail, RecordedIntent
    from signer.audit.records import OutcomeKind
    from signer.call import Call
    from signer.operations.base import Output, Subject
    from signer.operations.re_encryption import Transfer, TransferSide

_log = structlog.get_logger("sealmark.transferring")


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two keys: the permit to use it, and the version that is used."""

    permit: Permit
    subject: Subject


@dataclass(frozen=True, slots=True)
class Transferring:
    """One re-encryption on its way through the HSM."""

    keystore: Keystore
    audit: AuditTrail
    call: Call
    source: Side
    destination: Side

    def transfer(self, planned: Transfer) -> Output:
        """The result, recorded with both keys before this returns. Nothing of a failure is given out.

        Raises: `Undecipherable`; `Unprocessable` for what the destination has no room for; faults of the HSM, the
        keystore and the audit trail.
        """
        intents: list[RecordedIntent] = []
        try:
            intents.append(self._open(self.source, planned.source))
            intents.append(self._open(self.destination, planned.destination))
            opened = cast("EncryptionKey", self.keystore.open_key(intents[0]))
            plaintext = opened.decrypt(planned.ciphertext, planned.source.associated)
            self._require_room(planned.destination, plaintext)
            encrypting = cast("EncryptionKey", self.keystore.open_key(intents[1]))
            ciphertext = encrypting.encrypt(plaintext, planned.destination.associated)
        except Exception as error:
            self._record_failure(intents, error)
            raise
        self.audit.close([(intent, [Outcome(0, "succeeded")]) for intent in intents])
        return {
            **self._used(self.destination, planned.destination),
            "request_id": self.call.request_id,
            "ciphertext": ciphertext,
            "source": self._used(self.source, planned.source),
        }

    def _open(self, side: Side, planned: TransferSide) -> RecordedIntent:
        key = audited(side.subject.key, side.subject.version, planned.algorithm)
        return self.audit.open(side.permit, self.call, key, 1, planned.context)

    def _require_room(self, planned: TransferSide, plaintext: bytes) -> None:
        require_room(self.destination.subject.key, planned.algorithm, plaintext, "destination")

    @staticmethod
    def _used(side: Side, planned: TransferSide) -> Output:
        key, version = side.subject.key, side.subject.version
        named: Output = {"key_id": key.id, "key_version": version.number, "algorithm": planned.algorithm}
        return {**named, **material_of(version)}

    def _record_failure(self, intents: list[RecordedIntent], error: Exception) -> None:
        code = code_of(error)
        kind: OutcomeKind = "failed" if code in SERVER_FAULTS else "denied"
        if kind == "failed":
            reason = str(error) if isinstance(error, KeystoreError) else type(error).__name__
            log = _log.critical if isinstance(error, HsmFault) else _log.error
            log("re_encryption_failed", alarm=True, key_id=self.source.subject.key.id, code=code, reason=reason)
        if not intents:
            return
        try:
            self.audit.close([(intent, [Outcome(0, kind, code)]) for intent in intents])
        except AuditUnavailable:
            _log.error("failure_recorded_late", alarm=True, key_id=self.source.subject.key.id, code=code)
