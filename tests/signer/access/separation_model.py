"""The service's state, as far as access goes, as a pure model: people, keys, policies, grants; and who may change what.

Every change goes through the same pure functions that the service calls (`parse_…`, `evaluate`, `overlaps`,
`locked_out`) and the same boundary of duties. What the people then can do is judged by the reference evaluator alone.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from signer.access import Duty
from signer.access.actions import KEY_ACTIONS, POLICY_ACTIONS, Part
from signer.access.documents import parse_identity_policy, parse_key_policy
from signer.access.evaluation import evaluate
from signer.access.model import AccessRequest, Document, GrantFacts
from signer.access.policy_refusal import PolicyRefused
from signer.access.separation import locked_out, overlaps
from tests.signer.access.compare_evaluators import grant_facts
from tests.signer.access.random_policies import ACCOUNT
from tests.signer.access.reference_evaluator import Question, judge

if TYPE_CHECKING:
    from collections.abc import Iterable

STRANGER: Final = "role/whom-no-document-names"
_ADMINISTERING: Final = tuple(action for action in KEY_ACTIONS if POLICY_ACTIONS[action] is Part.ADMINISTER)
_USING: Final = tuple(action for action in KEY_ACTIONS if POLICY_ACTIONS[action] is Part.USE)
ADMINISTERS_KEYS: Final = frozenset({Duty.KEY_ADMINISTRATOR, Duty.ROOT})
ADMINISTERS_PEOPLE: Final = frozenset({Duty.ADMINISTRATOR, Duty.ROOT})
# No AWS service calls here: a condition that asks for one is never met. All others are taken as satisfiable.
_NEVER_MET: Final = {"Bool": {"kms:GrantIsForAWSResource": "true"}}


class Refused(Exception):
    """The change is not made; the message says why: "duty", "policy", "document", "separation" or "lockout"."""


@dataclass
class KeyState:
    """A key's policy and grants, as raw JSON."""

    policy: dict[str, Any]
    grants: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass
class State:
    """People and their duties, their identity policies by name, and keys by ARN."""

    duties: dict[str, Duty]
    keys: dict[str, KeyState] = field(default_factory=dict)
    identity_policies: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    recorded: list[tuple[str, str]] = field(default_factory=list)  # who did what

    # Changes. `actor` is who asks; each is made whole or not at all.

    def create_key(self, actor: str, arn: str, policy: dict[str, Any]) -> None:
        self._demand(actor, ADMINISTERS_KEYS)
        self._store_policy(arn, policy)
        self.recorded.append((actor, "CreateKey"))

    def put_key_policy(self, actor: str, arn: str, policy: dict[str, Any]) -> None:
        self._demand(actor, ADMINISTERS_KEYS, arn, "kms:PutKeyPolicy")
        self._store_policy(arn, policy)
        self.recorded.append((actor, "PutKeyPolicy"))

    def create_grant(self, actor: str, arn: str, grant: dict[str, Any]) -> None:
        self._demand(actor, ADMINISTERS_KEYS, arn, "kms:CreateGrant")
        key = self.keys[arn]
        self._check_separation(arn, key.policy, {**key.grants, grant["GrantId"]: grant}, self.identity_policies)
        key.grants[grant["GrantId"]] = grant
        self.recorded.append((actor, "CreateGrant"))

    def revoke_grant(self, actor: str, arn: str, grant_id: str) -> None:
        self._demand(actor, ADMINISTERS_KEYS, arn, "kms:RevokeGrant")
        self.keys[arn].grants.pop(grant_id, None)
        self.recorded.append((actor, "RevokeGrant"))

    def put_identity_policy(self, actor: str, principal: str, name: str, policy: dict[str, Any]) -> None:
        self._demand(actor, ADMINISTERS_PEOPLE)
        if actor == principal:
            raise Refused("duty")
        _parsed_identity_policy(policy)
        changed = {**self.identity_policies, principal: {**self.identity_policies.get(principal, {}), name: policy}}
        for arn, key in self.keys.items():
            self._check_separation(arn, key.policy, key.grants, changed)
        self.identity_policies = changed
        self.recorded.append((actor, "PutPrincipalPolicy"))

    def remove_identity_policy(self, actor: str, principal: str, name: str) -> None:
        self._demand(actor, ADMINISTERS_PEOPLE)
        if actor == principal:
            raise Refused("duty")
        left = {other: policy for other, policy in self.identity_policies.get(principal, {}).items() if other != name}
        changed = {**self.identity_policies, principal: left}
        # A Deny that goes may have been what kept the two apart.
        for arn, key in self.keys.items():
            self._check_separation(arn, key.policy, key.grants, changed)
        self.identity_policies = changed
        self.recorded.append((actor, "PutPrincipalPolicy"))

    def change_duty(self, actor: str, principal: str, duty: Duty) -> None:
        self._demand(actor, ADMINISTERS_PEOPLE)
        if actor == principal or Duty.ROOT in (duty, self.duties[principal]):  # nobody's own; root is made by `init`
            raise Refused("duty")
        self.duties[principal] = duty
        self.recorded.append((actor, "UpdatePrincipal"))

    # What people can do, with the boundary of their duties, by the service's own evaluator.

    def can(self, principal: str, arn: str, action: str) -> bool:
        if POLICY_ACTIONS[action] is Part.USE and self.duties[principal] is not Duty.KEY_USER:
            return False
        if POLICY_ACTIONS[action] is Part.ADMINISTER and self.duties[principal] not in ADMINISTERS_KEYS:
            return False
        if self.duties[principal] is Duty.ROOT:
            return True  # break-glass administers every key
        key = self.keys[arn]
        decision = evaluate(
            AccessRequest(principal, ACCOUNT, action, arn),
            _parsed_key_policy(key.policy),
            [
                (name, _parsed_identity_policy(policy))
                for name, policy in self.identity_policies.get(principal, {}).items()
            ],
            _facts(key.grants.values()),
        )
        return decision.allowed

    def _demand(self, actor: str, duties: frozenset[Duty], arn: str | None = None, action: str = "") -> None:
        if self.duties[actor] not in duties:
            raise Refused("duty")
        if arn is not None and not self.can(actor, arn, action):
            raise Refused("policy")

    def _store_policy(self, arn: str, policy: dict[str, Any]) -> None:
        parsed = _parsed_key_policy(policy)
        grants = self.keys[arn].grants if arn in self.keys else {}
        self._check_separation(arn, policy, grants, self.identity_policies)
        administrators = [name for name, duty in self.duties.items() if duty is Duty.KEY_ADMINISTRATOR]
        identities = _parsed_identities(self.identity_policies)
        if locked_out(arn, ACCOUNT, parsed, identities, _facts(grants.values()), administrators):
            raise Refused("lockout")
        self.keys[arn] = KeyState(policy, grants)

    def _check_separation(
        self,
        arn: str,
        policy: dict[str, Any],
        grants: dict[str, dict[str, Any]],
        identity_policies: dict[str, dict[str, dict[str, Any]]],
    ) -> None:
        found = overlaps(
            arn,
            ACCOUNT,
            _parsed_key_policy(policy),
            _parsed_identities(identity_policies),
            _facts(grants.values()),
            self.duties,
        )
        # Beside it, whether the reference evaluator finds somebody: neither too little nor too much is refused.
        judged = self.who_could_do_both(arn, policy, grants, identity_policies)
        assert bool(found) == bool(judged), (arn, policy, grants, identity_policies, found, judged)
        if found:
            raise Refused("separation")

    def who_could_do_both(
        self,
        arn: str,
        policy: dict[str, Any],
        grants: dict[str, dict[str, Any]],
        identity_policies: dict[str, dict[str, dict[str, Any]]],
    ) -> list[str]:
        """Everybody who could, with any conditions satisfied, administer and use the key: by the reference evaluator,
        trying every action, whatever anybody's duty."""
        return everybody_who_does_both(
            arn, policy, identity_policies, list(grants.values()), [*self.duties, *identity_policies]
        )

    def overlapping(self) -> list[tuple[str, str]]:
        """Everybody who could do both with some key, in the state as it is."""
        return [
            (name, arn)
            for arn, key in self.keys.items()
            for name in self.who_could_do_both(arn, key.policy, key.grants, self.identity_policies)
        ]


