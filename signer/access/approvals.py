"""Quorum: which calls a key's approval rule holds, and whether a held one is released. Pure: facts and `now` come in.

A key's policy says who may; the rule says that nobody may alone. The rule has up to four classes of operations, each
with approvers of its own and a number of them. What changes the rule needs the quorum of every class that the rule has:
whoever could change it with less could take the greater quorum away and then go on with the smaller one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from keystore.api import ApprovalBinding, ApprovalState
from keystore.lifecycle import current_version
from keystore.values import stored_json
from signer.access.duties import Action
from signer.authn.principal import CredentialKind

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from keystore.api import (
        ApprovalFacts,
        ApprovalRequestRecord,
        ApprovalRequirement,
        ApprovalRule,
        ApprovalVoteRecord,
        Key,
    )


class Covered(StrEnum):
    """A class of operations that a rule may cover."""

    SIGN = "sign"
    POLICY = "policy"
    ROTATION = "rotation"
    DELETION = "deletion"


COVERED_BY: Final[Mapping[Action, Covered]] = MappingProxyType(
    {
        Action.SIGN: Covered.SIGN,
        Action.SIGN_ARTIFACT: Covered.SIGN,
        Action.ISSUE_TOKEN: Covered.SIGN,
        Action.ISSUE_ASSERTION: Covered.SIGN,
        Action.PUT_KEY_POLICY: Covered.POLICY,
        Action.CREATE_GRANT: Covered.POLICY,  # to retire or revoke one only takes away, and is free
        Action.REPLICATE_KEY: Covered.POLICY,  # a replica begins with a policy of its own
        Action.ROTATE_KEY: Covered.ROTATION,
        Action.UPDATE_PRIMARY_REGION: Covered.ROTATION,  # another region rotates it from then on
        Action.REQUEST_CERTIFICATE: Covered.ROTATION,  # the HSM signs, if only a request
        Action.INSTALL_CERTIFICATE: Covered.ROTATION,
        Action.RENEW_CERTIFICATE: Covered.ROTATION,
        Action.REVOKE_CERTIFICATE: Covered.ROTATION,
        Action.SCHEDULE_KEY_DELETION: Covered.DELETION,
        # Disabling is the emergency brake and free to every administrator; letting go of it is not. A cancelled
        # deletion destroys nothing and leaves the key disabled, so it is free too.
        Action.ENABLE_KEY: Covered.DELETION,
        # Policies may ask for tags and aliases, so whoever changes them changes who may do what; and whoever uses a key
        # by its alias uses another one once that is moved.
        Action.CREATE_ALIAS: Covered.POLICY,
        Action.UPDATE_ALIAS: Covered.POLICY,
        Action.DELETE_ALIAS: Covered.POLICY,
        Action.TAG_RESOURCE: Covered.POLICY,
        Action.UNTAG_RESOURCE: Covered.POLICY,
        # A schedule releases all the rotations to come by it.
        Action.ENABLE_KEY_ROTATION: Covered.ROTATION,
        Action.DISABLE_KEY_ROTATION: Covered.ROTATION,
        Action.ROTATE_KEY_ON_DEMAND: Covered.ROTATION,
    }
)
CHANGES_THE_RULE: Final = frozenset({Action.PUT_APPROVAL_RULE, Action.DELETE_APPROVAL_RULE})


class Obstacle(StrEnum):
    """Why a request releases nothing."""

    ANOTHER_CALL = "another_call"
    USED = "used"
    WITHDRAWN = "withdrawn"
    REJECTED = "rejected"
    EXPIRED = "expired"
    RULE_CHANGED = "rule_changed"
    POLICY_CHANGED = "policy_changed"
    KEY_CHANGED = "key_changed"
    NOT_APPROVED = "not_approved"  # not yet: the only one that may still go away


IN_WORDS: Final[Mapping[Obstacle, str]] = MappingProxyType(
    {
        Obstacle.ANOTHER_CALL: "you have no approval request of this id for this very call: key, operation and body "
        "must be those that were approved",
        Obstacle.USED: "the approval was used already: each releases one call, once",
        Obstacle.WITHDRAWN: "the approval request was withdrawn",
        Obstacle.REJECTED: "the approval request was rejected",
        Obstacle.EXPIRED: "the approval request has expired",
        Obstacle.RULE_CHANGED: "the key's approval rule was changed after the request was made",
        Obstacle.POLICY_CHANGED: "the key's policy was changed after the request was made",
        Obstacle.KEY_CHANGED: "the key was rotated after the request was made: another version would be used",
        Obstacle.NOT_APPROVED: "the approval request has not enough approvals that count",
    }
)
_BY_STATE: Final = MappingProxyType(
    {
        ApprovalState.RELEASED: Obstacle.USED,
        ApprovalState.WITHDRAWN: Obstacle.WITHDRAWN,
        ApprovalState.REJECTED: Obstacle.REJECTED,
    }
)


@dataclass(frozen=True, slots=True)
class HeldCall:
    """A call as it comes in: who asks for what, with the canonical body and what the call would hang on now."""

    requester: str
    key_id: str
    operation: str
    body: bytes
    binding: ApprovalBinding


def requirements_for(action: Action, rule: ApprovalRule) -> tuple[ApprovalRequirement, ...]:
    """What has to be met before this action on a key of this rule; nothing where the rule does not cover it."""
    if action in CHANGES_THE_RULE:
        return tuple(rule.requirements[name] for name in sorted(rule.requirements))
    covered = COVERED_BY.get(action)
    requirement = None if covered is None else rule.requirements.get(covered.value)
    return () if requirement is None else (requirement,)


def in_words(requirements: Sequence[ApprovalRequirement]) -> str:
    """How many must approve, for a sentence: `2 of 3 approvers`."""
    return " and ".join(f"{each.needed} of {len(each.approvers)} approvers" for each in dict.fromkeys(requirements))


def binding_of(action: Action, key: Key, now: datetime) -> ApprovalBinding:
    """What this action hangs on: a signature on the version that signs, a rotation on the versions that there are, a
    change of the policy on its revision. Raises `WrongState` where no version signs."""
    if action in CHANGES_THE_RULE:
        return ApprovalBinding()
    covered = COVERED_BY[action]
    if covered is Covered.SIGN:
        return ApprovalBinding(key_version=current_version(key.versions, now).number)
    if covered is Covered.POLICY:
        return ApprovalBinding(policy_revision=key.policy.revision)
    return ApprovalBinding(version_count=len(key.versions))


def approvals_that_count(
    request: ApprovalRequestRecord,
    requirement: ApprovalRequirement,
    votes: Iterable[ApprovalVoteRecord],
    able: Iterable[str],
) -> frozenset[str]:
    """The approvers whose approval counts: named by the rule, enabled now, of what was shown, never the requester's
    own, and by a signed request where the rule asks for that."""
    approved = {
        vote.approver
        for vote in votes
        if vote.vote == "approve"
        and vote.request_id == request.id
        and vote.shown_sha256 == request.shown_sha256
        and vote.voted_at <= request.expires_at
        and (not requirement.signed or vote.credential_kind == CredentialKind.SIGNED_REQUEST)
    }
    return frozenset(approved & set(requirement.approvers) & set(able) - {request.requester})


def obstacle(facts: ApprovalFacts, now: datetime) -> Obstacle | None:
    """Why the request releases nothing, whatever the call; None: its own call would be released."""
    lasting = lasting_obstacle(facts, now)
    if lasting is not None:
        return lasting
    request = facts.request
    met = bool(request.requirements) and all(
        len(approvals_that_count(request, requirement, facts.votes, facts.able)) >= requirement.needed
        for requirement in request.requirements
    )
    return None if met else Obstacle.NOT_APPROVED


def lasting_obstacle(facts: ApprovalFacts, now: datetime) -> Obstacle | None:
    """Why the request will never release anything; None: it is open still."""
    request, binding = facts.request, facts.request.binding
    if request.state is not ApprovalState.OPEN:
        return _BY_STATE[request.state]
    if now >= request.expires_at:
        return Obstacle.EXPIRED
    if facts.rule_revision != request.rule_revision:
        return Obstacle.RULE_CHANGED
    if binding.policy_revision is not None and binding.policy_revision != facts.policy_revision:
        return Obstacle.POLICY_CHANGED
    if binding.version_count is not None and binding.version_count != facts.version_count:
        return Obstacle.KEY_CHANGED
    return None


def obstacle_to(call: HeldCall, facts: ApprovalFacts, now: datetime) -> Obstacle | None:
    """Why the request does not release this call; None: it does. Whose request it is comes first: nobody learns
    anything of another's."""
    request = facts.request
    asked = (request.requester, request.key_id, request.operation, request.body)
    if asked != (call.requester, call.key_id, call.operation, call.body):
        return Obstacle.ANOTHER_CALL
    found = obstacle(facts, now)
    if found in (None, Obstacle.NOT_APPROVED) and request.binding != call.binding:
        return Obstacle.KEY_CHANGED
    return found


