"""Checkpoints with the cosignatures of outside witnesses: when they are asked for, where they are kept.

Where a response's proof must carry cosignatures, a checkpoint is given out, and stored, only with them. One worker at a
time asks, for the newest head there is, so that whoever waited meanwhile is covered by what it got; a witness would
refuse a smaller checkpoint after a larger one. Where none is required, they are collected every few seconds.

A witness that contradicts the database stops all signing until it agrees again: so a database put back is caught even
where the HSM's kept head went back with it.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog
from sqlalchemy import bindparam, select, update

from keystore.db.schema import LOG_HEADS
from keystore.errors import IntegrityFailure, KeystoreError
from signer.audit.groups import LOCK_SECONDS
from signer.audit.logged import Published
from signer.audit.witnessing import TIME_LIMIT, Witness, Witnesses

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from keystore.clock import Clock
    from keystore.db.engine import Database, RawRow, Value
    from signer.audit.reading import LogReader
    from signer.audit.tree import Tree
    from signer.config import LogConfiguration

COLLECT_SECONDS: Final = 3.0
_LOCK_SECONDS: Final = 2 * TIME_LIMIT  # one worker asks, then the next one
_log = structlog.get_logger("sealmark.witnesses")


class NotCosignedNow(KeystoreError):
    """Fewer witnesses have cosigned than a proof must carry. Trying again later may help."""

    code = "audit_unavailable"


@dataclass(frozen=True, slots=True)
class Witnessing:
    """Who is to be asked, the folder of the workers' locks, and the clock by which cosignatures are judged."""

    configuration: LogConfiguration
    locks: Path
    clock: Clock

    def heads(self, database: Database, reader: LogReader, log: int, sign: Callable[[Tree], str]) -> CosignedHeads:
        """For one log; `sign` gives the signed checkpoint over a committed tree."""
        return CosignedHeads(self, database, reader, log, sign)


