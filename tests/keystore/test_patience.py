"""Waits of one request for several locks: they share one allowance, whoever has waited."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from keystore.db import patience
from keystore.db.lock import WriteLock
from keystore.errors import StoreUnavailable
from signer.audit.groups import Groups

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path


def wait_in_vain(lock: WriteLock) -> float:
    began = time.monotonic()
    with pytest.raises(StoreUnavailable), lock.held():
        pass
    return time.monotonic() - began


@pytest.fixture
def held(tmp_path: Path) -> WriteLock:
    """A lock that another thread holds until the end of the test."""
    lock, taken = WriteLock(tmp_path / "lock", timeout=0.4), threading.Event()

    def hold() -> None:
        with lock.held():
            taken.set()
            time.sleep(3)

    threading.Thread(target=hold, daemon=True).start()
    assert taken.wait(10)
    return lock


def test_waits_share_what_is_allowed(held: WriteLock) -> None:
    with patience.limited(0.5):
        wait_in_vain(held)
        left = patience.allowed(10)
        assert patience.LEAST <= left <= 0.1 + 0.01
        wait_in_vain(held)
        assert patience.allowed(10) == patience.LEAST
    assert patience.allowed(10) == 10


def test_what_is_not_waited_is_not_counted(tmp_path: Path) -> None:
    with patience.limited(0.5):
        with WriteLock(tmp_path / "lock", timeout=1).held():
            time.sleep(0.3)
        assert patience.allowed(10) > 0.4


def test_a_turn_is_waited_for_whatever_is_left(tmp_path: Path) -> None:
    """Who checks for long before he writes waits for the others, and has little left for the database then."""
    lock, taken = WriteLock(tmp_path / "changes.lock", timeout=10, in_line=True), threading.Event()

    def hold() -> None:
        with lock.held():
            taken.set()
            time.sleep(0.5)

    thread = threading.Thread(target=hold)
    thread.start()
    assert taken.wait(10)
    with patience.limited(0.2), lock.held():
        assert patience.allowed(10) == patience.LEAST
    thread.join()


def test_a_follower_does_not_wait_for_a_leader_longer_than_it_may() -> None:
    """And what it wanted is not written afterwards."""
    go, written = threading.Event(), []

    def commit(gather: Callable[[], list[str]]) -> Callable[[], Sequence[bool]]:
        assert go.wait(20)
        group = gather()
        written.extend(group)
        return lambda: [True] * len(group)

    groups: Groups[str, bool] = Groups(commit, limit=10)
    leader = threading.Thread(target=groups.submit, args=("leader's",))
    leader.start()
    while not groups.waiting:
        time.sleep(0.001)
    with patience.limited(0.2):
        with pytest.raises(StoreUnavailable, match="too long"):
            groups.submit("follower's")
        assert patience.allowed(10) == patience.LEAST
    go.set()
    leader.join()
    assert written == ["leader's"]
    assert groups.submit("another's")


def test_what_waited_before_it_began_may_wait_the_less() -> None:
    with patience.late(0.4):
        assert patience.request_seconds() == pytest.approx(patience.REQUEST_SECONDS - 0.4)
    with patience.late(60):
        assert patience.request_seconds() == patience.LEAST
    assert patience.request_seconds() == patience.REQUEST_SECONDS


def test_whoever_waited_in_line_and_then_leads_has_the_less_left() -> None:
    """Else it would wait for the database as long again, in its own name."""
    gathered, go = threading.Event(), threading.Event()
    left: list[float] = []

    def commit(gather: Callable[[], list[str]]) -> Callable[[], Sequence[bool]]:
        group = gather()
        left.append(patience.allowed(10))
        if group == ["leader's"]:
            gathered.set()
            assert go.wait(20)
        return lambda: [True] * len(group)

    def follow() -> None:
        with patience.limited(10):
            groups.submit("follower's")

    groups: Groups[str, bool] = Groups(commit, limit=10)
    threads = [threading.Thread(target=groups.submit, args=("leader's",)), threading.Thread(target=follow)]
    threads[0].start()
    assert gathered.wait(20)
    threads[1].start()
    while not groups.waiting:
        time.sleep(0.001)
    time.sleep(0.3)
    go.set()
    for thread in threads:
        thread.join()
    assert left[0] == 10
    assert left[1] < 10 - 0.25