def state_after_vote(facts: ApprovalFacts) -> ApprovalState:
    """Rejected once the approvers that have not rejected it are too few. A single rejection that the quorum does not
    need decides nothing: else M of N would be N of N, and one approver could stop every release. The others see it."""
    request = facts.request
    against = {vote.approver for vote in facts.votes if vote.vote == "reject"}
    left = [set(requirement.approvers) - against - {request.requester} for requirement in request.requirements]
    reachable = all(
        len(names) >= requirement.needed for names, requirement in zip(left, request.requirements, strict=True)
    )
    return ApprovalState.OPEN if reachable else ApprovalState.REJECTED


def can_be_met(requirements: Iterable[ApprovalRequirement], requester: str) -> bool:
    """Whether approvers enough are named, the requester left out."""
    return all(len(set(each.approvers) - {requester}) >= each.needed for each in requirements)


def shown(request: ApprovalRequestRecord, body: object) -> dict[str, object]:
    """What approvers are shown and what their approval is bound to. `body` is the request's own, parsed."""
    binding = request.binding
    bound = {
        "key_version": binding.key_version,
        "version_count": binding.version_count,
        "policy_revision": binding.policy_revision,
        "rule_revision": request.rule_revision,
    }
    return {
        "id": request.id,
        "key_id": request.key_id,
        "operation": request.operation,
        "requester": request.requester,
        "request": body,
        "reason": request.reason,
        "bound": {name: value for name, value in bound.items() if value is not None},
        "created_at": _rfc_3339(request.created_at),
        "expires_at": _rfc_3339(request.expires_at),
    }


def _rfc_3339(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def hash_of(members: dict[str, object]) -> bytes:
    """SHA-256 of canonical JSON: members sorted, no spaces, UTF-8. Anybody can make it again of what is shown."""
    return hashlib.sha256(stored_json(members).encode()).digest()
