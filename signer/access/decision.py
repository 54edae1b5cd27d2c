"""From a principal and a key's policy to a permit, or a refusal.

First `admit`: does the caller's duty allow such a call at all? That is answered before any key is looked up, so that
the answer says nothing about which keys exist. Then `judge`: do the key's policy, the caller's identity policies and
the key's grants allow it, in these circumstances? Deny by default. Only this module can make an `Admission`, a
`Judgement` or a `Permit`; the stages that follow take nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from keystore.algorithms import CALLER_PURPOSES, Purpose
from signer.access.actions import POLICY_ACTIONS, Part
from signer.access.circumstances import Circumstances
from signer.access.documents import compiled_identity_policy, compiled_key_policy
from signer.access.duties import DUTIES_OF, Action, Duty
from signer.access.evaluation import evaluate
from signer.access.model import NO_CONTEXT, AccessRequest, Decision, Source
from signer.access.separation import overlaps
from signer.access.visibility import may_see
from signer.errors import DutyForbids, Judged, NotFound, PolicyForbids

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keystore.api import Key
    from signer.access.circumstances import Surroundings
    from signer.access.model import ConditionValues, Document, GrantFacts
    from signer.authn.principal import Principal

_MADE_HERE: Final = object()
_PARTED: Final = frozenset(action for action, part in POLICY_ACTIONS.items() if part is not Part.NEUTRAL)
_NOTHING_ASKED: Final = Decision(False, Source.NOTHING)
_CERTIFIED: Final = frozenset(
    {Action.CREATE_KEY, Action.ROTATE_KEY, Action.RENEW_CERTIFICATE, Action.SYNCHRONIZE_MULTI_REGION_KEY}
)
KEY_NOT_FOUND: Final = "there is no such key, or it is not yours to see"


@dataclass(frozen=True, slots=True)
class Admission:
    """The caller's duty allows this call; no key has been looked at yet."""

    principal: Principal
    action: Action
    proof: object = field(repr=False, compare=False)

    def __post_init__(self) -> None:
        _require_made_here(self.proof)


@dataclass(frozen=True, slots=True)
class Permit:
    """The decision: this principal may do this action, on this key where the action is about one."""

    principal: Principal
    action: Action
    key_id: str | None
    policy_revision: int | None
    proof: object = field(repr=False, compare=False)
    decided_by: str | None = None  # the statement or the grant that allowed it
    approval: str | None = None  # the id of the approval request that released it

    def __post_init__(self) -> None:
        _require_made_here(self.proof)


@dataclass(frozen=True, slots=True)
class Judgement:
    """What was decided of an admitted call, by what, and whether the key exists as far as the caller is told."""

    admission: Admission
    key: Key | None
    decision: Decision
    visible: bool
    proof: object = field(repr=False, compare=False)

    def __post_init__(self) -> None:
        _require_made_here(self.proof)

    @property
    def wants_grants(self) -> bool:
        """Whether a grant can still allow it, or let the caller know of the key: a grantee that a Deny keeps from this
        call is told of the Deny."""
        undecided = self.decision.source is Source.NOTHING or not self.visible
        return self.key is not None and not self.decision.allowed and undecided

    def permit(self) -> Permit:
        """The permit for what was allowed.

        Raises: `NotFound` if the caller may not see the key, `PolicyForbids` if it may see it but not do this.
        """
        principal, action = self.admission.principal, self.admission.action
        revision = None if self.key is None else self.key.policy.revision
        key_id = None if self.key is None else self.key.id
        if self.decision.allowed:
            return Permit(principal, action, key_id, revision, _MADE_HERE, str(self.decision))
        refusal = (
            NotFound(KEY_NOT_FOUND, field="key")
            if self.key is not None and not self.visible
            else PolicyForbids(_why(principal, action, self.decision), denied_by=self.decision.source.value)
        )
        refusal.judged = Judged(key_id, revision, str(self.decision))
        raise refusal


def _why(principal: Principal, action: Action, decision: Decision) -> str:
    """For the caller: which kind of rule it was, not what the policies say."""
    if decision.source is Source.NOTHING:
        return f"no policy and no grant allows {action.policy_name} on this key to {principal.name} in this way"
    return f"the {decision.source} denies {action.policy_name} to {principal.name} in this way"


def _require_made_here(proof: object) -> None:
    if proof is not _MADE_HERE:
        msg = "only signer.access makes admissions and permits"
        raise TypeError(msg)


