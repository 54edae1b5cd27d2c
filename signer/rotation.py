"""Keys whose time has come are rotated by the service itself, as their schedules say: recorded before and after, once
however many workers look, and with an alarm where it does not succeed.

The schedule was permitted, and released by approvers where the key's rule asks for that, when it was set: each rotation
by it is the service's own act.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

import structlog

from keystore.api import VersionCause
from keystore.errors import Conflict, KeystoreError
from keystore.regions import may_be_rotated
from signer.access import Duty
from signer.access.decision import permit_rotation
from signer.audit import Outcome, audited
from signer.audit.identifiers import new_request_id
from signer.audit.records import canonical
from signer.authn.principal import SERVICE, Principal
from signer.call import Call
from signer.errors import SealmarkError
from signer.problems import SERVER_FAULTS, code_of

if TYPE_CHECKING:
    from datetime import datetime

    from keystore.api import Key
    from keystore.keystore import Keystore
    from signer.audit import AuditTrail

TRIED_AGAIN_AFTER: Final = timedelta(minutes=10)
_PRINCIPAL: Final = Principal(SERVICE, Duty.ROOT, "rotation")
_log = structlog.get_logger("sealmark.rotation")


class AutomaticRotation:
    """One per worker; remembers which keys it failed to rotate lately."""

    def __init__(self, keystore: Keystore, audit: AuditTrail) -> None:
        self._keystore = keystore
        self._audit = audit
        self._failed: dict[str, datetime] = {}

    def rotate_due(self, now: datetime) -> None:
        """Rotates every key that is due at `now`. One that fails keeps none of the others waiting: it is reported, and
        tried again later. Raises `StoreUnavailable`, where it cannot be told which are due."""
        due = self._keystore.keys_to_rotate(now)
        self._failed = {key_id: at for key_id, at in self._failed.items() if key_id in due}
        for key_id in due:
            failed_at = self._failed.get(key_id)
            if failed_at is not None and now < failed_at + TRIED_AGAIN_AFTER:
                continue
            try:
                self._rotate_if_due(key_id, now)
            except (KeystoreError, SealmarkError) as fault:
                self._failed[key_id] = now
                _log.error("rotation_failed", alarm=True, key_id=key_id, code=code_of(fault), reason=str(fault))

    def _rotate_if_due(self, key_id: str, now: datetime) -> None:
        # One worker at a time, so that the others find the key rotated and record nothing. That it is rotated once
        # hangs on the transaction, not on this.
        with self._keystore.database.change():
            key = self._keystore.get_key(key_id)
            if not may_be_rotated(key, self._keystore.region):
                return  # a replica: its primary key is what is rotated
            if key.rotation is not None and key.rotation.next_at <= now:
                self._rotate(key, now)

    def _rotate(self, key: Key, now: datetime) -> None:
        call = Call(new_request_id(), None, "upkeep", None, None, b"")
        intent = self._audit.open(permit_rotation(_PRINCIPAL, key), call, audited(key), 1)
        try:
            rotated = self._keystore.rotate(key.id, activate_at=now, actor=SERVICE, cause=VersionCause.AUTOMATIC)
        except Exception as fault:
            code = code_of(fault)
            self._audit.close([(intent, [Outcome(0, "failed" if code in SERVER_FAULTS else "denied", code)])])
            if isinstance(fault, Conflict):
                return  # another machine was faster, or an administrator
            raise
        version = rotated.versions[-1]
        told = {"version": version.number, "activate_at": version.activate_at, "cause": version.cause.value}
        self._audit.close([(intent, [Outcome(0, "succeeded", detail=canonical(told))])])
        _log.info("key_rotated", key_id=key.id, version=version.number)
