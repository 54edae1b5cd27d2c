"""The service's policy evaluator beside the reference evaluator, on random pairs of policies and request.

    python -m tests.signer.access.compare_evaluators --pairs 100000 [--seed 20261125]

prints how many pairs were allowed and denied, and by what, and every disagreement; it exits 1 if there is one.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from signer.access.documents import parse_identity_policy, parse_key_policy
from signer.access.evaluation import evaluate
from signer.access.model import AccessRequest, Decision, GrantFacts
from tests.signer.access.random_policies import ACCOUNT, Case, random_case, seeded
from tests.signer.access.reference_evaluator import Json, Question, Verdict, judge

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SEED: Final = 20261125


@dataclass
class Comparison:
    """What a run saw. A disagreement is a case, the decision and the verdict, as text."""

    outcomes: Counter[str] = field(default_factory=Counter)
    disagreements: list[str] = field(default_factory=list)


def compare(pairs: int, seed: int) -> Comparison:
    """Judges so many random pairs twice."""
    random = seeded(seed)
    seen = Comparison()
    for number in range(pairs):
        case = random_case(random)
        decision = decide(case.question, case.key_policy, case.identity_policies, case.grants)
        verdict = judge(case.question, case.key_policy, case.identity_policies, case.grants)
        seen.outcomes[_outcome(verdict)] += 1
        if fault := difference(decision, verdict):
            seen.disagreements.append(f"pair {number} of seed {seed}: {fault}\n{_shown(case)}")
    return seen


def decide(
    question: Question,
    key_policy: Json | None,
    identity_policies: Sequence[tuple[str, Json]] = (),
    grants: Sequence[Json] = (),
    *,
    account: str = ACCOUNT,
) -> Decision:
    """The service's own evaluator, asked about raw documents."""
    request = AccessRequest(
        question.principal, question.account, question.action, question.resource, dict(question.context)
    )
    return evaluate(
        request,
        None if key_policy is None else parse_key_policy(key_policy, account=account),
        [(name, parse_identity_policy(document)) for name, document in identity_policies],
        [grant_facts(grant) for grant in grants],
    )


def grant_facts(grant: Json) -> GrantFacts:
    """A grant in the form of ListGrants, as the service has it."""
    constraints: Mapping[str, Any] = grant.get("Constraints", {})
    return GrantFacts(
        id=grant["GrantId"],
        grantee=grant["GranteePrincipal"],
        operations=frozenset(grant["Operations"]),
        context_equals=constraints.get("EncryptionContextEquals"),
        context_subset=constraints.get("EncryptionContextSubset"),
        retiring=grant.get("RetiringPrincipal"),
    )


def difference(decision: Decision, verdict: Verdict) -> str | None:
    """What the two say differently: allowed or not, and by what. Several statements may decide alike; the service names
    one of them."""
    if decision.allowed != verdict.allowed:
        return f"the service: {decision}; the reference: {verdict}"
    reasons = verdict.denies or verdict.allows
    if not reasons:
        return (
            None if decision.source.value == "nothing" else f"the service: {decision}; the reference: nothing applies"
        )
    if (decision.source.value, decision.statement) not in reasons:
        return f"the service: {decision}; the reference has no such reason: {reasons}"
    return None


def _outcome(verdict: Verdict) -> str:
    if verdict.denies:
        return f"explicitly denied by {' and '.join(sorted({source for source, _ in verdict.denies}))}"
    if verdict.allows:
        return f"allowed by {' and '.join(sorted({source for source, _ in verdict.allows}))}"
    return "denied: nothing allows it"


def _shown(case: Case) -> str:
    return json.dumps(
        {
            "question": vars(case.question),
            "key policy": case.key_policy,
            "identity policies": dict(case.identity_policies),
            "grants": case.grants,
        },
        indent=2,
    )


def main() -> int:
    """The command; the exit status."""
    parser = argparse.ArgumentParser(description=re.sub(r"\s+", " ", __doc__ or "").split("  ")[0])
    parser.add_argument("--pairs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=SEED)
    arguments = parser.parse_args()
    seen = compare(arguments.pairs, arguments.seed)
    lines = [f"{count:8}  {outcome}" for outcome, count in seen.outcomes.most_common()]
    lines += seen.disagreements[:1]
    lines.append(f"{arguments.pairs} pairs, seed {arguments.seed}: {len(seen.disagreements)} disagreements")
    sys.stdout.write("\n".join(lines) + "\n")
    return 1 if seen.disagreements else 0


if __name__ == "__main__":
    sys.exit(main())
