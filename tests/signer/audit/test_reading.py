"""What is read back from the tables, against the standard's own recursion: every size that the log ever had."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from keystore.errors import IntegrityFailure
from signer.audit.reading import LogReader, heads
from signer.audit.records import former_entry
from signer.audit.tree import EMPTY_ROOT
from tests.databases import hand, new_database
from tests.signer.audit.anchor import software_anchor
from tests.signer.audit.naive_tree import NaiveTree
from tests.signer.audit.software_log import filled

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from keystore.db import Database
    from signer.audit.records import Entry

SMALL, LARGE = 300, 66_000  # a level of tiles; three of them


class Filled:
    """A log in a database, and what it should say."""

    def __init__(self, database: Database, entries: list[Entry], reader: LogReader) -> None:
        self.database, self.entries, self.reader = database, entries, reader
        self.naive = NaiveTree([entry["leaf_hash"] for entry in entries])


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    """The second log of a database: its leaf 0 is not the first entry, and says where the first log ended."""
    database = new_database(tmp_path_factory.mktemp("small") / "log.db")
    filled(database, software_anchor(), [50, 260])
    entries = [former_entry(heads(database)[0], time=0)]
    entries += filled(database, software_anchor(), [1, 2, 7, 100, SMALL - 111], first=1000)
    former, growing = heads(database)
    assert (former.first, former.size, growing.first, growing.size) == (0, 310, 310, SMALL)
    yield Filled(database, entries, LogReader(database, growing.log, growing.first))
    database.close()


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    database = new_database(tmp_path_factory.mktemp("large") / "log.db")
    entries = filled(database, software_anchor(), [8000] * 8 + [LARGE - 64_000])
    (head,) = heads(database)
    yield Filled(database, entries, LogReader(database, head.log, head.first))
    database.close()


def test_every_root_and_tree_of_a_small_log(small: Filled) -> None:
    assert small.reader.root(0) == EMPTY_ROOT
    for size in range(1, SMALL + 1):
        assert small.reader.root(size) == small.naive.root(0, size)
    for size in (0, 1, 2, 3, 255, 256, 257, 299):
        more = [entry["leaf_hash"] for entry in small.entries[size:]]
        tree = small.reader.tree(size)
        assert tree.size == size
        assert tree.extended(more).tree == small.reader.tree(SMALL)


def test_every_inclusion_proof_of_some_sizes_and_some_of_every_size(small: Filled) -> None:
    for size in (1, 2, 3, 4, 5, 6, 7, 8, 9, 33, 255, 256, 257, SMALL):
        for index in range(size):
            assert small.reader.inclusion(index, size) == small.naive.inclusion(index, 0, size), (index, size)
    for size in range(1, SMALL + 1):
        for index in {0, size // 2, size - 1}:
            assert small.reader.inclusion(index, size) == small.naive.inclusion(index, 0, size), (index, size)


def test_every_consistency_proof_between_small_sizes(small: Filled) -> None:
    for second in range(1, 70):
        for first in range(second + 1):
            expected = small.naive.consistency(first, 0, second) if first else []
            assert small.reader.consistency(first, second) == expected, (first, second)
    for first in range(1, SMALL + 1):
        assert small.reader.consistency(first, SMALL) == small.naive.consistency(first, 0, SMALL), first


def test_a_large_log_at_random(large: Filled) -> None:
    chosen = random.Random(20261125)  # noqa: S311 - repeatable on purpose
    sizes = [65_535, 65_536, 65_537, LARGE, *(chosen.randrange(1, LARGE) for _ in range(40))]
    for size in sizes:
        index, first = chosen.randrange(size), chosen.randrange(1, size + 1)
        assert large.reader.root(size) == large.naive.root(0, size), size
        assert large.reader.inclusion(index, size) == large.naive.inclusion(index, 0, size), (index, size)
        assert large.reader.consistency(first, size) == large.naive.consistency(first, 0, size), (first, size)
    assert large.reader.tree(65_000).extended(large.naive.hashes[65_000:]).tree == large.reader.tree(LARGE)


def test_tiles_of_every_level_and_width(large: Filled, small: Filled) -> None:
    for level, tiles in ((0, (0, 1, 200, LARGE // 256 - 1)), (1, (0,))):
        nodes = large.naive.level(level)
        for tile in tiles:
            for width in (1, 2, 100, 255, 256):
                expected = b"".join(nodes[tile * 256 : tile * 256 + width])
                assert large.reader.tile(level, tile, width) == expected, (level, tile, width)
    assert large.reader.tile(2, 0, 1) == large.naive.root(0, 65_536)
    assert small.reader.tile(0, 1, SMALL - 256) == b"".join(small.naive.hashes[256:])


def test_bundles_hold_the_leaves_behind_their_lengths(small: Filled) -> None:
    for tile, width in ((0, 1), (0, 3), (0, 256), (1, SMALL - 256)):
        bundle, leaves = small.reader.bundle(tile, width), []
        while bundle:
            length = int.from_bytes(bundle[:2])
            leaves.append(bundle[2 : 2 + length])
            bundle = bundle[2 + length :]
        assert leaves == [entry["leaf"] for entry in small.entries[tile * 256 : tile * 256 + width]]


def test_what_is_not_there_is_said(small: Filled, tmp_path: Path) -> None:
    for ask in (
        lambda: small.reader.nodes(0, 299, 301),
        lambda: small.reader.leaves(300, 301),
        lambda: small.reader.tile(0, 1, 256),
        lambda: small.reader.tile(1, 0, 2),
        lambda: small.reader.root(SMALL + 1),
    ):
        with pytest.raises(IntegrityFailure, match=r"log: .*(is|are) missing"):
            ask()
    database = new_database(tmp_path / "log.db")
    filled(database, software_anchor(), [300])
    with hand(tmp_path / "log.db") as attacker:
        attacker.run("DELETE FROM log_entries WHERE seq = 17")
        attacker.run("UPDATE log_tiles SET hashes = substr(hashes, 2)")
    reader = LogReader(database, 1, 0)
    with pytest.raises(IntegrityFailure, match="1 of the nodes 0 to 255 of level 0 are missing"):
        reader.nodes(0, 0, 256)
    with pytest.raises(IntegrityFailure, match="the tile 0 of level 0 is missing"):
        reader.tile(0, 0, 256)
    database.close()
