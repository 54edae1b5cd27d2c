"""What stands in the entries of a log: each leaf's form, its record or row, the rows' journal, and counts of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from verifier.log.errors import LogRejected
from verifier.log.leaves import GENESIS, check_record, link_of, read_leaf
from verifier.log_leaves import FormerLeaf, RowsLeaf

if TYPE_CHECKING:
    from collections.abc import Iterable

    from verifier.log.leaves import Decision
    from verifier.log.source import LogEntry


class Tally:
    """Reads entries in their order and counts them. `add` raises `LogRejected` at the first one that does not hold.

    `link` is that of the last journal entry, None before the first one.
    """

    def __init__(self, *, records: bool, journal: int | None = None, link: bytes | None = None) -> None:
        self.decisions = 0
        self.counts = 0
        self.rows = 0
        self.signatures = 0
        self.first_time: str | None = None
        self.last_time: str | None = None
        self.former: FormerLeaf | None = None
        self.link = link
        self.journal_end = journal
        self._journal_start: int | None = None
        self._records = records

    @property
    def journal(self) -> tuple[int, int] | None:
        """The first and the last journal entry that was read here."""
        if self._journal_start is None or self.journal_end is None:
            return None
        return self._journal_start, self.journal_end

    def add(self, entries: Iterable[LogEntry]) -> None:
        """Checks and counts some more."""
        for entry in entries:
            leaf = read_leaf(entry.leaf, entry.index)
            if isinstance(leaf, RowsLeaf):
                self._add_row(leaf, entry)
            elif isinstance(leaf, FormerLeaf):
                self._add_former(leaf, entry)
            else:
                self._add_decision(leaf, entry)

    def _add_decision(self, leaf: Decision, entry: LogEntry) -> None:
        is_count = False
        if self._records:
            if entry.nonce is None or entry.record is None:
                raise LogRejected(f"the record of entry {entry.index} is missing", index=entry.index)
            record = check_record(leaf, entry.nonce, entry.record, entry.index)
            is_count = record.get("kind") == "count"
        if entry.row is not None:
            raise LogRejected(f"entry {entry.index} is no rows leaf and has a row", index=entry.index)
        self.counts += is_count
        self.decisions += not is_count
        self.signatures += len(leaf.signatures)
        if self.first_time is None or leaf.time < self.first_time:
            self.first_time = leaf.time
        if self.last_time is None or leaf.time > self.last_time:
            self.last_time = leaf.time

    def _add_former(self, leaf: FormerLeaf, entry: LogEntry) -> None:
        if entry.index:
            message = f"entry {entry.index} names a former log, and only the first entry of a log may"
            raise LogRejected(message, index=entry.index)
        if entry.nonce is not None or entry.record is not None or entry.row is not None:
            raise LogRejected("entry 0 is about a former log and has a record or a row", index=0)
        self.former = leaf

    def _add_row(self, leaf: RowsLeaf, entry: LogEntry) -> None:
        number, index, link = leaf.journal, entry.index, bytes.fromhex(leaf.link)
        before = GENESIS if number == 1 else self.link
        if self.journal_end is not None and number != self.journal_end + 1:
            message = f"entry {index} has journal entry {number}, and {self.journal_end + 1} comes next"
            raise LogRejected(message, index=index)
        if entry.nonce is not None or entry.record is not None:
            raise LogRejected(f"entry {index} is a rows leaf and has a record", index=index)
        if self._records:
            row = entry.row
            if row is None:
                raise LogRejected(f"the row of entry {index} is missing", index=index)
            # A log that begins amid the journal (a new HSM's) has no link before its first row to check that one with.
            expected = link if before is None else link_of(before, number, row)
            if row.link != link or expected != link:
                raise LogRejected(f"the row of entry {index} is not the one that its leaf's link covers", index=index)
        self.rows += 1
        self._journal_start = number if self._journal_start is None else self._journal_start
        self.journal_end = number
        self.link = link
