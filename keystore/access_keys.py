"""Access keys in the manner of AWS: an id that is public, and a secret that caller and service share.

The service must be able to read the secret back, since a signature is an HMAC of it. It stands in its row encrypted in
the HSM (`keystore.secrets`); the context says whose it is, so that it cannot be moved to another row. Rows are never
deleted: a revoked id is never free again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from sqlalchemy import select

from keystore.api import AccessKeyRecord
from keystore.approvals import require_credentials_may_be_added
from keystore.db.schema import ACCESS_KEYS
from keystore.errors import IntegrityFailure, LimitExceeded, NotFound, Undecipherable, WrongState
from keystore.keys import existing
from keystore.queries import row_by_id
from keystore.values import stored_time, time_of

if TYPE_CHECKING:
    from keystore.queries import Records
    from keystore.sealing import SealedRow
    from keystore.store import SealedStore
    from keystore.transactions import SealedTransaction

ENABLED: Final = "enabled"
DISABLED: Final = "disabled"
REVOKED: Final = "revoked"


class SecretBox(Protocol):
    """What encrypts for the service itself: `keystore.secrets`."""

    def seal(self, plaintext: bytes, context: bytes) -> bytes: ...
    def open(self, sealed: bytes, context: bytes) -> bytes: ...


class AccessKeyRepository:
    """Reads and writes access keys. Every method raises `IntegrityFailure`, `StoreUnavailable` too."""

    def __init__(self, store: SealedStore, secrets: SecretBox) -> None:
        self._store = store
        self._secrets = secrets
        self._access_key_by_id = store.query(row_by_id("access_keys"), _record_of)

    def find_access_key(self, access_key_id: str) -> AccessKeyRecord | None:
        """The access key of this id, whatever its state."""
        query = self._access_key_by_id
        return self._store.read(query, (access_key_id,) * len(query.names))

    def list_access_keys(self, principal: str, after: str | None, limit: int) -> list[AccessKeyRecord]:
        """Up to `limit` of a principal's by id, those beyond the id `after`, whatever their state."""
        rows = self._store.select("access_keys", {"principal": principal}, after=after, limit=limit)
        return [_record(row) for row in rows]

    def sealed_secret(self, secret: str, access_key_id: str, principal: str) -> bytes:
        """What a row holds of a secret. Raises `HsmUnavailable`."""
        return self._secrets.seal(secret.encode("ascii"), _context(access_key_id, principal))

    def secret_of(self, record: AccessKeyRecord) -> bytes:
        """The secret itself: one operation of the HSM. Raises `HsmUnavailable`, `IntegrityFailure`."""
        try:
            return self._secrets.open(record.secret, _context(record.id, record.principal))
        except Undecipherable as error:
            raise IntegrityFailure(f"access_keys/{record.id}: its secret is not what was encrypted for it") from error

    def create_access_key(self, record: AccessKeyRecord, *, most: int) -> None:
        """A further access key of an existing principal.

        Raises: `NotFound`; `WrongState` unless the principal is enabled, and where it is an approver of a key and
        somebody else makes it; `Conflict` if the id is taken; `LimitExceeded` if the principal has `most` of its sort
        (temporary or not) already, not counting those revoked or expired.
        """
        with self._store.transaction() as transaction:
            state = existing(transaction, "principals", record.principal).text("state")
            if state != ENABLED:
                raise WrongState(f"the principal is {state}")
            require_credentials_may_be_added(transaction, record.principal, record.created_by)
            if _count(transaction, record) >= most:
                sort = "sets of temporary credentials" if record.is_temporary else "access keys"
                raise LimitExceeded(f"a principal has at most {most} {sort} at a time: revoke one first")
            transaction.insert(
                "access_keys",
                record.id,
                {
                    "principal": record.principal,
                    "secret": record.secret,
                    "label": record.label,
                    "state": record.state,
                    "created_at": stored_time(record.created_at),
                    "created_by": record.created_by,
                    "expires_at": stored_time(record.expires_at),
                    "session_token_hash": record.session_token_hash,
                    "made_with": record.made_with,
                    "facts": record.facts,
                },
            )

    def set_access_key_state(self, principal: str, access_key_id: str, state: str) -> AccessKeyRecord:
        """Disable, enable or revoke one of a principal's access keys; what it is already it stays.

        Raises: `NotFound` if it is not the principal's, `WrongState` for one that is revoked.
        """
        with self._store.transaction() as transaction:
            row = existing(transaction, "access_keys", access_key_id)
            if row.text("principal") != principal:
                raise NotFound("the access key is of another principal")
            present = row.text("state")
            if present == state:
                return _record(row)
            if present == REVOKED:
                raise WrongState("the access key is revoked")
            return _record(transaction.update(row, {"state": state}))


def revoke_access_keys(transaction: SealedTransaction, principal: str) -> int:
    """Revoke every access key of a principal, in a transaction; how many were not revoked before.

    Temporary credentials are left as they are: there may be many, and each ends with the credential that made it.
    """
    columns = ACCESS_KEYS.c
    lasting = columns.session_token_hash.is_(None)
    found = select(columns.id).where(columns.principal == principal, columns.state != REVOKED, lasting)
    ids = [str(access_key_id) for (access_key_id,) in transaction.connection.execute(found).all()]
    for access_key_id in ids:
        transaction.update(existing(transaction, "access_keys", access_key_id), {"state": REVOKED})
    return len(ids)


def _count(transaction: SealedTransaction, record: AccessKeyRecord) -> int:
    """How many of the same sort the principal has. One that a forged column hides would only be one more."""
    columns = ACCESS_KEYS.c
    temporary = columns.session_token_hash.is_not(None)
    found = select(columns.id).where(
        columns.principal == record.principal,
        columns.state != REVOKED,
        columns.expires_at > stored_time(record.created_at),
        temporary if record.is_temporary else ~temporary,
    )
    return len(transaction.connection.execute(found).all())


def _context(access_key_id: str, principal: str) -> bytes:
    return f"access-key\0{access_key_id}\0{principal}".encode()


def _record_of(records: Records) -> AccessKeyRecord | None:
    (row,) = records[0]
    return None if row is None else _record(row)


def _record(row: SealedRow) -> AccessKeyRecord:
    return AccessKeyRecord(
        row.id,
        row.text("principal"),
        row.octets("secret"),
        row.text("label"),
        row.text("state"),
        time_of(row.number("created_at")),
        row.text("created_by"),
        time_of(row.number("expires_at")),
        row.optional_octets("session_token_hash"),
        row.optional_text("made_with"),
        row.optional_text("facts"),
        row.revision,
    )
