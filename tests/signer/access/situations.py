"""Generated situations: a key's policy, identity policies, grants, and somebody who wants to do something."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from signer.access.model import GrantFacts
from signer.access.short_form import arn_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from random import Random

ACCOUNT: Final = "000000000000"
_ACTIONS: Final = (
    *("kms:Sign", "kms:SignArtifact", "kms:DescribeKey", "kms:GetKeyPolicy", "kms:DisableKey", "kms:EnableKey"),
    *("kms:PutKeyPolicy", "kms:ExplainAccess", "kms:ScheduleKeyDeletion", "kms:CancelKeyDeletion"),
    *("kms:*", "kms:Sign*", "kms:*Key", "kms:*Key*", "*"),
)
_CONDITIONS: Final[Sequence[Mapping[str, Mapping[str, object]]]] = (
    {"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}},
    {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}},
    {"NotIpAddress": {"aws:SourceIp": "127.0.0.1/32"}},
    {"StringEquals": {"sealmark:SigningContext:repository": "shop/app"}},
    {"StringNotEquals": {"sealmark:SigningContext:Repository": "shop/app"}},
    {"ForAllValues:StringEquals": {"sealmark:Format": ["cms", "dsse"]}},
    {"ForAnyValue:StringEquals": {"sealmark:Format": "raw"}},
    {"StringEquals": {"kms:MessageType": "RAW"}},
    {"StringEqualsIfExists": {"kms:SigningAlgorithm": "ECDSA_SHA_256"}},
    {"StringEquals": {"kms:SigningAlgorithm": "ECDSA_SHA_384"}},
    {"Bool": {"kms:BypassPolicyLockoutSafetyCheck": "false"}},
    {"NumericLessThan": {"kms:ScheduleKeyDeletionPendingWindowInDays": "14"}},
    {"Bool": {"aws:SecureTransport": "true"}},
    {"StringEquals": {"sealmark:CredentialKind": "token"}},
    {"StringEquals": {"sealmark:CredentialKind": "session"}},
    {"StringEquals": {"sealmark:Duty": ["key-user", "auditor"]}},
    {"Null": {"sealmark:SigningContext:repository": "true"}},
    {"DateGreaterThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z"}},
    {"DateLessThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z"}},
    {"StringEquals": {"sealmark:Purpose": "general"}, "IpAddress": {"aws:SourceIp": "127.0.0.1"}},
)


@dataclass(frozen=True)
class Situation:
    """`policies` are the identity policies of `who`."""

    who: str
    policy: str
    policies: tuple[tuple[str, str], ...]
    grants: tuple[GrantFacts, ...]
    context: dict[str, str]


def situation(chance: Random, people: Sequence[str]) -> Situation:
    """Any of them."""
    who = chance.choice(people)
    attached = tuple(
        (f"policy-{number}", document([statement(chance, {}) for _ in range(chance.randint(1, 2))]))
        for number in range(chance.choice((0, 0, 1, 2)))
    )
    return Situation(who, key_policy(chance, people), attached, _grants(chance, who), some_context(chance))


def some_context(chance: Random) -> dict[str, str]:
    """A signing context, or none."""
    return chance.choice(({}, {"repository": "shop/app"}, {"repository": "shop/other"}, {"Repository": "shop/app"}))


def key_policy(chance: Random, people: Sequence[str]) -> str:
    """A key policy, which nobody has checked."""
    statements = []
    for _ in range(chance.randint(1, 4)):
        arns = [arn_of(name, ACCOUNT) for name in chance.sample(people, chance.randint(1, 2))]
        principals: list[object] = [{"AWS": arns}, {"AWS": arns}, "*", {"AWS": f"arn:aws:iam::{ACCOUNT}:root"}]
        statements.append(statement(chance, {"Principal": chance.choice(principals)}))
    return document(statements)


def document(statements: Sequence[Mapping[str, Any]]) -> str:
    """A policy as text."""
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def statement(chance: Random, named: Mapping[str, object]) -> dict[str, object]:
    """One statement; `named` is its Principal, or nothing for an identity policy's."""
    found: dict[str, object] = {
        **({"Sid": f"S{chance.randint(0, 999_999)}"} if chance.random() < 0.5 else {}),
        "Effect": chance.choice(("Allow", "Allow", "Allow", "Deny")),
        **named,
        "Action": chance.sample(_ACTIONS, chance.randint(1, 3)),
        "Resource": "*",
    }
    if chance.random() < 0.5:
        found["Condition"] = dict(chance.choice(_CONDITIONS))
    return found


def _grants(chance: Random, who: str) -> tuple[GrantFacts, ...]:
    constraint = chance.choice((None, {"repository": "shop/app"}))
    return tuple(
        GrantFacts(
            id=f"grant-{number}",
            grantee=chance.choice((who, "role/other")),
            operations=frozenset(chance.sample(("Sign", "DescribeKey", "GetPublicKey"), 2)),
            context_equals=constraint if number else None,
            context_subset=None if number else constraint,
        )
        for number in range(chance.choice((0, 0, 1, 2)))
    )
