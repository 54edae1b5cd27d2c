"""Principals, their credentials and their enrolments. Rows are never deleted: a used name is never free again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keystore.access_keys import revoke_access_keys
from keystore.api import CredentialRecord, EnrolmentRecord, PrincipalRecord
from keystore.approvals import require_credentials_may_be_added
from keystore.errors import Conflict, LimitExceeded, NotFound, WrongState
from keystore.grants import end_grants_of
from keystore.keys import existing
from keystore.policies import identity_policies
from keystore.public_credentials import revoke_all
from keystore.queries import Join, join, parameter, row_by_id
from keystore.values import optional_stored_time, optional_time_of, stored_time, time_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from keystore.access import Change
    from keystore.queries import Records
    from keystore.sealing import SealedRow
    from keystore.store import SealedStore
    from keystore.transactions import SealedTransaction


def _joins_by_name() -> list[Join]:
    return [join(table, parameter("name")) for table in ("principals", "principal_policies")]


class PeopleRepository:
    """Reads and writes identities. Every method raises `IntegrityFailure`, `StoreUnavailable`, `HsmUnavailable` too."""

    def __init__(self, store: SealedStore) -> None:
        self._store = store
        self._principal_by_name = store.query(_joins_by_name, _principal_of)
        self._credential_by_id = store.query(row_by_id("credentials"), _credential_of)

    def find_principal(self, name: str) -> PrincipalRecord | None:
        """The principal of this name with its policies, deleted or not; None if there never was one."""
        query = self._principal_by_name
        return self._store.read(query, (name,) * len(query.names))

    def list_principals(self, after: str | None, limit: int) -> list[PrincipalRecord]:
        """Up to `limit` principals by name, those beyond the name `after`, deleted ones too."""
        rows = self._store.select("principals", after=after, limit=limit)
        return [_principal(row, self._store.get("principal_policies", row.id)) for row in rows]

    def create_principal(
        self,
        principal: PrincipalRecord,
        *,
        enrolment: EnrolmentRecord | None = None,
        credential: CredentialRecord | None = None,
    ) -> None:
        """A new principal with its enrolment or first credential, all or nothing. `Conflict` if the name was used."""
        with self._store.transaction() as transaction:
            if transaction.get("principals", principal.name) is not None:
                raise Conflict("there is, or was, a principal of this name")
            transaction.insert(
                "principals",
                principal.name,
                {
                    "duty": principal.duty,
                    "state": principal.state,
                    "created_at": stored_time(principal.created_at),
                    "created_by": principal.created_by,
                    "enabled_until": optional_stored_time(principal.enabled_until),
                },
            )
            if enrolment is not None:
                _insert_enrolment(transaction, enrolment)
            if credential is not None:
                insert_credential(transaction, credential)

    def count_enabled(self, duty: str, *, without: str) -> int:
        """How many principals of a duty are enabled, not counting the one named."""
        rows = self._store.select("principals", {"duty": duty, "state": "enabled"})
        return sum(row.id != without for row in rows)

    def set_principal_state(
        self,
        name: str,
        state: str,
        *,
        until: datetime | None = None,
        require: Callable[[PrincipalRecord], None] | None = None,
    ) -> PrincipalRecord:
        """Make a principal enabled (for good, or `until`) or disabled.

        `require` sees the principal as it is, inside the transaction: what it raises stops the change. What it reads
        nobody changes meanwhile. Raises: `NotFound`; `WrongState` for one that is deleted.
        """
        changes = {"state": state, "enabled_until": optional_stored_time(until)}
        with self._store.transaction() as transaction:
            row = _not_deleted(transaction, name, require)
            return _found(transaction, transaction.update(row, changes))

    def set_duty(
        self, name: str, duty: str, *, require: Callable[[PrincipalRecord], None] | None = None
    ) -> PrincipalRecord:
        """Give a principal another duty. `require` and what is raised: as for `set_principal_state`."""
        with self._store.transaction() as transaction:
            row = _not_deleted(transaction, name, require)
            return _found(transaction, transaction.update(row, {"duty": duty}))

    def delete_principal(
        self, name: str, change: Change, *, require: Callable[[PrincipalRecord], None] | None = None
    ) -> None:
        """Delete a principal, revoke its credentials of every kind and its grants and void its enrolments.

        `require`: as for `set_principal_state`. Raises: `NotFound`.
        """
        with self._store.transaction() as transaction:
            row = existing(transaction, "principals", name)
            if row.text("state") == "deleted":
                raise NotFound("there is no such principal")
            if require is not None:
                require(_found(transaction, row))
            transaction.update(row, {"state": "deleted"})
            end_grants_of(transaction, name, change)
            self._revoke_all(transaction, name)
            self._void_enrolments(transaction, name)

    def _revoke_all(self, transaction: SealedTransaction, name: str) -> int:
        found = [
            row for row in self._store.select("credentials", {"principal": name}) if row.text("state") != "revoked"
        ]
        for credential in found:
            transaction.update(credential, {"state": "revoked"})
        return len(found) + revoke_all(transaction, name) + revoke_access_keys(transaction, name)

    def _void_enrolments(self, transaction: SealedTransaction, name: str) -> None:
        for enrolment in self._store.select("enrolments", {"principal": name, "state": "open"}):
            transaction.update(enrolment, {"state": "used"})

    def find_credential(self, credential_id: str) -> CredentialRecord | None:
        """The credential of this id, whatever its state."""
        query = self._credential_by_id
        return self._store.read(query, (credential_id,) * len(query.names))

    def list_credentials(self, principal: str, after: str | None, limit: int) -> list[CredentialRecord]:
        """Up to `limit` credentials of a principal by id, those beyond the id `after`, whatever their state."""
        rows = self._store.select("credentials", {"principal": principal}, after=after, limit=limit)
        return [_credential(row) for row in rows]

    def create_credential(self, credential: CredentialRecord, *, most: int | None = None) -> None:
        """A further credential of an existing principal.

        Raises: `NotFound`; `WrongState` unless the principal is enabled, and where it is an approver of a key and
        somebody else makes the credential; `Conflict` if the id is taken; `LimitExceeded` if the principal has `most`
        of that kind already, not counting those revoked or expired.
        """
        moment = stored_time(credential.created_at)
        with self._store.transaction() as transaction:
            require_enabled_principal(transaction, credential.principal)
            require_credentials_may_be_added(transaction, credential.principal, credential.created_by)
            if most is not None:
                alike = {"principal": credential.principal, "kind": credential.kind, "state": "enabled"}
                ends = [row.optional_number("expires_at") for row in self._store.select("credentials", alike)]
                if sum(end is None or end > moment for end in ends) >= most:
                    raise LimitExceeded(f"a principal has at most {most} of these at a time: revoke one first")
            insert_credential(transaction, credential)

    def revoke_credential(self, credential_id: str) -> None:
        """Make a credential useless for good; one that was revoked before stays so. Raises `NotFound`."""
        with self._store.transaction() as transaction:
            row = existing(transaction, "credentials", credential_id)
            if row.text("state") != "revoked":
                transaction.update(row, {"state": "revoked"})

    def replace_credentials(self, credential: CredentialRecord) -> int:
        """Revoke every credential of a principal, enabled or not, and give it this one. Returns how many were revoked.

        Raises: `NotFound`; `WrongState` for a principal that is deleted.
        """
        with self._store.transaction() as transaction:
            _not_deleted(transaction, credential.principal, None)
            revoked = self._revoke_all(transaction, credential.principal)
            insert_credential(transaction, credential)
        return revoked

    def find_enrolment(self, enrolment_id: str) -> EnrolmentRecord | None:
        """The enrolment of this id, whatever its state."""
        row = self._store.get("enrolments", enrolment_id)
        return None if row is None else _enrolment(row)

    def create_enrolment(self, enrolment: EnrolmentRecord, *, revoke_credentials: bool = False) -> int:
        """A further one-time code for an existing principal, in place of any that is still open.

        With `revoke_credentials` all that the principal has end in the same moment; returns how many did.
        Raises: `NotFound`, `Conflict`; `WrongState` unless it is enabled, and where it is an approver of a key: a code
        is for somebody to hand over.
        """
        with self._store.transaction() as transaction:
            require_enabled_principal(transaction, enrolment.principal)
            require_credentials_may_be_added(transaction, enrolment.principal, None)
            self._void_enrolments(transaction, enrolment.principal)
            revoked = self._revoke_all(transaction, enrolment.principal) if revoke_credentials else 0
            _insert_enrolment(transaction, enrolment)
        return revoked

    def use_enrolment(self, enrolment_id: str, credential: CredentialRecord, now: datetime) -> PrincipalRecord:
        """Spend a code for a credential, once: of two who try at the same time one gets `WrongState`.

        The caller has compared the code. Raises: `NotFound`; `WrongState` if the code was used or has expired, or the
        principal is not enabled; `Conflict` if the credential is of another principal.
        """
        with self._store.transaction() as transaction:
            row = existing(transaction, "enrolments", enrolment_id)
            if row.text("state") != "open" or time_of(row.number("expires_at")) <= now:
                raise WrongState("the enrolment code was used or has expired")
            if credential.principal != row.text("principal"):
                raise Conflict("the credential is of another principal")
            principal = require_enabled_principal(transaction, credential.principal)
            transaction.update(row, {"state": "used"})
            insert_credential(transaction, credential)
            return _found(transaction, principal)


def _found(transaction: SealedTransaction, row: SealedRow) -> PrincipalRecord:
    return _principal(row, transaction.get("principal_policies", row.id))


def require_enabled_principal(transaction: SealedTransaction, name: str) -> SealedRow:
    """The principal's row. Raises `NotFound`, `WrongState` unless it is enabled."""
    row = existing(transaction, "principals", name)
    if row.text("state") != "enabled":
        raise WrongState(f"the principal is {row.text('state')}")
    return row


