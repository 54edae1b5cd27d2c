"""Every byte of every sample, flipped: refused, or the verified facts are identical, and docs/ say where that is."""

from __future__ import annotations

import pytest

from tests.verifier import flip_samples
from tests.verifier.flip_samples import samples
from tests.verifier.flips import Outcome, Sample, flip_all, page, ranges
from verifier import Rejected

NAMES = [sample.name for sample in samples()]


@pytest.mark.parametrize("sample", samples(), ids=NAMES)
def test_a_flipped_byte_is_refused_or_changes_nothing(sample: Sample) -> None:
    outcome = flip_all(sample)
    assert ranges(outcome.changed) == ""
    unexplained = tuple(offset for offset in outcome.uncovered if sample.why_uncovered(offset) is None)
    assert ranges(unexplained) == ""


def test_names_are_distinct() -> None:
    assert len(set(NAMES)) == len(NAMES)


def test_the_page_says_what_is_seen() -> None:
    assert flip_samples.PAGE.read_text() == page(samples()), "run: python -m tests.verifier.flip_samples"


def test_new_samples_can_be_made() -> None:
    assert flip_samples.make().keys() == flip_samples.read().keys()


def test_the_harness_notices_changed_facts_and_uncovered_bytes() -> None:
    def careless(data: bytes) -> dict[str, object]:
        if data[:1] != b"m":
            raise Rejected("malformed", "no")
        return {"second": data[1]}

    sample = Sample("careless", b"magic", careless, {"the rest": rb"ma(g)"})  # type: ignore[arg-type]
    assert flip_all(sample) == Outcome(uncovered=(2, 3, 4), changed=(1,))
    assert [sample.why_uncovered(offset) for offset in (1, 2, 3)] == [None, "the rest", None]
    assert ranges((0, 1, 2, 5, 7, 8)) == "0-2, 5, 7-8"
