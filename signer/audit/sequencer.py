"""The sequencer: writes what requests must have durable, gives entries their places in the log, and proofs of it.

In this order: intents, leaves, full tiles and the new head in one durable commit, alone among all writers; then, out of
the transaction, the log key signs a checkpoint over that head; only then does anybody get a proof. What needs no proof
(a refusal, a look, a change) does not wait for a checkpoint: the next one covers it. A head is moved only from the one
that this process has followed to the one that follows from it, so that two heads of one size cannot be. Entries of the
sealed rows' journal that are no leaves yet come first.

A checkpoint has no commit of its own: it is stored with the next group's leaves, at the latest by the sweeper, and
before anybody is shown the log (`shown_heads`). Nothing hangs on it: it follows from the committed head, and whoever
starts after a crash signs the same again.

What other workers have appended is followed before anything is added, and must give the head that is in the database;
a database that is behind what this process, the HSM or a witness has seen is not signed for.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog
from sqlalchemy import bindparam, func, insert, literal_column, select, true, update

from keystore.db import patience
from keystore.db.schema import (
    AUDIT_INTENTS,
    DIGEST_BUCKET,
    LOG_DIGESTS,
    LOG_ENTRIES,
    LOG_HEADS,
    LOG_TILES,
    ROW_JOURNAL,
    ROW_JOURNAL_HEAD,
)
from keystore.errors import EpochClosed, IntegrityFailure, KeystoreError
from signer.audit.checkpoints import NoteSigner, checkpoint_text
from signer.audit.groups import LOCK_SECONDS, Groups
from signer.audit.logged import Due, Followed, InclusionLines, Logged, NotPublished, Published
from signer.audit.reading import Head, LogReader, heads
from signer.audit.records import DIGESTS, former_entry, rows_entry
from signer.audit.tree import EMPTY_TREE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from keystore.db.engine import Appending, Database, RawRow, Value
    from signer.audit.anchor import Anchor, KeptHead
    from signer.audit.cosigned_heads import Witnessing
    from signer.audit.records import Entry
    from signer.audit.tree import Extension, FullTile, Tree

_GROUP_LIMIT: Final = 64  # requests; each has up to some hundred entries
_JOURNAL_CHUNK: Final = 2_000  # entries of the rows' journal that become leaves at once
_DIGEST_ROW: Final = ("bucket", "digest", "seq")
_REMEDY: Final = "bring the newest one back, or begin another log (sealmark restore --new-log)"
_log = structlog.get_logger("sealmark.audit")


class Sequencer:
    """One per worker process. Raises `IntegrityFailure` when made over a database that is behind what is known of it,
    `StoreUnavailable`, `HsmUnavailable`."""

    def __init__(self, database: Database, anchor: Anchor, witnessing: Witnessing | None = None) -> None:
        self._database = database
        self._anchor = anchor
        self.signer = NoteSigner(anchor.origin, anchor.public_key)
        self._groups: Groups[Due, Logged] = Groups(self._commit, name="log", limit=_GROUP_LIMIT)
        self._guard = threading.Lock()  # of `_state`, against a follower that is no leader
        self._unpublished: Tree | None = None  # a head that has no checkpoint yet
        self._unstored: Published | None = None  # a checkpoint that was given out and is not stored yet
        self._unpublished_guard = threading.Lock()  # of both
        self._kept: Tree | None = None  # what this process has had the HSM keep last
        self._unwritable = self._unpublishable = self._outrun = False  # what the last attempt came to
        self._prepare()
        kept = anchor.kept_head()  # before the database is looked at: others go on, and what they keep is committed
        head = self._open(kept)
        self.log, self.first = head.log, head.first
        self.reader = LogReader(database, self.log, self.first)
        tree = self.reader.tree(head.size)
        _require(tree.root == head.root, head.size, "its head is not the root of its leaves")
        self._state = Followed(tree, head.journal)
        self._check_kept(head.size, kept)
        self._check_journal(head)
        if head.checkpoint_size < head.size:
            self._unpublished = tree
        self._cosigned = None if witnessing is None else witnessing.heads(database, self.reader, self.log, self._sign)
        if self._cosigned is not None and not self._cosigned.begin(tree, self._caught_up):
            self._unpublished, self._unpublishable = tree, True

    def append(self, entries: Sequence[Entry], *, proved: bool) -> Logged:
        """`write` of entries alone."""
        return self.write(Due(entries=entries, proved=proved))

    def write(self, due: Due) -> Logged:
        """Makes the intents durable and puts the entries into the log, next to one another; returns once all that is
        durable, and with `proved` once there is a checkpoint over the entries.

        Raises `NotPublished` where they are in the log and the checkpoint could not be made, and else what kept them
        from being written: then nothing of it is.
        """
        return _as_asked(due, self._groups.submit(due))

    def write_each(self, dues: Sequence[Due]) -> list[Logged | KeystoreError]:
        """`write` for several requests of one thread together: what came of each, in their order."""
        return [
            done if isinstance(done, KeystoreError) else _as_asked_or_fault(due, done)
            for due, done in zip(dues, self._groups.submit_each(dues), strict=True)
        ]

    def require_usable(self, *, proved: bool) -> None:
        """Raises what the last attempt to write (`proved`: or to publish) failed by, unless it works again; and
        `IntegrityFailure` while a witness contradicts the database."""
        self._require_agreement()
        if self._unwritable:
            self.follow()
            self._unwritable = False
        if self._outrun:
            self.keep()
        if proved and self._unpublishable:
            self.publish()

    def publish(self) -> None:
        """Makes the checkpoint that is owed, if any, and stores what is not stored yet."""
        owed = self._unpublished
        if owed is not None:
            self._publish(owed)
        unstored = self._unstored
        if unstored is not None:
            with self._database.append(LOCK_SECONDS) as appending:
                self._store_checkpoint(appending, unstored)
            self._stored(unstored)

    def shown_heads(self) -> list[Head]:
        """Every log's head, with a checkpoint over all that anybody was given a proof of: else a reader who holds one
        would think that the log went back.

        While that checkpoint cannot be made or stored, the last one that could.
        """
        found = heads(self._database)
        if self._stores_later and found and found[-1].checkpoint_size < found[-1].size:
            try:
                tree = self._caught_up()
                with self._unpublished_guard:
                    if self._unstored is None or self._unstored.size < tree.size:
                        self._unpublished = tree  # of other workers too
                self.publish()
            except KeystoreError as fault:
                with suppress(OSError):
                    _log.warning("checkpoint_shown_late", code=fault.code, reason=str(fault))
                return found
            return heads(self._database)
        return found

    @property
    def _stores_later(self) -> bool:
        """Whether checkpoints are given out before they are stored: not where they must be cosigned."""
        return self._cosigned is None or not self._cosigned.required

    def follow(self) -> None:
        """Catches up with what other workers have appended. Raises `IntegrityFailure` if it does not add up."""
        with patience.holding(self._guard, LOCK_SECONDS):
            rows = self._database.fetch(self._behind.sql, self._behind_parameters())
            try:
                self._state = self._followed(rows)
            except IntegrityFailure:
                self._unwritable = True
                raise

    def keep(self) -> None:
        """Has the HSM keep the head that this process has followed, unless it keeps a later one.

        Raises `IntegrityFailure` where the database is behind the kept head, and nothing is signed then until it is
        not; and where a witness contradicts the database.
        """
        self._require_agreement()
        if self._kept is self._state.tree and not self._outrun:
            return  # nothing is new: the HSM is left alone
        try:
            self._keep()
        except IntegrityFailure:
            self._outrun = True  # until the two agree; an HSM that is away for a moment says nothing about it
            raise
        self._outrun = False

    def _keep(self) -> None:
        """The HSM's texts are locked for the workers of one machine; of several, one at a time comes to it at all."""
        with self._database.alone("kept-head", LOCK_SECONDS, Path()) if self._database.shared else nullcontext():
            self._keep_alone()

    def _keep_alone(self) -> None:
        for attempts_left in (2, 1, 0):
            kept, tree = self._anchor.kept_head(), self._state.tree
            if kept is not None and kept.size > tree.size:
                self.follow()
                tree = self._state.tree
                _require(tree.size >= kept.size, tree.size, f"the HSM keeps the head of {kept.size} leaves")
            try:
                self._anchor.keep_head(self._anchor.origin, tree.size, tree.root)
            except IntegrityFailure:
                if not attempts_left:
                    raise
                continue  # another worker had a later head kept meanwhile
            self._kept = tree
            break

    def stop(self) -> None:
        """Asks no witness any more."""
        if self._cosigned is not None:
            self._cosigned.stop()

    def _require_agreement(self) -> None:
        if self._cosigned is not None:
            self._cosigned.require_agreement()

    def _caught_up(self) -> Tree:
        self.follow()
        return self._state.tree

    @property
    def size(self) -> int:
        """How many leaves this process has followed."""
        return self._state.tree.size

    @property
    def pending_rows(self) -> bool:
        """Whether the rows' journal has entries that are no leaves yet."""
        ((seq,),) = self._database.fetch(self._journal_head.sql, ())
        return isinstance(seq, int) and seq > self._state.journal

    def _prepare(self) -> None:
        database, head, entries, journal = self._database, LOG_HEADS.c, LOG_ENTRIES.c, ROW_JOURNAL.c
        # One statement for all that has to be read under the lock: the head, the rows' journal, others' new leaves.
        self._behind = database.prepare(
            select(head.size, head.root, head.journal, ROW_JOURNAL_HEAD.c.seq, entries.leaf_hash)
            .select_from(LOG_HEADS)
            .join(ROW_JOURNAL_HEAD, true())
            .outerjoin(LOG_ENTRIES, entries.seq >= bindparam("known"))
            .where(head.origin == bindparam("origin"))
            .order_by(entries.seq)
        )
        self._journal_range = database.prepare(
            select(journal.seq, journal.link)
            .where(journal.seq > bindparam("after"), journal.seq <= bindparam("last"))
            .order_by(journal.seq)
        )
        self._journal_head = database.prepare(select(ROW_JOURNAL_HEAD.c.seq))
        self._insert_intent = database.prepare_insert(AUDIT_INTENTS)
        self._intent_values = itemgetter(*self._insert_intent.names)
        self._insert = database.prepare_insert(LOG_ENTRIES)
        self._values = itemgetter(*(name for name in self._insert.names if name != "seq"))
        self._insert_digest = database.prepare_insert(LOG_DIGESTS)
        self._digest_values = itemgetter(*map(_DIGEST_ROW.index, self._insert_digest.names))
        self._insert_tile = database.prepare_insert(LOG_TILES)
        self._move = database.prepare_change(
            update(LOG_HEADS)
            .where(head.log == bindparam("this"), head.size == bindparam("before"))
            .values(size=bindparam("after"), root=bindparam("top"), journal=bindparam("rows"))
        )
        self._store = database.prepare_change(
            update(LOG_HEADS)
            .where(head.log == bindparam("this"), head.checkpoint_size < bindparam("over"))
            .values(checkpoint_size=bindparam("over"), checkpoint=bindparam("note"))
        )

    def _open(self, kept: KeptHead | None) -> Head:
        """This log's row; made if the HSM's log has never had an entry. Where it follows a former one, its leaf 0 is
        the head at which that one ended, and there from the beginning."""
        with self._database.write() as connection:
            mine = select(LOG_HEADS).where(LOG_HEADS.c.origin == self._anchor.origin)
            found = connection.execute(mine).one_or_none()
            if found is not None:
                return Head(*found)
            size = 0 if kept is None or kept.origin != self._anchor.origin else kept.size
            _require(size == 0, 0, f"the HSM keeps the head of {size} leaves")
            newest = connection.execute(select(LOG_HEADS).order_by(LOG_HEADS.c.log.desc()).limit(1)).one_or_none()
            former = None if newest is None else Head(*newest)
            last = connection.execute(select(func.max(LOG_ENTRIES.c.seq))).scalar_one()
            first = 0 if last is None else last + 1
            tree = EMPTY_TREE
            if former is not None:
                entry = former_entry(former, time=_now())
                connection.execute(insert(LOG_ENTRIES).values({"seq": first, **entry}))
                tree = tree.extended([entry["leaf_hash"]]).tree
            head = Head(
                log=1 if former is None else former.log + 1,
                origin=self._anchor.origin,
                public_key=self._anchor.public_key,
                first=first,
                size=tree.size,
                root=tree.root,
                journal=0 if former is None else former.journal,
                checkpoint_size=-1,
                checkpoint=None,
                cosigned_size=0,
                cosigned=None,
            )
            connection.execute(insert(LOG_HEADS).values(head._asdict()))
            return head

    def _check_kept(self, size: int, kept: KeptHead | None) -> None:
        """That the database continues what the HSM has kept."""
        if kept is None or kept.origin != self._anchor.origin or not kept.size:
            return
        _require(size >= kept.size, size, f"the HSM keeps the head of {kept.size} leaves")
        _require(self.reader.root(kept.size) == kept.root, kept.size, "the HSM keeps another head of that size")

    def _check_journal(self, head: Head) -> None:
        """That the sealed rows' journal continues what is in the log: else an older one was put back."""
        last = head.journal
        if not last:
            return
        entries = LOG_ENTRIES.c
        known = entries.seq < head.first + head.size  # others go on
        newest = (
            select(entries.leaf).where(entries.kind == literal_column("'rows'"), known).order_by(entries.seq.desc())
        )
        with self._database.read() as connection:
            leaf = connection.execute(newest.limit(1)).scalar_one_or_none()
            link = connection.execute(select(ROW_JOURNAL.c.link).where(ROW_JOURNAL.c.seq == last)).scalar_one_or_none()
        if link is None or leaf is None or leaf != rows_entry(last, link, time=0)["leaf"]:
            msg = f"row_journal/{last}: is not what the log says; an older copy of the rows was put back"
            raise IntegrityFailure(msg)

    def _behind_parameters(self) -> RawRow:
        values: dict[str, Value] = {"known": self.first + self._state.tree.size, "origin": self._anchor.origin}
        return tuple(values[name] for name in self._behind.names)

    def _followed(self, rows: list[RawRow]) -> Followed:
        """The state that the rows of `_behind` lead to."""
        tree = self._state.tree
        _require(bool(rows), 0, "its head is missing")
        size, root, journal = rows[0][:3]
        leaves = [row[4] for row in rows if isinstance(row[4], bytes)]
        if leaves:
            tree = tree.extended(leaves).tree
        if (size, root) != (tree.size, tree.root) or not isinstance(journal, int):
            _require(isinstance(size, int) and size >= self._state.tree.size, size, "this process has seen more")
            _require(False, size, "its head does not follow from what this process has seen")
        return self._state if tree is self._state.tree else Followed(tree, int(journal or 0))

    def _commit(self, gather: Callable[[], list[Due]]) -> Callable[[], Sequence[Logged]]:
        """Intents, leaves, tiles and head of all who wait, in one transaction."""
        with self._noting_faults(), self._guard:
            with self._database.append(LOCK_SECONDS) as appending:
                group = gather()
                self._require_own_epoch(group)
                intents = [self._intent_values(intent) for due in group for intent in due.intents]
                if not any(due.entries or not due.intents for due in group):
                    appending(self._insert_intent, intents, alone=True)
                    return lambda: [_NOTHING_LOGGED] * len(group)
                appending.begin()
                rows = appending.fetch(self._behind, self._behind_parameters())
                self._state = self._followed(rows)
                new = self._new_rows(appending, rows[0][3], _now())
                journal = self._state.journal + len(new)
                places = []
                for due in group:
                    places.append(len(new))
                    new += due.entries
                appending(self._insert_intent, intents)
                unstored = self._unstored
                if unstored is not None:
                    self._store_checkpoint(appending, unstored)
                extension = self._write(appending, new, journal)
            first = self._state.tree.size
            self._state = Followed(extension.tree, journal)
            with self._unpublished_guard:
                self._unpublished = extension.tree
            if unstored is not None:
                self._stored(unstored)

        def publish() -> Sequence[Logged]:
            published = self._published(extension.tree) if any(due.proved for due in group) else None
            inclusion: Callable[[int], str] = InclusionLines(extension)
            if published is not None and published.size != extension.tree.size:  # it covers others' leaves too
                inclusion = partial(self.reader.inclusion_lines, size=published.size)
            return [
                Logged(inclusion, published, first + place, [entry["leaf"] for entry in due.entries])
                for place, due in zip(places, group, strict=True)
            ]

        return publish

    def _require_own_epoch(self, group: Sequence[Due]) -> None:
        """An intent of an epoch that others have closed meanwhile would be closed by nobody."""
        epoch = self._database.epoch
        if epoch is not None and any(intent["epoch"] != epoch for due in group for intent in due.intents):
            msg = "the intent is of an epoch that another node has closed"
            raise EpochClosed(msg)

    def _new_rows(self, appending: Appending, last: object, moment: int) -> list[Entry]:
        """Leaves of the rows' journal that are not in the log yet."""
        known = self._state.journal
        if last == known:
            return []
        if not isinstance(last, int) or last < known:
            msg = f"row_journal_head: went back from {known}, which is in the log; the database is behind"
            raise IntegrityFailure(msg)
        values = {"after": known, "last": min(last, known + _JOURNAL_CHUNK)}
        found = appending.fetch(self._journal_range, tuple(values[name] for name in self._journal_range.names))
        links = [link for _, link in found if isinstance(link, bytes)]
        if [seq for seq, _ in found] != list(range(known + 1, values["last"] + 1)) or len(links) != len(found):
            msg = "row_journal: an entry is missing, or its link is not octets"
            raise IntegrityFailure(msg)
        return [rows_entry(known + at, link, time=moment) for at, link in enumerate(links, 1)]

    def _write(self, appending: Appending, entries: list[Entry], journal: int) -> Extension:
        state = self._state
        extension = state.tree.extended([entry["leaf_hash"] for entry in entries])
        first = self.first + extension.first
        appending(self._insert, [(first + at, *self._values(entry)) for at, entry in enumerate(entries)])
        digests = [
            ((first + at) // DIGEST_BUCKET, digest, first + at)
            for at, entry in enumerate(entries)
            for digest in entry.get(DIGESTS, ())
        ]
        appending(self._insert_digest, [self._digest_values(row) for row in sorted(digests)])
        if extension.full_tiles:
            appending(self._insert_tile, [self._tile_row(tile) for tile in extension.full_tiles])
        values: dict[str, Value] = {
            "this": self.log,
            "before": state.tree.size,
            "after": extension.tree.size,
            "top": extension.tree.root,
            "rows": journal,
        }
        moved = appending.run(self._move, tuple(values[name] for name in self._move.names))
        _require(moved == 1, state.tree.size, "its head was moved by somebody else")
        return extension

    def _tile_row(self, tile: FullTile) -> RawRow:
        values: dict[str, Value] = {
            "log": self.log,
            "level": tile.level,
            "tile": tile.tile,
            "hashes": tile.hashes,
            "root": tile.root,
        }
        return tuple(values[name] for name in self._insert_tile.names)

    def _published(self, tree: Tree) -> Published | None:
        try:
            return self._publish(tree)
        except KeystoreError as fault:
            with suppress(OSError):  # the service's log may be on the same full disk
                _log.error("checkpoint_failed", alarm=True, code=fault.code, reason=str(fault))
        return None

    def _publish(self, tree: Tree) -> Published:
        """The checkpoint over a committed head, or a larger one: signed; cosigned, where it must be, and stored then
        at once."""
        self._unpublishable = True
        if self._cosigned is not None and not self._stores_later:
            published = self._cosigned.release(tree.size, self._caught_up)
        else:
            self._require_agreement()
            published = Published(self._sign(tree), tree.size)
        self._unpublishable = False
        with self._unpublished_guard:
            if self._unpublished is not None and self._unpublished.size <= published.size:
                self._unpublished = None
            if self._stores_later and (self._unstored is None or self._unstored.size < published.size):
                self._unstored = published
        return published

    def _store_checkpoint(self, appending: Appending, published: Published) -> None:
        values: dict[str, Value] = {"this": self.log, "over": published.size, "note": published.checkpoint}
        appending.run(self._store, tuple(values[name] for name in self._store.names))

    def _stored(self, published: Published) -> None:
        with self._unpublished_guard:
            if self._unstored is published:
                self._unstored = None

    def _sign(self, tree: Tree) -> str:
        """The checkpoint over a committed head, with the log key's signature."""
        text = checkpoint_text(self._anchor.origin, tree.size, tree.root)
        return f"{text}\n{self.signer.line(self._anchor.sign(text.encode()))}"

    @contextmanager
    def _noting_faults(self) -> Iterator[None]:
        try:
            yield
        except KeystoreError:
            self._unwritable = True
            raise


_NOTHING_LOGGED: Final = Logged(lambda _index: "", None, 0, ())


def _as_asked(due: Due, logged: Logged) -> Logged:
    if due.proved and logged.published is None:
        msg = "no checkpoint over the entries could be made"
        raise NotPublished(msg)
    return logged


def _as_asked_or_fault(due: Due, logged: Logged) -> Logged | KeystoreError:
    try:
        return _as_asked(due, logged)
    except NotPublished as fault:
        return fault


def _require(condition: bool, size: object, reason: str) -> None:
    if not condition:
        msg = f"log at {size} leaves: {reason}; the database is behind, or was changed: {_REMEDY}"
        raise IntegrityFailure(msg)


def _now() -> int:
    """Microseconds since the epoch."""
    return time.time_ns() // 1000
