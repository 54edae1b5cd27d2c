"""docs/limits.md: what `tools.limits` prints, and every constant that looks like a limit of callers or operators."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tools.limits import NAMED, page

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).parents[1]
_LIMIT: Final = re.compile(r"(MOST|MAXIMUM|LONGEST|LARGEST|SHORTEST|LEAST)(_[A-Z_0-9]+)?|[A-Z][A-Z_]*_(LIMIT|AGE)")
# Limits of the code's own making, which nobody can run into by asking for more.
_INSIDE: Final = frozenset(
    {
        "signer.audit.checks.findings:MAXIMUM",  # how many findings one check shows; the others are counted
        # Beyond these a call takes another way, on which nothing else is different.
        "signer.lane.heads:LONGEST_HEAD",
        "signer.lane.heads:LONGEST_BODY",
        "signer.lane.connection:MOST_AHEAD",
        "signer.witness.protocol:MAXIMUM_PROOF",  # 2^63 leaves
        "signer.witness.protocol:MAXIMUM_BODY",  # follows from it
        "keystore.db.patience:LEAST",  # of a wait that the request has no time left for
    }
)


def constants() -> Iterator[str]:
    """`module:NAME` of each public constant of the service that looks like a limit."""
    for folder in ("signer", "keystore"):
        for path in (ROOT / folder).rglob("*.py"):
            if "cli" in path.parts or "migrations" in path.parts:
                continue
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
                for target in targets:
                    if isinstance(target, ast.Name) and _LIMIT.fullmatch(target.id):
                        yield f"{module}:{target.id}"


def test_the_page_is_what_is_printed() -> None:
    written = (ROOT / "docs" / "limits.md").read_text(encoding="utf-8")
    assert written == page(), "run `python -m tools.limits > docs/limits.md`"


def test_every_constant_that_limits_is_on_the_page() -> None:
    listed = {limit.where for limits in NAMED.values() for limit in limits}
    assert set(constants()) - listed - _INSIDE == set()
    assert _INSIDE - set(constants()) == set()


@pytest.mark.parametrize("limit", [limit for limits in NAMED.values() for limit in limits], ids=lambda one: one.where)
def test_each_has_a_value(limit: object) -> None:
    assert getattr(limit, "value", None) is not None


def test_the_bounds_of_bodies_are_there() -> None:
    shown = page()
    assert "| `POST /v1/keys/{key}/signatures` | `items` | 1 to 1000 of them |" in shown
    assert "| `POST /v1/keys` | `users` | at most 256 of them |" in shown