def _not_deleted(
    transaction: SealedTransaction, name: str, require: Callable[[PrincipalRecord], None] | None
) -> SealedRow:
    row = existing(transaction, "principals", name)
    if row.text("state") == "deleted":
        raise WrongState("the principal is deleted")
    if require is not None:
        require(_found(transaction, row))
    return row


def insert_credential(transaction: SealedTransaction, credential: CredentialRecord) -> None:
    """A new credential's row. Raises `Conflict` if the id is taken."""
    transaction.insert(
        "credentials",
        credential.id,
        {
            "principal": credential.principal,
            "kind": credential.kind,
            "label": credential.label,
            "token_hash": credential.token_hash,
            "state": credential.state,
            "created_at": stored_time(credential.created_at),
            "created_by": credential.created_by,
            "facts": credential.facts,
            "expires_at": optional_stored_time(credential.expires_at),
        },
    )


def _insert_enrolment(transaction: SealedTransaction, enrolment: EnrolmentRecord) -> None:
    transaction.insert(
        "enrolments",
        enrolment.id,
        {
            "principal": enrolment.principal,
            "code_hash": enrolment.code_hash,
            "state": enrolment.state,
            "created_at": stored_time(enrolment.created_at),
            "created_by": enrolment.created_by,
            "expires_at": stored_time(enrolment.expires_at),
        },
    )


