"""Must show: on random pairs of policies and request, the service's evaluator and the reference never disagree.

The full 100,000 pairs and more: `python -m tests.signer.access.compare_evaluators --pairs 100000`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import pytest

from signer.access.model import Source
from tests.signer.access.compare_evaluators import SEED, compare, decide, difference
from tests.signer.access.random_policies import random_case, seeded
from tests.signer.access.reference_evaluator import fits, judge, seconds

PAIRS: Final = 5_000  # of each seed


@pytest.mark.parametrize("seed", [SEED, SEED + 1])
def test_the_two_evaluators_never_disagree(seed: int) -> None:
    seen = compare(PAIRS, seed)
    assert not seen.disagreements, seen.disagreements[0]
    # The sample is not trivial: every source decides often, alone and against others.
    assert seen.outcomes["allowed by key policy"] > PAIRS / 20
    for outcome in ("allowed by identity policy", "allowed by grant", "allowed by grant and key policy"):
        assert seen.outcomes[outcome] > PAIRS / 200, seen.outcomes
    for outcome in ("explicitly denied by key policy", "explicitly denied by identity policy"):
        assert seen.outcomes[outcome] > PAIRS / 40, seen.outcomes


def test_a_difference_is_seen() -> None:
    random = seeded(SEED)
    cases = [random_case(random) for _ in range(200)]
    judged = [(case, judge(case.question, case.key_policy, case.identity_policies, case.grants)) for case in cases]
    for case, verdict in judged:
        decision = decide(case.question, case.key_policy, case.identity_policies, case.grants)
        assert difference(replace(decision, allowed=not decision.allowed), verdict)
        assert difference(replace(decision, source=Source.DUTY), verdict)


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        *(
            ("a*c", "abbc", True),
            ("a*c", "ac", True),
            ("a*c", "abcd", False),
            ("a?c", "abc", True),
            ("a?c", "ac", False),
        ),
        *(("*", "", True), ("?", "", False), ("**a", "ba", True), ("a.c", "abc", False), ("[a]", "a", False)),
        *(("*ab*ab", "abab", True), ("*ab*ab", "aab", False), ("a*", "a\nb", True), ("", "", True), ("", "a", False)),
    ],
)
def test_the_reference_s_own_wildcards(pattern: str, text: str, expected: object) -> None:
    assert fits(pattern, text) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *(("1970", 0), ("1970-02", 2678400), ("1970-01-02", 86400), ("1970-01-01T00:01Z", 60), ("86400", 86400)),
        *(("1970-01-01T01:00:00+01:00", 0), ("1969-12-31T18:30:00-05:30", 0), ("1970-01-01T00:00:01.5Z", 1.5)),
    ],
)
def test_the_reference_s_own_dates(text: str, expected: float) -> None:
    assert seconds(text) == expected