def admit(principal: Principal, action: Action) -> Admission:
    """The first half of every decision: duties. Raises `DutyForbids`."""
    if principal.duty not in DUTIES_OF[action]:
        allowed = " or ".join(sorted(duty for duty in DUTIES_OF[action] if duty is not Duty.ROOT))
        msg = f"{action} is for the duty {allowed}; {principal.name} has the duty {principal.duty}"
        raise DutyForbids(msg)
    return Admission(principal, action, _MADE_HERE)


def judge(
    admission: Admission,
    key: Key | None,
    surroundings: Surroundings,
    details: Sequence[ConditionValues] = (NO_CONTEXT,),
    grants: Sequence[GrantFacts] = (),
) -> Judgement:
    """The second half: identity policies, and the key's own policy and grants where the call is about a key.

    `details` are the condition values of the request, one mapping for each different item of a batch: a call is allowed
    if every one of them is. Grants only ever allow: who asks without them and reads `wants_grants` asks again with
    those of this key and caller.
    """
    principal, action = admission.principal, admission.action
    if key is None:
        return Judgement(admission, None, _about_no_key(admission, surroundings, details), False, _MADE_HERE)
    if principal.duty is Duty.ROOT:
        # Break-glass: any customer's key, also one whose administrators are all gone.
        mine = key.purpose in CALLER_PURPOSES
        decision = Decision(mine, Source.BREAK_GLASS if mine else Source.NOTHING)
        return Judgement(admission, key, decision, mine, _MADE_HERE)
    if action is Action.GET_APPROVAL_RULE and _is_approver(principal, key):
        return Judgement(admission, key, Decision(True, Source.APPROVAL_RULE), True, _MADE_HERE)
    if principal.duty is Duty.AUDITOR:
        return _for_an_auditor(admission, key, surroundings, details)
    policy = compiled_key_policy(key.policy.document, surroundings.account)
    identity_policies = _compiled(principal)
    decision = _NOTHING_ASKED
    for values in details:
        decision = evaluate(_request(admission, key, surroundings, values), policy, identity_policies, grants)
        if not decision.allowed:
            break
    if decision.allowed and action.policy_name in _PARTED and _does_both(key, surroundings.account, principal):
        decision = Decision(False, Source.SEPARATION)
    seen = (
        decision.allowed
        or decision.source is Source.SEPARATION
        or may_see(principal.name, surroundings.account, key.arn, policy, identity_policies, grants)
    )
    return Judgement(admission, key, decision, seen, _MADE_HERE)


def may_on_every_key(admission: Admission, surroundings: Surroundings, arn_of_all: str) -> bool:
    """Whether the caller might do this to every key there is (`arn_of_all` stands for them), so that to learn that a
    key is not there tells it nothing: its identity policies allow it, or its duty is to look after all of them."""
    principal = admission.principal
    if principal.duty in (Duty.ROOT, Duty.AUDITOR):
        return True
    circumstances = Circumstances(principal, None, surroundings, NO_CONTEXT)
    request = AccessRequest(
        principal.name, surroundings.account, admission.action.policy_name, arn_of_all, circumstances
    )
    return evaluate(request, None, _compiled(principal), ()).allowed


def decide(
    admission: Admission,
    key: Key | None,
    surroundings: Surroundings,
    details: Sequence[ConditionValues] = (NO_CONTEXT,),
    grants: Sequence[GrantFacts] = (),
) -> Permit:
    """The permit, where all that counts is at hand. Raises what `Judgement.permit` raises."""
    return judge(admission, key, surroundings, details, grants).permit()


def _about_no_key(admission: Admission, surroundings: Surroundings, details: Sequence[ConditionValues]) -> Decision:
    """The duty is the ready-made policy that allows it; an attached policy can only take it away."""
    principal = admission.principal
    for values in details if principal.policies else ():
        decision = evaluate(_request(admission, None, surroundings, values), None, _compiled(principal), ())
        if not decision.allowed and decision.source is not Source.NOTHING:
            return decision
    return Decision(True, Source.DUTY, principal.duty.value)


