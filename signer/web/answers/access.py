"""Answers about policies, grants and explanations."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from signer.request import Duty
from signer.web.answers.common import KeyId, PolicyVersionSummary


class Policy(msgspec.Struct):
    """A key's policy: the document, and whom its Allow statements name for which part, conditions left aside."""

    policy: dict[str, Any]
    administrators: list[str]
    users: list[str]
    short_form: Annotated[bool, Meta(description="whether the two lists say all that the document says")]
    revision: int


class NamedKey(msgspec.Struct):
    """A key by its names."""

    id: KeyId
    alias: str | None


class DecidedBy(msgspec.Struct):
    """What decided: `key policy`, `identity policy`, `grant`, `duty`, `separation of duties`, `break-glass`,
    `principal` (it is disabled) or `nothing`; and the statement's Sid or number, or the grant's id."""

    source: str
    statement: str | None


class RefusedWith(msgspec.Struct):
    """What such a call would be answered."""

    code: str
    detail: str


class AskedCondition(msgspec.Struct):
    """One line of a Condition block. `found` is what the call has for it (null: nothing)."""

    operator: str
    key: str
    values: Annotated[list[str] | None, Meta(description="what it wants; null for who asks about itself")]
    found: list[str] | None
    met: bool


class ConditionalStatement(msgspec.Struct):
    """What allows, denies, or leaves it to identity policies (`Delegate`) under conditions."""

    source: str
    statement: str | None
    effect: Literal["Allow", "Deny", "Delegate"]
    conditions: list[AskedCondition]


class AccessStep(ConditionalStatement):
    """One thing that speaks of the principal and the action. `applies`: it has its effect in such a call."""

    applies: bool
    says: str


class AccessExplained(msgspec.Struct):
    """The decision on one call, and why. `allowed` is what duties and policies say; with `allowed` and a `refusal`
    something else refuses the call, such as the key's state."""

    principal: str
    duty: Duty | Literal["root"]
    action: str
    key: NamedKey | None
    allowed: bool
    decided_by: DecidedBy
    why: Annotated[str, Meta(description="a plain sentence")]
    refusal: RefusedWith | None
    steps: list[AccessStep]
    circumstances: Annotated[dict[str, list[str]], Meta(description="all that conditions may ask of such a call")]


class PossibleAccess(msgspec.Struct):
    """Who may do it in such a call (`allowed`), or in another one only (`conditional`); the conditions of either."""

    principal: str
    duty: Duty | Literal["root"]
    access: Literal["allowed", "conditional"]
    decided_by: DecidedBy
    why: str
    refusal: RefusedWith | None
    conditions: list[ConditionalStatement]


class WhoCan(msgspec.Struct):
    """A page of those who may do it."""

    principals: list[PossibleAccess]
    next_cursor: str | None


class PolicyAction(msgspec.Struct):
    """An action that policies may name: its part in the separation of duties, and the duties that have it (none: this
    version has no call for it)."""

    action: str
    part: Literal["administer", "use", "neutral"]
    duties: list[Duty]


class PolicyActions(msgspec.Struct):
    """Every action, by name."""

    actions: list[PolicyAction]


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
