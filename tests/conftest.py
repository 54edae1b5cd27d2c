"""Settings for every test. Fixtures live beside the tests that use them; warnings are errors by pyproject.toml."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
import structlog

from signer.audit.trail import AuditTrail
from tests import databases, postgresql_server
from tests.live import Live, live_service
from tools import service

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

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

_configure = structlog.configure


def _configure_for_now(**settings: Any) -> None:
    """A test that sets logs up, as commands do, must not do so for those that follow: no logger keeps what it found."""
    _configure(**settings | {"cache_logger_on_first_use": False})


structlog.configure = cast("Any", _configure_for_now)


@pytest.fixture(autouse=True)
def _logs_as_they_were() -> Iterator[None]:
    yield
    structlog.reset_defaults()


_SQLITE_ONLY = "sqlite_only"
_POSTGRESQL_ONLY = "postgresql_only"
_server: list[postgresql_server.Server] = []


def pytest_configure(config: pytest.Config) -> None:
    """One PostgreSQL server for all processes of a session that runs on it; started by the first of them."""
    config.addinivalue_line("markers", f"{_SQLITE_ONLY}(reason): is about SQLite's files, and not run on PostgreSQL")
    config.addinivalue_line("markers", f"{_POSTGRESQL_ONLY}(reason): runs with the suite on PostgreSQL alone")
    if not databases.ON_POSTGRESQL:
        return
    service.init_arguments = databases.init_arguments
    if databases.VARIABLE in os.environ:
        return
    server = postgresql_server.new_server()
    _server.append(server)
    server.start()
    os.environ[databases.VARIABLE] = server.url("{}")
    databases.make_template(server.url("{}"))


def pytest_unconfigure() -> None:
    for server in _server:
        server.stop()
        shutil.rmtree(server.folder)
    _server.clear()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests of the other database are left out: pytest counts them as deselected; `grep -rn sqlite_only tests`."""
    unfit = _SQLITE_ONLY if databases.ON_POSTGRESQL else _POSTGRESQL_ONLY
    left_out = [item for item in items if item.get_closest_marker(unfit)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


if databases.ON_POSTGRESQL:
    _make_trail = AuditTrail.__init__

    def _make_known_trail(self: AuditTrail, *arguments: Any, **named: Any) -> None:
        databases.TRAILS.add(self)
        _make_trail(self, *arguments, **named)

    AuditTrail.__init__ = _make_known_trail  # type: ignore[method-assign]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Generator[None, None, None]:
    try:
        yield
    finally:
        if databases.ON_POSTGRESQL:
            databases.drop_abandoned()


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """One service for everything that people are told to type."""
    with live_service(tmp_path_factory.mktemp("live")) as running:
        yield running