def everybody_who_does_both(
    arn: str,
    policy: dict[str, Any],
    identity_policies: dict[str, dict[str, dict[str, Any]]],
    grants: list[dict[str, Any]],
    names: Iterable[str],
) -> list[str]:
    """Those of the names, of whoever the policy or a grant names, and of all others (one stands for them)."""
    named = re.findall(r":((?:user|role)/[\w-]+)", json.dumps(policy))
    return [
        name
        for name in dict.fromkeys((*names, *named, *(grant["GranteePrincipal"] for grant in grants), STRANGER))
        if does_both(
            name,
            arn,
            json.dumps(policy),
            json.dumps(identity_policies.get(name, {})),
            json.dumps([grant for grant in grants if grant["GranteePrincipal"] == name]),
        )
    ]


@cache
def does_both(principal: str, arn: str, policy: str, identities: str, grants: str) -> bool:
    """Tries every administering and every using action. The documents are JSON texts, so that what was tried once need
    not be again."""
    key_policy = satisfiable(json.loads(policy))
    identity_policies = [(name, satisfiable(document)) for name, document in json.loads(identities).items()]
    unconstrained = [{**grant, "Constraints": {}} for grant in json.loads(grants)]

    def possible(actions: Iterable[str]) -> bool:
        return any(
            judge(Question(principal, ACCOUNT, action, arn), key_policy, identity_policies, unconstrained).allowed
            for action in actions
        )

    return possible(_ADMINISTERING) and possible(_USING)


def satisfiable(document: dict[str, Any]) -> dict[str, Any]:
    """The document where it allows the most: the conditions of an Allow are met, those of a Deny are not."""
    statements = []
    for statement in document["Statement"]:
        condition = statement.get("Condition")
        if condition and (statement["Effect"] == "Deny" or condition == _NEVER_MET):
            continue
        statements.append({name: value for name, value in statement.items() if name != "Condition"})
    return {**document, "Statement": statements}


def _parsed_identities(
    identity_policies: dict[str, dict[str, dict[str, Any]]],
) -> dict[str, list[tuple[str, Document]]]:
    return {
        principal: [(name, _parsed_identity_policy(policy)) for name, policy in policies.items()]
        for principal, policies in identity_policies.items()
    }


def _parsed_key_policy(policy: dict[str, Any]) -> Document:
    try:
        return _key_policy(json.dumps(policy))
    except PolicyRefused as refusal:
        raise Refused("document") from refusal


def _parsed_identity_policy(policy: dict[str, Any]) -> Document:
    try:
        return _identity_policy(json.dumps(policy))
    except PolicyRefused as refusal:
        raise Refused("document") from refusal


@cache
def _key_policy(policy: str) -> Document:
    return parse_key_policy(json.loads(policy), account=ACCOUNT)


@cache
def _identity_policy(policy: str) -> Document:
    return parse_identity_policy(json.loads(policy))


def _facts(grants: Iterable[dict[str, Any]]) -> list[GrantFacts]:
    return [grant_facts(grant) for grant in grants]
