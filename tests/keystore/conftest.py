"""Fixtures of the keystore's tests: a real SoftHSM token, and a keystore over it with a database of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from keystore import domains
from tests.hsm_support import founded, token
from tests.keystore.support import Place, make_place

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from keystore.hsm import Token

__all__ = ["founded", "token"]


@pytest.fixture(autouse=True)
def without_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """No call is under way while a test rotates a domain, but where it says so."""
    monkeypatch.setattr(domains, "GRACE", 0.0)


@pytest.fixture
def place(tmp_path: Path, token: Token) -> Iterator[Place]:
    with make_place(tmp_path, token) as made:
        yield made
