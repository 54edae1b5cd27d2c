"""The log as it stands in the database, read only: hashes of the tree at any size that it ever had.

Nodes on every eighth level are kept: leaf hashes with the entries, roots of 256 nodes with the full tiles. Everything
between is computed, and every size's root and proofs follow (RFC 9162 section 2.1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import bindparam, select

from keystore.db.schema import LOG_ENTRIES, LOG_HEADS, LOG_TILES
from keystore.errors import IntegrityFailure
from signer.audit.checkpoints import hash_lines
from signer.audit.tree import EMPTY_ROOT, HASH_SIZE, TILE_HEIGHT, TILE_WIDTH, Tree, node_hash

if TYPE_CHECKING:
    from keystore.db.engine import Database, Prepared


class Head(NamedTuple):
    """A log's row of `log_heads`, in the order of its columns."""

    log: int
    origin: str
    public_key: bytes
    first: int
    size: int
    root: bytes
    journal: int
    checkpoint_size: int
    checkpoint: str | None
    cosigned_size: int
    cosigned: str | None


def heads(database: Database) -> list[Head]:
    """Every log that the deployment ever had, the growing one last."""
    with database.read() as connection:
        rows = connection.execute(select(LOG_HEADS).order_by(LOG_HEADS.c.log))
        return [Head(*row) for row in rows]