class CosignedHeads:
    """One per worker process. Made by `Witnessing.heads`."""

    def __init__(
        self, witnessing: Witnessing, database: Database, reader: LogReader, log: int, sign: Callable[[Tree], str]
    ) -> None:
        configuration = witnessing.configuration
        self.required = configuration.cosignatures
        self._database = database
        self._log = log
        self._sign = sign
        self._locks = witnessing.locks
        self._stopping = threading.Event()
        self._collector: threading.Thread | None = None
        head = LOG_HEADS.c
        mine = head.log == bindparam("log")
        self._newest = database.prepare(
            select(head.size, head.checkpoint_size, head.checkpoint, head.cosigned_size, head.cosigned).where(mine)
        )
        this = head.log == bindparam("this")
        self._store_checkpoint = database.prepare_change(
            update(LOG_HEADS)
            .where(this, head.checkpoint_size < bindparam("over"))
            .values(checkpoint_size=bindparam("over"), checkpoint=bindparam("note"))
        )
        self._store_cosigned = database.prepare_change(
            update(LOG_HEADS)
            .where(this, head.cosigned_size <= bindparam("over"))
            .values(cosigned_size=bindparam("over"), cosigned=bindparam("note"))
        )
        self._witnesses = Witnesses(
            [Witness(one.url, one.key) for one in configuration.witnesses],
            reader.consistency,
            self._size,
            witnessing.clock,
        )

    def require_agreement(self) -> None:
        """Raises `IntegrityFailure` while a witness has seen what the database does not continue."""
        contradiction = self._witnesses.contradiction
        if contradiction is not None:
            msg = f"a witness contradicts the database, which is behind or was changed: {contradiction}"
            raise IntegrityFailure(msg)

    def release(self, size: int, newest: Callable[[], Tree]) -> Published:
        """A checkpoint over at least `size` leaves, with enough cosignatures: one that is there, or a new one.

        `newest` catches up with what is committed. Raises `NotCosignedNow`, `IntegrityFailure`, `StoreUnavailable`.
        """
        with self._database.alone("cosigning", _LOCK_SECONDS, self._locks):  # witnesses are being asked
            self.require_agreement()
            _, _, cosigned_size, cosigned = self._row()
            if cosigned is not None and cosigned_size >= size and _count(cosigned) >= self.required:
                return Published(cosigned, cosigned_size)
            tree = newest()
            note = self._sign(tree)
            lines = self._witnesses.cosign(note, tree.size, self.required)
            self.require_agreement()
            if len(lines) < self.required:
                msg = f"{len(lines)} witnesses cosigned {tree.size} leaves, {self.required} must"
                raise NotCosignedNow(msg)
            return self._kept(note, lines, tree.size)

    def begin(self, tree: Tree, newest: Callable[[], Tree]) -> bool:
        """Asks about the head with which this process starts, then collects by itself until `stop`. False if it must
        not be published on: a witness contradicts it, or too few cosign it."""
        try:
            self.check(tree)
        except (NotCosignedNow, IntegrityFailure) as fault:
            _log.error("witnesses_do_not_cosign", alarm=True, code=fault.code, reason=str(fault))
            return False
        finally:
            self._collector = threading.Thread(
                target=self._collect_for_ever, args=(newest,), name="collect-cosignatures", daemon=True
            )
            self._collector.start()
        return True

    def check(self, tree: Tree) -> None:
        """Asks all witnesses about the head with which this process starts. Raises `NotCosignedNow` where cosignatures
        are required and not to be had, `IntegrityFailure` where one contradicts."""
        checkpoint_size, checkpoint, _, _ = self._row()
        current = checkpoint is not None and checkpoint_size == tree.size
        note = checkpoint if checkpoint is not None and current else self._sign(tree)
        lines = self._witnesses.cosign(note, tree.size)
        if lines and len(lines) >= self.required:
            self._kept(note, lines, tree.size)
        self.require_agreement()
        if len(lines) < self.required:
            msg = f"{len(lines)} witnesses cosigned at the start, {self.required} must"
            raise NotCosignedNow(msg)
        if len(lines) < len(self._witnesses):
            _log.warning("witnesses_missing", answered=len(lines), configured=len(self._witnesses))

    def collect(self, newest: Callable[[], Tree]) -> None:
        """Has the newest checkpoint cosigned by all who can be reached, unless it is. Raises `KeystoreError`."""
        with self._database.alone("cosigning", _LOCK_SECONDS, self._locks):  # witnesses are being asked
            size, note, cosigned_size, cosigned = self._row()
            disputed = self._witnesses.contradiction is not None
            if note is None and disputed:  # an empty database: only asking again tells whether it was put right
                tree = newest()
                size, note = tree.size, self._sign(tree)
            if note is None or size < cosigned_size:
                return
            held = 0 if cosigned is None or cosigned_size < size else _count(cosigned)
            if held == len(self._witnesses) and not disputed:
                return
            lines = self._witnesses.cosign(note, size)
            if len(lines) > max(held, self.required - 1):
                self._kept(note, lines, size)

    def stop(self) -> None:
        """Ends the collecting, and the connections."""
        self._stopping.set()
        if self._collector is not None:
            self._collector.join(timeout=2 * TIME_LIMIT)
        self._witnesses.close()

    def _collect_for_ever(self, newest: Callable[[], Tree]) -> None:
        while not self._stopping.wait(COLLECT_SECONDS):
            try:
                self.collect(newest)
            except (KeystoreError, OSError) as fault:
                with suppress(OSError):  # the service's log may be on a full disk
                    _log.warning("cosignatures_postponed", kind=type(fault).__name__, reason=str(fault))

    def _row(self) -> tuple[int, str | None, int, str | None]:
        """(checkpoint_size, checkpoint, cosigned_size, cosigned) as they stand in the database."""
        _, checkpoint_size, checkpoint, cosigned_size, cosigned = self._head()
        return _number(checkpoint_size), _note(checkpoint), _number(cosigned_size), _note(cosigned)

    def _size(self) -> int:
        return _number(self._head()[0])

    def _head(self) -> RawRow:
        rows = self._database.fetch(self._newest.sql, (self._log,))
        if len(rows) != 1:
            msg = f"log {self._log}: its head is missing"
            raise IntegrityFailure(msg)
        return rows[0]

    def _kept(self, note: str, lines: Sequence[str], size: int) -> Published:
        """The checkpoint with its cosignatures, now stored."""
        cosigned = note + "".join(lines)
        values: dict[str, Value] = {"this": self._log, "over": size}
        with self._database.append(LOCK_SECONDS) as appending:
            for statement, text in ((self._store_checkpoint, note), (self._store_cosigned, cosigned)):
                appending.begin()
                appending.run(statement, tuple((values | {"note": text})[name] for name in statement.names))
        return Published(cosigned, size)


def _number(value: object) -> int:
    if not isinstance(value, int):
        msg = "a size in log_heads is no number"
        raise IntegrityFailure(msg)
    return value


def _note(value: object) -> str | None:
    if value is not None and not isinstance(value, str):
        msg = "a checkpoint in log_heads is no text"
        raise IntegrityFailure(msg)
    return value


def _count(note: str) -> int:
    """How many cosignatures a checkpoint has: all lines below its text but the log's own."""
    return note.partition("\n\n")[2].count("\n") - 1
