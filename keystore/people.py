"""Principals, their credentials and their enrolments. Rows are never deleted: a used name is never free again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keystore.api import CredentialRecord, EnrolmentRecord, PrincipalRecord
from keystore.approvals import require_credentials_may_be_added
from keystore.errors import Conflict, NotFound, WrongState
from keystore.grants import end_grants_of
from keystore.keys import existing
from keystore.policies import identity_policies
from keystore.queries import join, parameter
from keystore.values import optional_stored_time, optional_time_of, stored_time, time_of

if TYPE_CHECKING:
    from datetime import datetime

    from keystore.access import Change
    from keystore.queries import Records
    from keystore.sealing import SealedRow
    from keystore.store import SealedStore
    from keystore.transactions import SealedTransaction


class PeopleRepository:
    """Reads and writes identities. Every method raises `IntegrityFailure`, `StoreUnavailable`, `HsmUnavailable` too."""

    def __init__(self, store: SealedStore) -> None:
        self._store = store
        both = [join(table, parameter("name")) for table in ("principals", "principal_policies")]
        self._principal_by_name = store.query(both, _principal_of)

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
                },
            )
            if enrolment is not None:
                _insert_enrolment(transaction, enrolment)
            if credential is not None:
                _insert_credential(transaction, credential)

    def set_principal_state(self, name: str, state: str) -> None:
        """Make a principal enabled or disabled. Raises `NotFound`, `WrongState` for one that is deleted."""
        with self._store.transaction() as transaction:
            row = existing(transaction, "principals", name)
            if row.text("state") == "deleted":
                raise WrongState("the principal is deleted")
            transaction.update(row, {"state": state})

    def delete_principal(self, name: str, change: Change) -> None:
        """Delete a principal, revoke its credentials and grants and void its enrolments. Raises `NotFound`."""
        credentials = self._store.select("credentials", {"principal": name})
        enrolments = self._store.select("enrolments", {"principal": name})
        with self._store.transaction() as transaction:
            row = existing(transaction, "principals", name)
            if row.text("state") == "deleted":
                raise NotFound("there is no such principal")
            transaction.update(row, {"state": "deleted"})
            end_grants_of(transaction, name, change)
            for credential in credentials:
                if credential.text("state") != "revoked":
                    transaction.update(credential, {"state": "revoked"})
            for enrolment in enrolments:
                if enrolment.text("state") == "open":
                    transaction.update(enrolment, {"state": "used"})

    def find_credential(self, credential_id: str) -> CredentialRecord | None:
        """The credential of this id, whatever its state."""
        row = self._store.get("credentials", credential_id)
        return None if row is None else _credential(row)

    def create_credential(self, credential: CredentialRecord) -> None:
        """A further credential of an existing principal. Raises `Conflict`; `WrongState` where the principal is an
        approver of a key and somebody else makes the credential."""
        with self._store.transaction() as transaction:
            _require_enabled(transaction, credential.principal)
            require_credentials_may_be_added(transaction, credential.principal, credential.created_by)
            _insert_credential(transaction, credential)

    def revoke_credential(self, credential_id: str) -> None:
        """Make a credential useless for good. Raises `NotFound`."""
        with self._store.transaction() as transaction:
            transaction.update(existing(transaction, "credentials", credential_id), {"state": "revoked"})

    def find_enrolment(self, enrolment_id: str) -> EnrolmentRecord | None:
        """The enrolment of this id, whatever its state."""
        row = self._store.get("enrolments", enrolment_id)
        return None if row is None else _enrolment(row)

    def create_enrolment(self, enrolment: EnrolmentRecord) -> None:
        """A further one-time code for an existing principal. Raises `Conflict`; `WrongState` where the principal is
        an approver of a key: a code is for somebody to hand over."""
        with self._store.transaction() as transaction:
            _require_enabled(transaction, enrolment.principal)
            require_credentials_may_be_added(transaction, enrolment.principal, None)
            _insert_enrolment(transaction, enrolment)

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
            principal = _require_enabled(transaction, credential.principal)
            transaction.update(row, {"state": "used"})
            _insert_credential(transaction, credential)
            policies = transaction.get("principal_policies", principal.id)
        return _principal(principal, policies)


def _require_enabled(transaction: SealedTransaction, name: str) -> SealedRow:
    row = existing(transaction, "principals", name)
    if row.text("state") != "enabled":
        raise WrongState(f"the principal is {row.text('state')}")
    return row


def _insert_credential(transaction: SealedTransaction, credential: CredentialRecord) -> None:
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
    )


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
    )
