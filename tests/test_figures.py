"""What commands measured is written down as they measured it, and only for what was asked."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tools.figures.asked import FIGURES, Figure
from tools.figures.record import record

if TYPE_CHECKING:
    from pathlib import Path


def test_a_measurement_is_a_file_of_its_own(tmp_path: Path) -> None:
    record("jwt-of-single", 0.79, command="make bench", note="16 clients", folder=tmp_path)
    document = json.loads((tmp_path / "jwt-of-single.json").read_text(encoding="utf-8"))
    assert document["measured"] == 0.79
    assert document["met"] is False
    assert (document["floor"], document["command"], document["note"]) == ("≥ 0.8", "make bench", "16 clients")
    assert document["machine"]
    assert document["date"]


@pytest.mark.parametrize(("name", "measured"), [("p99-of-p51", 1.0), ("p99-of-p50", float("nan"))])
def test_what_was_not_asked_or_not_measured_is_refused(tmp_path: Path, name: str, measured: float) -> None:
    with pytest.raises(ValueError, match=name):
        record(name, measured, command="make bench", folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("least", "most", "measured", "met"),
    [
        (0.8, None, 0.8, True),
        (0.8, None, 0.799, False),
        (None, 5.0, 5.0, True),
        (None, 5.0, 5.01, False),
        (None, None, 3.0, None),
    ],
)
def test_a_floor_and_a_ceiling_count_themselves(
    least: float | None, most: float | None, measured: float, met: bool | None
) -> None:
    assert Figure("name", "Speed", "asked", "s", least, most).met(measured) is met


def test_names_are_those_of_files() -> None:
    assert all(name == figure.name and name.replace("-", "").isalnum() for name, figure in FIGURES.items())
