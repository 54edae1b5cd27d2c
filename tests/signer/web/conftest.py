"""A service of its own for tests that count rows or turn its clock."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.signer.service import ServiceInProcess, running_service

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keystore.hsm import Token


@pytest.fixture(scope="module")
def own_service(token: Token, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceInProcess]:
    with running_service(token, tmp_path_factory.mktemp("own"), software_specs=("ML_KEM_768",)) as running:
        yield running
