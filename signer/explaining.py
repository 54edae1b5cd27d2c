"""Answers to "who may do what": the facts of a question put together, decided as real calls are, and said in words.

Whoever asks about somebody else may read the key's policy anyway, and is shown what its conditions want. Whoever asks
about itself may not: it is told which condition its call does not meet, and not what would meet it.
"""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from keystore.api import PrincipalRecord
from keystore.errors import WrongState as KeyInWrongState
from keystore.lifecycle import DISABLED_FROM, ENABLED_FROM, KEPT_FROM, SCHEDULED_FROM, USED_FROM, require_state
from signer.access import Action, Duty
from signer.access.actions import KEY_ACTIONS
from signer.access.approvals import in_words, requirements_for
from signer.access.asked_details import checked_details, published_name
from signer.access.circumstances import signing_context
from signer.access.duties import DUTIES_OF
from signer.access.explanation import (
    DENY,
    OF_APPROVAL,
    OF_KEY,
    Explanation,
    Question,
    Step,
    action_called,
    conditions_of,
    explain,
    near_actions,
)
from signer.access.grants import grant_facts
from signer.authn.owners import may_call
from signer.authn.principal import Principal
from signer.errors import ApprovalRequired, NotFound, SealmarkError, Unprocessable, WrongPurpose, WrongState
from signer.operations.artifacts import ArtifactSignatures
from signer.operations.assertions import IssuedAssertions
from signer.operations.base import Operation, usable_version
from signer.operations.signatures import RawSignatures
from signer.operations.tokens import IssuedTokens
from signer.request import Artifacts, AssertionItem, Deletion, Signatures, Tokens

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from keystore.api import Key, KeyState
    from keystore.keystore import Keystore
    from signer.access import Surroundings
    from signer.access.explanation import Asked
    from signer.access.model import ConditionValues, GrantFacts
    from signer.request import AccessQuestion, WhoCanQuestion
    from signer.request import Question as Asking

_PEOPLE_A_READ: Final = 500
# Each signing call, with a body that says nothing: its condition values are those of a plain call.
_PLAIN: Final[Mapping[str, tuple[Operation[Any], object]]] = MappingProxyType(
    {
        operation.action.policy_name: (operation, body)
        for operation, body in (
            (RawSignatures(), Signatures()),
            (ArtifactSignatures(), Artifacts(artifacts=[], formats=[])),
            (IssuedTokens(), Tokens()),
            (IssuedAssertions(), AssertionItem(subject="", audience="", recipient="")),
        )
    }
)
_PLAIN_CHANGES: Final[Mapping[str, ConditionValues]] = MappingProxyType(
    {
        Action.SCHEDULE_KEY_DELETION.policy_name: {
            "kms:schedulekeydeletionpendingwindowindays": (str(Deletion().days),)
        },
        Action.PUT_KEY_POLICY.policy_name: {"kms:bypasspolicylockoutsafetycheck": ("false",)},
    }
)
_STATES_FOR: Final[Mapping[str, frozenset[KeyState]]] = MappingProxyType(
    {
        Action.DISABLE_KEY.policy_name: DISABLED_FROM,
        Action.ENABLE_KEY.policy_name: ENABLED_FROM,
        Action.SCHEDULE_KEY_DELETION.policy_name: SCHEDULED_FROM,
        Action.CANCEL_KEY_DELETION.policy_name: KEPT_FROM,
        Action.ROTATE_KEY.policy_name: USED_FROM,
    }
)


class AccessExplanations:
    """What is asked by `/v1/access`; who may ask it was decided before."""

    def __init__(self, keystore: Keystore) -> None:
        self._keystore = keystore

    def explain(
        self, asker: Principal, key: Key | None, surroundings: Surroundings, body: AccessQuestion
    ) -> dict[str, object]:
        """The decision about one principal, and why. Raises `Unprocessable`; `NotFound` for the principal."""
        action = _known_action(body.action)
        if (action in KEY_ACTIONS) != (key is not None):
            msg = f"{action} is about a key: name it" if key is None else f"{action} is about no key: leave `key` out"
            raise Unprocessable(msg, field="key")
        own = body.principal == asker.name
        record = self._record(body.principal)
        question = Question(
            principal=asker if own else _as_caller(record),
            action=action,
            key=key,
            # About itself somebody asks as it calls now; about another it is not known from where.
            surroundings=_at(surroundings if own else replace(surroundings, source=""), body),
            details=_details(action, key, body),
            grants=self._grants(key, action, record.name),
            enabled=may_call(record, surroundings.now if body.at is None else body.at),
        )
        return _described(_completed(explain(question)), reveal=not own)

    def who_can(
        self, key: Key, surroundings: Surroundings, body: WhoCanQuestion, after: str | None, limit: int
    ) -> tuple[list[dict[str, object]], str | None]:
        """At most `limit` principals that may do it, in such a call or in another one, by name beyond `after`; and the
        name after which to go on (None: no more). Raises `Unprocessable`."""
        action = _known_action(body.action)
        if action not in KEY_ACTIONS:
            msg = f"{action} is about no key: the duties that have it are all that decides (`sealmark access actions`)"
            raise Unprocessable(msg, field="action")
        duties = {duty for each in Action if each.policy_name == action for duty in DUTIES_OF[each]}
        plain = Question(
            principal=Principal("", Duty.KEY_USER, ""),
            action=action,
            key=key,
            surroundings=_at(replace(surroundings, source=""), body),
            details=_details(action, key, body),
        )
        grants = [grant_facts(grant) for grant in self._keystore.list_grants(key.id)]
        found: list[dict[str, object]] = []
        for record in self._people(after):
            if not may_call(record, plain.surroundings.now) or Duty(record.duty) not in duties:
                continue
            own = [grant for grant in grants if record.name in (grant.grantee, grant.retiring)]
            explanation = _completed(explain(replace(plain, principal=_as_caller(record), grants=own)))
            conditions = conditions_of(explanation)
            if conditions is None:
                continue
            if len(found) == limit:
                return found, str(found[-1]["principal"])
            found.append(_possibility(explanation, conditions))
        return found, None

    def _record(self, name: str) -> PrincipalRecord:
        record = self._keystore.find_principal(name)
        if record is None or record.state == "deleted":
            msg = f"there is no principal {name}"
            raise NotFound(msg, field="principal")
        return record

    def _grants(self, key: Key | None, action: str, name: str) -> Sequence[GrantFacts]:
        if key is None:
            return ()
        if action == Action.RETIRE_GRANT.policy_name:  # its retiring principal is not its grantee
            return [grant_facts(grant) for grant in self._keystore.list_grants(key.id)]
        return [grant_facts(grant) for grant in self._keystore.grants_for(key.id, name)]

    def _people(self, after: str | None) -> Iterator[PrincipalRecord]:
        while page := self._keystore.list_principals(after=after, limit=_PEOPLE_A_READ):
            yield from page
            after = page[-1].name


