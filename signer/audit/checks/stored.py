"""One log as it lies in the tables, read from the beginning to the end; each entry is checked as it passes by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import bindparam, func, select

from keystore.db.schema import LOG_ENTRIES, LOG_HEADS, LOG_TILES
from signer.audit.checks.entries import Entry
from signer.audit.reading import Head
from signer.audit.records import former_entry
from signer.audit.tree import EMPTY_ROOT, TILE_HEIGHT, TILE_WIDTH

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from keystore.db.engine import Value
    from keystore.db.snapshot import Row, Snapshot
    from signer.audit.checks.entries import Checker
    from signer.audit.checks.findings import Findings

_CHUNK: Final = 1024  # entries read at once
_LAST: Final = 2**63 - 1
_HASH: Final = len(EMPTY_ROOT)

_seq = LOG_ENTRIES.c.seq
_ENTRIES: Final = (
    select(LOG_ENTRIES)
    .where(_seq >= bindparam("begin"), _seq <= bindparam("last"))
    .order_by(_seq)
    .limit(bindparam("most"))
)
_LEAF_HASHES: Final = (
    select(LOG_ENTRIES.c.leaf_hash).where(_seq >= bindparam("begin"), _seq < bindparam("end")).order_by(_seq)
)
_OLDEST: Final = select(func.min(LOG_ENTRIES.c.time)).where(_seq >= bindparam("begin"), _seq <= bindparam("last"))
_BEFORE: Final = select(_seq).where(_seq < bindparam("first")).order_by(_seq).limit(1)
_of_tile = (LOG_TILES.c.log == bindparam("log"), LOG_TILES.c.level == bindparam("level"))
_TILE: Final = select(LOG_TILES.c.hashes).where(*_of_tile, LOG_TILES.c.tile == bindparam("tile"))
_ROOTS: Final = (
    select(LOG_TILES.c.tile, LOG_TILES.c.root)
    .where(*_of_tile, LOG_TILES.c.tile >= bindparam("begin"), LOG_TILES.c.tile < bindparam("end"))
    .order_by(LOG_TILES.c.tile)
)
_PLACES: Final = (
    select(LOG_TILES.c.level, LOG_TILES.c.tile)
    .where(LOG_TILES.c.log == bindparam("log"))
    .order_by(LOG_TILES.c.level, LOG_TILES.c.tile)
)
_TILED: Final = select(LOG_TILES.c.log).distinct()
_HEADS: Final = select(LOG_HEADS).order_by(LOG_HEADS.c.log)
_TYPES: Final[tuple[type | tuple[type, ...], ...]] = (
    int,
    str,
    bytes,
    int,
    int,
    bytes,
    int,
    int,
    (str, type(None)),
    int,
    (str, type(None)),
)


class StoredEntry(NamedTuple):
    """An entry as whoever audits the log takes it; `number` is its index."""

    number: int
    leaf: bytes


class StoredLog:
    """One log of the database. `checked` entries have passed the checker; `journal` is the last row that is a leaf."""

    def __init__(self, snapshot: Snapshot, head: Head, last: int, checker: Checker, findings: Findings) -> None:
        """`last` is the greatest number that an entry of this log can have."""
        self.head = head
        self.checked = 0
        self.journal: int | None = None
        self.counts = 0  # of the checked entries, those that count what is not recorded one by one
        self._snapshot = snapshot
        self._last = last
        self._checker = checker
        self._findings = findings

    def entries(self, begin: int, end: int) -> Iterator[list[StoredEntry]]:
        """The entries [begin, end) that are there, some at a time, in their order."""
        first, last = self.head.first, min(self._last, self.head.first + end - 1)
        following = first + begin
        while following <= last:
            rows = self._snapshot.rows(_ENTRIES, {"begin": following, "last": last, "most": _CHUNK})
            if not rows:
                return
            found = [Entry(int(row[0] or 0), row[1:-4], *row[-4:]) for row in rows]
            following = found[-1].seq + 1
            if found[0].seq - first <= self.checked < following - first:
                self.journal = self._checker.check(found[self._unchecked(found) :], first) or self.journal
                self.counts += sum(entry.searched[0] == "count" for entry in found[self._unchecked(found) :])
                self.checked = following - first
            yield [StoredEntry(entry.seq - first, _octets(entry.leaf)) for entry in found]

    def _unchecked(self, found: Sequence[Entry]) -> int:
        """The position of the first that was not checked before."""
        from_here = self.checked + self.head.first
        return next(at for at, entry in enumerate(found) if entry.seq >= from_here)

    def check_rest(self) -> None:
        """Checks the entries that nobody has read, and that there is none beyond the head."""
        for _ in self.entries(self.checked, self.head.size):
            pass
        beyond = {"begin": self.head.first + self.head.size, "last": self._last, "most": _CHUNK}
        if beyond["begin"] > beyond["last"]:
            return
        for row in self._snapshot.rows(_ENTRIES, beyond):
            seq = int(row[0] or 0)
            index = seq - self.head.first
            message = f"entry {index} is beyond the head of {self.head.size} entries"
            self._findings.add(message, table="log_entries", row=seq, index=index, size=self.head.size)

    def tile(self, level: int, number: int, width: int) -> bytes | None:
        """The first `width` hashes of a tile; None where they are not as they should be."""
        begin = number * TILE_WIDTH
        if width == TILE_WIDTH:
            found = self._snapshot.value(_TILE, {"log": self.head.log, "level": level, "tile": number})
            return found if isinstance(found, bytes) else None
        if level == 0:
            span = {"begin": self.head.first + begin, "end": self.head.first + begin + width}
            hashes = [row[0] for row in self._snapshot.rows(_LEAF_HASHES, span)]
        else:
            hashes = self.roots(level - 1, begin, begin + width)
        joined = b"".join(one for one in hashes if isinstance(one, bytes) and len(one) == _HASH)
        return joined if len(joined) == width * _HASH else None

    def roots(self, level: int, begin: int, end: int) -> list[Value]:
        """The roots of the tiles [begin, end) of a level; None for one that is not there."""
        values = {"log": self.head.log, "level": level, "begin": begin, "end": end}
        found: dict[int, Value] = dict(self._snapshot.rows(_ROOTS, values))
        return [found.get(number) for number in range(begin, end)]

    def check_former(self, former: Head | None) -> None:
        """That leaf 0 says where the log before this one ended; the first log of all has no such leaf."""
        if former is None or not self.head.size:
            return
        found = [entry.leaf for some in self.entries(0, 1) for entry in some]
        if found != [former_entry(former, time=0)["leaf"]]:
            message = f"entry 0 does not say where the log {former.origin} ended, which was before this one"
            self._findings.add(message, table="log_entries", row=self.head.first, column="leaf", index=0)

    def check_tiles(self) -> None:
        """That there are tiles just where full ones must be."""
        sizes, count = [], min(self.head.size, self.checked) >> TILE_HEIGHT
        while count > 0:
            sizes.append(count)
            count >>= TILE_HEIGHT
        places = set(self._snapshot.rows(_PLACES, {"log": self.head.log}))
        expected = {(level, number) for level, count in enumerate(sizes) for number in range(count)}
        for level, number in sorted(expected - places):
            self.note_tile(level, number, "is missing")
        for level, number in sorted(places - expected, key=repr):
            self.note_tile(level, number, "is not full, or has no entries")

    def note_tile(self, level: object, number: object, what: str) -> None:
        """Notes what is wrong with a tile."""
        place = f"{self.head.log}/{level}/{number}"
        where: dict[str, int | str] = {"table": "log_tiles", "row": place, "tile": f"tile/{level}/{number}"}
        if isinstance(level, int) and isinstance(number, int) and 0 <= level < 8:
            span = TILE_WIDTH ** (level + 1)
            where |= {"first_index": number * span, "last_index": (number + 1) * span - 1}
        self._findings.add(f"the tile {number} of level {level} {what}", **where)

    def oldest(self, begin: int) -> int | None:
        """The earliest time of the entries from `begin` on, in microseconds since 1970; None if none says one."""
        found = self._snapshot.value(_OLDEST, {"begin": self.head.first + begin, "last": self._last})
        return found if isinstance(found, int) else None


def stored_logs(snapshot: Snapshot, checker: Checker, findings: Findings) -> list[StoredLog]:
    """Every log whose head can be read, the growing one last. Checks what the heads say of each other."""
    heads: list[Head] = []
    for position, row in enumerate(snapshot.rows(_HEADS), 1):
        if not all(map(isinstance, row, _TYPES)):
            column = next(
                name for name, value, kind in zip(Head._fields, row, _TYPES, strict=True) if not isinstance(value, kind)
            )
            findings.add(f"log {row[0]}: {column} of its head is of another type", **_at(row, column))
            continue
        head = Head._make(row)
        heads.append(_check_head(head, position, heads[-1] if heads else None, findings))
    if heads:
        for (seq,) in snapshot.rows(_BEFORE, {"first": heads[0].first}):
            findings.add(f"an entry is numbered {seq}, before the first log", table="log_entries", row=int(seq))
    for (log,) in snapshot.rows(_TILED):
        if log not in range(1, len(heads) + 1):
            findings.add(f"there are tiles of a log {log}, and there is no such log", table="log_tiles", log=str(log))
    lasts = [head.first - 1 for head in heads[1:]] + [_LAST]
    return [StoredLog(snapshot, head, last, checker, findings) for head, last in zip(heads, lasts, strict=False)]


def _check_head(head: Head, position: int, former: Head | None, findings: Findings) -> Head:
    """The head with the numbers that it must have, by which its log is then read."""
    first = 0 if former is None else former.first + former.size
    expected = {
        "log": (head.log, position),
        "first": (head.first, first),
        "size": (head.size, max(head.size, 0)),
        "cosigned_size": (head.cosigned_size, 0 if head.cosigned is None else head.cosigned_size),
        "checkpoint_size": (head.checkpoint_size, -1 if head.checkpoint is None else head.checkpoint_size),
    }
    for column, (found, right) in expected.items():
        if found != right:
            message = f"log {head.log}: {column} of its head is {found}, and must be {right}"
            findings.add(message, size=head.size, **_at(head, column))
    if former is not None and head.journal < former.journal:
        findings.add(f"log {head.log}: journal of its head went back", **_at(head, "journal"))
    return head._replace(log=position, first=first)


def _at(row: Row | Head, column: str) -> dict[str, int | str]:
    log = row[0]
    return {"table": "log_heads", "row": log if isinstance(log, int) else str(log), "column": column}


def _octets(leaf: Value) -> bytes:
    """A leaf as octets; the checker says where it is of another type."""
    if isinstance(leaf, bytes):
        return leaf
    return leaf.encode("utf-8", "surrogateescape") if isinstance(leaf, str) else b""
