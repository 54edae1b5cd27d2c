"""`administrators` and `users`: the short form of a key policy, and whom a full document names for which part.

The short form compiles to two statements, so that there is one kind of policy only. The lists of actions are written
out, not as wildcards: an action that a later version adds is given to nobody by a policy that was stored before it.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

from signer.access.actions import KEY_PREFIX, POLICY_ACTIONS, Part
from signer.access.model import Effect

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from signer.access.model import Document, Statement

VERSION: Final = "2012-10-17"
ADMINISTRATORS_SID: Final = "KeyAdministrators"
USERS_SID: Final = "KeyUsers"
_BOTH: Final = ("kms:DescribeKey", "kms:GetPublicKey", "kms:Verify")
_NEUTRAL_FOR_ADMINISTRATORS: Final = (
    "kms:ExplainAccess",
    "kms:GetApprovalRule",
    "kms:GetKeyLastUsage",
    "kms:GetKeyPolicy",
    "kms:GetKeyRotationStatus",
    "kms:ListGrants",
    "kms:ListKeyPolicies",
    "kms:ListKeyRotations",
    "kms:ListResourceTags",
    "kms:RetireGrant",
)
_ADMINISTER: Final = sorted(action for action, part in POLICY_ACTIONS.items() if part is Part.ADMINISTER)
_USE: Final = sorted(action for action, part in POLICY_ACTIONS.items() if part is Part.USE)


def document_of(administrators: Iterable[str], users: Iterable[str], account: str) -> dict[str, object]:
    """The full document of a short form. Names are `user/NAME` or `role/NAME`; `account` has 12 digits."""
    statements: list[dict[str, object]] = []
    for sid, names, actions in (
        (ADMINISTRATORS_SID, administrators, sorted({*_ADMINISTER, *_BOTH, *_NEUTRAL_FOR_ADMINISTRATORS})),
        (USERS_SID, users, sorted({*_USE, *_BOTH, "kms:GetApprovalRule"})),
    ):
        arns = [arn_of(name, account) for name in sorted(set(names))]
        if arns:
            statements.append(
                {"Sid": sid, "Effect": "Allow", "Principal": {"AWS": arns}, "Action": actions, "Resource": "*"}
            )
    return {"Version": VERSION, "Statement": statements}


def arn_of(name: str, account: str) -> str:
    """A principal's ARN, in the form of IAM's."""
    return f"arn:aws:iam::{account}:{name}"


def named(document: Document) -> tuple[list[str], list[str]]:
    """Whom the document's Allow statements name: (for administering, for using), conditions left aside, sorted."""
    administrators: set[str] = set()
    users: set[str] = set()
    for statement in document.statements:
        if statement.effect is Effect.ALLOW and statement.principals is not None:
            parts = parts_of(statement)
            administrators |= statement.principals.names if Part.ADMINISTER in parts else frozenset()
            users |= statement.principals.names if Part.USE in parts else frozenset()
    return sorted(administrators), sorted(users)


def actions_of(statement: Statement) -> set[str]:
    """The actions that a statement is about, by their full names."""
    if statement.actions is not None:
        return {action for action in POLICY_ACTIONS if _matches_any(action, statement.actions)}
    return {action for action in POLICY_ACTIONS if not _matches_any(action, statement.not_actions or ())}


def parts_of(statement: Statement) -> set[Part]:
    """The parts in the separation of duties that a statement is about."""
    return {POLICY_ACTIONS[action] for action in actions_of(statement) if action.startswith(KEY_PREFIX)}


def _matches_any(action: str, patterns: Sequence[str]) -> bool:
    # `[` begins a set in fnmatch and is an ordinary letter in a policy; no action has one.
    return any("[" not in pattern and fnmatchcase(action.lower(), pattern.lower()) for pattern in patterns)
