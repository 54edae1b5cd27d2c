"""The certificates of key versions as sealed rows, and the revocation of certificates and of whole versions.

Nothing is ever taken away: a chain that was replaced or revoked stays, and a revocation is never undone.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Final

from sqlalchemy import select

from keystore.api import CertificateOrigin, CertificateRecord, KeyState, RevocationReason
from keystore.db.schema import CERTIFICATES, SEALED_TABLES
from keystore.errors import WrongState
from keystore.keys import existing
from keystore.queries import Join, parameter
from keystore.values import names_of, optional_time_of, stored_names, stored_time, time_of

if TYPE_CHECKING:
    from datetime import datetime

    from keystore.db.engine import Value
    from keystore.queries import Records
    from keystore.sealing import SealedRow
    from keystore.store import SealedStore
    from keystore.transactions import SealedTransaction

_VALID: Final = "valid"
_REVOKED: Final = "revoked"


def _joins_by_version() -> list[Join]:
    rows = SEALED_TABLES["certificates"].table.alias()
    return [Join(SEALED_TABLES["certificates"], rows, rows.c.id, rows.c.version_id == parameter("version"))]


class CertificateRepository:
    """The certificate chains of key versions; the newest one of a version counts."""

    def __init__(self, store: SealedStore) -> None:
        self._store = store
        self._certificate_by_version = store.query(_joins_by_version, _newest_of)

    def find_certificate(self, version_id: str) -> CertificateRecord | None:
        """The chain that was added last for this version, revoked or not."""
        return self._store.read(self._certificate_by_version, (version_id,))

    def list_revoked_certificates(self) -> list[CertificateRecord]:
        """Every certificate that was ever revoked, by id."""
        return [_certificate(row) for row in self._store.select("certificates", {"state": _REVOKED})]

    def add_certificate(self, certificate: CertificateRecord) -> None:
        """A new chain for a version. Raises `Conflict` if the id is taken, `WrongState` for a revoked version."""
        with self._store.transaction() as transaction:
            if existing(transaction, "key_versions", certificate.version_id).optional_number("revoked_at") is not None:
                raise WrongState("the version is revoked: it gets no certificate")
            if existing(transaction, "keys", certificate.key_id).text("state") == KeyState.DELETED.value:
                raise WrongState("the key is deleted")
            insert_certificate(transaction, certificate)

    def revoke_certificates(
        self, version_id: str, reason: RevocationReason, now: datetime
    ) -> tuple[CertificateRecord, ...]:
        """Revoke every certificate of a version that is neither revoked nor over; returns them as they are now.

        Raises: `WrongState` if there is none.
        """
        with self._store.transaction() as transaction:
            revoked = _revoke_certificates(transaction, version_id, reason, now)
            if not revoked:
                raise WrongState("the version has no certificate that could be revoked: all are revoked or over")
        return revoked

    def revoke_version(self, version_id: str, reason: RevocationReason, now: datetime) -> tuple[CertificateRecord, ...]:
        """Revoke a version with all its certificates, which are returned. Raises: `NotFound`, `WrongState`."""
        with self._store.transaction() as transaction:
            if existing(transaction, "key_versions", version_id).optional_number("revoked_at") is not None:
                raise WrongState("the version is revoked already")
            return revoke_version(transaction, version_id, reason, now)


def insert_certificate(transaction: SealedTransaction, certificate: CertificateRecord) -> None:
    """A new chain for a version, in a transaction. Raises `Conflict` if the id is taken."""
    transaction.insert(
        "certificates",
        certificate.id,
        {
            "key_id": certificate.key_id,
            "version_id": certificate.version_id,
            "serial": certificate.serial,
            "chain": stored_names(tuple(base64.b64encode(der).decode() for der in certificate.chain)),
            "not_before": stored_time(certificate.not_before),
            "not_after": stored_time(certificate.not_after),
            "origin": certificate.origin.value,
            "state": _VALID,
            "revoked_at": None,
            "revocation_reason": None,
        },
    )


def revoke_version(
    transaction: SealedTransaction, version_id: str, reason: RevocationReason, now: datetime
) -> tuple[CertificateRecord, ...]:
    """Revoke a version and its certificates, in a transaction. One that is revoked keeps its first time and reason."""
    row = existing(transaction, "key_versions", version_id)
    if row.optional_number("revoked_at") is None:
        transaction.update(row, {"revoked_at": stored_time(now), "revocation_reason": reason.value})
    return _revoke_certificates(transaction, version_id, reason, now)


def _revoke_certificates(
    transaction: SealedTransaction, version_id: str, reason: RevocationReason, now: datetime
) -> tuple[CertificateRecord, ...]:
    found = select(CERTIFICATES.c.id).where(CERTIFICATES.c.version_id == version_id)
    ids = [str(certificate_id) for (certificate_id,) in transaction.connection.execute(found).all()]
    rows = [existing(transaction, "certificates", certificate_id) for certificate_id in ids]
    revoked = []
    for row in sorted(rows, key=lambda row: row.seq):  # in their order, which decides which one is the newest
        if row.text("state") == _VALID and row.number("not_after") > stored_time(now):
            changes: dict[str, Value] = {
                "state": _REVOKED,
                "revoked_at": stored_time(now),
                "revocation_reason": reason.value,
            }
            revoked.append(_certificate(transaction.update(row, changes)))
    return tuple(revoked)


def _newest_of(records: Records) -> CertificateRecord | None:
    rows = [row for (row,) in records if row is not None]
    return _certificate(max(rows, key=lambda row: row.seq)) if rows else None


def _certificate(row: SealedRow) -> CertificateRecord:
    reason = row.optional_text("revocation_reason")
    return CertificateRecord(
        row.id,
        row.text("key_id"),
        row.text("version_id"),
        row.text("serial"),
        tuple(base64.b64decode(der, validate=True) for der in names_of(row.text("chain"))),
        time_of(row.number("not_before")),
        time_of(row.number("not_after")),
        CertificateOrigin(row.text("origin")),
        optional_time_of(row.optional_number("revoked_at")),
        None if reason is None else RevocationReason(reason),
    )
