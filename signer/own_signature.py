"""Signatures on what the service itself builds: an intent before, an outcome after, whatever happens.

Certificates, requests for them, revocation lists and metadata: each with the permit that `signer.access` gives for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import structlog

from keystore.errors import HsmFault
from keystore.lifecycle import current_version
from signer.audit import Outcome, audited
from signer.errors import AuditUnavailable
from signer.formats.observed import ObservedKey
from signer.problems import SERVER_FAULTS, code_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from keystore.api import Key, KeyVersion
    from keystore.keystore import Keystore
    from signer.access import Permit
    from signer.audit import AuditTrail, RecordedIntent
    from signer.call import Call

_Made = TypeVar("_Made")
_log = structlog.get_logger("sealmark.own_signature")


class OwnSignatures:
    """One per worker."""

    def __init__(self, keystore: Keystore, audit: AuditTrail) -> None:
        self._keystore = keystore
        self._audit = audit

    def make(
        self,
        permit: Permit,
        call: Call,
        key: Key,
        context: dict[str, str],
        build: Callable[[ObservedKey], _Made],
        *,
        version: KeyVersion | None = None,
    ) -> _Made:
        """What `build` makes with a version of the key (None: the one that signs now), once it is recorded. `build`
        signs exactly one thing.

        Raises what the HSM, the keystore, the audit trail and `build` raise.
        """
        version = version or current_version(key.versions, self._keystore.clock())
        intent = self._audit.open(permit, call, audited(key, version, key.algorithm), 1, context)
        try:
            observed = ObservedKey(self._keystore.signing_key(intent))
            built = build(observed)
        except Exception as error:
            self._record_failure(intent, error)
            raise
        self._audit.close([(intent, [Outcome(0, "succeeded", signatures=tuple(observed.made))])])
        return built

    def _record_failure(self, intent: RecordedIntent, error: Exception) -> None:
        code = code_of(error)
        if isinstance(error, HsmFault):
            _log.critical("hsm_fault", alarm=True, key_id=intent.key_id, reason=str(error))
        try:
            self._audit.close([(intent, [Outcome(0, "failed" if code in SERVER_FAULTS else "denied", code)])])
        except AuditUnavailable:  # the error that is being handled is the one to report
            _log.error("failure_recorded_late", alarm=True, key_id=intent.key_id, code=code)
