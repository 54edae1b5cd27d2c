"""The short form of fuzzing: every target over its seeds and a few hundred damaged ones, the same in every run.

`make fuzz` is the long form. A hang is ended by faulthandler's timeout.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz import targets
from tests.fuzz.mutations import mutations

COUNT = 400


def test_every_parser_has_a_target() -> None:
    assert set(targets.names()) >= {"certificates", "cms", "crl", "saml", "trust"}


@pytest.mark.parametrize("name", targets.names())
def test_seeds_and_mutations(name: str) -> None:
    target = targets.load(name)
    assert name == target.NAME
    seeds = target.seeds()
    assert seeds
    for data in (b"", b"\x00", *seeds, *mutations(seeds, COUNT)):
        target.one(data)


def test_the_mutator_repeats_itself_and_changes_things() -> None:
    seeds = [b"abcdefgh" * 20, b"12345678" * 20]
    made = list(mutations(seeds, 100, seed=1))
    assert made == list(mutations(seeds, 100, seed=1))
    assert len(set(made) - set(seeds)) > 90
    assert made != list(mutations(seeds, 100, seed=2))


def test_an_exception_outside_the_tree_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    """The targets do not swallow what they should report."""
    for name, function in (
        ("certificates", "load_certificate"),
        ("cms", "parse_detached"),
        ("saml", "parse_xml"),
        ("trust", "parse_trust"),
    ):
        target = targets.load(name)

        def fail(_data: bytes) -> None:
            raise KeyError("not promised")

        with monkeypatch.context() as patch:
            patch.setattr(target, function, fail)
            with pytest.raises(KeyError):
                target.one(target.seeds()[0])


def test_make_fuzz_is_told_in_the_files_it_needs() -> None:
    root = Path(__file__).resolve().parents[2]
    assert "tests.fuzz" in (root / "Makefile").read_text()
    assert "atheris==" in (root / "requirements/fuzz.txt").read_text()
    assert "fuzz.txt" in (root / "tools/lock.sh").read_text()
