"""Ways in which a running service's trail stops being writable, each of them real, and each of them ended again."""

from __future__ import annotations

import fcntl
import os
import resource
import sqlite3
import subprocess
import tempfile
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.faults import storage
from tests.faults.served import READ_ONLY
from tests.hsm_support import log_key_missing
from tests.scale.scene import worker_pids

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from tests.scale.deployment import Deployment
    from tools.service import Service

    Way = Callable[["Place"], AbstractContextManager[None]]

_TMPFS: Final = "160m"


@dataclass(frozen=True, slots=True)
class Place:
    """A running service, as a fault gets at it."""

    deployment: Deployment
    service: Service

    def processes(self) -> list[int]:
        return [self.service.process.pid, *worker_pids(self.service)]


@contextmanager
def disk_full(place: Place) -> Iterator[None]:
    """The kernel refuses every write of the service's processes to any file."""
    processes = place.processes()
    limits = {process: resource.prlimit(process, resource.RLIMIT_FSIZE) for process in processes}
    for process, (_, hard) in limits.items():
        resource.prlimit(process, resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        for process, limit in limits.items():
            resource.prlimit(process, resource.RLIMIT_FSIZE, limit)


@contextmanager
def tmpfs_full(place: Place) -> Iterator[None]:
    """The file system that the state directory is on has not a byte left, nor has the database's journal (WAL)."""
    database = place.deployment.database
    filler, journal = database.parent.parent / "filler", database.with_name(database.name + "-wal")
    lock = os.open(database.with_name(database.name + ".lock"), os.O_RDWR)
    try:
        with filler.open("wb", buffering=0) as file:
            fcntl.flock(lock, fcntl.LOCK_EX)  # nobody of the service writes meanwhile
            with closing(sqlite3.connect(database, timeout=10)) as connection:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            _fill(file.fileno())
            fcntl.flock(lock, fcntl.LOCK_UN)
        assert journal.stat().st_size == 0
        yield
    finally:
        os.close(lock)
        filler.unlink()


def _fill(descriptor: int) -> None:
    for size in (1 << 20, 1 << 12, 1):
        try:
            while True:
                os.write(descriptor, bytes(size))
        except OSError:
            continue


@contextmanager
def read_only(place: Place) -> Iterator[None]:
    """The database may be read and not written."""
    sign = place.deployment.scene.state / READ_ONLY
    sign.touch()
    try:
        yield
    finally:
        sign.unlink()


@contextmanager
def moved_away(place: Place) -> Iterator[None]:
    """The database, with its journal, is not where it should be; whoever has it open could still write to it."""
    database = place.deployment.database
    elsewhere = database.parent.parent / "moved"
    elsewhere.mkdir()
    files = [database.with_name(database.name + end) for end in ("", "-wal", "-shm")]
    for path in files:
        path.rename(elsewhere / path.name)
    try:
        yield
    finally:
        for path in reversed(files):
            (elsewhere / path.name).rename(path)
        elsewhere.rmdir()


def locked(place: Place) -> AbstractContextManager[None]:
    """Another process is in a transaction that keeps everybody else from writing."""
    return storage.write_lock_held(place.deployment.database)


def lock_file_held(place: Place) -> AbstractContextManager[None]:
    """Another process has the lock by which the service's workers take turns."""
    return storage.file_lock_held(place.deployment.database)


def no_log_key(place: Place) -> AbstractContextManager[None]:
    """The HSM has no log key."""
    return log_key_missing(place.deployment.scene.state)


# How long each lasts, in seconds: where callers wait, more than one of them after the other.
WAYS: Final[dict[str, tuple[Way, float]]] = {
    "disk_full": (disk_full, 0.7),
    "tmpfs_full": (tmpfs_full, 0.7),
    "read_only": (read_only, 0.7),
    "moved_away": (moved_away, 0.7),
    "locked": (locked, 2.5),
    "lock_file_held": (lock_file_held, 2.5),
    "no_log_key": (no_log_key, 0.7),
}


@contextmanager
def small_file_system(folder: Path) -> Iterator[Path]:
    """A file system of its own in memory. Raises `PermissionError` for whoever may not mount."""
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={_TMPFS},mode=0700", "none", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        raise PermissionError(mounted.stderr.decode(errors="replace"))
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)  # killed processes may take a moment to end


def may_mount() -> bool:
    """Whether this process may mount a file system."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            with small_file_system(Path(folder) / "mounted"):
                return True
        except OSError:
            return False