class LogReader:
    """The tree of one log. Sizes and indices that the log does not have raise `IntegrityFailure`: a row is missing."""

    def __init__(self, database: Database, log: int, first: int) -> None:
        self._database = database
        self._log = log
        self._first = first
        entries, tiles = LOG_ENTRIES.c, LOG_TILES.c
        self._leaf_hashes = database.prepare(
            select(entries.leaf_hash)
            .where(entries.seq >= bindparam("begin"), entries.seq < bindparam("end"))
            .order_by(entries.seq)
        )
        self._tile_roots = database.prepare(
            select(tiles.root)
            .where(
                tiles.log == bindparam("log"),
                tiles.level == bindparam("level"),
                tiles.tile >= bindparam("begin"),
                tiles.tile < bindparam("end"),
            )
            .order_by(tiles.tile)
        )
        self._leaves = database.prepare(
            select(entries.leaf)
            .where(entries.seq >= bindparam("begin"), entries.seq < bindparam("end"))
            .order_by(entries.seq)
        )
        self._full_tile = database.prepare(
            select(tiles.hashes).where(
                tiles.log == bindparam("log"), tiles.level == bindparam("level"), tiles.tile == bindparam("tile")
            )
        )

    def nodes(self, level: int, begin: int, end: int) -> list[bytes]:
        """The nodes [begin, end) of a level of tiles (0: leaf hashes; 1: roots of 256 of them; ...)."""
        if begin >= end:
            return []
        if level == 0:
            values = {"begin": self._first + begin, "end": self._first + end}
            statement = self._leaf_hashes
        else:
            values = {"log": self._log, "level": level - 1, "begin": begin, "end": end}
            statement = self._tile_roots
        found = [hashed for hashed in self._fetch(statement, values) if len(hashed) == HASH_SIZE]
        if len(found) != end - begin:
            msg = f"log: {end - begin - len(found)} of the nodes {begin} to {end - 1} of level {level} are missing"
            raise IntegrityFailure(msg)
        return found

    def leaves(self, begin: int, end: int) -> list[bytes]:
        """The leaves [begin, end) themselves."""
        found = self._fetch(self._leaves, {"begin": self._first + begin, "end": self._first + end})
        if len(found) != end - begin:
            msg = f"log: {end - begin - len(found)} of the leaves {begin} to {end - 1} are missing"
            raise IntegrityFailure(msg)
        return found

    def tile(self, level: int, tile: int, width: int) -> bytes:
        """The first `width` hashes of a tile, next to each other (tlog-tiles, "Merkle Tree"): 256 for a full one."""
        if width < TILE_WIDTH:
            return b"".join(self.nodes(level, tile * TILE_WIDTH, tile * TILE_WIDTH + width))
        found = self._fetch(self._full_tile, {"log": self._log, "level": level, "tile": tile})
        if [len(hashes) for hashes in found] != [TILE_WIDTH * HASH_SIZE]:
            msg = f"log: the tile {tile} of level {level} is missing"
            raise IntegrityFailure(msg)
        return found[0]

    def bundle(self, tile: int, width: int) -> bytes:
        """The first `width` leaves of a tile of level 0, each behind its length (tlog-tiles, "Log Entries")."""
        leaves = self.leaves(tile * TILE_WIDTH, tile * TILE_WIDTH + width)
        return b"".join(len(leaf).to_bytes(2) + leaf for leaf in leaves)

    def _fetch(self, statement: Prepared, values: dict[str, int]) -> list[bytes]:
        rows = self._database.fetch(statement.sql, tuple(values[name] for name in statement.names))
        return [found for (found,) in rows if isinstance(found, bytes)]

    def subtree(self, height: int, at: int) -> bytes:
        """The root of the complete subtree over the leaves [at * 2^height, (at + 1) * 2^height)."""
        level, above = divmod(height, TILE_HEIGHT)
        nodes = self.nodes(level, at << above, (at + 1) << above)
        while len(nodes) > 1:
            nodes = [node_hash(nodes[left], nodes[left + 1]) for left in range(0, len(nodes), 2)]
        return nodes[0]

    def _range(self, begin: int, end: int) -> bytes:
        """The root over the leaves [begin, end); `begin` is a multiple of a power of two not below end - begin."""
        root: bytes | None = None
        for height in range((end - begin).bit_length()):
            if (end - begin) >> height & 1:
                last = self.subtree(height, (end >> height) - 1)
                root = last if root is None else node_hash(last, root)
                end -= 1 << height
        return EMPTY_ROOT if root is None else root

    def root(self, size: int) -> bytes:
        """The root of the tree of the first `size` leaves."""
        return self._range(0, size)

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """The proof that the leaf `index` is in the tree of `size` leaves, from the leaf up (section 2.1.3.1)."""
        proof, height, last = [], 0, size - 1
        while last >> height:
            sibling = index >> height ^ 1
            if sibling <= last >> height:
                proof.append(self._range(sibling << height, min((sibling + 1) << height, size)))
            height += 1
        return proof

    def inclusion_lines(self, index: int, size: int) -> str:
        """The same as it stands in a proof, a line each."""
        return hash_lines(self.inclusion(index, size))

    def consistency(self, first: int, second: int) -> list[bytes]:
        """The proof that the tree of `second` leaves begins with that of `first` (section 2.1.4.1)."""
        if first in (0, second):
            return []
        return self._subproof(first, 0, second, True)

    def _subproof(self, size: int, begin: int, end: int, known: bool) -> list[bytes]:
        if size == end - begin:
            return [] if known else [self._range(begin, end)]
        half = 1 << (end - begin - 1).bit_length() - 1
        if size <= half:
            return [*self._subproof(size, begin, begin + half, known), self._range(begin + half, end)]
        return [*self._subproof(size - half, begin + half, end, False), self._range(begin, begin + half)]

    def tree(self, size: int) -> Tree:
        """The right edge of the tree of `size` leaves, ready to be extended."""
        edge = tuple(
            self.subtree(height, (size >> height) - 1) if size >> height & 1 else None
            for height in range(size.bit_length())
        )
        levels = max(1, (size.bit_length() + TILE_HEIGHT - 1) // TILE_HEIGHT)
        counts = [size >> level * TILE_HEIGHT for level in range(levels)]
        open_tiles = tuple(
            tuple(self.nodes(level, count // TILE_WIDTH * TILE_WIDTH, count)) for level, count in enumerate(counts)
        )
        return Tree(size, self.root(size), edge, open_tiles)
