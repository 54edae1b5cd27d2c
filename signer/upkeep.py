"""What has to be done by itself, every now and then: due deletions and rotations, idempotency keys whose day is over,
nonces that are too old to come again, exchanged tokens that have expired, the revocation list before it ends, and what
other regions are to know of multi-region keys; and the word that break glass is enabled, for as long as it is.

Every worker tries; each step is safe when several do it at once, and what fails now is tried again later.
"""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import structlog

from keystore.db import patience
from keystore.errors import KeystoreError
from signer.audit.identifiers import new_request_id
from signer.audit_history import DELETE_EXPIRED_MATERIAL
from signer.authn.principal import SERVICE
from signer.call import Call
from signer.errors import SealmarkError
from signer.problems import code_of
from signer.root_watch import report_enabled_root
from signer.rotation import AutomaticRotation

if TYPE_CHECKING:
    from datetime import datetime

    from keystore.keystore import Keystore
    from signer.audit import AuditTrail
    from signer.regions.replication import RegionAdministration
    from signer.revocation import RevocationLists

INTERVAL_SECONDS: Final = 60.0
IDEMPOTENCY_LIFE: Final = timedelta(hours=24)
_log = structlog.get_logger("sealmark.upkeep")


class Upkeep:
    """A thread of its own, for as long as the worker lives."""

    def __init__(
        self, keystore: Keystore, audit: AuditTrail, revocation_lists: RevocationLists, regions: RegionAdministration
    ) -> None:
        self._regions = regions
        self._keystore = keystore
        self._audit = audit
        self._revocation_lists = revocation_lists
        self._rotation = AutomaticRotation(keystore, audit)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="upkeep", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread, after the step it is in."""
        self._stopping.set()
        self._thread.join(timeout=10)

    def _run(self) -> None:
        while not self._stopping.wait(INTERVAL_SECONDS):
            with patience.limited():  # requests may stand in line behind this thread
                self.once(self._keystore.clock())

    def once(self, now: datetime) -> None:
        """Everything that is due at `now`."""
        try:
            report_enabled_root(self._keystore, now)
            for key_id in self._keystore.delete_due(now):
                _log.warning("key_deleted", key_id=key_id)
                self._audit.note(SERVICE, "DeleteKey", _own_call(), key=key_id)
            self._rotation.rotate_due(now)
            for lost in self._keystore.imports.expire_due(now):
                _log.warning("key_material_expired", key_id=lost.key_id, material_id=lost.material_id)
                self._audit.note(SERVICE, DELETE_EXPIRED_MATERIAL, _own_call(), key=lost.key_id)
            self._keystore.imports.forget_parameters(now)
            self._keystore.forget_idempotency(now - IDEMPOTENCY_LIFE)
            self._keystore.forget_nonces(now)
            self._keystore.forget_assertions(now)
            self._revocation_lists.current(_own_call())
            self._regions.settle()
        except (KeystoreError, SealmarkError) as fault:
            _log.error("upkeep_postponed", code=code_of(fault), reason=str(fault))


def _own_call() -> Call:
    return Call(new_request_id(), None, "upkeep", None, None, b"")
