"""A small mutator, the same in every run for one seed: damages valid inputs in the ways that parsers stumble over."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

INTERESTING = (
    b"\x00",
    b"\x7f",
    b"\x80",
    b"\xff",
    b"\xed\xa0\x80",
    b"<",
    b"&#0;",
    b"]]>",
    b"{",
    b'"',
    b"\\ud800",
    b"9" * 400,
)


def mutations(seeds: Sequence[bytes], count: int, seed: int = 0) -> Iterator[bytes]:
    """So many damaged inputs, made from the seeds in turn by one to four edits each."""
    chance = random.Random(seed)  # noqa: S311 (repeatable on purpose)
    for number in range(count):
        data = bytearray(seeds[number % len(seeds)])
        for _ in range(chance.randint(1, 4)):
            _edit(data, seeds, chance)
        yield bytes(data)


def _edit(data: bytearray, seeds: Sequence[bytes], chance: random.Random) -> None:
    start = chance.randint(0, len(data))
    end = min(len(data), start + chance.choice((1, 1, 2, 8, 64)))
    kind = chance.randrange(6)
    if kind == 0 and start < len(data):
        data[start] ^= 1 << chance.randrange(8)
    elif kind == 1:
        del data[start:end]
    elif kind == 2:
        data[start:start] = data[start:end] * chance.choice((1, 2, 50))
    elif kind == 3:
        data[start:end] = chance.choice(INTERESTING)
    elif kind == 4:
        del data[start:]
    else:
        other = chance.choice(seeds)
        data[start:end] = other[chance.randint(0, len(other)) :][:64]
