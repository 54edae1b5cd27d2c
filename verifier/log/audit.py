"""Audits a whole log: every entry, every tile, the root, the signatures over it, and what was verified before.

In this order: checkpoints (signatures, cosignatures), the kept head (the same log, no shorter), the entries by 256
(what was kept, tile, form, record or row), the tiles above, the root at every size that a checkpoint names. Entries
are streamed; what stays in memory is 256 of them, 4 bytes of each one's hash, and 32 bytes for every 256.
"""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from verifier.errors import Indeterminate, Rejected, VerificationError
from verifier.log.errors import LogRejected, entries
from verifier.log.former import require_follows
from verifier.log.head import MARK_SIZE, KeptHead
from verifier.log.results import LogAudit
from verifier.log.tally import Tally
from verifier.log.tree import TILE_WIDTH, Tile, TileTree, split_hashes, tile_path
from verifier.merkle import HASH_SIZE, leaf_hash
from verifier.notes import Checkpoint, Note, NoteKey, cosigned_at, parse_checkpoint, parse_note, require_signature
from verifier.results import Cosigned

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from verifier.log.source import LogEntry, LogSource


def audit_log(
    source: LogSource,
    key: NoteKey,
    *,
    witnesses: Sequence[NoteKey] = (),
    cosignatures: int = 0,
    head: KeptHead | None = None,
    further: Iterable[bytes] = (),
    full: bool = False,
    former: KeptHead | None = None,
) -> LogAudit:
    """Audits the log that `key` signs, up to the source's checkpoint.

    With a `head` that was kept, everything must continue it, and only what came since is read, unless `full`. At least
    `cosignatures` of the `witnesses` must have cosigned the checkpoint, or one of the `further` ones: signed notes of
    the same log from anywhere, no larger than it, with each of which the log must agree. With `former`, the head that
    was kept of another log, this one must begin where that one ended; its first entry is read again then.

    Returns what was found, with the new head to keep. Raises: `Rejected`, most often `LogRejected` with the place;
    `Indeterminate` where the source's bytes cannot be had.
    """
    signed = _open(source.checkpoint(), key, "the checkpoint")
    others = [_open(note, key, f"further checkpoint {number}") for number, note in enumerate(further, 1)]
    cosigned_size, cosigned = _require_cosigned([signed, *others], witnesses, cosignatures)
    if head is not None and head.origin != signed.checkpoint.origin:
        message = f"the kept head is of the log {head.origin}, and this is the log {signed.checkpoint.origin}"
        raise LogRejected(f"{message}: another log, such as that of a new HSM, needs a head of its own")
    walked = _Audit(source, signed, others, head).run(full=full or former is not None)
    tally = walked.tally
    if former is not None:
        require_follows(tally.former, former)
    return LogAudit(
        origin=signed.checkpoint.origin,
        size=signed.checkpoint.size,
        root=signed.checkpoint.root,
        start=walked.start,
        decisions=tally.decisions,
        counts=tally.counts if source.has_records else None,
        rows=tally.rows,
        signatures=tally.signatures,
        first_time=tally.first_time,
        last_time=tally.last_time,
        journal=tally.journal,
        former=tally.former,
        cosigned_size=cosigned_size,
        cosigned=cosigned,
        kept_size=None if head is None else head.size,
        has_records=source.has_records,
        has_tiles=source.has_tiles,
        head=walked.head,
    )


class _Signed(NamedTuple):
    """A checkpoint that the log's key signed, and what a message calls it."""

    checkpoint: Checkpoint
    note: Note
    data: bytes
    name: str


def _open(data: bytes, key: NoteKey, name: str) -> _Signed:
    note = parse_note(data)
    require_signature(note, key)
    checkpoint = parse_checkpoint(note.text)
    if checkpoint.origin != key.name:
        raise LogRejected(f"{name} is of the log {checkpoint.origin}, and signed by the key of {key.name}")
    return _Signed(checkpoint, note, data, name)


def _require_cosigned(
    signed: Sequence[_Signed], witnesses: Sequence[NoteKey], needed: int
) -> tuple[int | None, tuple[Cosigned, ...]]:
    """The largest size that enough witnesses saw (one at least), and when; None where there is none."""
    if not 0 <= needed <= len({witness.public_key for witness in witnesses}):
        raise ValueError(f"{needed} cosignatures cannot be asked of {len(witnesses)} witnesses")
    seen = [(each.checkpoint.size, cosigned_at(each.note, witnesses)) for each in signed]
    enough = [found for found in seen if len(found[1]) >= max(needed, 1)]
    if enough:
        size, witnessed = max(enough, key=lambda found: found[0])
        return size, tuple(Cosigned(name, moment) for name, moment in witnessed.items())
    if needed:
        most = max(len(found[1]) for found in seen)
        raise Rejected("too_few_cosignatures", f"{most} of the witnesses saw the log's head, {needed} are asked for")
    return None, ()


