"""Audits every log of a service's database: `verifier.log` judges what the log says, `signer.audit.checks` the rest.

The database is read through one snapshot; no HSM and no PIN is needed. Whatever is found is collected, so that one run
names all that it can.
"""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from keystore.db.snapshot import Snapshot
from keystore.errors import IntegrityFailure
from signer.audit.checks import Books, Checker, Finding, Findings, StoredLog, check_books, stored_logs
from signer.audit.tree import TILE_WIDTH, node_hash
from verifier.errors import Indeterminate, Rejected
from verifier.log import KeptHead, LogAudit, LogEntry, LogRejected, audit_log
from verifier.log.tree import TileTree, split_hashes
from verifier.merkle import leaf_hash
from verifier.notes import SIGNATURE, NoteKey, parse_checkpoint, parse_note, require_signature
from verifier.trusted_logs import TrustedLog

UNSIGNED_MICROSECONDS: Final = 60 * 1_000_000  # a checkpoint is signed within a second of the entries
_ID_LENGTH: Final = 16
Progress = Callable[[int, int], None]  # entries that were read, of how many


@dataclass(slots=True)
class StateAudit:
    """What was found in a database. It holds where there are no findings and nothing is undecided."""

    logs: list[LogAudit] = field(default_factory=list)
    findings: Findings = field(default_factory=Findings)
    undecided: list[str] = field(default_factory=list)
    books: Books = field(default_factory=lambda: Books((), 0))
    pending_rows: int = 0  # entries of the rows' journal that are no leaves yet
    unsigned: int = 0  # entries of the newest log that no checkpoint covers yet


class DatabaseSource:
    """One log of a database, as `verifier.log.LogSource`."""

    has_records = False  # `signer.audit.checks` holds them against the leaves, with all that follows from them
    has_tiles = True

    def __init__(self, log: StoredLog, checkpoint: bytes, progress: Progress | None = None) -> None:
        self._log = log
        self._checkpoint = checkpoint
        self._progress = progress

    def checkpoint(self) -> bytes:
        """The newest that was stored, or the one that was kept."""
        return self._checkpoint

    def entries(self, first: int, size: int) -> Iterator[LogEntry]:
        """Those that are there, up to `size`; what lies beyond the head is found by `StoredLog.check_rest`."""
        for some in self._log.entries(first, size):
            for number, leaf in some:
                yield LogEntry(number, leaf)
            if self._progress is not None:
                self._progress(some[-1].number + 1, size)

    def tile(self, level: int, number: int, width: int) -> bytes | None:
        """As the table has it; a tile that is not full from the hashes and roots that it consists of."""
        return self._log.tile(level, number, width)


def audit_state(
    snapshot: Snapshot,
    *,
    trusted: Sequence[TrustedLog] = (),
    heads: Sequence[KeptHead] = (),
    now: int,
    progress: Progress | None = None,
) -> StateAudit:
    """Audits all logs. `trusted` are known from elsewhere, `heads` were kept; `now` is in microseconds since 1970.

    Raises: `StoreUnavailable` where the database cannot be read.
    """
    audit = StateAudit()
    try:
        with _uncollected():
            _Auditor(snapshot, audit, trusted, heads, now, progress).run()
    except IntegrityFailure as damage:
        audit.findings.put(Finding(str(damage), {"table": "log_entries"}, "malformed"))
    return audit


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without Python's collector of cycles: millions of values come and go here, none in a cycle, and it would look
    through them again and again."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


