"""One writer at a time over every process and thread of a machine, first come first served as far as the kernel goes.

SQLite alone makes writers poll, and a busy process then starves the others for seconds. An OS file lock taken before
`BEGIN IMMEDIATE` wakes the next writer at once. Waiting has an end: a process that was stopped while it held the lock
must not hang the others.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from keystore.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class _Waiter:
    """A thread blocked in `flock`, which has no timeout of its own. What it gets waits for the next one who asks."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.locked = threading.Event()
        threading.Thread(target=self._wait, name="sealmark-write-lock", daemon=True).start()

    def _wait(self) -> None:
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        self.locked.set()


class WriteLock:
    """The lock of one process on the file at `path`, shared by its threads."""

    def __init__(self, path: Path, *, timeout: float) -> None:
        self._path = path
        self._timeout = timeout  # seconds
        self._threads = threading.Lock()
        self._descriptor: int | None = None
        self._waiter: _Waiter | None = None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock. Raises `StoreUnavailable` after `timeout` seconds, or if the file cannot be opened."""
        deadline = time.monotonic() + self._timeout
        if not self._threads.acquire(timeout=self._timeout):
            raise StoreUnavailable("the database is being written by another thread for too long")
        try:
            descriptor = self._lock_file(deadline)
            try:
                yield
            finally:
                fcntl.flock(descriptor, fcntl.LOCK_UN)
        finally:
            self._threads.release()

    def _lock_file(self, deadline: float) -> int:
        try:
            if self._descriptor is None:
                self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            if self._waiter is None:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return self._descriptor
        except BlockingIOError:
            self._waiter = _Waiter(self._descriptor_open())
        except OSError as exc:
            raise StoreUnavailable(f"the database's lock file cannot be used: {exc.strerror}") from exc
        if not self._waiter.locked.wait(max(0.0, deadline - time.monotonic())):
            raise StoreUnavailable("the database is being written by another process for too long")
        self._waiter = None
        return self._descriptor_open()

    def _descriptor_open(self) -> int:
        if self._descriptor is None:
            raise StoreUnavailable("the database's lock file is closed")
        return self._descriptor

    def close(self) -> None:
        """Close the file, unless a thread still waits for its lock: then the process's end closes it."""
        with self._threads:
            if self._descriptor is not None and self._waiter is None:
                os.close(self._descriptor)
                self._descriptor = None
