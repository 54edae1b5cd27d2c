"""Writes the tables of docs/policy-language.md from the code: `python -m tools.policy_page`. A test compares them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from signer.access.actions import POLICY_ACTIONS, SERVICE_PREFIX, Part
from signer.access.condition_keys import CONDITION_KEY_FAMILIES, CONDITION_KEYS
from signer.access.conditions import OPERATORS, Family

if TYPE_CHECKING:
    from collections.abc import Iterable

    from signer.access.condition_keys import ConditionKey

PAGE: Final = Path(__file__).resolve().parents[1] / "docs" / "policy-language.md"
_TABLE: Final = "<!-- {name} -->\n\n{rows}\n\n<!-- end -->"


def written(page: str) -> str:
    """The page with its tables as they should be."""
    for name, rows in (("actions", _actions()), ("operators", _operators()), ("keys", _keys())):
        table = _TABLE.format(name=name, rows="\n".join(rows))
        page = re.sub(rf"<!-- {name} -->.*?<!-- end -->", table.replace("\\", r"\\"), page, flags=re.DOTALL)
    return page


def _actions() -> list[str]:
    rows = ["| part | actions |", "|---|---|"]
    for part in Part:
        names = [name for name, of in POLICY_ACTIONS.items() if of is part and not name.startswith(SERVICE_PREFIX)]
        rows.append(f"| {part} | {_listed(names)} |")
    return [*rows, f"| about no key | {_listed(name for name in POLICY_ACTIONS if name.startswith(SERVICE_PREFIX))} |"]


def _operators() -> list[str]:
    families = {family: [row.name for row in OPERATORS.values() if row.family is family] for family in Family}
    return ["| of | operators |", "|---|---|", *(f"| {of} | {_listed(names)} |" for of, names in families.items())]


def _keys() -> list[str]:
    keys = [*CONDITION_KEYS.values(), *CONDITION_KEY_FAMILIES.values()]
    rows = ["| values | one value | many values (`ForAnyValue:` or `ForAllValues:`) |", "|---|---|---|"]
    for value_type in dict.fromkeys(key.type for key in keys):
        of_type = [key for key in keys if key.type is value_type and key.filled]
        one, many = ([key for key in of_type if key.many is wanted] for wanted in (False, True))
        rows.append(f"| {value_type} | {_listed(map(_name, one))} | {_listed(map(_name, many))} |")
    return [*rows, f"| never here | {_listed(_name(key) for key in keys if not key.filled)} | |"]


def _name(key: ConditionKey) -> str:
    return f"{key.name}NAME" if key.name[-1] in ":/" else key.name


def _listed(names: Iterable[str]) -> str:
    return " ".join(f"`{name}`" for name in names)


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
