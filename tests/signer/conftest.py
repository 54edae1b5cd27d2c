"""One service in this process for every test of the signer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.hsm_support import founded, token
from tests.signer.service import ServiceInProcess, running_service

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keystore.hsm import Token

__all__ = ["founded", "token"]


@pytest.fixture(scope="session")
def service(token: Token, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceInProcess]:
    with running_service(token, tmp_path_factory.mktemp("service")) as running:
        yield running