def _principal_of(records: Records) -> PrincipalRecord | None:
    principal, policies = records[0]
    return None if principal is None else _principal(principal, policies)


def _principal(row: SealedRow, policies: SealedRow | None) -> PrincipalRecord:
    return PrincipalRecord(
        row.id,
        row.text("duty"),
        row.text("state"),
        time_of(row.number("created_at")),
        row.text("created_by"),
        tuple((policy.name, policy.document) for policy in identity_policies(policies)),
        optional_time_of(row.optional_number("enabled_until")),
    )


def _credential_of(records: Records) -> CredentialRecord | None:
    (row,) = records[0]
    return None if row is None else _credential(row)


def _credential(row: SealedRow) -> CredentialRecord:
    return CredentialRecord(
        row.id,
        row.text("principal"),
        row.octets("token_hash"),
        row.text("state"),
        time_of(row.number("created_at")),
        optional_time_of(row.optional_number("expires_at")),
        row.text("kind"),
        row.text("label"),
        row.text("created_by"),
        row.optional_text("facts"),
    )


def _enrolment(row: SealedRow) -> EnrolmentRecord:
    return EnrolmentRecord(
        row.id,
        row.text("principal"),
        row.octets("code_hash"),
        row.text("state"),
        time_of(row.number("created_at")),
        time_of(row.number("expires_at")),
        row.text("created_by"),
    )
