"""What the witness remembers: which logs it watches, and the newest checkpoint that it cosigned for each.

One SQLite file. A rollback journal (`DELETE`) and `synchronous=EXTRA` put every commit on the disk, the folder's entry
too, before it returns, and leave no second file whose loss would take back what was committed. A writer holds the
file's lock from before it reads until after it has written, in whatever thread or process it runs.

The checkpoints are kept whole, with the log's signature and the witness's own: whatever is read is verified again, so a
damaged row is noticed and never believed. What cannot be noticed is an older copy of the whole file put back: never
restore it from a backup (docs/witness.md).
"""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from signer.witness.errors import LogConflict, UnknownLog, WitnessStateError
from signer.witness.protocol import EMPTY, Head
from verifier.errors import VerificationError
from verifier.notes import SIGNATURE, cosigned_at, parse_checkpoint, parse_key, parse_note, require_signature

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from pathlib import Path

    from verifier.notes import NoteKey

LOCK_SECONDS: Final = 10.0
FORKS_KEPT: Final = 100  # of each log
_APPLICATION: Final = 0x5365616C  # in the file's header: "Seal"
_VERSION: Final = 1
_SCHEMA: Final = f"""
PRAGMA application_id = {_APPLICATION};
PRAGMA user_version = {_VERSION};
BEGIN;
CREATE TABLE witness (id INTEGER PRIMARY KEY CHECK (id = 1), key TEXT NOT NULL) STRICT;
CREATE TABLE logs (
    origin TEXT PRIMARY KEY, key TEXT NOT NULL, watched INTEGER NOT NULL CHECK (watched IN (0, 1)),
    size INTEGER NOT NULL CHECK (size >= 0), note BLOB
) STRICT;
CREATE TABLE forks (
    origin TEXT NOT NULL, size INTEGER NOT NULL, cosigned BLOB NOT NULL, shown BLOB NOT NULL,
    PRIMARY KEY (origin, shown)
) STRICT;
"""


class StoreBusy(Exception):
    """The store cannot be used just now: locked for too long, not writable, or no room. Nothing was cosigned."""


@dataclass(frozen=True, slots=True)
class Log:
    """A log, and what was cosigned of it: `note` is its newest cosigned checkpoint, None before the first one."""

    key: NoteKey
    watched: bool
    head: Head
    note: bytes | None
    cosigned_at: datetime | None


@dataclass(frozen=True, slots=True)
class Fork:
    """Two checkpoints of one size that a log has signed: proof of its fault to anybody who has its key."""

    origin: str
    size: int
    cosigned: bytes
    shown: bytes


class Store:
    """Safe to use from many threads and processes: every use opens the file anew."""

    def __init__(self, path: Path, witness: NoteKey) -> None:
        self._path = path
        self._witness = witness

    def create(self) -> None:
        """Makes the file, which must not be there, on the disk when this returns."""
        with closing(sqlite3.connect(self._path, isolation_level=None)) as connection:
            _set_durable(connection)
            connection.executescript(_SCHEMA)
            connection.execute("INSERT INTO witness VALUES (1, ?)", (str(self._witness),))
            connection.execute("COMMIT")
        self._path.chmod(0o600)

    def check(self) -> None:
        """Looks through the whole file. Raises `WitnessStateError` for any damage, and for another witness's file."""
        try:
            with self._opened() as connection:
                found = {name: _pragma(connection, name) for name in ("application_id", "user_version")}
                if found != {"application_id": _APPLICATION, "user_version": _VERSION}:
                    raise self._damaged("it is not a witness's store of this version")
                if _pragma(connection, "integrity_check") != "ok":
                    raise self._damaged("its pages do not fit together")
                if connection.execute("SELECT id, key FROM witness").fetchall() != [(1, str(self._witness))]:
                    raise self._damaged("it belongs to another key")
                for row in connection.execute("SELECT origin, key, watched, size, note FROM logs"):
                    self._log(row)
        except StoreBusy as fault:
            raise self._damaged(str(fault)) from fault

    def logs(self) -> list[Log]:
        """All logs that were ever added, by origin. Raises `WitnessStateError`, `StoreBusy`."""
        with self._opened() as connection:
            rows = connection.execute("SELECT origin, key, watched, size, note FROM logs ORDER BY origin").fetchall()
        return [self._log(row) for row in rows]

    def log(self, origin: str) -> Log | None:
        """The watched log of this origin, or None. Raises `WitnessStateError`, `StoreBusy`."""
        with self._opened() as connection:
            return self._find(connection, origin)

    def forks(self) -> list[Fork]:
        """What was kept of logs that signed two histories. Raises `StoreBusy`."""
        with self._opened() as connection:
            rows = connection.execute("SELECT origin, size, cosigned, shown FROM forks ORDER BY origin, size, shown")
            return [Fork(*row) for row in rows]

    def add_log(self, key: NoteKey) -> None:
        """Watches a log from now on; one that was removed goes on where it was. Raises `LogConflict`, `StoreBusy`."""
        if key.kind != SIGNATURE:
            raise LogConflict("this is a witness's key (its kind is 4): a log's key is of the kind 1")
        with self.exclusively() as update:
            update.add(key)

    def remove_log(self, origin: str) -> None:
        """Cosigns no more of it; what was cosigned stays known for good. Raises `UnknownLog`, `StoreBusy`."""
        with self.exclusively() as update:
            update.remove(origin)

    @contextmanager
    def exclusively(self) -> Iterator[Update]:
        """All that is read and written in the block is one step: on the disk when it ends, undone if it fails.

        Raises `StoreBusy` if the step could not be taken; then nothing of it has been.
        """
        with self._opened() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield Update(self, connection)
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        # mode=rw: a file that has gone is not made anew, empty.
        address = f"{self._path.absolute().as_uri()}?mode=rw"
        try:
            with closing(sqlite3.connect(address, uri=True, isolation_level=None, timeout=LOCK_SECONDS)) as connection:
                _set_durable(connection)
                yield connection
        except sqlite3.Error as error:
            raise StoreBusy(f"{self._path} cannot be used: {error}") from error

    def _find(self, connection: sqlite3.Connection, origin: str) -> Log | None:
        row = connection.execute(
            "SELECT origin, key, watched, size, note FROM logs WHERE origin = ? AND watched = 1", (origin,)
        ).fetchone()
        return None if row is None else self._log(row)

    def _log(self, row: tuple[str, str, int, int, bytes | None]) -> Log:
        """The log of a row, whose checkpoint is verified as if it came from a stranger."""
        origin, key_text, watched, size, kept = row
        try:
            key = parse_key(key_text)
            if kept is None:
                head, seen = EMPTY, None
            else:
                note = parse_note(kept)
                require_signature(note, key)
                seen = cosigned_at(note, [self._witness])[self._witness.name]
                checkpoint = parse_checkpoint(note.text)
                head = Head(checkpoint.size, checkpoint.root)
                origin_seen = checkpoint.origin
                if origin_seen != origin:
                    raise self._damaged(f"the checkpoint kept for {origin} is of {origin_seen}")
        except (VerificationError, KeyError) as error:
            raise self._damaged(f"the row of {origin}: {error}") from error
        if key.name != origin or head.size != size:
            raise self._damaged(f"the row of {origin} does not fit its checkpoint")
        return Log(key, bool(watched), head, kept, seen)

    def _damaged(self, reason: str) -> WitnessStateError:
        return WitnessStateError(
            f"{self._path} is damaged ({reason}): this witness must not cosign any more. Make a new one with a new key "
            "(`sealmark witness init`) and have the logs and verifiers that name this one name that"
        )


