"""Which worker wrote an intent, and whether it still lives.

Each worker process has an epoch: a random id and a file locked (flock) for as long as the process lives. The kernel
drops the lock when the process dies, however it dies; so a free lock means that nobody will close what was left open.
"""

from __future__ import annotations

import fcntl
import os
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Epoch:
    """This process's own epoch, held until `release` or death."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.id = str(uuid.uuid4())
        self._path = directory / f"{self.id}.lock"
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def release(self) -> None:
        """Ends the epoch; what it left open is then for others to close."""
        os.close(self._descriptor)


@contextmanager
def claimed(directory: Path, epoch: str) -> Iterator[bool]:
    """Whether the worker of that epoch is gone and the caller alone may close what it left open, inside the block.

    A lock file that went with the machine is made anew, to be the lock among those who close.
    """
    descriptor = os.open(directory / f"{epoch}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        yield True
    finally:
        os.close(descriptor)


def is_dead(directory: Path, epoch: str) -> bool:
    """Whether the worker of that epoch is gone. Its lock file going with the machine counts as gone."""
    try:
        descriptor = os.open(directory / f"{epoch}.lock", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def live(directory: Path) -> bool:
    """Whether any worker of this folder lives."""
    return any(not is_dead(directory, path.stem) for path in directory.glob("????????-*.lock"))


def forget(directory: Path, epoch: str) -> None:
    """Removes the lock file of an epoch whose intents are all closed."""
    (directory / f"{epoch}.lock").unlink(missing_ok=True)