class _Auditor:
    """One audit of a database."""

    def __init__(
        self,
        snapshot: Snapshot,
        audit: StateAudit,
        trusted: Sequence[TrustedLog],
        heads: Sequence[KeptHead],
        now: int,
        progress: Progress | None,
    ) -> None:
        self._snapshot = snapshot
        self._audit = audit
        self._findings = audit.findings
        self._trusted = {log.origin: log for log in trusted}
        self._heads = {head.origin: head for head in heads}
        self._now = now
        self._progress = progress

    def run(self) -> None:
        """Heads, then each log, then the books beside them."""
        checker = Checker(self._snapshot, self._findings)
        logs = stored_logs(self._snapshot, checker, self._findings)
        for name in self._snapshot.foreign_objects():
            self._findings.add(
                f"the database has a trigger or view {name}, which the service makes none of", table=name
            )
        self._require_known(logs)
        journal, former = 0, None
        for log in logs:
            self._audit_one(log, journal)
            log.check_former(former)
            journal, former = log.head.journal, log.head
        checker.check_times(self._now)
        checker.check_digests()
        books = self._audit.books = check_books(self._snapshot, checker.epochs, self._now, self._findings)
        self._audit.pending_rows = books.journal - journal
        if books.journal < journal:
            message = f"row_journal: ends at entry {books.journal}, and the log has entry {journal}"
            self._findings.add(message, table="row_journal", row=books.journal + 1)

    def _require_known(self, logs: Sequence[StoredLog]) -> None:
        """That the logs which a key or a kept head is of are here."""
        here = {log.head.origin for log in logs}
        for origin, head in self._heads.items():
            if origin not in here:
                message = f"the log {origin}, of which a head of {head.size} entries was kept, is not here"
                self._findings.add(message, table="log_heads", size=head.size)
        if not logs and not self._findings.count:
            self._audit.undecided.append("the database has no log: no service has run with it yet")

    def _audit_one(self, log: StoredLog, journal: int) -> None:
        kept = self._heads.get(log.head.origin)
        checkpoint = self._checkpoint(log, kept)
        audited = None
        try:
            audited = self._by_verifier(log, kept, checkpoint)
        except Rejected as rejected:
            self._note_rejected(log, rejected)
        except Indeterminate as undecided:
            self._audit.undecided.append(undecided.message)
        log.check_rest()
        log.check_tiles()
        if audited is not None:
            self._audit.logs.append(audited)
            self._check_head(log, audited, journal)
            self._check_roots(log, audited.head.tree(), audited.size)
        elif checkpoint is None:
            self._check_roots(log, TileTree(), 0)

    def _checkpoint(self, log: StoredLog, kept: KeptHead | None) -> bytes | None:
        """The newest; the kept one where the database has none any more; None where there was none ever."""
        head = log.head
        if head.checkpoint is not None:
            return head.checkpoint.encode("utf-8", "surrogateescape")
        if kept is None:
            return None
        self._note_head(log, "checkpoint", f"is missing, and one of {kept.size} entries was kept", head.size)
        return kept.checkpoint

    def _by_verifier(self, log: StoredLog, kept: KeptHead | None, checkpoint: bytes | None) -> LogAudit | None:
        """What an auditor finds who has nothing but the log and the kept head. None without a checkpoint."""
        if checkpoint is None:
            return None
        key = self._key_of(log)
        if kept is not None:
            require_signature(parse_note(kept.checkpoint), key)
        seen = log.head.cosigned
        further = [] if seen is None else [seen.encode("utf-8", "surrogateescape")]
        source = DatabaseSource(log, checkpoint, self._progress)
        known = self._trusted.get(log.head.origin) or TrustedLog(key)
        audited = audit_log(
            source,
            key,
            witnesses=known.witnesses,
            cosignatures=known.cosignatures,
            head=kept,
            further=further,
            full=True,
        )
        counts = log.counts
        return replace(
            audited,
            has_records=True,
            head=replace(audited.head, records=True),
            decisions=audited.decisions - counts,
            counts=counts,
        )

    def _note_rejected(self, log: StoredLog, rejected: Rejected) -> None:
        head = log.head
        where: Mapping[str, int | str] = rejected.where if isinstance(rejected, LogRejected) else {}
        place = {"table": _table_of(where), "log": head.log, **where}
        if "index" in where:
            place["row"] = head.first + int(where["index"])
        elif place["table"] == "log_heads":
            place["row"] = head.log
        self._findings.put(Finding(rejected.message, place, rejected.code))

    def _key_of(self, log: StoredLog) -> NoteKey:
        """The log's key: the one that was given, or the database's own. Raises `LogRejected`."""
        head = log.head
        given = self._trusted.get(head.origin)
        try:
            loaded = load_der_public_key(head.public_key)
            if not isinstance(loaded, Ed25519PublicKey):
                raise ValueError
        except (ValueError, UnsupportedAlgorithm):
            raise LogRejected("the log's key in the database is none of Ed25519", column="public_key") from None
        key = NoteKey(head.origin, SIGNATURE, loaded.public_bytes(Encoding.Raw, PublicFormat.Raw))
        named = head.origin.rpartition("/")[2]
        if (given is not None and given.key != key) or named != hashlib.sha256(head.public_key).hexdigest()[
            :_ID_LENGTH
        ]:
            message = f"the log's key in the database is not that of the log {head.origin}"
            raise LogRejected(message, column="public_key", code="untrusted_signer")
        return key

    def _check_head(self, log: StoredLog, audited: LogAudit, journal: int) -> None:
        """What the head's row says, against what was found; and the roots beside the tiles."""
        head = log.head
        if head.checkpoint is not None and head.checkpoint_size != audited.size:
            self._note_head(log, "checkpoint_size", f"is not {audited.size}, which its checkpoint says", audited.size)
        if head.cosigned is not None:
            seen = parse_checkpoint(parse_note(head.cosigned.encode()).text).size
            if seen != head.cosigned_size:
                self._note_head(log, "cosigned_size", f"is not {seen}, which its cosigned checkpoint says", seen)
        last = journal if log.journal is None else log.journal
        if head.journal != last:
            self._note_head(log, "journal", f"is {head.journal}, and {last} is the last row in the log", head.size)
        if audited.journal is not None and audited.journal[0] != journal + 1:
            message = f"log {head.log}: its first row is entry {audited.journal[0]} of the journal, not {journal + 1}"
            self._findings.add(message, table="log_entries", log=head.log)
        if head.size < audited.size:
            self._note_head(log, "size", f"is {head.size}, and its checkpoint says {audited.size}", head.size)

    def _check_roots(self, log: StoredLog, tree: TileTree, signed: int) -> None:
        """The head's root, over what no checkpoint covers yet too, and the root of each full tile. `tree` is what the
        `signed` entries make."""
        head = log.head
        for some in log.entries(signed, head.size):
            for entry in some:
                for tile in tree.add([leaf_hash(entry.leaf)]):
                    if log.tile(tile.level, tile.number, TILE_WIDTH) != b"".join(tile.hashes):
                        log.note_tile(tile.level, tile.number, "has other hashes than its entries")
        self._note_unsigned(log, signed)
        if head.size >= signed and (tree.size != head.size or tree.root() != head.root):
            self._note_head(log, "root", "is not the root of its entries", head.size, first_index=signed)
        expected: dict[int, list[bytes | None]] = {0: [*split_hashes(bytes(tree.tile_roots))]}
        level = 0
        while count := tree.size // TILE_WIDTH ** (level + 1):
            roots = expected.get(level) or [_root(log.tile(level, at, TILE_WIDTH)) for at in range(count)]
            for number, (right, found) in enumerate(zip(roots, log.roots(level, 0, count), strict=True)):
                if right != found:
                    log.note_tile(level, number, "has another root beside it")
            level += 1

    def _note_unsigned(self, log: StoredLog, signed: int) -> None:
        """Entries that no checkpoint covers: a moment's, in a service that runs; else they cannot be judged."""
        head = log.head
        if head.size <= signed:
            return
        self._audit.unsigned += head.size - signed
        since = log.oldest(signed)
        if since is None or self._now - since > UNSIGNED_MICROSECONDS:
            self._audit.undecided.append(
                f"entries {signed} to {head.size - 1} are signed by no checkpoint; the service signs them when it "
                "starts, if they continue what its HSM has kept: start it, and check again"
            )

    def _note_head(self, log: StoredLog, column: str, what: str, size: int, **where: int) -> None:
        message = f"log {log.head.log}: {column} of its head {what}"
        self._findings.add(message, table="log_heads", row=log.head.log, column=column, size=size, **where)


def _table_of(where: Mapping[str, int | str]) -> str:
    if "tile" in where:
        return "log_tiles"
    return "log_entries" if {"index", "first_index"} & where.keys() else "log_heads"


def _root(hashes: bytes | None) -> bytes | None:
    """The root over the 256 hashes of a tile."""
    row = split_hashes(hashes or b"")
    if len(row) != TILE_WIDTH:
        return None
    while len(row) > 1:
        row = [node_hash(row[at], row[at + 1]) for at in range(0, len(row), 2)]
    return row[0]
