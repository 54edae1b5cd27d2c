"""Identity policies: all of a principal's in one sealed row.

Were each a row of its own, whoever writes to the database could leave one out of a selection without a trace; and a
policy may deny.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from keystore.access import IdentityPolicy
from keystore.errors import LimitExceeded, NotFound, WrongState
from keystore.history import principal_subject, record_version
from keystore.keys import existing
from keystore.values import stored_time, time_of

if TYPE_CHECKING:
    from keystore.access import Change
    from keystore.db.engine import Value
    from keystore.journal import Head
    from keystore.sealing import SealedRow
    from keystore.store import SealedStore
    from keystore.transactions import SealedTransaction

MAXIMUM_POLICIES: Final = 10  # of a principal


class IdentityPolicyRepository:
    """Reads and writes identity policies."""

    def __init__(self, store: SealedStore) -> None:
        self._store = store

    def list_identity_policies(self, principal: str) -> list[IdentityPolicy]:
        """The policies that are attached to a principal, by name."""
        return identity_policies(self._store.get("principal_policies", principal))

    def put_identity_policy(
        self, principal: str, name: str, document: str, change: Change, *, seen: Head | None = None
    ) -> IdentityPolicy:
        """Attach a policy, or replace the one of this name.

        Raises: `NotFound`; `WrongState` for a principal that is deleted; `LimitExceeded`; `Overtaken`, with `seen`.
        """
        with self._store.transaction(seen=seen) as transaction:
            _require_present(transaction, principal)
            row = transaction.get("principal_policies", principal)
            revision = 1 if row is None else row.revision + 1
            kept = [policy for policy in identity_policies(row) if policy.name != name]
            if len(kept) >= MAXIMUM_POLICIES:
                raise LimitExceeded(f"{MAXIMUM_POLICIES} policies are attached to {principal}: take one away first")
            made = IdentityPolicy(name, document, revision, change.at, change.by, change.reason)
            _write(transaction, principal, row, [*kept, made])
            record_version(transaction, principal_subject(principal), revision, document, change, policy=name)
        return made

    def delete_identity_policy(self, principal: str, name: str, change: Change, *, seen: Head | None = None) -> None:
        """Take a policy away. Raises `NotFound` if there is none of this name; `Overtaken`, with `seen`."""
        with self._store.transaction(seen=seen) as transaction:
            _require_present(transaction, principal)
            row = transaction.get("principal_policies", principal)
            present = identity_policies(row)
            kept = [policy for policy in present if policy.name != name]
            if row is None or len(kept) == len(present):
                raise NotFound("there is no such policy of this principal")
            _write(transaction, principal, row, kept)
            record_version(transaction, principal_subject(principal), row.revision + 1, None, change, policy=name)


def identity_policies(row: SealedRow | None) -> list[IdentityPolicy]:
    """The policies that a row of `principal_policies` holds, by name."""
    if row is None:
        return []
    return [
        IdentityPolicy(
            name=policy["name"],
            document=policy["document"],
            revision=policy["revision"],
            changed_at=time_of(policy["changed_at"]),
            changed_by=policy["changed_by"],
            reason=policy["reason"],
        )
        for policy in json.loads(row.text("policies"))
    ]


def _write(
    transaction: SealedTransaction, principal: str, row: SealedRow | None, policies: list[IdentityPolicy]
) -> None:
    stored = [
        {
            "name": policy.name,
            "document": policy.document,
            "revision": policy.revision,
            "changed_at": stored_time(policy.changed_at),
            "changed_by": policy.changed_by,
            "reason": policy.reason,
        }
        for policy in sorted(policies, key=lambda policy: policy.name)
    ]
    values: dict[str, Value] = {"policies": json.dumps(stored, sort_keys=True, separators=(",", ":"), allow_nan=False)}
    if row is None:
        transaction.insert("principal_policies", principal, values)
    else:
        transaction.update(row, values)


def _require_present(transaction: SealedTransaction, principal: str) -> None:
    if existing(transaction, "principals", principal).text("state") == "deleted":
        raise WrongState("the principal is deleted")
