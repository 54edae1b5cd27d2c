"""One scene for all tests of this folder; each works on a copy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.scale.scene import Scene, make_scene

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def made_scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return make_scene(tmp_path_factory.mktemp("scene"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tmp_path.chmod(0o700)
    return tmp_path
