"""Why a call would be allowed or denied: the decision itself, taken apart.

There is no second opinion here. The verdict is that of `admit` and `judge`, which decide real calls; the steps are the
same rules that these have looked at (`matching.select`), each asked the same questions once more.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from signer.access.actions import POLICY_ACTIONS, Part
from signer.access.circumstances import Circumstances
from signer.access.condition_keys import ENCRYPTION_CONTEXT, SIGNING_CONTEXT
from signer.access.decision import KEY_NOT_FOUND, admit, judge
from signer.access.documents import compiled_identity_policy, compiled_key_policy
from signer.access.duties import Action, Duty
from signer.access.evaluation import covers, evaluate
from signer.access.matching import rules_of, select
from signer.access.model import NO_CONTEXT, AccessRequest, Source
from signer.access.patterns import ascii_lower
from signer.access.visibility import Standing
from signer.errors import DutyForbids, NotFound, PolicyForbids, SealmarkError, Unauthenticated

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from keystore.api import Key
    from signer.access.circumstances import Surroundings
    from signer.access.decision import Admission
    from signer.access.matching import Rule
    from signer.access.model import ConditionValues, Decision, Document, GrantFacts, Statement
    from signer.authn.principal import Principal

ALLOW: Final = "Allow"
DENY: Final = "Deny"
DELEGATE: Final = "Delegate"  # an Allow that leaves it to the account's identity policies
OF_PRINCIPAL: Final = "principal"  # a step's source beside those of `Source`: it is disabled
OF_APPROVAL: Final = "approval"  # the key's approval rule holds the call
OF_KEY: Final = "key"  # its state or its purpose
ALONE: Final = "about others, only an auditor asks without a key; name a key of which you are an administrator"
_ACTION_OF: Final = {action.policy_name: action for action in Action}


@dataclass(frozen=True, slots=True)
class Question:
    """May this principal do this, on this key, in these circumstances? `grants` are those of the key.

    `action` is a name of `POLICY_ACTIONS`. `enabled`: whether the principal could prove itself at all.
    """

    principal: Principal
    action: str
    key: Key | None
    surroundings: Surroundings
    details: ConditionValues = field(default_factory=lambda: NO_CONTEXT)
    grants: Sequence[GrantFacts] = ()
    enabled: bool = True

    @property
    def circumstances(self) -> Circumstances:
        """All that conditions may ask."""
        return Circumstances(self.principal, self.key, self.surroundings, self.details)

    @property
    def request(self) -> AccessRequest:
        """As the evaluator is asked."""
        resource = "*" if self.key is None else self.key.arn
        account = self.surroundings.account
        return AccessRequest(self.principal.name, account, self.action, resource, self.circumstances)


@dataclass(frozen=True, slots=True)
class Asked:
    """One line of a Condition block, and what the call has for it (None: nothing)."""

    operator: str
    key: str
    values: tuple[str, ...]
    found: tuple[str, ...] | None
    met: bool

    def __str__(self) -> str:
        has = "the call has none" if self.found is None else f"the call has {_listed(self.found)}"
        return f"{self.operator} {self.key} ({has})".replace("  ", " ")


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that speaks of this principal and action. `applies`: it has its effect in these circumstances."""

    source: str
    statement: str | None
    effect: str
    applies: bool
    says: str
    conditions: tuple[Asked, ...] = ()


@dataclass(frozen=True, slots=True)
class Explanation:
    """What was decided, by what, and what every step said. `refusal` is what the caller would be answered: the error
    itself, None where the policies allow the call."""

    question: Question
    allowed: bool
    source: str
    statement: str | None
    why: str
    refusal: SealmarkError | None
    steps: tuple[Step, ...]

    def hindered(self, step: Step, refusal: SealmarkError) -> Explanation:
        """The same, of a call that the policies allow and something else refuses: the key's state, its purpose."""
        why = f"{self.why.removesuffix('.')}; but {step.says}."
        return replace(self, why=why, refusal=refusal, steps=(*self.steps, step))


def action_called(name: str) -> str | None:
    """The full name of an action, given with or without its prefix, in any case; None where there is none."""
    wanted = ascii_lower(name)
    return next((full for full in POLICY_ACTIONS if wanted in _spellings(full)), None)


def near_actions(name: str) -> list[str]:
    """Up to three actions whose names are like this one, the nearest first."""
    spelled = {spelling: full for full in POLICY_ACTIONS for spelling in _spellings(full)}
    near = difflib.get_close_matches(ascii_lower(name), spelled, n=6, cutoff=0.6)
    return list(dict.fromkeys(spelled[spelling] for spelling in near))[:3]


def _spellings(full: str) -> tuple[str, str]:
    lowered = ascii_lower(full)
    return lowered, lowered.partition(":")[2]


