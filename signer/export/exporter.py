"""The thread that follows the log and exports its records, and remembers how far it got.

Of several workers one exports, for as long as it holds the export's lock; the kernel gives the lock to another when it
dies. What cannot be delivered waits in the log itself: nothing is lost, and nobody who signs waits for it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
from typing import TYPE_CHECKING, Any, Final

import msgspec
import structlog

from keystore.errors import KeystoreError
from signer.audit.following import entries_from
from signer.export.cloudtrail import event
from signer.export.delivery import Line, delivery_of

if TYPE_CHECKING:
    from pathlib import Path

    from keystore.db.engine import Database
    from signer.audit.following import Followed
    from signer.export.settings import ExportSettings

INTERVAL_SECONDS: Final = 0.5
_CHUNK: Final = 500  # records at once
_log = structlog.get_logger("sealmark.export")


class Exporter:
    """One for each export and worker."""

    def __init__(self, database: Database, settings: ExportSettings, state: Path, account: str, region: str) -> None:
        self._database = database
        self._settings = settings
        self._account, self._region = account, region
        self._delivery = delivery_of(settings)
        name = hashlib.sha256(settings.to.encode()).hexdigest()[:16]
        self._place = state / "locks" / f"export-{name}.place"
        self._lock = state / "locks" / f"export-{name}.lock"
        self._descriptor: int | None = None
        self._next = 0
        self._failed = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="audit-export", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Exports what is there, if this worker does, and ends the thread."""
        self._stopping.set()
        self._thread.join(timeout=10)
        self.once()
        self._delivery.close()
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _run(self) -> None:
        while not self._stopping.wait(INTERVAL_SECONDS):
            self.once()

    def once(self) -> None:
        """Exports everything that is new. What fails now is tried again later."""
        try:
            if self._descriptor is None and not self._claim():
                return
            while self._export_some():
                pass
        except (OSError, KeystoreError) as fault:
            if not self._failed:
                _log.error("export_waits", alarm=True, to=self._settings.to, reason=str(fault))
            self._failed = True
            return
        if self._failed:
            _log.warning("export_goes_on", to=self._settings.to, next=self._next)
        self._failed = False

    def _claim(self) -> bool:
        """Whether this worker is the one that exports; it then finds out where to go on."""
        self._lock.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            remembered = int(self._place.read_text()) if self._place.exists() else 0
            there = self._delivery.delivered()
        except BlockingIOError:
            os.close(descriptor)
            return False
        except BaseException:
            os.close(descriptor)
            raise
        self._next = max(remembered, 0 if there is None else there + 1)
        self._descriptor = descriptor
        return True

    def _export_some(self) -> bool:
        """Delivers the next records, then remembers that; returns whether there may be more."""
        entries = entries_from(self._database, self._next, _CHUNK)
        if not entries:
            return False
        lines = [self._line(entry) for entry in entries if entry.record is not None]
        if lines:
            self._delivery.deliver(lines)
        self._next = entries[-1].seq + 1
        self._remember()
        return len(entries) == _CHUNK

    def _remember(self) -> None:
        """Puts the new place where the old one was, as a whole: a kill at any moment leaves one of the two."""
        new = self._place.with_suffix(".new")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, str(self._next).encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        new.replace(self._place)

    def _line(self, entry: Followed) -> Line:
        record = msgspec.json.decode(entry.record or "{}", type=dict[str, Any])
        if self._settings.format == "cloudtrail":
            made = event(
                record,
                entry.leaf_hash,
                index=entry.index,
                origin=entry.origin,
                account=self._account,
                region=self._region,
            )
            members: dict[str, object] = {"seq": entry.seq, **made}
        else:
            members = {
                "seq": entry.seq,
                "origin": entry.origin,
                "index": entry.index,
                "leaf": entry.leaf,
                "nonce": (entry.nonce or b"").hex(),
                "record": msgspec.Raw((entry.record or "{}").encode()),
            }
        return Line(entry.seq, record["time"], msgspec.json.encode(members))
