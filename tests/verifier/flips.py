"""Flips every byte of a sample: it must be refused, or the verified facts must be what they were.

The bytes whose flip changes nothing are not covered. Each must lie in a part of the sample that is known for it and
said in words; docs/verifier-coverage.md lists them. Add a format: one `Sample` in `flip_samples.py`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache
from itertools import groupby
from typing import TYPE_CHECKING

from verifier import VerificationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from verifier.strict_json import JsonValue

MASKS = (0x01, 0x20, 0x80)  # the last bit, the case of a letter, what is no ASCII any more
EVERY_BIT = tuple(1 << bit for bit in range(8))

Facts = dict[str, "JsonValue"]


@dataclass(frozen=True, eq=False)
class Sample:
    """One input of the verifier. `verify` takes a damaged one and gives the facts, or raises.

    `uncovered` says in words which parts may be flipped unnoticed: words to a pattern whose matches are such parts (its
    group 1, where it has one).
    """

    name: str
    data: bytes
    verify: Callable[[bytes], Facts]
    uncovered: Mapping[str, bytes] = field(default_factory=dict)
    masks: tuple[int, ...] = MASKS

    def why_uncovered(self, offset: int) -> str | None:
        """The words for the part that the offset lies in, None for a part that must be covered."""
        for words, pattern in self.uncovered.items():
            for match in re.finditer(pattern, self.data, re.DOTALL):
                if match.start(match.lastindex or 0) <= offset < match.end(match.lastindex or 0):
                    return words
        return None


@dataclass(frozen=True)
class Outcome:
    """Offsets by what a flip does there: `uncovered` nothing, `changed` other facts, which must never be."""

    uncovered: tuple[int, ...]
    changed: tuple[int, ...]


@cache
def flip_all(sample: Sample) -> Outcome:
    """Flips each byte of the sample, one at a time, by each mask."""
    good = sample.verify(sample.data)
    uncovered: set[int] = set()
    changed: set[int] = set()
    for offset in range(len(sample.data)):
        for mask in sample.masks:
            damaged = bytearray(sample.data)
            damaged[offset] ^= mask
            try:
                facts = sample.verify(bytes(damaged))
            except VerificationError:
                continue
            (uncovered if facts == good else changed).add(offset)
    return Outcome(tuple(sorted(uncovered)), tuple(sorted(changed)))


def ranges(offsets: tuple[int, ...]) -> str:
    """`0-3, 7`: the offsets in words for people."""
    runs = [[offset for _, offset in group] for _, group in groupby(enumerate(offsets), lambda pair: pair[1] - pair[0])]
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


PREFACE = """# What a flipped byte does

Every byte of a sample of each format is flipped, one at a time, by XOR with the masks below. The verifier must
then refuse the sample, or come to the very facts it came to before: then the byte is not covered by anything, and is
listed here. The samples lie in `tests/verifier/flip_samples.json`;
`tests/verifier/test_flips.py` flips them in every run, and holds this page against what it sees.
`python -m tests.verifier.flip_samples` writes the page anew, and with `--new` makes new samples first.

Files that say whom to trust (`trust.json`, certificates) are signed by nobody: what they say of a key (its name, its
times) is theirs to say. There the facts that must stay are which key signed what.
"""


def _masks(sample: Sample) -> str:
    return "each bit" if sample.masks == EVERY_BIT else ", ".join(f"0x{mask:02x}" for mask in sample.masks)


def page(samples: tuple[Sample, ...]) -> str:
    """docs/verifier-coverage.md."""
    lines = [
        PREFACE,
        "| sample | masks | bytes | not covered |",
        "|---|---|--:|--:|",
        *(f"| {each.name} | {_masks(each)} | {len(each.data)} | {len(flip_all(each).uncovered)} |" for each in samples),
    ]
    for sample in samples:
        offsets = flip_all(sample).uncovered
        if offsets:
            lines += ["", f"## {sample.name}", "", "| bytes that nothing covers | offsets |", "|---|---|"]
        for words in sample.uncovered:
            of_it = tuple(offset for offset in offsets if sample.why_uncovered(offset) == words)
            if of_it:
                lines.append(f"| {words} | {ranges(of_it)} |")
    return "\n".join(lines) + "\n"
