"""The Merkle tree of the log as a writer needs it: its right edge, and what new leaves make of it.

RFC 6962 section 2.1, RFC 9162 section 2.1: a tree of n leaves is built level by level from pairs of nodes; an odd last
node goes up as it is. Every leaf that is added lies at the right end, so that the new root, the new leaves' inclusion
proofs and the tiles that become full follow from the complete subtrees on the right edge and the new leaves alone.
Hashes are 32 octets of SHA-256.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

TILE_HEIGHT: Final = 8  # C2SP tlog-tiles
TILE_WIDTH: Final = 1 << TILE_HEIGHT
HASH_SIZE: Final = 32  # octets of SHA-256
EMPTY_ROOT: Final = hashlib.sha256().digest()
_LEAF: Final = b"\x00"
_NODE: Final = b"\x01"


def leaf_hash(leaf: bytes) -> bytes:
    """RFC 9162 section 2.1.1: the first octet keeps leaves apart from inner nodes."""
    return hashlib.sha256(_LEAF + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """RFC 9162 section 2.1.1."""
    return hashlib.sha256(_NODE + left + right).digest()


@dataclass(frozen=True, slots=True)
class FullTile:
    """256 hashes next to each other on a level of tiles, and the root of the subtree over them."""

    level: int
    tile: int
    hashes: bytes
    root: bytes


@dataclass(frozen=True, slots=True)
class Level:
    """The nodes of one level from position `first` on; the last may stand for a subtree that is not complete."""

    first: int
    nodes: list[bytes]


@dataclass(frozen=True, slots=True)
class Tree:
    """A tree's right edge. `edge` has the complete subtree of 2^k leaves for each bit k of `size`; `open_tiles` the
    hashes of the last tile of each level, which is not full yet."""

    size: int
    root: bytes
    edge: tuple[bytes | None, ...]
    open_tiles: tuple[tuple[bytes, ...], ...]

    def extended(self, leaves: Sequence[bytes]) -> Extension:
        """The tree with these leaf hashes at its end. Nothing of this tree changes."""
        if not leaves:
            return Extension(self, self.size, (), ())
        levels = self._levels(leaves)
        size = self.size + len(leaves)
        edge: list[bytes | None] = []
        for height in range(size.bit_length()):
            if not size >> height & 1:
                edge.append(None)
                continue
            at = (size >> height) - 1  # the last complete subtree of this height
            level = levels[height] if height < len(levels) else None
            edge.append(level.nodes[at - level.first] if level is not None and at >= level.first else self.edge[height])
        open_tiles, full = self._tiles(levels, size)
        return Extension(Tree(size, levels[-1].nodes[0], tuple(edge), open_tiles), self.size, tuple(full), levels)

    def _levels(self, leaves: Sequence[bytes]) -> list[Level]:
        """Every node that is new or changed, with its left neighbour where one is needed, up to the root."""
        levels = [Level(self.size, list(leaves))]
        last = self.size + len(leaves) - 1
        while last:
            height, below = len(levels) - 1, levels[-1]
            if below.first & 1:
                neighbour = self.edge[height] or EMPTY_ROOT  # never empty: an odd position has a left neighbour
                below = levels[-1] = Level(below.first - 1, [neighbour, *below.nodes])
            nodes = below.nodes
            paired = [node_hash(nodes[at], nodes[at + 1]) for at in range(0, len(nodes) - 1, 2)]
            if len(nodes) & 1:
                paired.append(nodes[-1])
            levels.append(Level(below.first >> 1, paired))
            last >>= 1
        return levels

    def _tiles(self, levels: Sequence[Level], size: int) -> tuple[tuple[tuple[bytes, ...], ...], list[FullTile]]:
        full: list[FullTile] = []
        kept: list[tuple[bytes, ...]] = []
        for level in range(max(1, (size.bit_length() + TILE_HEIGHT - 1) // TILE_HEIGHT)):
            height = level * TILE_HEIGHT
            before, after = self.size >> height, size >> height
            hashes = list(self.open_tiles[level]) if level < len(self.open_tiles) else []
            if after > before:
                nodes = levels[height]
                hashes += nodes.nodes[before - nodes.first : after - nodes.first]
            tile = before >> TILE_HEIGHT
            while len(hashes) >= TILE_WIDTH:
                above = levels[height + TILE_HEIGHT]
                root = above.nodes[tile - above.first]
                full.append(FullTile(level, tile, b"".join(hashes[:TILE_WIDTH]), root))
                del hashes[:TILE_WIDTH]
                tile += 1
            kept.append(tuple(hashes))
        return tuple(kept), full


@dataclass(frozen=True, slots=True)
class Extension:
    """What new leaves made of a tree: the new tree, the tiles that became full, and the nodes that are new, by level
    from the leaves up, which the proofs of the new leaves are made of (`logged.InclusionLines`)."""

    tree: Tree
    first: int  # index of the first new leaf
    full_tiles: tuple[FullTile, ...]
    levels: Sequence[Level]


EMPTY_TREE: Final = Tree(0, EMPTY_ROOT, (), ((),))
