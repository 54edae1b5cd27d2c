"""The stage between access and audit intent that holds a call until a quorum has released it.

A key without a rule costs one look at an empty mapping. Held calls and their release are decided by
`signer.access.approvals`, in the transaction that uses the approval up: of two who use it at the same time one wins.
An approval is used by the call that it releases even if that call then fails: whether a signature was made must never
be in doubt while an approval is left to make another.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from keystore.api import ApprovalRequestRecord, KeyState
from keystore.errors import Conflict as Taken
from keystore.errors import NotFound as NoSuchRow
from keystore.keys import UUID_FORM
from keystore.lifecycle import check_transition, require_enabled
from keystore.values import members_of
from signer.access import Action
from signer.access.approvals import (
    IN_WORDS,
    HeldCall,
    Obstacle,
    binding_of,
    can_be_met,
    hash_of,
    in_words,
    obstacle_to,
    requirements_for,
    shown,
)
from signer.access.decision import permit_approved
from signer.errors import ApprovalInvalid, ApprovalRequired, Unprocessable, WrongState
from signer.held import HELD_BY_ACTION, canonical

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    import msgspec

    from keystore.api import ApprovalFacts, ApprovalRequirement, Key
    from keystore.keystore import Keystore
    from signer.access import Permit
    from signer.call import Call

    Check = Callable[[Permit, Key, Any], None]

HEADER: Final = "sealmark-approval"

_STATES_NEEDED: Final[Mapping[Action, KeyState]] = {
    Action.SCHEDULE_KEY_DELETION: KeyState.PENDING_DELETION,
    Action.ENABLE_KEY: KeyState.ENABLED,
}
_ENABLED_NEEDED: Final = frozenset(
    {
        Action.ROTATE_KEY,
        Action.ROTATE_KEY_ON_DEMAND,
        Action.ENABLE_KEY_ROTATION,
        Action.DISABLE_KEY_ROTATION,
    }
)


class Approvals:
    """One per worker; keeps nothing."""

    def __init__(self, keystore: Keystore, checks: Mapping[Action, Check]) -> None:
        self._keystore = keystore
        self._checks = checks

    def release(self, permit: Permit, call: Call, key: Key | None, body: msgspec.Struct) -> Permit:
        """The permit to go on with: as it is where no rule covers the call, with the approval that released it where
        one does. Raises: `ApprovalRequired`; `ApprovalInvalid`, which leaves the approval as it was."""
        approval = call.headers.get(HEADER)
        requirements = () if key is None else requirements_for(permit.action, key.approval_rule)
        if key is None or not requirements:
            if approval is None:
                return permit
            msg = "nothing here asks for approval now: make the call without the header Sealmark-Approval"
            raise ApprovalInvalid(msg, field="Sealmark-Approval")
        if not isinstance(body, HELD_BY_ACTION[permit.action].body_type):
            name = HELD_BY_ACTION[permit.action].name
            msg = f"approvers see what they approve whole: make this change as the call `{name}`, with all that it is"
            raise ApprovalRequired(msg)
        if approval is None:
            raise ApprovalRequired(_how(permit, key, requirements))
        if not UUID_FORM.fullmatch(approval):
            raise ApprovalInvalid(IN_WORDS[Obstacle.ANOTHER_CALL], field="Sealmark-Approval")
        now = self._keystore.clock()
        held = _held(permit, key, body, self._keystore)

        def judge(facts: ApprovalFacts) -> None:
            found = obstacle_to(held, facts, now)
            if found is not None:
                raise ApprovalInvalid(IN_WORDS[found], field="Sealmark-Approval")

        try:
            self._keystore.release_approval(approval.lower(), permit.principal.name, now, judge)
        except NoSuchRow as absent:
            raise ApprovalInvalid(IN_WORDS[Obstacle.ANOTHER_CALL], field="Sealmark-Approval") from absent
        return permit_approved(permit, approval.lower())

    def check(self, permit: Permit, key: Key, body: msgspec.Struct) -> None:
        """Raises what a change would be refused for: approvers are not asked for what cannot be done."""
        if permit.action in _STATES_NEEDED:
            check_transition(key.state, _STATES_NEEDED[permit.action])
        elif permit.action in _ENABLED_NEEDED:
            require_enabled(key.state)
        if permit.action in self._checks:
            self._checks[permit.action](permit, key, body)

    def prepare(
        self, permit: Permit, key: Key, body: msgspec.Struct, reason: str, new_id: str
    ) -> ApprovalRequestRecord:
        """The request that holds this call; `permit` is the call's own. Nothing is written yet.

        Raises: `Unprocessable` where no rule covers the call or the approvers left are too few; `WrongState`.
        """
        requirements = requirements_for(permit.action, key.approval_rule)
        if not requirements:
            msg = "the key's approval rule does not cover this operation: make the call itself"
            raise Unprocessable(msg, field="operation")
        if not can_be_met(requirements, permit.principal.name):
            msg = "nobody approves their own request, and without you the rule names too few approvers"
            raise Unprocessable(msg, field="operation")
        now = self._keystore.clock()
        held = _held(permit, key, body, self._keystore)
        record = ApprovalRequestRecord(
            id=new_id,
            key_id=key.id,
            operation=held.operation,
            requester=held.requester,
            body=held.body,
            shown_sha256=b"",
            binding=held.binding,
            rule_revision=key.approval_rule.revision,
            requirements=requirements,
            reason=reason,
            created_at=now,
            expires_at=now + timedelta(seconds=min(each.window_seconds for each in requirements)),
        )
        return replace(record, shown_sha256=hash_of(shown(record, members_of(held.body.decode()))))

    def hold(self, request: ApprovalRequestRecord) -> None:
        """Keeps the request for approvers to see. Raises `WrongState`, `LimitExceeded`."""
        try:
            self._keystore.create_approval_request(request)
        except Taken as changed:
            msg = "the key's approval rule was changed meanwhile: ask again"
            raise WrongState(msg) from changed


def _held(permit: Permit, key: Key, body: msgspec.Struct, keystore: Keystore) -> HeldCall:
    operation = HELD_BY_ACTION[permit.action].name
    binding = binding_of(permit.action, key, keystore.clock())
    return HeldCall(permit.principal.name, key.id, operation, canonical(body), binding)


def _how(permit: Permit, key: Key, requirements: tuple[ApprovalRequirement, ...]) -> str:
    operation = HELD_BY_ACTION[permit.action].name
    return (
        f"this key's approval rule asks for {in_words(requirements)}: POST /v1/keys/{key.id}/approval-requests with "
        f"the operation `{operation}` and this body as `request`, and once it is approved make this very call again "
        "with the header Sealmark-Approval: ID"
    )
