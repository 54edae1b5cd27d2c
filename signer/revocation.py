"""The authority's revocation list as it is published: signed in the HSM, kept, and made anew when it must be.

Anybody may fetch it, so fetching must not make the HSM work: the list is kept in the database for all workers, and made
anew only at a revocation, or when half of its time is over. Its number is one more than that of the list before. Each
making has an intent and an outcome in the audit trail, in the service's own name.
"""

from __future__ import annotations

import hashlib
import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from keystore.api import CertificateOrigin, RevocationReason, SignedDocument
from keystore.errors import Conflict, IntegrityFailure, KeystoreError
from keystore.survey import REVOCATION_LIST
from signer.certificates import revocation_list
from signer.errors import ServiceUnavailable
from signer.problems import code_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from keystore.api import CertificateRecord
    from keystore.keystore import Keystore
    from signer.call import Call
    from signer.certification import Certification
    from signer.config import CertificateConfiguration
    from signer.formats.observed import ObservedKey

RETRIED_AFTER: Final = timedelta(seconds=10)  # if it could not be signed
_CONTENT_FORM: Final = "sealmark revocation list v1"
_log = structlog.get_logger("sealmark.revocation")


class RevocationLists:
    """One per worker."""

    def __init__(
        self, keystore: Keystore, certification: Certification, configuration: CertificateConfiguration
    ) -> None:
        self._keystore = keystore
        self._certification = certification
        self._life = timedelta(days=configuration.crl_days)
        self._making = threading.Lock()
        self._failed_at: datetime | None = None  # looked at by who holds the lock

    def current(self, call: Call) -> bytes:
        """The list, DER. Raises faults of the HSM, the keystore and the audit trail, unless what is kept names every
        revoked certificate and is still good."""
        kept = self._kept()
        if kept is not None and not self._is_due(kept):
            return kept.document
        with self._making:  # who waited here finds what the first one made
            kept = self._kept()
            if kept is not None and not self._is_due(kept):
                return kept.document
            try:
                return self._made(call)
            except (KeystoreError, ServiceUnavailable) as fault:
                if kept is None or kept.valid_until <= self._keystore.clock():
                    raise
                _log.error("revocation_list_postponed", alarm=True, code=code_of(fault))
                return kept.document

    def _made(self, call: Call) -> bytes:
        before = self._keystore.find_document(REVOCATION_LIST)
        revoked = self._revoked()
        moment = self._keystore.clock().replace(microsecond=0)
        number = 1 if before is None else revocation_list.number_of(before.document) + 1
        entries = _entries(revoked, before, moment)

        def build(key: ObservedKey, certificate: bytes) -> bytes:
            until = moment + self._life
            return revocation_list.build(
                key, certificate, entries, number=number, this_update=moment, next_update=until
            )

        made = SignedDocument(
            id=REVOCATION_LIST,
            content_hash=_content_hash(revoked),
            document=self._signed_unless_it_failed_just_now(
                lambda: self._certification.revocation_list(call, number, build)
            ),
            made_at=moment,
            valid_until=moment + self._life,
        )
        try:
            self._keystore.keep_document(made, replaces=before)
        except Conflict:  # another worker was faster: one list of a number is published, the other is thrown away
            faster = self._kept()
            if faster is None:
                raise
            return faster.document
        return made.document

    def _signed_unless_it_failed_just_now(self, sign: Callable[[], bytes]) -> bytes:
        """Strangers who ask on and on while the HSM is away fill neither its queue nor the audit trail."""
        now = self._keystore.clock()
        if self._failed_at is not None and timedelta(0) <= now - self._failed_at < RETRIED_AFTER:
            msg = "the revocation list could not be signed just now; try again in a moment"
            raise ServiceUnavailable(msg)
        try:
            signed = sign()
        except Exception:
            self._failed_at = now
            raise
        self._failed_at = None
        return signed

    def _kept(self) -> SignedDocument | None:
        """What is kept, if it was made of just the revocations that there are."""
        kept = self._keystore.find_document(REVOCATION_LIST)
        return kept if kept is not None and kept.content_hash == _content_hash(self._revoked()) else None

    def _revoked(self) -> list[CertificateRecord]:
        """Those of the built-in authority; for an outside CA's its own list speaks."""
        found = self._keystore.list_revoked_certificates()
        return [record for record in found if record.origin is CertificateOrigin.BUILT_IN]

    def _is_due(self, kept: SignedDocument) -> bool:
        return self._keystore.clock() >= kept.made_at + (kept.valid_until - kept.made_at) / 2


def _content_hash(revoked: list[CertificateRecord]) -> bytes:
    said = [_CONTENT_FORM, sorted(record.serial for record in revoked)]
    return hashlib.sha256(msgspec.json.encode(said)).digest()


def _entries(
    revoked: list[CertificateRecord], before: SignedDocument | None, moment: datetime
) -> list[revocation_list.RevokedEntry]:
    """Every revoked certificate, until one list was made after its end (RFC 5280 section 3.3).

    Raises: `IntegrityFailure` if the list before names one that the database no longer knows.
    """
    known = {int(record.serial, 16) for record in revoked}
    listed = set() if before is None else {entry.serial_number for entry in revocation_list.load(before.document)}
    if not listed <= known:
        raise IntegrityFailure("certificates: one that was revoked is missing")
    ended_before = moment if before is None else before.made_at
    return [
        revocation_list.RevokedEntry(
            int(record.serial, 16),
            (record.revoked_at or moment).replace(microsecond=0),
            record.revocation_reason or RevocationReason.UNSPECIFIED,
        )
        for record in revoked
        if record.not_after > ended_before
    ]
