"""Settings for every test. Fixtures live beside the tests that use them; warnings are errors by pyproject.toml."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.live import Live, live_service

if TYPE_CHECKING:
    from collections.abc import Iterator

# A SoftHSM configuration of the person running the tests must never be touched: each test names its own.
os.environ.pop("SOFTHSM2_CONF", None)
for name in ("SEALMARK_URL", "SEALMARK_TOKEN", "SEALMARK_STATE"):
    os.environ.pop(name, None)

# Databases and tokens of the tests lie in memory where there is enough of it: thousands of them are written with fsync,
# which proves nothing here, since processes are killed but no power is cut. `--basetemp` chooses another place.
MEMORY = Path("/dev/shm")
ENOUGH = 3 << 30
if MEMORY.is_dir() and os.access(MEMORY, os.W_OK | os.X_OK) and shutil.disk_usage(MEMORY).free >= ENOUGH:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """One service for everything that people are told to type."""
    with live_service(tmp_path_factory.mktemp("live")) as running:
        yield running