def _for_an_auditor(
    admission: Admission, key: Key, surroundings: Surroundings, details: Sequence[ConditionValues]
) -> Judgement:
    """What an auditor's duty has, it reads of every customer's key. No key policy says so or takes it away: whoever
    administers a key is among those that an auditor looks at. What is attached to the auditor may take it away."""
    if key.purpose not in CALLER_PURPOSES:
        return Judgement(admission, key, _NOTHING_ASKED, False, _MADE_HERE)
    for values in details:
        request = _request(admission, key, surroundings, values)
        decision = evaluate(request, None, _compiled(admission.principal), ())
        if not decision.allowed and decision.source is not Source.NOTHING:
            return Judgement(admission, key, decision, True, _MADE_HERE)
    return Judgement(admission, key, Decision(True, Source.DUTY, Duty.AUDITOR.value), True, _MADE_HERE)


def _request(
    admission: Admission, key: Key | None, surroundings: Surroundings, values: ConditionValues
) -> AccessRequest:
    principal = admission.principal
    return AccessRequest(
        principal.name,
        surroundings.account,
        admission.action.policy_name,
        "*" if key is None else key.arn,
        Circumstances(principal, key, surroundings, values),
    )


def _is_approver(principal: Principal, key: Key) -> bool:
    return any(principal.name in each.approvers for each in key.approval_rule.requirements.values())


def _does_both(key: Key, account: str, principal: Principal) -> bool:
    """Whether the documents let the caller both administer and use the key. None that does is ever stored; and if one
    were, through a fault elsewhere, it would not be followed."""
    return _overlapping(key.policy.document, account, key.arn, principal.name, principal.policies)


@lru_cache(maxsize=4096)
def _overlapping(document: str, account: str, arn: str, name: str, policies: tuple[tuple[str, str], ...]) -> bool:
    attached = {name: [(label, compiled_identity_policy(text)) for label, text in policies]}
    found = overlaps(arn, account, compiled_key_policy(document, account), attached, (), [name])
    return any(overlap.principal == name for overlap in found)


def _compiled(principal: Principal) -> list[tuple[str, Document]]:
    return [(name, compiled_identity_policy(text)) for name, text in principal.policies]


def permit_certificate(permit: Permit, authority: Key) -> Permit:
    """The service's own use of its certificate authority, on behalf of whoever was permitted to make or rotate a
    key, or to renew its certificate."""
    if permit.action not in _CERTIFIED:
        msg = "certificates are issued only for a key that is made or rotated, or whose certificate is renewed"
        raise PolicyForbids(msg)
    return Permit(permit.principal, Action.ISSUE_CERTIFICATE, authority.id, authority.policy.revision, _MADE_HERE)


def permit_publication(service: Principal, key: Key) -> Permit:
    """The service's own signature on its SAML metadata: nobody's call, so no duty and no policy decides.

    Raises `PolicyForbids` for a key that is not a published saml key.
    """
    if key.purpose is not Purpose.SAML or not key.published:
        msg = "metadata are signed with a published saml key alone"
        raise PolicyForbids(msg)
    return Permit(service, Action.SIGN_METADATA, key.id, key.policy.revision, _MADE_HERE)


def permit_revocation_list(service: Principal, authority: Key) -> Permit:
    """The service's own signature on its authority's revocation list: nobody's call. Raises `PolicyForbids` for a key
    that is not an authority's."""
    if authority.purpose is not Purpose.CA:
        msg = "a revocation list is signed with the certificate authority's key alone"
        raise PolicyForbids(msg)
    return Permit(service, Action.SIGN_REVOCATION_LIST, authority.id, authority.policy.revision, _MADE_HERE)


def permit_rotation(service: Principal, key: Key) -> Permit:
    """The rotation that a key's schedule asks for: nobody's call, for whoever set the schedule was permitted then.

    Raises `PolicyForbids` for a key that has none.
    """
    if key.rotation is None:
        msg = "only a key that has a schedule is rotated by itself"
        raise PolicyForbids(msg)
    return Permit(service, Action.ROTATE_KEY, key.id, key.policy.revision, _MADE_HERE)


def permit_request(permit: Permit) -> Permit:
    """To ask for approval of what a call itself was permitted: the request is authorised as the call is."""
    return replace(permit, action=Action.REQUEST_APPROVAL)


def permit_approved(permit: Permit, approval: str) -> Permit:
    """The permit of a call that a quorum has released; `approval` is the request's id, for the record."""
    return replace(permit, approval=approval)


def permit_ceremony(principal: Principal, action: Action, key: Key | None) -> Permit:
    """What the ceremony of `init` does before anybody can call: used by `signer.people` alone (a test holds it to
    that)."""
    return Permit(principal, action, key.id if key else None, None, _MADE_HERE)