def admit_question(asker: Principal, about: str | None, *, with_key: bool) -> Admission:
    """Who may ask: everybody about themselves; about others who may explain the key's access, and without a key who
    looks after all of them. `about` None: about everybody. Raises `DutyForbids`."""
    if about == asker.name:
        return admit(asker, Action.WHO_AM_I)
    admission = admit(asker, Action.EXPLAIN_ACCESS)
    if not with_key and asker.duty not in (Duty.AUDITOR, Duty.ROOT):
        raise DutyForbids(ALONE)
    return admission


def explain(question: Question) -> Explanation:
    """The decision and its reasons."""
    principal = question.principal
    if not question.enabled:
        says = f"{principal.name} is disabled: it cannot prove itself, whatever policies say"
        step = Step(OF_PRINCIPAL, None, DENY, applies=True, says=says)
        return Explanation(question, False, OF_PRINCIPAL, None, f"{says}.", Unauthenticated(says), (step,))
    boundary = _boundary(question)
    action = _ACTION_OF.get(question.action)
    if action is None or boundary.effect == DENY:
        return Explanation(
            question, False, Source.DUTY, None, f"{boundary.says}.", DutyForbids(boundary.says), (boundary,)
        )
    judgement = judge(
        admit(principal, action), question.key, question.surroundings, (question.details,), question.grants
    )
    decision = judgement.decision
    steps = (boundary, *_steps(question), *_of_separation(question, decision))
    refusal: SealmarkError | None = None
    try:
        judgement.permit()
    except (NotFound, PolicyForbids) as error:
        refusal = error
    return Explanation(
        question,
        decision.allowed,
        decision.source,
        decision.statement,
        _why(question, decision.source, decision.statement, decision.allowed, steps),
        refusal,
        steps,
    )


def is_hidden(explanation: Explanation) -> bool:
    """Whether the call is answered as if there were no such key."""
    return explanation.refusal is not None and str(explanation.refusal) == KEY_NOT_FOUND


def conditions_of(explanation: Explanation) -> tuple[Step, ...] | None:
    """Under which conditions the principal may do it at some time, from some place: the steps that have any.

    Empty where it needs none, None where no circumstances could allow it.
    """
    if not explanation.allowed and not _could_be(explanation):
        return None
    conditional = [step for step in explanation.steps if step.conditions]
    if explanation.allowed:
        # What else would allow it does not matter; what would deny it in other circumstances does.
        decided = (explanation.source, explanation.statement)
        conditional = [step for step in conditional if step.effect == DENY or (step.source, step.statement) == decided]
    return tuple(conditional)


def _could_be(explanation: Explanation) -> bool:
    question = explanation.question
    boundary_or_more = {step.source for step in explanation.steps if step.applies and step.effect == DENY}
    if question.key is None or boundary_or_more & {OF_PRINCIPAL, Source.DUTY, Source.SEPARATION}:
        return False
    if question.principal.duty in (Duty.ROOT, Duty.AUDITOR):
        return False
    standing = Standing(
        question.principal.name,
        question.surroundings.account,
        question.key.arn,
        compiled_key_policy(question.key.policy.document, question.surroundings.account),
        _attached(question),
        question.grants,
    )
    return standing.allowed_by(question.action) is not None


def _boundary(question: Question) -> Step:
    """The duty: what it does not have, no policy lends."""
    principal, name = question.principal, question.action
    action = _ACTION_OF.get(name)
    if action is None:
        says = f"this version of the service has no call for {name}, so no duty has it"
        return Step(Source.DUTY, None, DENY, applies=True, says=says)
    try:
        admit(principal, action)
    except DutyForbids as refusal:
        return Step(Source.DUTY, principal.duty, DENY, applies=True, says=refusal.message)
    return Step(Source.DUTY, principal.duty, ALLOW, applies=True, says=f"the duty {principal.duty} has {name}")


def _steps(question: Question) -> Iterator[Step]:
    """What `judge` looks at, in the order in which it counts."""
    if question.key is None or question.principal.duty is Duty.AUDITOR:
        yield from (step for step in _of_identity_policies(question, delegated=True) if step.effect == DENY)
        return
    if question.principal.duty is Duty.ROOT:
        says = "break-glass administers every customer's key, whatever its policy says"
        yield Step(Source.BREAK_GLASS, None, ALLOW, applies=True, says=says)
        return
    policy = compiled_key_policy(question.key.policy.document, question.surroundings.account)
    of_key = list(_of_document(question, policy, Source.KEY_POLICY, None))
    delegated = any(step.effect == DELEGATE and step.applies for step in of_key)
    yield from of_key
    yield from _of_identity_policies(question, delegated=delegated)
    yield from _of_grants(question)


