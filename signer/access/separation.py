"""Separation of duties over the documents themselves: nobody administers and uses one key, and somebody can change its
policy.

A second check beside the evaluator, always on, made before a key policy, an identity policy or a grant is stored. Taken
together are the key policy, the identity policies where the key policy leaves it to the account, and the grants;
conditions are taken as satisfiable, so that no circumstances can bring the two together (a Deny counts where it has no
condition). That a key policy leaves everything to the account is no overlap by itself: the identity policy that would
make it one is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from signer.access.actions import KEY_ACTIONS, POLICY_ACTIONS, Part
from signer.access.visibility import Standing

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from signer.access.model import Document, GrantFacts

ANYBODY_ELSE: Final = "anybody else"  # whom no document names: what "*" gives to everybody
_NO_NAME: Final = "*/"  # of no principal's form, so no document and no grant can name it
_PUT_KEY_POLICY: Final = "kms:PutKeyPolicy"


def _of(part: Part, first: str) -> tuple[str, ...]:
    """The actions of a part; before the others the one that tells a reader the most."""
    return (first, *(action for action in KEY_ACTIONS if POLICY_ACTIONS[action] is part and action != first))


_ADMINISTERING: Final = _of(Part.ADMINISTER, _PUT_KEY_POLICY)
_USING: Final = _of(Part.USE, "kms:Sign")


@dataclass(frozen=True, slots=True)
class Overlap:
    """One who could do both, and by what: `administers_by` and `uses_by` are words such as `the grant 1f3a…`."""

    principal: str
    administers_by: str
    administers_action: str
    uses_by: str
    uses_action: str

    def __str__(self) -> str:
        return (
            f"{self.principal} could administer the key ({self.administers_action} by {self.administers_by}) "
            f"and use it ({self.uses_action} by {self.uses_by}); nobody may do both"
        )


@dataclass(frozen=True, slots=True)
class Lockout:
    """Nobody could ever change the policy again. `asked`: who was thought of."""

    asked: tuple[str, ...]

    def __str__(self) -> str:
        who = ", ".join(self.asked) if self.asked else "there is none"
        return f"no key administrator ({who}) could ever change the key's policy again: allow one {_PUT_KEY_POLICY}"


def overlaps(
    key_arn: str,
    account: str,
    key_policy: Document,
    identity_policies: Mapping[str, Sequence[tuple[str, Document]]],
    grants: Sequence[GrantFacts],
    names: Iterable[str],
) -> list[Overlap]:
    """Everybody who could administer and use the key, by name; at the end `anybody else`. `identity_policies` has each
    principal's own with their names; `names` are the principals that there are: whoever a document names is added."""
    mentioned = _mentioned(key_policy, identity_policies, grants)
    anybody_else = _overlap(ANYBODY_ELSE, Standing(_NO_NAME, account, key_arn, key_policy, (), grants))
    found = []
    for name in sorted(mentioned.union(names)):
        if name in mentioned:
            own = identity_policies.get(name, ())
            overlap = _overlap(name, Standing(name, account, key_arn, key_policy, own, grants))
        else:  # as anybody else: there may be thousands
            overlap = anybody_else and replace(anybody_else, principal=name)
        found += [overlap] if overlap else []
    return [*found, anybody_else] if anybody_else else found


def locked_out(
    key_arn: str,
    account: str,
    key_policy: Document,
    identity_policies: Mapping[str, Sequence[tuple[str, Document]]],
    grants: Sequence[GrantFacts],
    names: Iterable[str],
) -> Lockout | None:
    """The lockout, if none of `names` (the key administrators that there are) could ever change the policy again."""
    asked = tuple(sorted(set(names)))
    for name in asked:
        standing = Standing(name, account, key_arn, key_policy, identity_policies.get(name, ()), grants)
        if standing.allowed_by(_PUT_KEY_POLICY) is not None:
            return None
    return Lockout(asked)


def _overlap(name: str, standing: Standing) -> Overlap | None:
    administers = _first_possible(standing, _ADMINISTERING)
    uses = administers and _first_possible(standing, _USING)
    return Overlap(name, *administers, *uses) if administers and uses else None


def _first_possible(standing: Standing, actions: Iterable[str]) -> tuple[str, str] | None:
    for action in actions:
        by = standing.allowed_by(action)
        if by is not None:
            return by, action
    return None


def _mentioned(
    key_policy: Document,
    identity_policies: Mapping[str, Sequence[tuple[str, Document]]],
    grants: Iterable[GrantFacts],
) -> set[str]:
    """Everybody who is not just anybody: named by the key policy or a grant, or with an identity policy."""
    mentioned = {name for name, policies in identity_policies.items() if policies}
    for statement in key_policy.statements:
        for named in (statement.principals, statement.not_principals):
            mentioned |= named.names if named is not None else frozenset()
    for grant in grants:
        mentioned |= {grant.grantee, *([grant.retiring] if grant.retiring is not None else [])}
    return mentioned
