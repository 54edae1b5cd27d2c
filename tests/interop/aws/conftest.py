"""The deployment that all clients of AWS KMS are pointed at."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.interop.aws.deployment import Deployment, deployment

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def kms(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    with deployment(tmp_path_factory.mktemp("aws")) as running:
        yield running
