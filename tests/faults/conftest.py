"""A whole service over a real token that can be made to fail."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from tests.faults.faulty_token import FaultyToken
from tests.hsm_support import founded, token
from tests.signer.service import ServiceInProcess, running_service

if TYPE_CHECKING:
    from collections.abc import Iterator, MutableMapping
    from typing import Any

    from keystore.hsm import Token

__all__ = ["founded", "token"]


@dataclass(frozen=True)
class FaultyService:
    """The service and the handle on its token."""

    running: ServiceInProcess
    token: FaultyToken


@pytest.fixture(scope="session")
def faulty_service(token: Token, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultyService]:
    faulty = FaultyToken(token)
    with running_service(faulty, tmp_path_factory.mktemp("faulty")) as running:
        yield FaultyService(running, faulty)
        faulty.destroy_others()


@pytest.fixture
def faulty(faulty_service: FaultyService) -> Iterator[FaultyService]:
    """The service, honest at the beginning and at the end of each test."""
    faulty_service.token.honest()
    yield faulty_service
    faulty_service.token.honest()


@pytest.fixture
def log() -> Iterator[list[MutableMapping[str, Any]]]:
    """What is logged during the test."""
    with capture_logs() as lines:
        yield lines
