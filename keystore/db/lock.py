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
from typing import TYPE_CHECKING, Final

from keystore.db import patience
from keystore.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Seconds between looks at a lock that another process holds, 3 ms in all; after that a thread waits in line for it.
_PAUSES: Final = (0.0, *(0.0001,) * 10, *(0.0002,) * 10)


class _Waiter:
    """A thread blocked in `flock`, which has no timeout of its own.

    Whoever asks next takes its place up. Where nobody wants the lock any more when it comes, it is given back at once:
    a process that has nothing to write must not keep the others from writing.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._changed = threading.Condition()
        self._wanted = True
        self._held = False
        self.over = False
        threading.Thread(target=self._wait, name="sealmark-write-lock", daemon=True).start()

    def _wait(self) -> None:
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        with self._changed:
            if self._wanted:
                self._held = True
            else:
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            self.over = True
            self._changed.notify_all()

    def held_within(self, seconds: float) -> bool:
        """Whether the lock came in time; False also where it came and went before anybody asked again."""
        with self._changed:
            self._wanted = True
            self._changed.wait_for(lambda: self.over, timeout=seconds)
            self._wanted = False
            return self._held


def _locked_soon(descriptor: int) -> bool:
    """Takes the lock if it comes within the time of a few commits: a thread that waits for it would cost more."""
    for pause in _PAUSES:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(pause)
        else:
            return True
    return False


class WriteLock:
    """The lock of one process on the file at `path`, shared by its threads."""

    def __init__(
        self, path: Path, *, timeout: float, what: str = "the database is being written", in_line: bool = False
    ) -> None:
        """`in_line`: its turn is waited for, however long the others take, and whatever the thread's allowance."""
        self._path = path
        self._what = what
        self._timeout = timeout  # seconds
        self._in_line = in_line
        self._threads = threading.Lock()
        self._descriptor: int | None = None
        self._waiter: _Waiter | None = None

    @contextmanager
    def held(self, timeout: float | None = None) -> Iterator[None]:
        """Hold the lock. Raises `StoreUnavailable` after `timeout` seconds (None: the lock's own), or if the file
        cannot be opened."""
        seconds = self._timeout if timeout is None else min(timeout, self._timeout)
        if not self._in_line:
            seconds = patience.allowed(seconds)
        since = time.monotonic()
        if not self._threads.acquire(timeout=seconds):
            patience.spend(since)
            raise StoreUnavailable(f"{self._what} by another thread for too long")
        try:
            try:
                descriptor = self._lock_file(since + seconds)
            finally:
                patience.spend(since)
            try:
                yield
            finally:
                fcntl.flock(descriptor, fcntl.LOCK_UN)
        finally:
            self._threads.release()

    def _lock_file(self, deadline: float) -> int:
        if self._waiter is not None and self._waiter.over:
            self._waiter = None  # it came when nobody wanted it, and was given back
        try:
            if self._descriptor is None:
                self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            if self._waiter is None and _locked_soon(self._descriptor):
                return self._descriptor
        except OSError as exc:
            raise StoreUnavailable(f"the lock file {self._path.name} cannot be used: {exc.strerror}") from exc
        if self._waiter is None:
            self._waiter = _Waiter(self._descriptor_open())
        if not self._waiter.held_within(max(0.0, deadline - time.monotonic())):
            raise StoreUnavailable(f"{self._what} by another process for too long")
        self._waiter = None
        return self._descriptor_open()

    def _descriptor_open(self) -> int:
        if self._descriptor is None:
            raise StoreUnavailable(f"the lock file {self._path.name} is closed")
        return self._descriptor

    def close(self) -> None:
        """Close the file, unless a thread still waits for its lock: then the process's end closes it."""
        with self._threads:
            if self._descriptor is not None and self._waiter is None:
                os.close(self._descriptor)
                self._descriptor = None
