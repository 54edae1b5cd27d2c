"""What could be, whatever the circumstances: may this principal know that a key is there? It decides 404 against 403.

Conditions are taken as satisfiable; a Deny counts where it has none. So a key is seen by whoever could do anything with
it at some time, from some place, and by nobody else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from signer.access.actions import KEY_ACTIONS
from signer.access.evaluation import covers
from signer.access.matching import select

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from signer.access.matching import Rule, Selection
    from signer.access.model import Document, GrantFacts


@dataclass(frozen=True, slots=True)
class Standing:
    """What one principal has to do with one key: whatever could ever decide about it."""

    principal: str
    account: str
    key_arn: str
    key_policy: Document
    identity_policies: Sequence[tuple[str, Document]]
    grants: Sequence[GrantFacts]

    def allowed_by(self, action: str) -> str | None:
        """What could allow the action, in words such as `the key policy (Statement[0])`, or None."""
        of_key = select(self.key_policy, self.principal, self.account, action)
        of_identity = [
            (name, select(document, self.principal, self.account, action)) for name, document in self.identity_policies
        ]
        if self._is_denied([of_key, *(selection for _, selection in of_identity)]):
            return None
        rule = self._possible(of_key.allows)
        if rule is not None:
            return f"the key policy ({rule.label})"
        if self._possible(of_key.delegations) is not None:
            for name, selection in of_identity:
                rule = self._possible(selection.allows)
                if rule is not None:
                    return f"the identity policy {name} ({rule.label})"
        for grant in self.grants:
            if covers(grant, self.principal, action):
                return f"the grant {grant.id}"
        return None

    def _is_denied(self, selections: Iterable[Selection]) -> bool:
        return any(
            rule.reaches(self.key_arn) and not rule.checks for selection in selections for rule in selection.denies
        )

    def _possible(self, rules: Iterable[Rule]) -> Rule | None:
        return next((rule for rule in rules if rule.reaches(self.key_arn) and rule.could_be_met), None)


def may_see(
    principal: str,
    account: str,
    key_arn: str,
    key_policy: Document,
    identity_policies: Sequence[tuple[str, Document]] = (),
    grants: Sequence[GrantFacts] = (),
    actions: Iterable[str] = KEY_ACTIONS,
) -> bool:
    """Whether the key exists as far as this principal (user/NAME or role/NAME) is told: one of `actions` on it could be
    allowed (those of the principal's duty, say). `identity_policies` are the principal's own, `grants` the key's."""
    standing = Standing(principal, account, key_arn, key_policy, identity_policies, grants)
    return any(standing.allowed_by(action) is not None for action in actions)
