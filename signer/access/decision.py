"""From a principal and a key's policy to a permit, or a refusal.

First `admit`: does the caller's duty allow such a call at all? That is answered before any key is looked up, so that
the answer says nothing about which keys exist. Then `decide`: does this key's policy name the caller for it? Deny by
default. Only this module can make an `Admission` or a `Permit`; the stages that follow take nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from keystore.algorithms import CALLER_PURPOSES, Purpose
from signer.access.duties import ADMINISTRATORS_ACTIONS, COMMON_ACTIONS, DUTIES_OF, USERS_ACTIONS, Action, Duty
from signer.errors import DutyForbids, NotFound, PolicyForbids

if TYPE_CHECKING:
    from keystore.api import Key
    from signer.authn.principal import Principal

_MADE_HERE: Final = object()
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


def decide(admission: Admission, key: Key | None) -> Permit:
    """The second half: the key's own policy. `key` is None for calls that are about no key.

    Raises: `NotFound` if the caller may not see the key, `PolicyForbids` if it may see it but not do this.
    """
    principal, action = admission.principal, admission.action
    if key is None:
        return Permit(principal, action, None, None, _MADE_HERE)
    if action is Action.GET_APPROVAL_RULE and is_approver(principal, key):
        return Permit(principal, action, key.id, key.policy.revision, _MADE_HERE)
    if not may_see(principal, key):
        raise NotFound(KEY_NOT_FOUND, field="key")
    allowed = (
        action in COMMON_ACTIONS
        or (action in ADMINISTRATORS_ACTIONS and _administers(principal, key))
        or (action in USERS_ACTIONS and _uses(principal, key))
    )
    if not allowed:
        msg = f"the key's policy does not name {principal.name} for {action}"
        raise PolicyForbids(msg)
    return Permit(principal, action, key.id, key.policy.revision, _MADE_HERE)


def permit_certificate(permit: Permit, authority: Key) -> Permit:
    """The service's own use of its certificate authority, on behalf of whoever was permitted to make or rotate a
    key, or to renew its certificate."""
    if permit.action not in (Action.CREATE_KEY, Action.ROTATE_KEY, Action.RENEW_CERTIFICATE):
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


def permit_request(permit: Permit) -> Permit:
    """To ask for approval of what a call itself was permitted: the request is authorised as the call is."""
    return replace(permit, action=Action.REQUEST_APPROVAL)


def permit_approved(permit: Permit, approval: str) -> Permit:
    """The permit of a call that a quorum has released; `approval` is the request's id, for the record."""
    return replace(permit, approval=approval)


def is_approver(principal: Principal, key: Key) -> bool:
    """Whether the key's approval rule names this principal."""
    return any(principal.name in each.approvers for each in key.approval_rule.requirements.values())


def may_see(principal: Principal, key: Key) -> bool:
    """Whether the key exists as far as this principal is told."""
    return _administers(principal, key) or _uses(principal, key)


def _administers(principal: Principal, key: Key) -> bool:
    if principal.duty is Duty.ROOT:  # break-glass: any customer's key, also one whose administrators are all gone
        return key.purpose in CALLER_PURPOSES
    return principal.duty is Duty.KEY_ADMINISTRATOR and principal.name in key.policy.administrators


def _uses(principal: Principal, key: Key) -> bool:
    # A principal that administers a key never uses it, whatever the policy says (separation of duties).
    return (
        principal.duty is Duty.KEY_USER
        and principal.name in key.policy.users
        and principal.name not in key.policy.administrators
    )


def permit_ceremony(principal: Principal, action: Action, key: Key | None) -> Permit:
    """What the ceremony of `init` does before anybody can call: used by `signer.people` alone (a test holds it to
    that)."""
    return Permit(principal, action, key.id if key else None, None, _MADE_HERE)
