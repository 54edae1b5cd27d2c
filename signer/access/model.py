"""What the decision is made of: a parsed policy, a request, and what was decided and by what. Values only.

The form is that of AWS's JSON policies (IAM User Guide, "IAM JSON policy element reference"); what is not understood to
the last element is never stored (`documents`), so nothing here has to guess.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from signer.access.matching import Rule, Selection

# Condition key (lower case) → its values. A key that the request has not is absent; no value is ever empty by accident.
ConditionValues = Mapping[str, Sequence[str]]
NO_CONTEXT: ConditionValues = MappingProxyType({})


class Effect(StrEnum):
    """What a statement does where it matches."""

    ALLOW = "Allow"
    DENY = "Deny"


@dataclass(frozen=True, slots=True)
class Principals:
    """Whom a statement of a key policy names. `everybody` is `"*"`; `accounts` are 12-digit ids (`arn:…:root` and the
    bare id): they delegate to identity policies; `names` are `user/NAME` and `role/NAME`."""

    everybody: bool = False
    accounts: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Condition:
    """One line of a Condition block: operator (as in the document, with `ForAllValues:`, `…IfExists`), key, values."""

    operator: str
    key: str  # as written; condition keys do not depend on case
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement. Exactly one of `actions` and `not_actions` is not None, and so on; identity policies have no
    principals."""

    sid: str | None
    effect: Effect
    principals: Principals | None
    not_principals: Principals | None
    actions: tuple[str, ...] | None
    not_actions: tuple[str, ...] | None
    resources: tuple[str, ...] | None
    not_resources: tuple[str, ...] | None
    conditions: tuple[Condition, ...] = ()


class Memo:
    """What was worked out from a document, and is again when it is lost: no part of its value. Only `matching` looks
    into it."""

    __slots__ = ("rules", "selections")

    def __init__(self) -> None:
        self.rules: tuple[Rule, ...] | None = None
        self.selections: dict[tuple[str, str, str], Selection] = {}


@dataclass(frozen=True, slots=True)
class Document:
    """A checked policy document."""

    version: str
    id: str | None
    statements: tuple[Statement, ...]
    memo: Memo = field(init=False, repr=False, compare=False, default_factory=Memo)


@dataclass(frozen=True, slots=True)
class GrantFacts:
    """What a grant allows (AWS KMS, "Grants in AWS KMS"). `operations` are action names without their prefix.

    `context_equals` and `context_subset` constrain the encryption context, or the signing context, of the request.
    """

    id: str
    grantee: str  # user/NAME or role/NAME
    operations: frozenset[str]
    context_equals: Mapping[str, str] | None = None
    context_subset: Mapping[str, str] | None = None
    retiring: str | None = None


@dataclass(frozen=True, slots=True)
class AccessRequest:
    """One question: may this principal do this, on this key (None: it is about no key), in these circumstances?

    `context` has the condition keys in lower case, with `kms:encryptioncontext:KEY` and `sealmark:signingcontext:KEY`
    keeping the case of KEY.
    """

    principal: str  # user/NAME or role/NAME
    account: str  # 12 digits
    action: str  # such as kms:Sign
    resource: str  # an ARN, or "*" where it is about none
    context: ConditionValues = field(default_factory=lambda: NO_CONTEXT)


class Source(StrEnum):
    """What decided."""

    KEY_POLICY = "key policy"
    IDENTITY_POLICY = "identity policy"
    GRANT = "grant"
    APPROVAL_RULE = "approval rule"  # an approver of the key, who looks at its rule
    BREAK_GLASS = "break-glass"  # user/root administers every customer's key
    DUTY = "duty"  # the caller's duty does not have the action at all
    SEPARATION = "separation of duties"
    NOTHING = "nothing"  # no statement and no grant allows it: denied


@dataclass(frozen=True, slots=True)
class Decision:
    """Allow or deny, and by what. `statement` is the Sid, or `Statement[2]`, of the document, or a grant's id; of an
    identity policy with the policy's name before it: `signers: Statement[2]`.

    `unmet`: what kept a statement or a grant that is about just this from allowing it, such as
    `StringEquals kms:SigningAlgorithm`, each once. Empty where it was allowed or an explicit Deny decided.
    """

    allowed: bool
    source: Source
    statement: str | None = None
    unmet: tuple[str, ...] = ()

    def __str__(self) -> str:
        by = self.source.value if self.statement is None else f"{self.source.value}: {self.statement}"
        return f"{'allowed' if self.allowed else 'denied'} by {by}"
