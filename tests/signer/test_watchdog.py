"""Who is given up inside the HSM, when, and what their callers are told. Time is passed by hand."""

from __future__ import annotations

import http.client
import io
import json
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest

from keystore.errors import HsmUnavailable
from keystore.stays import Stays, Work
from signer.watchdog import GENERATION_SECONDS, Waiting, Watchdog, unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator


class Place:
    """Stays of this test's own, their watchdog, and what it did."""

    def __init__(self) -> None:
        self.stays = Stays()
        self.answers: list[bytes] = []
        self.retired = 0
        self.watchdog = Watchdog(1.0, self._callers, self._retire, self.stays)

    def _callers(self, thread: int) -> Iterator[Waiting]:
        assert thread == threading.get_ident()
        yield Waiting(False, self.answers.append)

    def _retire(self) -> None:
        self.retired += 1

    def pass_time(self, seconds: float, step: float = 0.25) -> None:
        for _ in range(round(seconds / step)):
            self.watchdog.look(step)


@pytest.fixture
def place() -> Place:
    return Place()


def test_whoever_stays_beyond_the_deadline_is_given_up_and_answered(place: Place) -> None:
    stay = place.stays.enter(Work.USE)
    place.pass_time(1.25)  # the first look only sees it
    assert place.answers == []
    place.pass_time(0.25)
    assert len(place.answers) == 1
    assert place.retired == 1
    with pytest.raises(HsmUnavailable, match="had been told already"):
        place.stays.leave(stay)
    place.pass_time(10)
    assert (len(place.answers), place.retired) == (1, 1)


def test_whoever_comes_back_in_time_is_left_alone(place: Place) -> None:
    for _ in range(10):
        stay = place.stays.enter(Work.USE)
        place.pass_time(1.0)
        place.stays.leave(stay)
    assert (place.answers, place.retired) == ([], 0)


@pytest.mark.parametrize("work", [Work.GENERATION, Work.LOGIN])
def test_what_takes_long_by_its_nature_has_longer(place: Place, work: Work) -> None:
    place.stays.enter(work)
    place.pass_time(GENERATION_SECONDS)
    assert place.retired == 0
    place.pass_time(1)
    assert place.retired == 1


def test_a_batch_is_as_old_as_its_last_result(place: Place) -> None:
    made: list[bytes] = []
    place.stays.enter(Work.USE, made)
    for _ in range(10):
        place.pass_time(1.0)
        made.append(b"signature")
    assert place.retired == 0
    place.pass_time(1.5)
    assert place.retired == 1


def test_after_a_hang_nobody_waits_long(place: Place) -> None:
    place.stays.enter(Work.USE)
    place.pass_time(1.5)
    place.stays.enter(Work.USE)
    place.pass_time(0.2, step=0.05)
    assert len(place.answers) == 2


def test_what_was_just_back_is_not_answered_twice(place: Place) -> None:
    stay = place.stays.enter(Work.USE)
    place.pass_time(1.25)
    place.stays.leave(stay)
    place.pass_time(5)
    assert (place.answers, place.retired) == ([], 0)


@pytest.mark.parametrize("wire", [False, True])
def test_the_answer_is_whole(wire: bool) -> None:
    class Socket(socket.socket):
        def makefile(self, *_: object, **_named: object) -> Any:
            return io.BytesIO(unavailable("ab" * 16, wire=wire))

    with Socket() as end:
        answer = http.client.HTTPResponse(end)
    answer.begin()
    said = json.loads(answer.read())
    assert answer.getheader("X-Request-Id") == "ab" * 16
    assert answer.getheader("Connection") == "close"
    assert answer.getheader("Retry-After") == "5"
    assert answer.status >= 500
    if wire:
        assert said["__type"] == answer.getheader("x-amzn-ErrorType")
    else:
        assert (answer.status, said["code"], said["request_id"]) == (503, "hsm_unavailable", "ab" * 16)
