"""Must show: AWS's own documented examples evaluate as documented, by the service and by the reference evaluator."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

import pytest

from tests.signer.access.aws_examples import Example, Row, examples
from tests.signer.access.reference_evaluator import Question, Verdict, judge

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
