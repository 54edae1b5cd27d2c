"""Entries of the log against their own records, and intents against the records of what became of them.

Every column of an entry follows from its leaf or from its record, which the leaf commits to; a column that does not
would make a search find or miss what it should not. The same holds for an intent, as soon as it has an entry.
"""

from __future__ import annotations

from hashlib import sha256
from itertools import compress
from operator import ne
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
from sqlalchemy import bindparam, func, select

from keystore.db.schema import AUDIT_INTENTS, DIGEST_BUCKET, LOG_DIGESTS, LOG_ENTRIES, ROW_JOURNAL
from signer.access.duties import Action
from signer.audit.checks.expected import (
    Leaf,
    Record,
    agree,
    columns_of,
    digests_of,
    intent_of,
    read_about,
    read_leaf,
    read_record,
)
from signer.audit.leaf import NONCE_SIZE
from signer.audit.tree import leaf_hash

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keystore.db.engine import Value
    from keystore.db.snapshot import Row, Snapshot
    from signer.audit.checks.findings import Findings

ENTRY_COLUMNS: Final = tuple(column.name for column in LOG_ENTRIES.columns)
_SEARCHED: Final = ENTRY_COLUMNS[1:-4]  # between `seq` and `leaf`
_TIME: Final = _SEARCHED.index("time")
_ARTIFACT: Final = _SEARCHED.index("artifact_digest")
_SLACK: Final = 5 * 60 * 1_000_000  # microseconds by which a clock may be set
_INTENT_COLUMNS: Final = tuple(column.name for column in AUDIT_INTENTS.columns if column.name != "epoch")
_INTENTS: Final = select(*(AUDIT_INTENTS.c[name] for name in (*_INTENT_COLUMNS, "epoch")))
_KEY: Final = _INTENT_COLUMNS.index("key_id")
_MAKES_KEY: Final = Action.CREATE_KEY.value
_AT_ONCE: Final = 64
_LAST: Final = 2**63 - 1
_LINKS: Final = select(ROW_JOURNAL.c.seq, ROW_JOURNAL.c.link).where(
    ROW_JOURNAL.c.seq >= bindparam("begin"), ROW_JOURNAL.c.seq <= bindparam("last")
)
_DIGESTS: Final = select(func.count()).select_from(LOG_DIGESTS)
_EVERY_DIGEST: Final = select(LOG_DIGESTS.c.bucket, LOG_DIGESTS.c.digest, LOG_DIGESTS.c.seq)
_OF_A_BUCKET: Final = select(LOG_DIGESTS.c.digest, LOG_DIGESTS.c.seq).where(LOG_DIGESTS.c.bucket == bindparam("bucket"))
_Intended = tuple[int, Record, str | None]  # index of an entry, its record, and what its leaf says of the key


class Entry(NamedTuple):
    """A row of `log_entries` as it stands there, unchecked: the columns around those for searching."""

    seq: int
    searched: Row
    leaf: Value
    leaf_hash: Value
    nonce: Value
    record: Value