def _of_document(question: Question, document: Document, source: Source, name: str | None) -> Iterator[Step]:
    written = {id(rule): each for rule, each in zip(rules_of(document), document.statements, strict=True)}
    selection = select(document, question.principal.name, question.surroundings.account, question.action)
    for effect, rules in ((DENY, selection.denies), (ALLOW, selection.allows), (DELEGATE, selection.delegations)):
        for rule in rules:
            if rule.reaches(question.request.resource):
                yield _of_rule(question, rule, written[id(rule)], effect, source, name)


def _of_rule(
    question: Question, rule: Rule, statement: Statement, effect: str, source: Source, name: str | None
) -> Step:
    context = question.circumstances
    asked = tuple(
        Asked(each.operator, each.key, each.values, _found(context, each.key), check.holds(context, denies=rule.denies))
        for each, check in zip(statement.conditions, rule.checks, strict=True)
    )
    label = rule.label if name is None else f"{name}: {rule.label}"
    applies = rule.met(context)
    verb = {DENY: "denies it", ALLOW: "allows it", DELEGATE: "leaves it to identity policies"}[effect]
    if applies:
        says = f"the {source}'s statement {label} {verb}"
    else:
        unmet = "; ".join(str(each) for each in asked if not each.met)
        says = f"the {source}'s statement {label} {verb} where its conditions are met, but not here: {unmet}"
    return Step(source, label, effect, applies, says, asked)


def _of_identity_policies(question: Question, *, delegated: bool) -> Iterator[Step]:
    for name, document in _attached(question):
        for step in _of_document(question, document, Source.IDENTITY_POLICY, name):
            if step.effect == DENY or delegated or not step.applies:
                yield step
            else:
                says = f"{step.says}, but the key policy leaves nothing to identity policies"
                yield replace(step, applies=False, says=says)


def _of_grants(question: Question) -> Iterator[Step]:
    for grant in question.grants:
        if not covers(grant, question.principal.name, question.action):
            continue
        applies = evaluate(question.request, None, (), (grant,)).allowed
        constraints = (
            ("EncryptionContextEquals", grant.context_equals),
            ("EncryptionContextSubset", grant.context_subset),
        )
        found = _context(question.circumstances)
        asked = tuple(
            Asked(operator, "", _pairs(wanted), _pairs(found) or None, applies)
            for operator, wanted in constraints
            if wanted is not None
        )
        says = f"the grant {grant.id} allows it" + (
            "" if applies else f" for a certain context, which is not that of the call: {'; '.join(map(str, asked))}"
        )
        yield Step(Source.GRANT, grant.id, ALLOW, applies, says, asked)


def _of_separation(question: Question, decision: Decision) -> Iterator[Step]:
    """The last look, at what the documents allow so far."""
    parted = question.key is not None and POLICY_ACTIONS[question.action] is not Part.NEUTRAL
    if decision.source is Source.SEPARATION:
        says = f"the policies let {question.principal.name} both administer and use the key, so it may do neither"
        yield Step(Source.SEPARATION, None, DENY, applies=True, says=says)
    elif parted and decision.allowed and decision.source is not Source.BREAK_GLASS:
        says = f"no policy lets {question.principal.name} both administer and use the key"
        yield Step(Source.SEPARATION, None, DENY, applies=False, says=says)


def _attached(question: Question) -> list[tuple[str, Document]]:
    return [(name, compiled_identity_policy(text)) for name, text in question.principal.policies]


def _found(context: ConditionValues, key: str) -> tuple[str, ...] | None:
    """What the call has of a condition key, which does not depend on case."""
    wanted = ascii_lower(key)
    values = [value for name, found in context.items() if ascii_lower(name) == wanted for value in found]
    return tuple(values) or None


def _context(context: ConditionValues) -> dict[str, str]:
    prefixes = (ENCRYPTION_CONTEXT, SIGNING_CONTEXT)
    return {
        name[len(prefix) :]: values[0]
        for name, values in context.items()
        for prefix in prefixes
        if name.startswith(prefix) and values
    }


def _pairs(context: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(f"{name}={value}" for name, value in sorted(context.items()))


def _why(question: Question, source: Source, statement: str | None, allowed: bool, steps: Iterable[Step]) -> str:
    """One sentence for a person."""
    target = "" if question.key is None else f" with the key {question.key.alias or question.key.id}"
    who = f"{question.principal.name} {'may' if allowed else 'may not'} do {question.action}{target}"
    deciding = [step for step in steps if (step.source, step.statement) == (source, statement) and step.applies]
    if deciding:
        return f"{who}: {deciding[0].says}."
    nearly = [step.says for step in steps if step.conditions and not step.applies and step.effect != DENY]
    nearly += [step.says for step in steps if not step.conditions and not step.applies and step.effect == ALLOW]
    if nearly:
        return f"{who}: nothing allows it as it is asked. {_sentence('; '.join(nearly))}."
    return f"{who}: no statement of the key policy, no identity policy and no grant allows it."


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _listed(values: Sequence[str]) -> str:
    return ", ".join(values) or "an empty set"
