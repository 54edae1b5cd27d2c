"""Must show: AWS's own documented examples evaluate as documented, by the service and by the reference evaluator."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

import pytest

from signer.access.documents import parse_identity_policy, parse_key_policy
from signer.access.model import Source
from signer.access.policy_refusal import PolicyRefused
from tests.signer.access.aws_examples import PAGE, Example, Row, examples, page
from tests.signer.access.compare_evaluators import decide, difference
from tests.signer.access.reference_evaluator import Verdict, judge

if TYPE_CHECKING:
    from _pytest.mark.structures import ParameterSet

LEAST_CASES: Final = 60


def rows(*, stored_only: bool) -> list[ParameterSet]:
    return [
        pytest.param(example, row, id=f"{example.source}: {row.what}")
        for example in examples()
        if not (stored_only and example.refused)
        for row in example.rows
    ]


def outcome(verdict: Verdict) -> str:
    if verdict.denies:
        return "explicitly denied"
    return "allowed" if verdict.allowed else "denied"


@pytest.mark.parametrize(("example", "row"), rows(stored_only=False))
def test_the_reference_evaluator_decides_as_documented(example: Example, row: Row) -> None:
    verdict = judge(row.question, example.key_policy, example.identity_policies, example.grants)
    assert outcome(verdict) == row.outcome


@pytest.mark.parametrize(("example", "row"), rows(stored_only=True))
def test_the_service_decides_as_documented(example: Example, row: Row) -> None:
    decision = decide(
        row.question, example.key_policy, example.identity_policies, example.grants, account=example.account
    )
    assert (decision.allowed, decision.source is Source.NOTHING) == (row.outcome == "allowed", row.outcome == "denied")
    verdict = judge(row.question, example.key_policy, example.identity_policies, example.grants)
    assert difference(decision, verdict) is None


def store(example: Example) -> None:
    """The document that is refused, as the service reads it."""
    assert example.refused is not None
    if example.refused.document == "key policy":
        assert example.key_policy is not None
        parse_key_policy(example.key_policy, account=example.account)
    else:
        for _, document in example.identity_policies:
            parse_identity_policy(document)


@pytest.mark.parametrize(
    "example", [pytest.param(example, id=str(example.source)) for example in examples() if example.refused]
)
def test_what_cannot_be_meant_here_is_refused_when_stored_by_the_place_that_says_it(example: Example) -> None:
    refusal = example.refused
    assert refusal is not None
    assert refusal.why
    with pytest.raises(PolicyRefused) as refused:
        store(example)
    assert refused.value.pointer == refusal.pointer


def test_the_table_is_large_and_every_case_names_its_source() -> None:
    stored = [row for example in examples() if not example.refused for row in example.rows]
    assert len(stored) >= LEAST_CASES
    outcomes = Counter(row.outcome for row in stored)
    assert set(outcomes) == {"allowed", "denied", "explicitly denied"}
    assert min(outcomes.values()) > LEAST_CASES / 2, outcomes
    for example in examples():
        assert example.source.url.startswith("https://docs.aws.amazon.com/"), example.source
        assert all((example.source.guide, example.source.page, example.source.section))
        assert example.rows or example.refused, example.source
    assert len(
        {(str(example.source), row.what, str(row.question)) for example in examples() for row in example.rows}
    ) == sum(len(example.rows) for example in examples())


def test_the_page_says_what_the_table_says() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "python -m tests.signer.access.aws_examples"
