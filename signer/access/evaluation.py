"""May this principal do this, here and now? A pure decision over policies and grants, as AWS documents it.

"Policy evaluation logic" (IAM User Guide) and "Key access and permissions" (AWS KMS Developer Guide), for one account:

1. An explicit Deny, of the key policy or of an identity policy, beats everything.
2. Else an Allow of the key policy that names the caller, or everybody, allows.
3. Else an Allow of an identity policy does, where the key policy leaves it to the account (names the account).
4. Else a grant does.
5. Else nothing does: denied.

For what is about no key there is no key policy, and identity policies alone decide. Duties, the separation of duties
and break-glass are not here; they stand before and beside this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from signer.access.actions import KEY_PREFIX
from signer.access.condition_keys import ENCRYPTION_CONTEXT, SIGNING_CONTEXT
from signer.access.matching import select
from signer.access.model import AccessRequest, Decision, GrantFacts, Source

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from signer.access.matching import Rule, Selection
    from signer.access.model import ConditionValues, Document

# A grant's constraints do not apply to these (AWS KMS API Reference, GrantConstraints).
UNCONSTRAINED_OPERATIONS: Final = frozenset({"DescribeKey", "RetireGrant"})


def evaluate(
    request: AccessRequest,
    key_policy: Document | None,
    identity_policies: Sequence[tuple[str, Document]],
    grants: Sequence[GrantFacts],
) -> Decision:
    """Decides. `key_policy` is None for what is about no key; `identity_policies` are the caller's own, each with its
    name; `grants` are the key's.

    To ask about one grant's retirement, give that grant alone: its retiring principal is allowed `kms:RetireGrant`.
    """
    asked = (request.principal, request.account, request.action)
    of_key = None if key_policy is None else select(key_policy, *asked)
    of_identity = [(name, select(document, *asked)) for name, document in identity_policies]
    decision = _denied(request, of_key, of_identity)
    if decision is not None:
        return decision
    unmet: list[str] = []
    decision = (
        _allowed_by_key_policy(request, of_key, unmet)
        or _allowed_by_identity_policy(request, of_key, of_identity, unmet)
        or _allowed_by_grant(request, grants, unmet)
    )
    return decision or Decision(False, Source.NOTHING, None, tuple(dict.fromkeys(unmet)))


def _denied(
    request: AccessRequest, of_key: Selection | None, of_identity: Iterable[tuple[str, Selection]]
) -> Decision | None:
    if of_key is not None and of_key.denies:
        rule = _first(request, of_key.denies)
        if rule is not None:
            return Decision(False, Source.KEY_POLICY, rule.label)
    for name, selection in of_identity:
        if selection.denies:
            rule = _first(request, selection.denies)
            if rule is not None:
                return Decision(False, Source.IDENTITY_POLICY, f"{name}: {rule.label}")
    return None


def _allowed_by_key_policy(request: AccessRequest, of_key: Selection | None, unmet: list[str]) -> Decision | None:
    rule = None if of_key is None else _first(request, of_key.allows, unmet)
    return None if rule is None else Decision(True, Source.KEY_POLICY, rule.label)


def _allowed_by_identity_policy(
    request: AccessRequest,
    of_key: Selection | None,
    of_identity: Iterable[tuple[str, Selection]],
    unmet: list[str],
) -> Decision | None:
    delegated = of_key is None or _first(request, of_key.delegations, unmet) is not None
    if not delegated:
        return None
    for name, selection in of_identity:
        rule = _first(request, selection.allows, unmet)
        if rule is not None:
            return Decision(True, Source.IDENTITY_POLICY, f"{name}: {rule.label}")
    return None


def _allowed_by_grant(request: AccessRequest, grants: Iterable[GrantFacts], unmet: list[str]) -> Decision | None:
    for grant in grants:
        if not covers(grant, request.principal, request.action):
            continue
        lacking = _lacking(grant, request)
        if lacking is None:
            return Decision(True, Source.GRANT, grant.id)
        unmet.append(lacking)
    return None


def _first(request: AccessRequest, rules: Iterable[Rule], unmet: list[str] | None = None) -> Rule | None:
    """The first rule that is about the resource and whose conditions are all met; where there is none, `unmet` gets the
    conditions that were not."""
    lacking: list[str] = []
    for rule in rules:
        if not rule.reaches(request.resource):
            continue
        if not rule.checks:
            return rule
        lacks = rule.unmet(request.context)
        if not lacks:
            return rule
        lacking += lacks
    if unmet is not None:
        unmet += lacking
    return None


def covers(grant: GrantFacts, principal: str, action: str) -> bool:
    """Whether the grant is about this caller and action at all; its constraints aside."""
    operation = action.removeprefix(KEY_PREFIX)
    if operation == action:
        return False
    if operation == "RetireGrant" and grant.retiring is not None and grant.retiring == principal:
        return True
    return grant.grantee == principal and operation in grant.operations


def _lacking(grant: GrantFacts, request: AccessRequest) -> str | None:
    """The constraint that the request does not meet, in words, or None. What a grant constrains for `CreateGrant` is
    the constraint of the grant to be made: its context stands in the request's, and it may not be laxer."""
    operation = request.action.removeprefix(KEY_PREFIX)
    if operation in UNCONSTRAINED_OPERATIONS:
        return None
    if grant.context_equals is None and grant.context_subset is None:
        return None
    context = _context_of(request.context)
    if grant.context_equals is not None and (
        context != dict(grant.context_equals) or (operation == "CreateGrant" and not _makes_an_equal(request.context))
    ):
        return f"EncryptionContextEquals of the grant {grant.id}"
    if grant.context_subset is not None and (context is None or not grant.context_subset.items() <= context.items()):
        return f"EncryptionContextSubset of the grant {grant.id}"
    return None


def _makes_an_equal(context: ConditionValues) -> bool:
    return tuple(context.get("kms:grantconstrainttype", ())) == ("EncryptionContextEquals",)


def _context_of(context: ConditionValues) -> Mapping[str, str] | None:
    """The encryption or signing context of a request, its names as the caller wrote them; None where one name has
    several values, which no grant's constraint is met by."""
    pairs: dict[str, str] = {}
    for key in context:
        for prefix in (ENCRYPTION_CONTEXT, SIGNING_CONTEXT):
            if key.startswith(prefix):
                name, values = key[len(prefix) :], context[key]
                if len(values) != 1 or pairs.setdefault(name, values[0]) != values[0]:
                    return None
    return pairs
