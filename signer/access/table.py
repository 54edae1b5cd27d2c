"""The published table of actions: the part of each in the separation of duties, and the duties that have it."""

from __future__ import annotations

from signer.access.actions import POLICY_ACTIONS
from signer.access.duties import DUTIES_OF, Action, Duty


def action_table() -> list[dict[str, object]]:
    """Each action that a policy may name: `action`, `part`, `duties` (none where this version has no call for it)."""
    calls = {action.policy_name: action for action in Action}
    return [
        {"action": name, "part": part.value, "duties": _duties(calls.get(name))}
        for name, part in sorted(POLICY_ACTIONS.items())
    ]


def _duties(action: Action | None) -> list[str]:
    """In the order of `Duty`; break-glass has what both administrators have, and is left out."""
    if action is None:
        return []
    return [duty.value for duty in Duty if duty in DUTIES_OF[action] and duty is not Duty.ROOT]