class Update:
    """The store while one writer holds it. Made by `Store.exclusively`; not to be kept."""

    def __init__(self, store: Store, connection: sqlite3.Connection) -> None:
        self._store = store
        self._connection = connection

    def log(self, origin: str) -> Log | None:
        """The watched log of this origin, or None. Raises `WitnessStateError`."""
        return self._store._find(self._connection, origin)

    def advance(self, log: Log, head: Head, note: bytes) -> None:
        """Puts `note` in the place of the checkpoint that `log` was read with, and of no other."""
        changed = self._connection.execute(
            "UPDATE logs SET size = ?, note = ? WHERE origin = ? AND size = ? AND note IS ?",
            (head.size, note, log.key.name, log.head.size, log.note),
        )
        if changed.rowcount != 1:
            raise StoreBusy(f"the row of {log.key.name} is no longer the one that was read")

    def keep_fork(self, fork: Fork) -> None:
        """Keeps the proof, unless it is there or there are many already."""
        (kept,) = self._connection.execute("SELECT count(*) FROM forks WHERE origin = ?", (fork.origin,)).fetchone()
        if kept < FORKS_KEPT:
            self._connection.execute(
                "INSERT OR IGNORE INTO forks VALUES (?, ?, ?, ?)",
                (fork.origin, fork.size, fork.cosigned, fork.shown),
            )

    def add(self, key: NoteKey) -> None:
        """Raises `LogConflict`."""
        found = self._connection.execute("SELECT key FROM logs WHERE origin = ?", (key.name,)).fetchone()
        if found is None:
            self._connection.execute("INSERT INTO logs VALUES (?, ?, 1, 0, NULL)", (key.name, str(key)))
        elif found == (str(key),):
            self._connection.execute("UPDATE logs SET watched = 1 WHERE origin = ?", (key.name,))
        else:
            raise LogConflict(f"{key.name} has the key {found[0]} here: a log with another key is another log")

    def remove(self, origin: str) -> None:
        """Raises `UnknownLog`."""
        changed = self._connection.execute("UPDATE logs SET watched = 0 WHERE origin = ? AND watched = 1", (origin,))
        if changed.rowcount != 1:
            raise UnknownLog(f"no log {origin!r} is watched: see `sealmark witness list-logs`")


def _set_durable(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode = DELETE")
    connection.execute("PRAGMA synchronous = EXTRA")
    connection.execute("PRAGMA trusted_schema = OFF")


def _pragma(connection: sqlite3.Connection, name: str) -> object:
    row = connection.execute(f"PRAGMA {name}").fetchone()
    return None if row is None else row[0]
