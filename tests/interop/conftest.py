"""One service for all stock tools: it signs everything once, publishes, and is stopped before anything is verified."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.hsm_support import founded, token
from tools.demo import scenario
from tools.demo.__main__ import build_verifier, sign_everything
from tools.service import running_service

if TYPE_CHECKING:
    from tools.demo.exhibits import Exhibit
    from tools.demo.judges import Published

__all__ = ["founded", "token"]

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Market:
    """What left the service: signed things, and what it published."""

    exhibits: list[Exhibit]
    published: Published

    def find(self, kind: str, key: str, signed: tuple[str, ...] = ()) -> list[Exhibit]:
        """The exhibits of this kind by this key; never none."""
        found = [one for one in self.exhibits if (one.kind, one.key, one.signed) == (kind, key, signed)]
        assert found
        return found


@pytest.fixture(scope="session")
def market(tmp_path_factory: pytest.TempPathFactory) -> Market:
    folder = tmp_path_factory.mktemp("market")
    wheel = build_verifier(folder)
    published_folder = folder / "published"
    published_folder.mkdir()
    with running_service(folder) as service:
        cast = scenario.enrol_cast(service)
        scenario.make_keys(service)
        exhibits = sign_everything(service, cast, wheel, folder)
        return Market(exhibits, scenario.publish(service, published_folder))
