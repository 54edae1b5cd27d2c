"""The cache's reference counts, and the gate between calls and initialisation, without an HSM."""

from __future__ import annotations

import threading

import pytest

from keystore.errors import HsmUnavailable
from keystore.hsm import gate as gate_module
from keystore.hsm.cache import KeyCache
from keystore.hsm.gate import Gate


def test_least_recently_used_goes_first() -> None:
    destroyed: list[int] = []
    cache: KeyCache[int] = KeyCache(2)
    for number in (1, 2):
        cache.release(cache.add(number, number, destroyed.append, permanent=False), destroyed.append)
    one = cache.acquire(1)
    assert one is not None
    cache.release(one, destroyed.append)
    cache.release(cache.add(3, 3, destroyed.append, permanent=False), destroyed.append)
    assert destroyed == [2]
    assert cache.acquire(2) is None
    assert len(cache) == 2


def test_a_key_in_use_is_destroyed_by_its_last_user() -> None:
    destroyed: list[int] = []
    cache: KeyCache[int] = KeyCache(1)
    first = cache.add("first", 1, destroyed.append, permanent=False)
    assert cache.acquire("first") is first
    cache.add("second", 2, destroyed.append, permanent=False)
    assert destroyed == []
    cache.release(first, destroyed.append)
    assert destroyed == []
    cache.release(first, destroyed.append)
    assert destroyed == [1]


def test_a_token_object_is_never_destroyed_by_falling_out() -> None:
    destroyed: list[int] = []
    cache: KeyCache[int] = KeyCache(1)
    cache.release(cache.add("token", 1, destroyed.append, permanent=True), destroyed.append)
    used = cache.add("token 2", 2, destroyed.append, permanent=True)
    cache.add("other", 3, destroyed.append, permanent=False)
    cache.release(used, destroyed.append)
    assert destroyed == []


def test_remove() -> None:
    destroyed: list[int] = []
    cache: KeyCache[int] = KeyCache(5)
    entry = cache.add("key", 1, destroyed.append, permanent=False)
    cache.remove("key", destroyed.append)
    cache.remove("key", destroyed.append)
    assert destroyed == []
    cache.release(entry, destroyed.append)
    assert destroyed == [1]


def test_the_gate_lets_nobody_in_while_it_is_held() -> None:
    gate, inside, order = Gate(), threading.Event(), []
    leave = threading.Event()

    def caller() -> None:
        with gate:
            inside.set()
            leave.wait(5)
            order.append("call ends")

    def initialiser() -> None:
        with gate.exclusive():
            order.append("initialised")

    def late_caller() -> None:
        with gate:
            order.append("late call")

    first = threading.Thread(target=caller)
    first.start()
    inside.wait(5)
    second = threading.Thread(target=initialiser)
    second.start()
    while not gate._closed:
        pass
    third = threading.Thread(target=late_caller)
    third.start()
    assert order == []
    leave.set()
    for thread in (first, second, third):
        thread.join(5)
    assert order == ["call ends", "initialised", "late call"]


def test_the_gate_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate_module, "_PATIENCE", 0.01)
    gate = Gate()
    with gate, pytest.raises(HsmUnavailable, match="does not return"), gate.exclusive():
        pass
    with gate.exclusive():
        with pytest.raises(HsmUnavailable, match="initialised for too long"), gate:
            pass
        with pytest.raises(HsmUnavailable, match="initialised for too long"), gate.exclusive():
            pass
    with gate:
        pass