def _as_caller(record: PrincipalRecord) -> Principal:
    """The principal as it would call: with an API token, unless the question says otherwise."""
    return Principal(record.name, Duty(record.duty), "explained", policies=record.policies)


def _known_action(name: str) -> str:
    found = action_called(name)
    if found is None:
        near = near_actions(name)
        hint = f"did you mean {' or '.join(near)}?" if near else "`sealmark access actions` lists them"
        msg = f"there is no action {name}; {hint}"
        raise Unprocessable(msg, field="action")
    return found


def _at(surroundings: Surroundings, body: Asking) -> Surroundings:
    return surroundings if body.at is None else replace(surroundings, now=body.at)


def _details(action: str, key: Key | None, body: Asking) -> ConditionValues:
    """What conditions may ask of the call: as a plain call has it, but for what the question says."""
    plain: dict[str, Sequence[str]] = dict(_PLAIN_CHANGES.get(action, {}))
    if key is not None and action in _PLAIN:
        operation, nothing = _PLAIN[action]
        plain |= operation.details(key, nothing)[0]
    said = {name: values for name, values in plain.items() if any(values)}
    return {**said, **signing_context(body.context), **checked_details(body.details)}


def _completed(explanation: Explanation) -> Explanation:
    """With what else would refuse a call that the policies allow, in the order in which a call meets it: a signing call
    the key's purpose and state before its approval rule, a change the rule first."""
    if not explanation.allowed:
        return explanation
    question = explanation.question
    found = [(OF_KEY, _hindrance(question)), (OF_APPROVAL, _held(question))]
    for source, hindrance in found if question.action in _PLAIN else reversed(found):
        if hindrance is not None:
            return explanation.hindered(Step(source, None, DENY, applies=True, says=hindrance.message), hindrance)
    return explanation


def _held(question: Question) -> ApprovalRequired | None:
    if question.key is None:
        return None
    for action in Action:
        if action.policy_name == question.action and (held := requirements_for(action, question.key.approval_rule)):
            return ApprovalRequired(f"the key's approval rule asks for {in_words(held)}")
    return None


def _hindrance(question: Question) -> WrongPurpose | WrongState | None:
    if question.key is None:
        return None
    try:
        if question.action in _PLAIN:
            usable_version(_PLAIN[question.action][0], question.key, None, question.surroundings.now)
        elif question.action in _STATES_FOR:
            require_state(question.key.state, _STATES_FOR[question.action])
    except (WrongPurpose, WrongState) as refusal:
        return refusal
    except KeyInWrongState as refusal:
        return WrongState(str(refusal))
    return None


def _described(explanation: Explanation, *, reveal: bool) -> dict[str, object]:
    question = explanation.question
    key = question.key
    return {
        "principal": question.principal.name,
        "duty": question.principal.duty.value,
        "action": question.action,
        "key": None if key is None else {"id": key.id, "alias": key.alias},
        "allowed": explanation.allowed,
        "decided_by": {"source": str(explanation.source), "statement": explanation.statement},
        "why": explanation.why,
        "refusal": _refusal(explanation.refusal),
        "steps": [_step(step, reveal=reveal) for step in explanation.steps],
        "circumstances": {published_name(name): list(values) for name, values in question.circumstances.items()},
    }


def _refusal(error: SealmarkError | None) -> dict[str, str] | None:
    return None if error is None else {"code": error.code, "detail": error.message}


def _step(step: Step, *, reveal: bool) -> dict[str, object]:
    return {
        "source": str(step.source),
        "statement": step.statement,
        "effect": step.effect,
        "applies": step.applies,
        "says": step.says,
        "conditions": [_condition(asked, reveal=reveal) for asked in step.conditions],
    }


def _condition(asked: Asked, *, reveal: bool) -> dict[str, object]:
    return {
        "operator": asked.operator,
        "key": asked.key,
        "values": list(asked.values) if reveal else None,
        "found": None if asked.found is None else list(asked.found),
        "met": asked.met,
    }


def _possibility(explanation: Explanation, conditions: Sequence[Step]) -> dict[str, object]:
    principal = explanation.question.principal
    return {
        "principal": principal.name,
        "duty": principal.duty.value,
        "access": "allowed" if explanation.allowed else "conditional",
        "decided_by": {"source": str(explanation.source), "statement": explanation.statement},
        "why": explanation.why,
        "refusal": _refusal(explanation.refusal),
        "conditions": [
            {"source": str(step.source), "statement": step.statement, "effect": step.effect}
            | {"conditions": [_condition(asked, reveal=True) for asked in step.conditions]}
            for step in conditions
        ],
    }
