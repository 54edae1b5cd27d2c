"""The history of policies: every version of every key policy and identity policy, kept for good.

A version is written in the transaction in which it begins to count. Numbers have no gaps: a version that is missing is
noticed when the history is read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from keystore.access import PolicyVersion
from keystore.errors import IntegrityFailure
from keystore.values import stored_time, time_of

if TYPE_CHECKING:
    from keystore.access import Change
    from keystore.db.engine import Value
    from keystore.sealing import SealedRow
    from keystore.store import SealedStore
    from keystore.transactions import SealedTransaction


class HistoryRepository:
    """Reads histories."""

    def __init__(self, store: SealedStore) -> None:
        self._store = store

    def list_policy_versions(self, key_id: str, after: int, limit: int) -> list[PolicyVersion]:
        """Up to `limit` versions of a key's policy, from the oldest, those beyond the number `after`.

        Raises: `IntegrityFailure` if one is missing.
        """
        return self._history(key_subject(key_id), self._store.get("policies", key_id), after, limit)

    def find_policy_version(self, key_id: str, number: int) -> PolicyVersion | None:
        """One version of a key's policy."""
        row = self._store.get("policy_versions", _version_id(key_subject(key_id), number))
        return None if row is None else _version(row)

    def list_identity_policy_versions(self, principal: str, after: int, limit: int) -> list[PolicyVersion]:
        """The same for a principal: every change to any of its policies, in the order in which they were made."""
        row = self._store.get("principal_policies", principal)
        return self._history(principal_subject(principal), row, after, limit)

    def _history(self, subject: str, newest: SealedRow | None, after: int, limit: int) -> list[PolicyVersion]:
        rows = self._store.select("policy_versions", {"subject": subject}, order="number", after=after, limit=limit)
        # The policy's own row was read before: what has been added since is no gap.
        wanted = min(after + limit, newest.revision if newest else 0)
        numbers = [row.number("number") for row in rows]
        if numbers != list(range(after + 1, after + 1 + len(rows))) or after + len(rows) < wanted:
            raise IntegrityFailure(f"policy_versions: not every version of {subject} is there")
        return [_version(row) for row in rows]


def key_subject(key_id: str) -> str:
    """Whose history a key's policies make."""
    return f"key/{key_id}"


def principal_subject(name: str) -> str:
    """Whose history a principal's policies make."""
    return f"principal/{name}"


def record_version(
    transaction: SealedTransaction,
    subject: str,
    number: int,
    document: str | None,
    change: Change,
    *,
    policy: str | None = None,
) -> None:
    """Keep a version, in the transaction in which it begins to count."""
    values: dict[str, Value] = {"subject": subject, "number": number, "policy": policy, "document": document}
    values |= {"created_at": stored_time(change.at), "created_by": change.by, "reason": change.reason}
    transaction.insert("policy_versions", _version_id(subject, number), values)


def _version_id(subject: str, number: int) -> str:
    return f"{subject}/{number}"


def _version(row: SealedRow) -> PolicyVersion:
    return PolicyVersion(
        revision=row.number("number"),
        policy=row.optional_text("policy"),
        document=row.optional_text("document"),
        created_at=time_of(row.number("created_at")),
        created_by=row.text("created_by"),
        reason=row.text("reason"),
    )
