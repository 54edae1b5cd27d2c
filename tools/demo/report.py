"""What the person at the terminal sees. Everything goes through one rich console; nothing here decides anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.table import Table

from tools.demo.judges import ACCEPTED, REJECTED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tools.demo.exhibits import Exhibit
    from tools.demo.judges import Judge

_WIDTH_WITHOUT_TERMINAL: Final = 120
console: Final = Console(highlight=False, soft_wrap=False)
if not console.is_terminal:
    console.width = _WIDTH_WITHOUT_TERMINAL


def step(text: str) -> None:
    """One line before a step of the story."""
    console.print(f"[bold cyan]::[/] {text}")


def fact(text: str) -> None:
    """One line of what came out of a step."""
    console.print(f"   [dim]{text}[/]")


def failure(text: str) -> None:
    """What is not as it should be."""
    console.print(f"[bold red]not as it should be:[/] {text}", markup=True)


def success(text: str) -> None:
    """The last line."""
    console.print(f"[bold green]{text}[/]")


def verdicts(
    title: str,
    exhibits: Sequence[Exhibit],
    judges: Sequence[Judge],
    given: Mapping[tuple[Exhibit, str], str],
    wanted: str,
) -> None:
    """One table: a row per exhibit, Sealmark's own verifier first, then the stock tool; green where it is as wanted."""
    own, *stock = judges
    table = Table(title=title, title_justify="left", title_style="bold", header_style="bold")
    for heading in ("what", "format", "key", "algorithm", own.name, "stock tool", ""):
        table.add_column(heading, no_wrap=True)
    for exhibit in exhibits:
        facts = (exhibit.title, " ".join((exhibit.kind, *exhibit.signed)), exhibit.key, exhibit.algorithm)
        mine = _cell(given[exhibit, own.name], wanted)
        others = [(judge.name, _cell(given[exhibit, judge.name], wanted)) for judge in stock if judge.takes(exhibit)]
        for name, cell in others or [("none here: npm's needs Node.js", "")]:
            table.add_row(*facts, mine, name, cell)
    console.print(table)


def _cell(verdict: str, wanted: str) -> str:
    sign = {ACCEPTED: "✓ accepted", REJECTED: "✗ rejected"}.get(verdict, verdict)
    return f"[{'green' if verdict == wanted else 'bold red'}]{sign}[/]"
