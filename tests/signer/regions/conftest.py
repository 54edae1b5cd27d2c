"""Two running regions for the tests of a file: the ceremony is done once.

Not for the whole folder: a service with another token must not live on beside that of the other tests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.signer.regions.deployments import Regions, two_regions

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def regions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Regions]:
    with two_regions(tmp_path_factory.mktemp("regions")) as running:
        yield running
