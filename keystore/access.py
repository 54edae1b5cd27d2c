"""What the signer sees of grants, identity policies and the history of policies: value types, frozen.

Documents are JSON text as they were stored; what they mean is the signer's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Change:
    """Who changes something, when and why. `reason` is the changer's own words, or empty."""

    by: str
    at: datetime
    reason: str = ""


class GrantState(StrEnum):
    """A grant allows something while it is active; it never becomes so again."""

    ACTIVE = "active"
    RETIRED = "retired"  # by who was to retire it, once it had served
    REVOKED = "revoked"  # by an administrator of the key, or with its grantee


@dataclass(frozen=True, slots=True)
class GrantRecord:
    """A grant (AWS KMS, "Grants in AWS KMS"). `operations` are action names without their prefix, sorted.

    At most one of the two contexts is set; it constrains the encryption or signing context of a request.
    """

    id: str
    key_id: str
    grantee: str  # user/NAME or role/NAME
    operations: tuple[str, ...]
    created_at: datetime
    created_by: str
    context_equals: Mapping[str, str] | None = None
    context_subset: Mapping[str, str] | None = None
    retiring: str | None = None  # who may retire it besides the key's administrators
    name: str | None = None
    state: GrantState = GrantState.ACTIVE
    ended_at: datetime | None = None
    ended_by: str | None = None


@dataclass(frozen=True, slots=True)
class IdentityPolicy:
    """A policy that is attached to a principal. `revision` is its number in the principal's history."""

    name: str
    document: str = field(repr=False)
    revision: int
    changed_at: datetime
    changed_by: str
    reason: str


@dataclass(frozen=True, slots=True)
class PolicyVersion:
    """One entry of a history. `policy` is the name of a principal's policy, None for a key's; `document` is None where
    that policy was taken away."""

    revision: int
    policy: str | None
    document: str | None = field(repr=False)
    created_at: datetime
    created_by: str
    reason: str
