"""The writer's tree against the standard's own recursion: roots, proofs of new leaves, full tiles."""

from __future__ import annotations

import hashlib
import random
from typing import TYPE_CHECKING

import pytest

from signer.audit.checkpoints import hash_lines
from signer.audit.logged import InclusionLines
from signer.audit.tree import EMPTY_TREE, Tree, leaf_hash, node_hash
from tests.signer.audit.naive_tree import NaiveTree

if TYPE_CHECKING:
    from signer.audit.tree import FullTile

HASHES = [hashlib.sha256(b"%d" % at).digest() for at in range(66_000)]
NAIVE = NaiveTree(HASHES)
LEVELS = [NAIVE.level(level) for level in range(3)]


def grown(size: int, *, by: int) -> Tree:
    tree = EMPTY_TREE
    for at in range(0, size, by):
        tree = tree.extended(HASHES[at : min(at + by, size)]).tree
    return tree


def test_hashes_are_those_of_rfc_9162() -> None:
    assert EMPTY_TREE.root == hashlib.sha256(b"").digest()
    assert leaf_hash(b"leaf") == hashlib.sha256(b"\x00leaf").digest()
    assert node_hash(b"l", b"r") == hashlib.sha256(b"\x01lr").digest()


@pytest.mark.parametrize("by", [1, 2, 7, 300])
def test_every_small_tree_grown_in_steps(by: int) -> None:
    tree = EMPTY_TREE
    for at in range(0, 300, by):
        end = min(at + by, 300)
        extension = tree.extended(HASHES[at:end])
        assert extension.first == at
        tree = extension.tree
        assert (tree.size, tree.root) == (end, NAIVE.root(0, end))
        for index in range(at, end):
            assert InclusionLines(extension)(index) == hash_lines(NAIVE.inclusion(index, 0, end)), (index, end)


def test_any_two_small_sizes_one_step_apart() -> None:
    """What a step gives does not depend on how the tree before it came about."""
    one_by_one = [grown(size, by=1) for size in range(50)]
    for before in range(34):
        tree = one_by_one[before]
        for after in range(before + 1, 50):
            extension = tree.extended(HASHES[before:after])
            assert extension.tree.root == NAIVE.root(0, after)
            assert extension.tree == one_by_one[after]
            assert InclusionLines(extension)(before) == hash_lines(NAIVE.inclusion(before, 0, after))
            assert InclusionLines(extension)(after - 1) == hash_lines(NAIVE.inclusion(after - 1, 0, after))


def test_nothing_of_a_tree_changes_when_it_is_extended() -> None:
    tree = grown(77, by=10)
    first = tree.extended(HASHES[77:100])
    other = tree.extended([hashlib.sha256(b"other").digest()])
    assert tree == grown(77, by=1)
    assert first.tree.root == NAIVE.root(0, 100) != other.tree.root
    assert tree.extended([]).tree is tree


def test_large_trees_by_steps_of_any_size() -> None:
    chosen = random.Random(20261125)  # noqa: S311 - repeatable on purpose
    tree, tiles = EMPTY_TREE, dict[tuple[int, int], "FullTile"]()
    while tree.size < len(HASHES):
        step = min(chosen.choice((1, 2, 255, 256, 257, 511, 1000, 4096, 9000)), len(HASHES) - tree.size)
        extension = tree.extended(HASHES[tree.size : tree.size + step])
        for index in {tree.size, tree.size + step - 1, tree.size + chosen.randrange(step)}:
            assert InclusionLines(extension)(index) == hash_lines(NAIVE.inclusion(index, 0, extension.tree.size))
        for tile in extension.full_tiles:
            assert (tile.level, tile.tile) not in tiles
            tiles[tile.level, tile.tile] = tile
        tree = extension.tree
        assert tree.root == NAIVE.root(0, tree.size)
    check_tiles(tree, tiles)


@pytest.mark.parametrize("size", [255, 256, 257, 512, 65_535, 65_536, 65_537])
def test_tiles_at_the_edges(size: int) -> None:
    extension = EMPTY_TREE.extended(HASHES[:size])
    check_tiles(extension.tree, {(tile.level, tile.tile): tile for tile in extension.full_tiles})


def check_tiles(tree: Tree, tiles: dict[tuple[int, int], FullTile]) -> None:
    """Every full tile once, with its hashes and root; what is left over is in the open tiles."""
    expected = {
        (level, tile): b"".join(LEVELS[level][tile * 256 : tile * 256 + 256])
        for level in range(3)
        for tile in range(tree.size // 256 ** (level + 1))
    }
    assert {place: tile.hashes for place, tile in tiles.items()} == expected
    for (level, tile), found in tiles.items():
        width = 256 ** (level + 1)
        assert found.root == NAIVE.root(tile * width, (tile + 1) * width)
    for level, hashes in enumerate(tree.open_tiles):
        count = tree.size // 256**level
        start = count // 256 * 256
        assert list(hashes) == LEVELS[level][start:count]
