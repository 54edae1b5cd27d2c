"""Checkpoints with the cosignatures of outside witnesses: when they are asked for, where they are kept.

Where a response's proof must carry cosignatures, a checkpoint is given out, and stored, only with them. One worker at a
time asks, for the newest head there is, so that whoever waited meanwhile is covered by what it got; a witness would
refuse a smaller checkpoint after a larger one. Where none is required, they are collected every few seconds.

A witness that contradicts the database stops all signing until it agrees again: so a database put back is caught even
where the HSM's kept head went back with it.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

import structlog
from sqlalchemy import bindparam, select, update

from keystore.db.lock import WriteLock
from keystore.db.schema import LOG_HEADS
from keystore.errors import IntegrityFailure, KeystoreError, StoreUnavailable
from signer.audit.committer import LOCK_SECONDS
from signer.audit.witnessing import TIME_LIMIT, Witness, Witnesses

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from keystore.clock import Clock
    from keystore.db.engine import Database
    from signer.audit.reading import LogReader
    from signer.audit.tree import Tree
    from signer.config import LogConfiguration

COLLECT_SECONDS: Final = 3.0
_LOCK_SECONDS: Final = 2 * TIME_LIMIT  # one worker asks, then the next one
_log = structlog.get_logger("sealmark.witnesses")


class NotCosignedNow(KeystoreError):
    """Fewer witnesses have cosigned than a proof must carry. Trying again later may help."""

    code = "audit_unavailable"


class CosignedHeads:
    """One per worker process, for one log. `sign` gives the signed checkpoint over a committed tree."""

    def __init__(
        self,
        configuration: LogConfiguration,
        database: Database,
        reader: LogReader,
        log: int,
        sign: Callable[[Tree], str],
        locks: Path,
        clock: Clock,
    ) -> None:
        self.required = configuration.cosignatures
        self._database = database
        self._log = log
        self._sign = sign
        self._lock = WriteLock(locks / "cosigning.lock", timeout=_LOCK_SECONDS)
        self._stopping = threading.Event()
        self._collector: threading.Thread | None = None
        head = LOG_HEADS.c
        mine = head.log == bindparam("log")
        self._newest = database.prepare(
            select(head.size, head.checkpoint_size, head.checkpoint, head.cosigned_size, head.cosigned).where(mine)
        )
        self._store = database.prepare_change(
            update(LOG_HEADS)
            .where(head.log == bindparam("this"), head.cosigned_size <= bindparam("over"))
            .values(cosigned_size=bindparam("over"), cosigned=bindparam("note"))
        )
        self._witnesses = Witnesses(
            [Witness(one.url, one.key) for one in configuration.witnesses], reader.consistency, self._size, clock
        )

    def require_agreement(self) -> None:
        """Raises `IntegrityFailure` while a witness has seen what the database does not continue."""
        contradiction = self._witnesses.contradiction
        if contradiction is not None:
            msg = f"a witness contradicts the database, which is behind or was changed: {contradiction}"
            raise IntegrityFailure(msg)

    def release(self, size: int, newest: Callable[[], Tree]) -> tuple[str, int, bool]:
        """(a checkpoint with enough cosignatures, its size, whether it was made now): it covers `size` leaves.

        `newest` catches up with what is committed. Raises `NotCosignedNow`, `IntegrityFailure`, `StoreUnavailable`.
        """
        with self._lock.held():
            _, _, _, cosigned_size, cosigned = self._row()
            if cosigned is not None and cosigned_size >= size and _lines(cosigned) >= self.required:
                return cosigned, cosigned_size, False
            tree = newest()
            note = self._sign(tree)
            lines = self._witnesses.cosign(note, tree.size, self.required)
            self.require_agreement()
            if len(lines) < self.required:
                msg = f"{len(lines)} witnesses cosigned {tree.size} leaves, {self.required} must"
                raise NotCosignedNow(msg)
            cosigned = note + "".join(lines)
            self._keep(cosigned, tree.size)
            return cosigned, tree.size, True

    def check(self, tree: Tree) -> None:
        """Asks all witnesses about the head with which this process starts. Raises `NotCosignedNow` where cosignatures
        are required and not to be had, `IntegrityFailure` where one contradicts."""
        if not tree.size:
            note = self._sign(tree)  # a witness that has seen leaves says so
        else:
            _, checkpoint_size, checkpoint, _, _ = self._row()
            note = checkpoint if checkpoint is not None and checkpoint_size == tree.size else self._sign(tree)
        lines = self._witnesses.cosign(note, tree.size)
        if lines:
            self._keep(note + "".join(lines), tree.size)
        self.require_agreement()
        if len(lines) < self.required:
            msg = f"{len(lines)} witnesses cosigned at the start, {self.required} must"
            raise NotCosignedNow(msg)
        if len(lines) < len(self._witnesses):
            _log.warning("witnesses_missing", answered=len(lines), configured=len(self._witnesses))

    def collect(self) -> None:
        """Has the newest checkpoint cosigned by all who can be reached, unless it is. Raises `StoreUnavailable`."""
        with self._lock.held():
            _, checkpoint_size, checkpoint, cosigned_size, cosigned = self._row()
            if checkpoint is None or checkpoint_size < cosigned_size:
                return
            held = 0 if cosigned is None or cosigned_size < checkpoint_size else _lines(cosigned)
            if held == len(self._witnesses) and self._witnesses.contradiction is None:
                return
            lines = self._witnesses.cosign(checkpoint, checkpoint_size)
            if len(lines) > held:
                self._keep(checkpoint + "".join(lines), checkpoint_size)

    def start(self) -> None:
        """Collects by itself from now on."""
        self._collector = threading.Thread(target=self._collect_for_ever, name="collect-cosignatures", daemon=True)
        self._collector.start()

    def stop(self) -> None:
        """Ends that, and the connections."""
        self._stopping.set()
        if self._collector is not None:
            self._collector.join(timeout=2 * TIME_LIMIT)
        self._witnesses.close()

    def _collect_for_ever(self) -> None:
        while not self._stopping.wait(COLLECT_SECONDS):
            try:
                self.collect()
            except (KeystoreError, OSError) as fault:
                _log.warning("cosignatures_postponed", kind=type(fault).__name__, reason=str(fault))

    def _row(self) -> tuple[int, int, str | None, int, str | None]:
        """(size, checkpoint_size, checkpoint, cosigned_size, cosigned) as they stand in the database."""
        rows = self._database.fetch(self._newest.sql, (self._log,))
        match rows:
            case [(int(size), int(checkpoint_size), checkpoint, int(cosigned_size), cosigned)]:
                return size, checkpoint_size, _note(checkpoint), cosigned_size, _note(cosigned)
        msg = f"log {self._log}: its head is missing"
        raise IntegrityFailure(msg)

    def _size(self) -> int:
        return self._row()[0]

    def _keep(self, note: str, size: int) -> None:
        values = {"this": self._log, "over": size, "note": note}
        with self._database.append(LOCK_SECONDS) as appending:
            appending.run(self._store, tuple(values[name] for name in self._store.names))


def _note(value: object) -> str | None:
    if value is not None and not isinstance(value, str):
        msg = "a checkpoint in the database is no text"
        raise StoreUnavailable(msg)
    return value


def _lines(note: str) -> int:
    """How many cosignatures a checkpoint has: all lines below its text but the log's own."""
    return note.partition("\n\n")[2].count("\n") - 1