class Checker:
    """Holds entries, in the order of the log, against their records and intents; notes what differs."""

    def __init__(self, snapshot: Snapshot, findings: Findings) -> None:
        self._snapshot = snapshot
        self._findings = findings
        # The statement is one for all groups: SQLite looks every id up by the index.
        self._names = [f"id{at}" for at in range(_AT_ONCE)]
        self._by_ids = _INTENTS.where(AUDIT_INTENTS.c.id.in_([bindparam(name) for name in self._names]))
        self._digest_count = 0  # rows of `log_digests` that were looked at
        self._bucket: int | None = None  # of entries, whose digests are being gathered
        self._buckets: set[int] = set()  # that were looked at
        self._seen: set[int] = set()  # `seq` of each entry of the bucket
        self._first = 0  # of the bucket's log
        self._said: dict[tuple[bytes, int], int] = {}  # digest and `seq`, by the records of the bucket: the index
        self._time: int | None = None  # of the last decision
        self._undated: list[tuple[Entry, int]] = []  # rows since then
        self.epochs: set[str] = set()  # that the records name

    def check(self, entries: Sequence[Entry], first: int) -> int | None:
        """Some entries of the log whose leaf 0 has the number `first`. Returns the last row that is a leaf of them."""
        intended: list[_Intended] = []
        rows: dict[int, tuple[int, str]] = {}
        for entry in entries:
            index = entry.seq - first
            leaf = self._leaf(entry, index)
            if leaf is None:
                continue
            if leaf.former:
                self._check_bare(entry, index, "former")
                self._undated.append((entry, index))
            elif leaf.journal:
                self._check_bare(entry, index, "rows")
                rows[leaf.journal] = (index, leaf.link)
                self._undated.append((entry, index))
            elif (record := self._check_decision(entry, leaf, index)) is not None:
                self.epochs.add(record.epoch)
                if record.intent is not None:
                    intended.append((index, record, leaf.key_sha256))
        for start in range(0, len(intended), _AT_ONCE):
            self._check_intents(intended[start : start + _AT_ONCE])
        self._check_links(rows)
        return next(reversed(rows), None)

    def _leaf(self, entry: Entry, index: int) -> Leaf | None:
        if not isinstance(entry.leaf, bytes):
            self._note(entry, index, "leaf", "is not octets")
            return None
        if entry.leaf_hash != leaf_hash(entry.leaf):
            self._note(entry, index, "leaf_hash", "is not the hash of its leaf")
        try:
            return read_leaf(entry.leaf)
        except (msgspec.MsgspecError, UnicodeError):
            self._note(entry, index, "leaf", "is no leaf")
            return None

    def _note(self, entry: Entry, index: int, column: str, what: str) -> None:
        self._findings.add(
            f"entry {index}: {column} {what}", table="log_entries", row=entry.seq, column=column, index=index
        )

    def _check_bare(self, entry: Entry, index: int, kind: str) -> None:
        """An entry that has no record: all that it says stands in its leaf."""
        expected = tuple(entry.searched[at] if at == _TIME else None for at in range(1, len(_SEARCHED)))
        found = (*entry.searched, entry.nonce, entry.record)
        for column in _differing((*_SEARCHED, "nonce", "record"), found, (kind, *expected, None, None)):
            self._note(entry, index, column, "says something, and its leaf is of a row or a former log")

    def check_times(self, following: int) -> None:
        """That the rows since the last decision are dated between it and what follows: their leaves say no time."""
        known = [following] if self._time is None else [following, self._time]
        for entry, index in self._undated:
            time = entry.searched[_TIME]
            if not isinstance(time, int) or not min(known) - _SLACK <= time <= max(known) + _SLACK:
                self._note(entry, index, "time", "is not between those of its neighbours")
        self._undated.clear()
        self._time = following

    def _gather_digests(self, seq: int, index: int, digests: Sequence[bytes]) -> None:
        """By what an entry is to be found; once all entries of its bucket are known, the bucket is looked at."""
        bucket = seq // DIGEST_BUCKET
        if bucket != self._bucket:
            self._check_bucket()
            self._bucket, self._first = bucket, seq - index
        self._seen.add(seq)
        self._said.update(((digest, seq), index) for digest in digests)

    def _check_bucket(self) -> None:
        """That a bucket of `log_digests` has all that the records of its entries say, and no more."""
        if self._bucket is None:
            return
        first = self._first
        found = set(self._snapshot.rows(_OF_A_BUCKET, {"bucket": self._bucket}))
        self._digest_count += len(found)
        self._buckets.add(self._bucket)
        for digest, seq in self._said.keys() - found:
            index = self._said[digest, seq]
            message = f"entry {index}: it cannot be found by the digest {digest.hex()}"
            self._findings.add(message, table="log_digests", row=digest.hex(), index=index)
        strays = set()
        for digest, seq in found - self._said.keys():
            if isinstance(seq, int) and seq not in self._seen:
                strays.add(seq)  # one finding for all: of entries that were taken away there may be many
            else:
                self._note_digest(digest, seq)
        if strays:
            span = {"first_index": min(strays) - first, "last_index": max(strays) - first}
            message = f"entries {span['first_index']} to {span['last_index']} have digests, and some of them no record"
            self._findings.add(message, table="log_digests", **span)
        self._said.clear()
        self._seen.clear()
        self._bucket = None

    def check_digests(self) -> None:
        """That `log_digests` has no more than the entries say; once all of them are checked."""
        self._check_bucket()
        if self._snapshot.value(_DIGESTS) == self._digest_count:
            return
        for bucket, digest, seq in self._snapshot.rows(_EVERY_DIGEST):
            if bucket not in self._buckets:
                self._note_digest(digest, seq)

    def _note_digest(self, digest: Value, seq: Value) -> None:
        said = digest.hex() if isinstance(digest, bytes) else repr(digest)
        message = f"the digest {said} is not one that the record of entry {seq!r} has"
        self._findings.add(message, table="log_digests", row=said)

    def _check_links(self, rows: dict[int, tuple[int, str]]) -> None:
        """That the journal has the links that leaves say. They are neighbours, in a log that nobody changed."""
        if not rows:
            return
        low = min(rows)
        span = {"begin": low, "last": min(max(rows), low + 4 * len(rows), _LAST)}
        links: dict[int, object] = dict(self._snapshot.rows(_LINKS, span)) if low <= _LAST else {}
        for number, (index, link) in rows.items():
            found = links.get(number)
            if not isinstance(found, bytes) or found.hex() != link:
                what = "is missing" if number not in links else "is not the one that the log has"
                message = f"the row of entry {index}, entry {number} of the rows' journal, {what}"
                self._findings.add(message, table="row_journal", row=number, column="link", index=index)

    def _check_decision(self, entry: Entry, leaf: Leaf, index: int) -> Record | None:
        text, nonce = entry.record, entry.nonce
        if not isinstance(text, str) or not isinstance(nonce, bytes):
            column = "nonce" if isinstance(text, str) else "record"
            self._note(entry, index, column, "is missing, or of another type")
            return None
        octets = text.encode("utf-8", "surrogateescape")
        if len(nonce) != NONCE_SIZE or sha256(nonce + octets).hexdigest() != leaf.record_sha256:
            self._note(entry, index, "record", "is not, with its nonce, the one that its leaf names")
        try:
            record = read_record(octets)
            about = read_about(record.about) if record.about else None
            expected = columns_of(record, about)
            digests = digests_of(record, about, expected[_ARTIFACT])
        except (msgspec.MsgspecError, UnicodeError, ValueError):
            self._note(entry, index, "record", "cannot be read")
            return None
        if not agree(leaf, record):
            self._note(entry, index, "record", "says something else than its leaf")
        self._gather_digests(entry.seq, index, digests)
        if self._undated:
            self.check_times(expected[_TIME])
        self._time = expected[_TIME]
        if entry.searched != expected:
            for column in _differing(_SEARCHED, entry.searched, expected):
                self._note(entry, index, column, "is not what its record says")
        return record

    def _check_intents(self, intended: Sequence[_Intended]) -> None:
        ids: list[Value] = [record.intent for _, record, _ in intended]
        ids += ids[:1] * (_AT_ONCE - len(ids))
        rows = {row[0]: row for row in self._snapshot.rows(self._by_ids, dict(zip(self._names, ids, strict=True)))}
        for index, record, key_sha256 in intended:
            row = rows.get(record.intent)
            if row is None:
                self._note_intent(index, record, "id", "is missing")
                continue
            expected = intent_of(record, key_sha256)
            if row[_KEY] is None and record.action == _MAKES_KEY:  # the record names the key that was made
                row = (*row[:_KEY], record.key_id, *row[_KEY + 1 :])
            if row[:-1] != expected:
                for column in _differing(_INTENT_COLUMNS, row[:-1], expected):
                    self._note_intent(index, record, column, f"has another {column}")
            if row[-1] != record.epoch and record.outcome != "unknown":  # that one was written by who closed it
                self._note_intent(index, record, "epoch", "has another epoch")
            if not 0 <= (record.item or 0) < (record.items or 0):
                self._note_intent(index, record, "items", "has fewer items")

    def _note_intent(self, index: int, record: Record, column: str, what: str) -> None:
        message = f"the intent {record.intent} {what}, and entry {index} is about it"
        self._findings.add(message, table="audit_intents", row=str(record.intent), column=column, index=index)


def _differing(names: Sequence[str], found: Row, expected: Row) -> list[str]:
    return list(compress(names, map(ne, found, expected)))
