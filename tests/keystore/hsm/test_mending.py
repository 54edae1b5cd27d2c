"""A lost connection and the thread that mends it, without an HSM."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, cast

import pytest

from keystore.errors import ConfigurationError, HsmFault, HsmUnavailable, KeystoreError
from keystore.hsm.mending import Mender
from tests.faults.forwarding import until

if TYPE_CHECKING:
    from keystore.hsm.connection import Connection


class Hsm:
    """What a mender connects to: there at first, then as the test says."""

    def __init__(self) -> None:
        self.fault: Exception | None = None
        self.attempts = 0
        self.goes_on = threading.Event()
        self.goes_on.set()
        self.mender = Mender(self.connect, lambda connection: connection is self.last)

    def connect(self) -> Connection:
        self.attempts += 1
        assert self.goes_on.wait(60)
        if self.fault is not None:
            raise self.fault
        self.last = cast("Connection", object())
        return self.last

    def lose(self, fault: Exception) -> None:
        self.fault = fault
        with pytest.raises((HsmUnavailable, HsmFault)):
            self.mender.replaced(self.mender.connection)


@pytest.fixture
def hsm() -> Hsm:
    return Hsm()


def test_while_it_is_lost_nobody_comes_near_it(hsm: Hsm) -> None:
    first = hsm.mender.usable()
    hsm.lose(HsmUnavailable("gone"))
    for _ in range(100):
        with pytest.raises(HsmUnavailable, match="gone"):
            hsm.mender.usable()
    hsm.fault = None
    until(lambda: hsm.mender.connection is not first, "a new connection")
    assert hsm.mender.replaced(first) is hsm.mender.usable()
    hsm.mender.close()


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (HsmFault("another key"), HsmFault),
        (ConfigurationError("no PIN file"), HsmUnavailable),
        (RuntimeError("a secret"), HsmUnavailable),
    ],
)
def test_what_callers_are_told_of(hsm: Hsm, fault: Exception, told: type[KeystoreError]) -> None:
    hsm.lose(fault)
    with pytest.raises(told) as refused:
        hsm.mender.usable()
    assert "secret" not in str(refused.value)
    hsm.mender.close()


def test_all_who_meet_the_loss_wait_for_one_attempt(hsm: Hsm) -> None:
    first, found = hsm.mender.connection, []
    hsm.goes_on.clear()
    threads = [threading.Thread(target=lambda: found.append(hsm.mender.replaced(first))) for _ in range(8)]
    for thread in threads:
        thread.start()
    until(lambda: hsm.attempts == 2, "the attempt")
    hsm.goes_on.set()
    for thread in threads:
        thread.join()
    assert found == [hsm.mender.connection] * 8
    assert hsm.attempts == 2


def test_an_attempt_that_takes_long_is_not_waited_for_by_all(hsm: Hsm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keystore.hsm.mending._PATIENCE", 0.0)
    hsm.goes_on.clear()
    for _ in range(3):
        with pytest.raises(HsmUnavailable, match="not back yet"):
            hsm.mender.replaced(hsm.mender.connection)
    with pytest.raises(HsmUnavailable, match="not back yet"):
        hsm.mender.usable()
    hsm.goes_on.set()
    until(lambda: hsm.mender._thread is None, "the end of the attempt")
    assert hsm.attempts == 2


def test_nothing_is_mended_after_the_end(hsm: Hsm) -> None:
    hsm.lose(HsmUnavailable("gone"))
    hsm.mender.close()
    until(lambda: hsm.mender._thread is None, "the end of the thread")
    with pytest.raises(HsmUnavailable, match="closed"):
        hsm.mender.replaced(hsm.mender.connection)
