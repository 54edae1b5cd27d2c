"""Settings for every test. Fixtures live beside the tests that use them; warnings are errors by pyproject.toml."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.live import Live, live_service

if TYPE_CHECKING:
    from collections.abc import Iterator

# A SoftHSM configuration of the person running the tests must never be touched: each test names its own.
os.environ.pop("SOFTHSM2_CONF", None)
for name in ("SEALMARK_URL", "SEALMARK_TOKEN", "SEALMARK_STATE"):
    os.environ.pop(name, None)


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """One service for everything that people are told to type."""
    with live_service(tmp_path_factory.mktemp("live")) as running:
        yield running