@dataclass(frozen=True, slots=True)
class _Walked:
    start: int
    tally: Tally
    head: KeptHead


def _require(*checks: Callable[[], None], fault: LogRejected | None = None) -> None:
    """Runs all the checks of some entries. Raises the rejection that has the earliest place, `fault` among them."""
    found: list[VerificationError] = [] if fault is None else [fault]
    for check in checks:
        try:
            check()
        except VerificationError as error:
            found.append(error)
    if found:
        raise min(found, key=_place)


def _place(error: VerificationError) -> float:
    """The entry that it is about; what could not be decided comes after all that is wrong."""
    where = error.where if isinstance(error, LogRejected) else {}
    return float(where.get("index", where.get("first_index", math.inf)))


class _BeginsLater(LogRejected):
    """The source has no first entries: an export of what came since, which a kept head may continue."""


class _Audit:
    """One audit: a source, and what it is held against."""

    def __init__(self, source: LogSource, signed: _Signed, others: Sequence[_Signed], kept: KeptHead | None) -> None:
        self._source = source
        self._signed = signed
        self._size = signed.checkpoint.size
        self._kept = kept
        self._roots: dict[int, list[tuple[str, bytes]]] = {}  # by size
        for each in (signed, *others):
            self._roots.setdefault(each.checkpoint.size, []).append((each.name, each.checkpoint.root))
        if kept is not None:
            self._roots.setdefault(kept.size, []).append(("the kept head", kept.root))
        self._confirmed = 0  # the largest size so far whose root a checkpoint confirms

    def run(self, *, full: bool) -> _Walked:
        """The whole audit. What does not hold after the kept head may be wrong before it: then everything is read."""
        most = max(self._roots)
        if most > self._size:
            with suppress(_BeginsLater, Indeterminate):
                self._walk(None)  # an entry that was changed as well is the better thing to name
            name = self._roots[most][0][0]
            message = f"the log is cut: it has {self._size} entries, and {name} says {most}"
            raise LogRejected(message, size=self._size)
        kept = self._kept
        needs_all = kept is None or min(self._roots) < kept.size or (self._source.has_records and not kept.records)
        if full or needs_all:
            return self._walk(None)
        try:
            return self._walk(kept)
        except LogRejected:
            with suppress(_BeginsLater, Indeterminate):
                self._walk(None)
            raise

    def _walk(self, base: KeptHead | None) -> _Walked:
        """Reads on from `base`, or everything."""
        tree = TileTree() if base is None else base.tree()
        tally = Tally(records=self._source.has_records)
        marks = bytearray()
        if base is not None:
            tally = Tally(records=self._source.has_records, journal=base.journal, link=base.link)
            marks += base.marks
        start = tree.size
        self._confirmed = 0
        self._check_root(start, tree.root())
        for chunk, fault in self._chunks(start):
            hashes = [leaf_hash(entry.leaf) for entry in chunk]
            tile = Tile(0, tree.size // TILE_WIDTH, tree.levels[0] + hashes)
            if fault is not None:
                _require(partial(self._check_kept, tile, tree), partial(tally.add, chunk), fault=fault)
            roots = self._roots_within(tree, hashes)
            filled = tree.add(hashes)
            _require(partial(self._check_kept, tile, tree), partial(self._check_tile, tile), partial(tally.add, chunk))
            for above in filled[1:]:
                self._check_tile(above)
            for size, root in roots:
                self._check_root(size, root)
            marks += b"".join([each[:MARK_SIZE] for each in hashes])
        for above in tree.partial():
            if above.level:
                self._check_tile(above)
        if self._confirmed != self._size:
            raise LogRejected(f"the root of {self._size} entries was not reached", size=tree.size)
        return _Walked(start, tally, self._head(base, tree, tally, bytes(marks)))

    def _head(self, base: KeptHead | None, tree: TileTree, tally: Tally, marks: bytes) -> KeptHead:
        new_have_records = self._source.has_records or (base is not None and base.size == self._size)
        return KeptHead(
            checkpoint=self._signed.data,
            origin=self._signed.checkpoint.origin,
            size=self._size,
            root=self._signed.checkpoint.root,
            tiles=bytes(tree.tile_roots),
            leaves=b"".join(tree.levels[0]),
            marks=marks,
            journal=tally.journal_end,
            link=tally.link,
            records=new_have_records and (base is None or base.records),
        )

    def _chunks(self, first: int) -> Iterator[tuple[list[LogEntry], LogRejected | None]]:
        """The entries up to the checkpoint's size, to the end of a tile each; the last with its fault, if any.

        What came before a fault is looked at first: an entry there may be the first bad one.
        """
        source = iter(self._source.entries(first, self._size))
        while first < self._size:
            end = min(self._size, (first // TILE_WIDTH + 1) * TILE_WIDTH)
            chunk: list[LogEntry] = []
            yield chunk, self._fill(chunk, source, first, end)
            first = end
        for entry in source:
            message = f"entry {entry.index} is in no checkpoint: the newest one has {self._size} entries"
            raise LogRejected(message, index=entry.index, size=self._size)

    def _fill(self, chunk: list[LogEntry], source: Iterator[LogEntry], first: int, end: int) -> LogRejected | None:
        """Takes the entries from `first` up to `end`. Returns what kept it from that."""
        try:
            for index, entry in enumerate(islice(source, end - first), first):
                if entry.index != index:
                    kind = LogRejected if index else _BeginsLater
                    return kind(f"entry {index} is missing: {entry.index} follows", index=index)
                chunk.append(entry)
        except LogRejected as error:
            is_placed = {"index", "first_index", "size"} & error.where.keys()
            return error if is_placed else error.at(first + len(chunk))
        size = first + len(chunk)
        if size == end:
            return None
        message = f"the log is cut: it has {size} entries, and its checkpoint says {self._size}"
        return LogRejected(message, index=size, size=size)

    def _roots_within(self, tree: TileTree, more: list[bytes]) -> list[tuple[int, bytes]]:
        """The roots at the sizes that a checkpoint names, for those that the tree gets with these leaf hashes."""
        within = [size for size in self._roots if tree.size < size <= tree.size + len(more)]
        return [(size, tree.root(more[: size - tree.size])) for size in sorted(within)]

    def _check_root(self, size: int, root: bytes) -> None:
        says = self._roots.get(size, [])
        wrong = [name for name, said in says if said != root]
        right = [name for name, said in says if said == root]
        if wrong and right:
            message = f"{wrong[0]} and {right[0]} have different roots of the same {size} entries: the log was forked"
            raise LogRejected(message, size=size)
        if wrong:
            self._blame(self._confirmed, size - 1, f"do not have the root that {wrong[0]} says", size)
        if right:
            self._confirmed = size

    def _blame(self, first: int, last: int, what: str, size: int) -> NoReturn:
        if last < first:
            raise LogRejected(f"{size} entries {what}", size=size)
        raise LogRejected(f"the {entries(first, last)} {what}", first_index=first, last_index=last, size=size)

    def _check_kept(self, tile: Tile, tree: TileTree) -> None:
        """That a tile of level 0, full or not, is what was verified before."""
        kept, number, hashes = self._kept, tile.number, tile.hashes
        first = number * TILE_WIDTH
        if kept is None or first >= kept.size:
            return
        place = slice(number * HASH_SIZE, (number + 1) * HASH_SIZE)
        same = hashes[: kept.size - first]
        if before := kept.tiles[place]:
            is_kept = len(hashes) == TILE_WIDTH and tree.tile_roots[place] == before
        else:
            is_kept = b"".join(same) == kept.leaves[: len(same) * HASH_SIZE]
        if is_kept:
            return
        last = first + len(same) - 1
        for index, digest in enumerate(same, first):
            if digest[:MARK_SIZE] != kept.marks[index * MARK_SIZE : (index + 1) * MARK_SIZE]:
                message = f"entry {index} is not the one that was verified before: history was rewritten there"
                raise LogRejected(message, index=index, first_index=first, last_index=last)
        if before and len(hashes) < TILE_WIDTH:
            return  # the log is cut amid this tile, and the kept root is of all of it
        message = f"one of {entries(first, last)} is not what was verified before: history was rewritten there"
        raise LogRejected(message, first_index=first, last_index=last)

    def _check_tile(self, tile: Tile) -> None:
        """That the source's tile has the hashes that its entries have."""
        if not self._source.has_tiles:
            return
        span = TILE_WIDTH**tile.level  # entries below one hash of the tile
        first = tile.number * TILE_WIDTH * span
        path = tile_path(tile.level, tile.number, len(tile.hashes))
        found = self._source.tile(tile.level, tile.number, len(tile.hashes))
        if found == b"".join(tile.hashes):
            return
        if found is None:
            last = first + len(tile.hashes) * span - 1
            raise LogRejected(f"{path} is missing", first_index=first, last_index=last, tile=path)
        said = split_hashes(found)
        differing = (at for at, computed in enumerate(tile.hashes) if said[at : at + 1] != [computed])
        first += span * next(differing, len(tile.hashes) - 1)  # with no other fault it goes on after its last hash
        last = first + span - 1
        where = {"index": first} if tile.level == 0 else {"first_index": first, "last_index": last}
        message = f"{path} does not have the hash that {entries(first, last)} should have there"
        raise LogRejected(message, tile=path, **where)
