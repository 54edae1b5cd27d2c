"""The tree over a log's entries while it grows, in tiles of 256 hashes: roots, and each tile as it becomes full.

RFC 9162 section 2.1 and C2SP tlog-tiles: a hash of level L + 1 is the root of a full tile of level L.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, NamedTuple

from verifier.merkle import EMPTY_ROOT, HASH_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

TILE_WIDTH: Final = 256
_TILE_HEIGHT: Final = 8
_sha256 = hashlib.sha256


class Tile(NamedTuple):
    """A tile, full or begun: its place, and its hashes."""

    level: int
    number: int
    hashes: list[bytes]


def split_hashes(joined: bytes) -> list[bytes]:
    """Hashes that stand one behind the other."""
    return [joined[at : at + HASH_SIZE] for at in range(0, len(joined), HASH_SIZE)]


def tile_path(level: int | str, number: int, width: int = TILE_WIDTH) -> str:
    """Where a tile lies below the log (C2SP tlog-tiles, "Paths"). `level` is a number, or "entries"."""
    groups = [f"{number % 1000:03d}"]
    while number := number // 1000:
        groups.insert(0, f"x{number % 1000:03d}")
    partial = "" if width == TILE_WIDTH else f".p/{width}"
    return f"tile/{level}/{'/'.join(groups)}{partial}"


def fold(hashes: Sequence[bytes]) -> bytes:
    """The hash over a non-empty row of neighbours. One without a right neighbour goes up as it is."""
    row = list(hashes)
    while len(row) > 1:
        above = [_sha256(b"\x01" + row[at] + row[at + 1]).digest() for at in range(0, len(row) - 1, 2)]
        if len(row) % 2:
            above.append(row[-1])
        row = above
    return row[0]


class TileTree:
    """A tree that grows at its right edge. Holds less than 256 hashes of each level, and the root of each full tile."""

    def __init__(self) -> None:
        self.size = 0
        self.tile_roots = bytearray()  # of the full tiles of level 0, joined
        self.levels: list[list[bytes]] = [[]]  # of each level, the hashes of the tile that is not full yet
        self._full: list[int] = [0]  # of each level, how many tiles are full

    @classmethod
    def of_tiles(cls, roots: Iterable[bytes], rest: Sequence[bytes]) -> TileTree:
        """The tree over full tiles of level 0, given by their roots, and fewer than 256 leaf hashes behind them."""
        tree = cls()
        for root in roots:
            tree._rise(0, root, [])
            tree.size += TILE_WIDTH
        tree.levels[0].extend(rest)
        tree.size += len(rest)
        return tree

    def add(self, leaf_hashes: Sequence[bytes]) -> list[Tile]:
        """Appends leaf hashes, at most as many as the tile has room for. Returns the tiles that are full by it."""
        tile = self.levels[0]
        tile.extend(leaf_hashes)
        self.size += len(leaf_hashes)
        filled: list[Tile] = []
        if len(tile) == TILE_WIDTH:
            self.levels[0] = []
            filled.append(Tile(0, self._full[0], tile))
            self._rise(0, fold(tile), filled)
        return filled

    def _rise(self, level: int, root: bytes, filled: list[Tile]) -> None:
        """Takes the root of a tile that is full into the level above."""
        if level == 0:
            self.tile_roots += root
        self._full[level] += 1
        above = level + 1
        if above == len(self.levels):
            self.levels.append([])
            self._full.append(0)
        tile = self.levels[above]
        tile.append(root)
        if len(tile) == TILE_WIDTH:
            self.levels[above] = []
            filled.append(Tile(above, self._full[above], tile))
            self._rise(above, fold(tile), filled)

    def partial(self) -> list[Tile]:
        """The tiles at the right edge that are begun and not full, from the lowest level up."""
        return [Tile(level, self._full[level], tile) for level, tile in enumerate(self.levels) if tile]

    def root(self, more: Sequence[bytes] = ()) -> bytes:
        """The root, as it would be with some more leaf hashes (no more than the lowest tile has room for)."""
        rest: bytes | None = None
        for level, tile in enumerate(self.levels):
            row = [*tile, *more] if level == 0 else tile
            whole = row if rest is None else [*row, rest]
            rest = fold(whole) if whole else None
        return EMPTY_ROOT if rest is None else rest
