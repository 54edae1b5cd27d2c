"""A flame graph of folded stacks as SVG without script: width is time, names are in the boxes and in their titles."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape
from zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_WIDTH: Final = 1200.0
_LINE: Final = 16.0
_HEAD: Final = 28.0
_LETTER: Final = 6.2  # the width of one, about
_LEAST: Final = 0.002  # of the whole width: narrower boxes are left out
_FONT: Final = "font-family='Verdana, sans-serif' font-size='10'"


@dataclass(slots=True)
class _Frame:
    count: int = 0
    inner: dict[str, _Frame] = field(default_factory=dict)


def flame_graph(stacks: Mapping[tuple[str, ...], int], title: str) -> str:
    """Stacks have their outermost frame first. The root is on top."""
    root = _Frame()
    for stack, count in stacks.items():
        frame = root
        frame.count += count
        for name in stack:
            frame = frame.inner.setdefault(name, _Frame())
            frame.count += count
    boxes = list(_boxes(root, "all", 0.0, 0, root.count))
    height = _HEAD + _LINE * (1 + max(depth for depth, _ in boxes))
    return "\n".join(
        [
            f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {_WIDTH:g} {height:g}' {_FONT}>",
            f"<rect width='{_WIDTH:g}' height='{height:g}' fill='white'/>",
            f"<text x='4' y='18' font-size='13'>{escape(title)}</text>",
            *(box for _, box in boxes),
            "</svg>\n",
        ]
    )


def _boxes(frame: _Frame, name: str, left: float, depth: int, whole: int) -> Iterator[tuple[int, str]]:
    share = frame.count / whole
    if share < _LEAST:
        return
    yield depth, _box(name, left, depth, share)
    for inner, below in sorted(frame.inner.items()):
        yield from _boxes(below, inner, left, depth + 1, whole)
        left += below.count / whole


def _box(name: str, left: float, depth: int, share: float) -> str:
    x, y, width = left * _WIDTH, _HEAD + depth * _LINE, share * _WIDTH
    room = int((width - 4) / _LETTER)
    short = name if len(name) <= room else name[: max(0, room - 1)] + "…"
    text = f"<text x='{x + 2:.1f}' y='{y + 11.5:.1f}'>{escape(short)}</text>" if room >= 3 else ""
    # One colour for one file, so that layers are seen.
    hue = crc32(name.rpartition("(")[2].encode()) % 70
    return (
        f"<g><title>{escape(name)}: {share:.1%}</title><rect x='{x:.1f}' y='{y:g}' width='{max(width - 0.4, 0.2):.1f}' "
        f"height='{_LINE - 1:g}' fill='hsl({hue},75%,{62 + hue % 13}%)'/>{text}</g>"
    )
