"""The list of attacks in the documentation and the tests are the same list."""

from __future__ import annotations

import re
from pathlib import Path

HERE = Path(__file__).parent
ROW = re.compile(r"^\| ([0-9]+) \|", re.MULTILINE)
TEST = re.compile(r"^def test_(?:attack|not_refused)_([0-9]+)_", re.MULTILINE)


def test_every_attack_of_the_list_is_tried_once() -> None:
    listed = [
        int(number) for number in ROW.findall((HERE.parents[1] / "docs" / "attacks.md").read_text(encoding="utf-8"))
    ]
    tried = [
        int(number) for file in HERE.glob("test_*.py") for number in TEST.findall(file.read_text(encoding="utf-8"))
    ]
    assert listed == list(range(1, len(listed) + 1))
    assert sorted(tried) == listed
