"""What the calls about grants and policies answer, as typed structs: for `/openapi.json`, like `signer.web.answers`."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import msgspec

from signer.request import Duty
from signer.web.answers import KeyId


class PolicyVersionSummary(msgspec.Struct):
    """When a version of a key's policy began to count, by whom and why."""

    revision: int
    created_at: datetime
    created_by: str
    reason: str


class PolicyVersion(PolicyVersionSummary):
    """A version of a key's policy with its document."""

    policy: dict[str, Any]


class PolicyVersions(msgspec.Struct):
    """A page of a key's policy's history, oldest first."""

    versions: list[PolicyVersionSummary]
    next_cursor: str | None


class Grant(msgspec.Struct):
    """Operations on a key that a principal is allowed beside the key's policy. `ended_at`: since when it is retired or
    revoked."""

    id: str
    key_id: KeyId
    grantee: str
    operations: list[str]
    constraints: dict[str, dict[str, str]] | None
    name: str | None
    retiring: str | None
    state: Literal["active", "retired", "revoked"]
    created_at: datetime
    created_by: str
    ended_at: datetime | None
    ended_by: str | None


class Grants(msgspec.Struct):
    """A page of grants."""

    grants: list[Grant]
    next_cursor: str | None


class DutyPolicy(msgspec.Struct):
    """The ready-made policy of a duty: every action that a principal of it can ever have."""

    name: Duty | Literal["root"]
    actions: list[str]


class IdentityPolicySummary(msgspec.Struct):
    """A policy that is attached to a principal. `revision`: its number in the principal's history."""

    name: str
    revision: int
    changed_at: datetime
    changed_by: str
    reason: str


class IdentityPolicy(IdentityPolicySummary):
    """A policy that is attached to a principal, with its document."""

    policy: dict[str, Any]


class IdentityPolicies(msgspec.Struct):
    """What decides about a principal beside the policies of keys, and grants."""

    duty: DutyPolicy
    policies: list[IdentityPolicySummary]


class DeletedPolicy(msgspec.Struct):
    """A policy that is attached no more."""

    name: str
    state: Literal["deleted"]


class IdentityPolicyVersion(PolicyVersionSummary):
    """A change to a principal's policies. `policy` is null where the policy of this name was taken away."""

    name: str
    policy: dict[str, Any] | None


class IdentityPolicyVersions(msgspec.Struct):
    """A page of the history of a principal's policies, oldest first."""

    versions: list[IdentityPolicyVersion]
    next_cursor: str | None
