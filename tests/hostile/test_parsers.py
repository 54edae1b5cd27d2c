"""The service's parsers over their seeds and damaged ones, the same in every run. `make fuzz` is the long form."""

from __future__ import annotations

import time

import pytest

from tests.fuzz.mutations import mutations
from tests.hostile.parsers import PARSERS

COUNT = 150
HANG = 5.0  # processor seconds that one input may take; the longest takes milliseconds


@pytest.mark.parametrize("name", sorted(PARSERS))
def test_nothing_but_refusals(name: str) -> None:
    parser = PARSERS[name]
    seeds = parser.seeds()
    for data in (b"", b"\x00", *seeds, *mutations(seeds, COUNT)):
        begun = time.process_time()
        parser.run(data)
        assert time.process_time() - begun < HANG, data
