"""A document made ready: each statement as a rule, and for each caller and action the rules that are about them.

Nothing is decided here. What is worked out is kept with the document itself (`Document.memo`), so it ends with it; the
selections are bounded and a full one is begun anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

from signer.access.conditions import compile_condition
from signer.access.model import Effect
from signer.access.patterns import any_of, ascii_lower

if TYPE_CHECKING:
    from collections.abc import Callable

    from signer.access.conditions import Check
    from signer.access.model import ConditionValues, Document, Principals, Statement

_MOST_SELECTIONS: Final = 512  # callers × actions remembered for one document


class Naming(Enum):
    """How a statement names a caller."""

    NOT = "not"
    ACCOUNT = "account"  # by its account alone: an Allow leaves it to the caller's identity policies
    DIRECT = "direct"


@dataclass(frozen=True, slots=True)
class Rule:
    """A statement, ready to be asked."""

    label: str  # its Sid, or Statement[2]
    denies: bool
    principals: Principals | None
    not_principals: Principals | None
    covers_action: Callable[[str], bool]  # of an action in lower case
    covers_resource: Callable[[str], bool]
    any_resource: bool
    checks: tuple[Check, ...]

    def naming(self, principal: str, account: str) -> Naming:
        """Whether and how it names this caller; a statement of an identity policy names whoever has the policy."""
        if self.principals is not None:
            named = self.principals
            if named.everybody or principal in named.names:
                return Naming.DIRECT
            return Naming.ACCOUNT if account in named.accounts else Naming.NOT
        if self.not_principals is not None:
            return Naming.NOT if self._excepts(self.not_principals, principal, account) else Naming.DIRECT
        return Naming.DIRECT

    def _excepts(self, excepted: Principals, principal: str, account: str) -> bool:
        """Whether NotPrincipal leaves the caller out. A Deny is lifted only from a caller that is named together with
        its account (IAM User Guide, "NotPrincipal with Deny"); an Allow already misses one that either names."""
        if excepted.everybody:
            return True
        both = (principal in excepted.names, account in excepted.accounts)
        return all(both) if self.denies else any(both)

    def reaches(self, resource: str) -> bool:
        """Whether it is about this resource."""
        return self.any_resource or self.covers_resource(resource)

    def unmet(self, context: ConditionValues) -> list[str]:
        """The conditions that these circumstances do not meet, in words; all of them must be met."""
        return [check.words for check in self.checks if not check.holds(context, denies=self.denies)]

    def met(self, context: ConditionValues) -> bool:
        """Whether these circumstances meet every condition."""
        return all(check.holds(context, denies=self.denies) for check in self.checks)

    @property
    def could_be_met(self) -> bool:
        """Whether any circumstances could: each condition is taken as satisfiable, but for those on a key whose one
        value here is known."""
        return all(check.could_hold for check in self.checks)


@dataclass(frozen=True, slots=True)
class Selection:
    """The rules of one document that are about one caller and action. `delegations` are those Allows of a key policy
    that name the caller's account alone."""

    denies: tuple[Rule, ...]
    allows: tuple[Rule, ...]
    delegations: tuple[Rule, ...]


def select(document: Document, principal: str, account: str, action: str) -> Selection:
    """The rules about this caller (user/NAME or role/NAME) and action (such as kms:Sign)."""
    selections = document.memo.selections
    asked = (principal, account, action)
    selection = selections.get(asked)
    if selection is None:
        selection = _select(document, principal, account, ascii_lower(action))
        if len(selections) >= _MOST_SELECTIONS:
            selections.clear()
        selections[asked] = selection
    return selection


def _select(document: Document, principal: str, account: str, action: str) -> Selection:
    about = [
        (rule, naming)
        for rule in rules_of(document)
        if (naming := rule.naming(principal, account)) is not Naming.NOT and rule.covers_action(action)
    ]
    return Selection(
        denies=tuple(rule for rule, _ in about if rule.denies),
        allows=tuple(rule for rule, naming in about if not rule.denies and naming is Naming.DIRECT),
        delegations=tuple(rule for rule, naming in about if not rule.denies and naming is Naming.ACCOUNT),
    )


def rules_of(document: Document) -> tuple[Rule, ...]:
    """Its statements as rules, in their order. Raises `ValueError` for a document that could not have been stored."""
    rules = document.memo.rules
    if rules is None:
        rules = tuple(_rule(index, statement) for index, statement in enumerate(document.statements))
        document.memo.rules = rules
    return rules


def _rule(index: int, statement: Statement) -> Rule:
    return Rule(
        label=statement.sid or f"Statement[{index}]",
        denies=statement.effect is Effect.DENY,
        principals=statement.principals,
        not_principals=statement.not_principals,
        covers_action=_covering(_lowered(statement.actions), _lowered(statement.not_actions)),
        covers_resource=_covering(statement.resources, statement.not_resources),
        any_resource=statement.resources is not None and "*" in statement.resources,
        checks=tuple(compile_condition(condition) for condition in statement.conditions),
    )


def _covering(wanted: tuple[str, ...] | None, unwanted: tuple[str, ...] | None) -> Callable[[str], bool]:
    if wanted is not None:
        return any_of(wanted)
    matches = any_of(unwanted or ())
    return lambda text: not matches(text)


def _lowered(patterns: tuple[str, ...] | None) -> tuple[str, ...] | None:
    return None if patterns is None else tuple(ascii_lower(pattern) for pattern in patterns)
