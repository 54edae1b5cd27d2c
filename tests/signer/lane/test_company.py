"""Callers who were answered together, and ask again, are waited for a moment: for as long as they do."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import TYPE_CHECKING, cast

import pytest

from signer.lane import company
from signer.lane.company import Company

if TYPE_CHECKING:
    import select


class Poller:
    """Tells how many are ready, look after look; time passes only while the lane sleeps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *ready: int) -> None:
        self.ready = list(ready)
        self.now = 0.0
        monkeypatch.setattr(time, "sleep", self._sleep)
        monkeypatch.setattr(time, "monotonic", lambda: self.now)

    def _sleep(self, seconds: float) -> None:
        self.now += seconds

    def poll(self, timeout: float) -> list[tuple[int, int]]:
        assert timeout == 0.0
        found = self.ready.pop(0) if len(self.ready) > 1 else self.ready[0]
        return [(descriptor, 1) for descriptor in range(found)]


def gathered(one: Company, poller: Poller) -> int:
    return len(one.gathered(cast("select.epoll", poller)))


def answered(one: Company, count: int) -> None:
    one.answered = count


def test_all_of_them_are_waited_for_and_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    one, poller = Company(), Poller(monkeypatch, 3, 5, 8, 8)
    answered(one, 8)
    assert one.wanted(1, alone=True)
    assert gathered(one, poller) == 8
    assert poller.now == pytest.approx(0.0003)


@pytest.mark.parametrize(
    ("count", "ready", "alone"),
    [(0, 1, True), (1, 1, True), (8, 8, True), (8, 9, True), (8, 0, True), (8, 1, False)],
    ids=["nobody was answered", "one", "all are there", "others too", "nobody came at all", "there is other work"],
)
def test_nobody_waits_without_need(count: int, ready: int, alone: bool) -> None:
    one = Company()
    answered(one, count)
    assert not one.wanted(ready, alone=alone)
    assert not one.wanted(1, alone=True), "those of the last round count for the next one alone"


def test_a_caller_waits_no_longer_than_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    one, poller = Company(), Poller(monkeypatch, 5)
    answered(one, 8)
    assert one.wanted(1, alone=True)
    assert gathered(one, poller) == 5
    assert company.MOST_SECONDS <= poller.now < company.MOST_SECONDS + 0.0002
    answered(one, 8)
    assert one.wanted(1, alone=True), "most of them came"


def test_where_it_is_in_vain_it_is_tried_ever_more_rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    one, poller = Company(), Poller(monkeypatch, 1)
    tries = []
    for number in range(400):
        answered(one, 8)
        if one.wanted(1, alone=True):
            gathered(one, poller)
            tries.append(number)
    gaps = [later - earlier for earlier, later in pairwise(tries)]
    assert gaps[:8] == [2, 4, 8, 16, 32, 64, 65, 65]
    poller.ready = [8]
    while not one.wanted(1, alone=True):
        answered(one, 8)
    assert gathered(one, poller) == 8
    answered(one, 8)
    assert one.wanted(1, alone=True), "once it is not in vain, it is done each time again"
