"""Two running regions for every test here: the ceremony is done once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.signer.regions.deployments import Regions, two_regions

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="package")
def regions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Regions]:
    with two_regions(tmp_path_factory.mktemp("regions")) as running:
        yield running
