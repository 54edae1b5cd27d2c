"""What commands measured is written down as they measured it, and only for what was asked."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click
import pytest
from click.testing import CliRunner

from tools.figures import suite
from tools.figures.__main__ import read, take
from tools.figures.asked import FIGURES, Figure
from tools.figures.page import number, page
from tools.figures.record import ROOT, Measurement, record

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


def measured(name: str, value: float, folder: Path) -> None:
    record(name, value, command="make bench", note="a | b", folder=folder)


def test_the_page_is_what_its_files_say() -> None:
    assert (ROOT / "docs" / "figures.md").read_text(encoding="utf-8") == page(read(ROOT / "docs" / "figures"))


def test_a_figure_stands_beside_its_floor(tmp_path: Path) -> None:
    measured("p256-of-openbao", 0.4567, tmp_path)
    measured("hsm-matrix", 72, tmp_path)
    text = page(read(tmp_path))
    assert "| P-256 singly | × OpenBao | ≥ 0.4, aim 1 | 0.457 | yes | `make bench` | a \\| b; 20" in text
    assert "| PKCS#11 errors, 12 codes × 6 functions | cells as expected | ≥ 72 | 72 | yes |" in text
    assert "| JWT issuing | of the single P-256 call | ≥ 0.8 | not measured yet |" in text
    assert "Not reached" not in text


def test_a_figure_that_is_not_reached_needs_its_cause_and_no_other_has_one(tmp_path: Path) -> None:
    measured("jwt-of-single", 0.5, tmp_path)
    with pytest.raises(click.ClickException, match="no cause for jwt-of-single"):
        read(tmp_path)
    (tmp_path / "causes.toml").write_text('jwt-of-single = "Tokens are long."\n')
    assert "| **no** |" in page(read(tmp_path))
    assert "- **JWT issuing** (of the single P-256 call, ≥ 0.8): Tokens are long." in page(read(tmp_path))
    measured("jwt-of-single", 0.9, tmp_path)
    with pytest.raises(click.ClickException, match="speaks of jwt-of-single"):
        read(tmp_path)


def test_a_file_of_no_figure_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text(json.dumps(dict.fromkeys(Measurement.__dataclass_fields__, "")))
    with pytest.raises(click.ClickException, match=r"other\.json is no figure"):
        read(tmp_path)


def test_what_was_measured_is_taken_and_a_short_form_is_not(tmp_path: Path) -> None:
    results, folder = tmp_path / "results", tmp_path / "figures"
    measured("jwt-of-single", 0.9, results)
    for name, text in {"bench.json": '{"short": false}', "bench.md": "", "latency-x.svg": "", "notes.txt": ""}.items():
        (results / name).write_text(text)
    assert take(results, folder) == ["bench.md", "jwt-of-single.json", "latency-x.svg"]
    text = page(read(folder))
    assert "![latency x](figures/latency-x.svg)" in text
    assert "(figures/bench.md)" in text
    (results / "bench.json").write_text('{"short": true}')
    with pytest.raises(click.ClickException, match="short form"):
        take(results, folder)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (72.0, "72"),
        (20_000.0, "20,000"),
        (0.4567, "0.457"),
        (99.91, "99.91"),
        (99.0, "99"),
        (12345.6, "12,346"),
    ],
)
def test_numbers_have_the_digits_that_mean_something(value: float, text: str) -> None:
    assert number(value) == text


def test_a_run_of_the_suite_is_read_from_what_pytest_wrote(tmp_path: Path) -> None:
    junit = tmp_path / "suite.xml"
    junit.write_text(
        '<testsuites><testsuite errors="1" failures="2" skipped="3" tests="40" time="7.5"/></testsuites>',
        encoding="utf-8",
    )
    result = CliRunner().invoke(suite.main, ["suite-on-sqlite", str(junit), "--output", str(tmp_path)])
    assert result.output == "suite-on-sqlite: 3 of 40 tests, 3 skipped, 8 s\n"
    document = json.loads((tmp_path / "suite-on-sqlite.json").read_text(encoding="utf-8"))
    assert (document["measured"], document["met"], document["command"]) == (3, False, "make test")


@pytest.mark.parametrize("text", ["", "<testsuites/>", '<testsuites><testsuite tests="x"/></testsuites>', "no XML"])
def test_no_run_of_the_suite_is_no_success(tmp_path: Path, text: str) -> None:
    (tmp_path / "suite.xml").write_text(text, encoding="utf-8")
    with pytest.raises(click.ClickException, match=r"suite\.xml"):
        suite.read(tmp_path / "suite.xml")
