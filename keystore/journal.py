"""The chained journal of sealed writes: what tells the newest state of a row from an older copy that was put back.

Every sealed write appends (seq, table, id, revision, seal, previous) and link = SHA-256 over the link before and all of
these; the HSM tags each link. `previous` is the sequence number of the same row's entry before, so that a reader who
has followed the chain keeps one bit per entry, "superseded", and needs no map of rows. A journal that is put back
together with all its rows is for the transparency log to catch.
"""

from __future__ import annotations

import threading
from hashlib import sha256
from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import BindParameter, bindparam, select

from keystore.db.schema import ROW_JOURNAL
from keystore.errors import IntegrityFailure
from keystore.sealing import Sealer, Uncanonical, encode_field, encode_value

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection

    from keystore.db.engine import Database, RawRow, Value

GENESIS: Final = bytes(32)  # the link before the first entry
CHUNK: Final = 5_000  # entries read at once
_CHAIN_DOMAIN: Final = b"sealmark journal chain v1"


class Head(NamedTuple):
    """The end of the chain: the last entry's number (0 when empty) and link."""

    seq: int
    link: bytes


class Known(NamedTuple):
    """What follows from the chain up to `head`: which entries are superseded (a bit each, by their numbers), and the
    newest entry about a row of each table."""

    head: Head
    superseded: bytes
    latest: dict[str, int]


class JournalEntry(NamedTuple):
    """One entry as it stands in the database, in the order of `ENTRY_COLUMNS`; unchecked."""

    seq: int
    table_name: str
    row_id: str
    revision: int
    seal: bytes
    previous: int
    link: bytes
    link_seal: bytes


ENTRY_COLUMNS: Final = tuple(ROW_JOURNAL.c[name] for name in JournalEntry._fields)


def chain(before: bytes, *entry: Value) -> bytes:
    """The link of an entry (seq, table, id, revision, seal, previous) that follows the link `before`; 32 octets."""
    return sha256(b"".join([encode_field(_CHAIN_DOMAIN), *map(encode_value, (before, *entry))])).digest()


class Journal:
    """What one process knows of the journal: how far it has followed the chain, and which entries are superseded.

    Advanced under `lock` only; `head` may be read without it. The head never goes back.
    """

    def __init__(self, database: Database, sealer: Sealer) -> None:
        self.lock = threading.Lock()
        self.head = Head(0, GENESIS)
        self._superseded = bytearray(b"\0")
        self._latest: dict[str, int] = {}  # table → number of the newest entry about one of its rows
        self._database = database
        self._sealer = sealer
        sequence = ROW_JOURNAL.c.seq
        after: BindParameter[int] = bindparam("after")
        last: BindParameter[int] = bindparam("last")
        self._range = database.prepare(
            select(*ENTRY_COLUMNS).where(sequence > after, sequence <= last).order_by(sequence)
        )

    def known(self) -> Known:
        """What this process knows now (hold `lock`)."""
        return Known(self.head, bytes(self._superseded), dict(self._latest))

    def resume(self, known: Known) -> None:
        """Goes on from what another process knew, in place of following the chain so far (hold `lock`)."""
        self.head = known.head
        self._superseded = bytearray(known.superseded)
        self._latest = dict(known.latest)

    def is_newest(self, seq: Value) -> bool:
        """Whether the entry of this number is on the followed chain and no later entry replaces it."""
        if not isinstance(seq, int) or not 0 < seq <= self.head.seq:
            return False
        return not self._superseded[seq >> 3] >> (seq & 7) & 1

    def newest_of(self, tables: Iterable[str]) -> int:
        """The number of the newest followed entry about a row of one of these tables; 0 if there is none."""
        return max((self._latest.get(table, 0) for table in tables), default=0)

    def advance(self, seq: Value, link: Value, *, inside: Connection | None = None) -> None:
        """Follow the chain to the head found in the database (hold `lock`). Raises `IntegrityFailure` on any break."""
        known = self.head
        if (seq, link) == known:
            return
        if not isinstance(seq, int) or not isinstance(link, bytes) or seq <= known.seq:
            raise IntegrityFailure(f"row_journal_head: went back from {known.seq}, or was changed")
        found = Head(seq, link)
        replaced: list[int] = []
        latest: dict[str, int] = {}
        last = known
        while last.seq < found.seq:
            until = min(last.seq + CHUNK, found.seq)
            last = self._follow(last, self._range_of(last.seq, until, inside), until, replaced, latest)
        if last.link != found.link:
            raise IntegrityFailure(f"row_journal_head: is not the link of entry {last.seq}")
        self._superseded.extend(bytes((found.seq >> 3) + 1 - len(self._superseded)))
        for old in replaced:
            self._superseded[old >> 3] |= 1 << (old & 7)
        self._latest.update(latest)
        self.head = found

    def _range_of(self, after: int, until: int, inside: Connection | None) -> list[JournalEntry]:
        values: dict[str, Value] = {"after": after, "last": until}
        parameters = tuple(values[name] for name in self._range.names)
        return [_entry(row) for row in self._database.fetch(self._range.sql, parameters, inside=inside)]

    def _follow(
        self, last: Head, entries: list[JournalEntry], until: int, replaced: list[int], latest: dict[str, int]
    ) -> Head:
        """Check that the entries continue the chain from `last` to `until`; the HSM vouches for the last of them."""
        seq, link = last
        for entry in entries:
            seq += 1
            if entry.seq != seq or _link_of(entry, link) != entry.link:
                raise IntegrityFailure(f"row_journal/{seq}: the chain is broken")
            if entry.previous:
                replaced.append(entry.previous)
            latest[entry.table_name] = seq
            link = entry.link
        if seq != until or not self._sealer.is_link(entries[-1].link_seal, link):
            raise IntegrityFailure(f"row_journal/{seq}: the chain ends early, or its end is not sealed")
        return Head(seq, link)

    def vouches(self, seq: int, table: str, row_id: str, revision: int, seal: bytes) -> bool:
        """Whether entry `seq` says this of a row, and its link bears the HSM's seal. Two entries are read."""
        values: dict[str, Value] = {"after": seq - 2, "last": seq}
        parameters = tuple(values[name] for name in self._range.names)
        found = [_entry(row) for row in self._database.fetch(self._range.sql, parameters)]
        if not found or found[-1].seq != seq:
            return False
        before = GENESIS if seq == 1 else found[0].link
        entry = found[-1]
        return (
            len(found) == (1 if seq == 1 else 2)
            and (entry.table_name, entry.row_id, entry.revision, entry.seal) == (table, row_id, revision, seal)
            and _link_of(entry, before) == entry.link
            and self._sealer.is_link(entry.link_seal, entry.link)
        )


def _entry(row: RawRow) -> JournalEntry:
    return JournalEntry._make(row)


def _link_of(entry: JournalEntry, before: bytes) -> bytes | None:
    try:
        return chain(before, *entry[:6])
    except Uncanonical:
        return None
