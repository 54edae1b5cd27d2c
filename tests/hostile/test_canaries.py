"""Canaries are found however they are written down, and nothing else is."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import pytest

from tests.hostile.canaries import Canaries, Leak

if TYPE_CHECKING:
    from pathlib import Path

KEY = bytes(range(200, 232))
PIN = b"cAnArY-PiN"
CANARIES = Canaries({"key": KEY, "pin": PIN})


@pytest.mark.parametrize(
    "octets",
    [
        b"\0" + KEY + b"\0",
        KEY.hex().encode(),
        KEY.hex().upper().encode(),
        *(base64.b64encode(b"x" * before + KEY + b"y" * after) for before in range(4) for after in range(4)),
        *(base64.urlsafe_b64encode(b"x" * before + KEY) for before in range(4)),
    ],
)
def test_a_key_is_found_in_every_form(octets: bytes) -> None:
    assert CANARIES.within(octets) == {"key"}
    assert CANARIES.within(octets.swapcase() if octets.isascii() else octets[::-1]) <= {"key"}


@pytest.mark.parametrize(
    "octets",
    [
        PIN,
        PIN.decode().encode("utf-16"),
        PIN.decode().encode("utf-16-be"),
        json.dumps({"pin": PIN.decode()}).encode(),
        base64.b64encode(b"user:" + PIN),
    ],
)
def test_a_text_is_found_in_every_form(octets: bytes) -> None:
    assert CANARIES.within(octets) == {"pin"}


def test_nothing_else_is_found() -> None:
    assert CANARIES.within(bytes(range(256))[:200] + PIN[:-1] + KEY[:-1] + base64.b64encode(KEY[1:-1])) == set()
    assert Canaries({}).within(b"anything") == set()
    with pytest.raises(ValueError, match="at least"):
        Canaries({"short": b"1234"})


def test_files_are_looked_through_beyond_their_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.hostile.canaries._BLOCK", 64)
    (tmp_path / "database-wal").write_bytes(b"\0" * 50 + KEY + b"\0" * 500)
    (tmp_path / "hsm.pin").write_bytes(PIN)
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "serve.log").write_bytes(b"the PIN is " + PIN)
    assert CANARIES.leaks(tmp_path, allowed=frozenset({".pin"})) == [
        Leak("key", "database-wal"),
        Leak("pin", "log/serve.log"),
    ]
