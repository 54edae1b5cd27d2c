"""docs/figures.md: every figure that was asked for beside what was measured. Strings in, a string out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from tools.figures.asked import FIGURES, SECTIONS, Figure

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tools.figures.record import Measurement

_ABOVE: Final = """\
# Every figure, with the command that makes it

Made by `make figures` from `docs/figures/*.json`, which the commands wrote; no number here is typed by hand, and a test
holds the page to them. Each command exits with 0 only where what it makes is right. On another machine the figures are
others; those that are ratios were taken in one run on the same processors.

| figure | in | floor, aim | measured | holds | command | how, when |
|---|---|---|---|---|---|---|
"""
_WORDS: Final = {True: "yes", False: "**no**", None: ""}


@dataclass(frozen=True, slots=True)
class Taken:
    """What lies in docs/figures: measurements and causes by figure, the names of plots, the profile, and whether the
    benchmark's own page and flame graph are there."""

    measurements: Mapping[str, Measurement] = field(default_factory=dict)
    causes: Mapping[str, str] = field(default_factory=dict)
    plots: tuple[str, ...] = ()
    profile: Mapping[str, Any] | None = None
    benchmark: bool = False

    def missed(self) -> list[Figure]:
        """The figures whose floor or ceiling does not hold, by what is asked now."""
        return [
            figure
            for name, figure in FIGURES.items()
            if name in self.measurements and figure.met(self.measurements[name].measured) is False
        ]


def page(taken: Taken) -> str:
    """The whole page, in Markdown."""
    parts = [
        _ABOVE + "".join(_rows(taken)),
        *_machines(taken),
        *_not_reached(taken),
        *_pictures(taken),
        *_profile(taken),
    ]
    return "\n".join(parts)


def _rows(taken: Taken) -> Iterator[str]:
    for section in SECTIONS:
        yield f"| **{section}** | | | | | | |\n"
        for figure in FIGURES.values():
            if figure.section == section:
                yield f"| {' | '.join(_cells(figure, taken.measurements.get(figure.name)))} |\n"


def _cells(figure: Figure, found: Measurement | None) -> tuple[str, ...]:
    if found is None:
        return figure.asked, figure.unit, figure.floor, "not measured yet", "", "", ""
    how = "; ".join(text.replace("|", "\\|") for text in (found.note, found.date) if text)
    holds = _WORDS[figure.met(found.measured)]
    return figure.asked, figure.unit, figure.floor, number(found.measured), holds, f"`{found.command}`", how


def number(value: float) -> str:
    """Three digits that mean something, whole numbers whole."""
    if value == int(value):
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}" if abs(value) < 99.5 else f"{value:.4g}"


def _machines(taken: Taken) -> Iterator[str]:
    found = dict.fromkeys(each.machine for each in taken.measurements.values())
    if found:
        yield f"Measured on: {'; '.join(found)}.\n"


def _not_reached(taken: Taken) -> Iterator[str]:
    if missed := taken.missed():
        rows = [
            f"- **{figure.asked}** ({figure.unit}, {figure.floor}): {taken.causes[figure.name]}" for figure in missed
        ]
        yield "## Not reached: the cause, and what was tried\n\n" + "\n".join(rows) + "\n"


def _pictures(taken: Taken) -> Iterator[str]:
    if taken.plots or taken.benchmark:
        yield "## Latency against load\n\n`make bench ARGS='--parts curve'` draws these.\n"
        yield from (f"![{_title(name)}](figures/{name})\n" for name in taken.plots)
    if taken.benchmark:
        yield "All loads, with memory and processor time of servers and load tool: [benchmark](figures/bench.md).\n"


def _title(name: str) -> str:
    return name.removesuffix(".svg").replace("-", " ")


def _profile(taken: Taken) -> Iterator[str]:
    if taken.profile is None:
        return
    parts, load = taken.profile["parts"], taken.profile["load"]
    rows = [parts["headings"], ["---", *["---:"] * (len(parts["headings"]) - 1)], *parts["rows"]]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    yield (
        f"## Where the time goes\n\n`make profile` watches all workers under load ({load}, {taken.profile['clients']} "
        "clients). Each sample of a thread that runs belongs to the innermost frame of our own code; the second column "
        "is the same of threads that hold Python's lock, which there is one of in each worker.\n\n"
        f"{table}\n\n[The functions](figures/profile.md) · [the flame graph](figures/flames.svg)\n"
    )
