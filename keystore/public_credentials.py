"""Bindings of client certificates and of request keys to principals, and the nonces of signed requests.

Nothing is taken away: a revoked binding stays, so that what was signed with its key can be checked later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import delete, insert, select

from keystore.api import CredentialMatch, PublicCredentialRecord
from keystore.approvals import require_credentials_may_be_added
from keystore.db.schema import PUBLIC_CREDENTIALS, REQUEST_NONCES, SEALED_TABLES
from keystore.errors import Conflict, NotFound, WrongState
from keystore.keys import existing
from keystore.queries import Join, parameter
from keystore.values import optional_stored_time, optional_time_of, stored_time, time_of

if TYPE_CHECKING:
    from datetime import datetime

    from keystore.queries import Records
    from keystore.sealing import SealedRow
    from keystore.store import SealedStore
    from keystore.transactions import SealedTransaction

ENABLED: Final = "enabled"
REVOKED: Final = "revoked"
_PINS: Final = frozenset({CredentialMatch.PUBLIC_KEY, CredentialMatch.CERTIFICATE})


def _joins_by_value() -> list[Join]:
    rows = SEALED_TABLES["public_credentials"].table.alias()
    return [Join(SEALED_TABLES["public_credentials"], rows, rows.c.id, rows.c.value == parameter("value"))]


class PublicCredentialRepository:
    """Reads and writes public credentials. Every method raises `IntegrityFailure`, `StoreUnavailable` too."""

    def __init__(self, store: SealedStore) -> None:
        self._store = store
        self._public_credentials_by_value = store.query(_joins_by_value, _records_of)

    def find_public_credential(self, credential_id: str) -> PublicCredentialRecord | None:
        """The credential of this id, whatever its state."""
        row = self._store.get("public_credentials", credential_id)
        return None if row is None else _record(row)

    def matching_public_credentials(self, match: CredentialMatch, value: str) -> tuple[PublicCredentialRecord, ...]:
        """Every credential that is recognised by this value, whatever its state."""
        found = self._store.read(self._public_credentials_by_value, (value,))
        return tuple(record for record in found if record.match is match)

    def list_public_credentials(
        self, principal: str, *, after: str | None = None, limit: int | None = None
    ) -> list[PublicCredentialRecord]:
        """A principal's, by id, revoked ones too: all, or up to `limit` of those beyond the id `after`."""
        rows = self._store.select("public_credentials", {"principal": principal}, after=after, limit=limit)
        return [_record(row) for row in rows]

    def add_public_credential(self, record: PublicCredentialRecord) -> None:
        """Bind a certificate or a key to a principal.

        Raises: `NotFound` for the principal; `WrongState` unless it is enabled, and for an approver of a key unless it
        is the one who adds; `Conflict` if an enabled credential
        would match the same certificate or holds the same request key: whose it is must never be a question.
        """
        with self._store.transaction() as transaction:
            state = existing(transaction, "principals", record.principal).text("state")
            if state != ENABLED:
                raise WrongState(f"the principal is {state}")
            require_credentials_may_be_added(transaction, record.principal, record.created_by)
            for other in _alike(transaction, record):
                if other.state == ENABLED and _collides(record, other):
                    raise Conflict("an enabled credential matches the same certificate, or holds the same key")
            transaction.insert(
                "public_credentials",
                record.id,
                {
                    "principal": record.principal,
                    "match": record.match.value,
                    "value": record.value,
                    "public_key": record.public_key,
                    "algorithm": record.algorithm,
                    "label": record.label,
                    "state": record.state,
                    "created_at": stored_time(record.created_at),
                    "created_by": record.created_by,
                    "expires_at": optional_stored_time(record.expires_at),
                },
            )

    def revoke_public_credential(self, principal: str, credential_id: str) -> PublicCredentialRecord:
        """Make one of a principal's credentials useless for good.

        Raises: `NotFound` if it is not the principal's, `WrongState` if it is revoked already.
        """
        with self._store.transaction() as transaction:
            row = existing(transaction, "public_credentials", credential_id)
            if row.text("principal") != principal:
                raise NotFound("the credential is of another principal")
            if row.text("state") == REVOKED:
                raise WrongState("the credential is revoked already")
            return _record(transaction.update(row, {"state": REVOKED}))

    def use_nonce(self, nonce_id: str, kept_until: datetime) -> None:
        """Remember a nonce, durably. Raises `Conflict` if it was used before: of two at the same time one gets it."""
        with self._store.database.write() as connection:
            connection.execute(insert(REQUEST_NONCES).values(id=nonce_id, kept_until=stored_time(kept_until)))

    def forget_nonces(self, now: datetime) -> int:
        """Delete the nonces of signatures that are too old to be taken again; returns how many."""
        over = REQUEST_NONCES.c.kept_until < stored_time(now)
        with self._store.database.write() as connection:
            return connection.execute(delete(REQUEST_NONCES).where(over)).rowcount


def revoke_all(transaction: SealedTransaction, principal: str) -> int:
    """Revoke every credential of a principal, in a transaction; how many were not revoked before."""
    found = select(PUBLIC_CREDENTIALS.c.id).where(PUBLIC_CREDENTIALS.c.principal == principal)
    revoked = 0
    for (credential_id,) in transaction.connection.execute(found).all():
        row = existing(transaction, "public_credentials", str(credential_id))
        if row.text("state") != REVOKED:
            transaction.update(row, {"state": REVOKED})
            revoked += 1
    return revoked


def _alike(transaction: SealedTransaction, record: PublicCredentialRecord) -> list[PublicCredentialRecord]:
    """Whatever has the same value, or the same public key."""
    columns = PUBLIC_CREDENTIALS.c
    same = columns.value == record.value
    if record.public_key is not None:
        same |= columns.public_key == record.public_key
    ids = [str(found) for (found,) in transaction.connection.execute(select(columns.id).where(same)).all()]
    return [_record(existing(transaction, "public_credentials", found)) for found in ids]


def _collides(record: PublicCredentialRecord, other: PublicCredentialRecord) -> bool:
    if record.match in _PINS and other.match in _PINS and record.public_key == other.public_key:
        # Two certificates of one key may be pinned side by side, so that one can take over from the other.
        both_certificates = record.match is other.match is CredentialMatch.CERTIFICATE
        return not (both_certificates and record.principal == other.principal and record.value != other.value)
    return record.match is other.match and record.value == other.value


def _records_of(records: Records) -> tuple[PublicCredentialRecord, ...]:
    return tuple(_record(row) for (row,) in records if row is not None)


def _record(row: SealedRow) -> PublicCredentialRecord:
    return PublicCredentialRecord(
        row.id,
        row.text("principal"),
        CredentialMatch(row.text("match")),
        row.text("value"),
        row.optional_octets("public_key"),
        row.optional_text("algorithm"),
        row.text("label"),
        row.text("state"),
        time_of(row.number("created_at")),
        row.text("created_by"),
        optional_time_of(row.optional_number("expires_at")),
    )
