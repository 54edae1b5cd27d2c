"""Which worker wrote an intent, and whether it still lives.

Each worker process has an epoch: a random id and a file locked (flock) for as long as the process lives. The kernel
drops the lock when the process dies, however it dies; so a free lock means that nobody will close what was left open.

That goes for the workers of one machine. Where several machines share a database, a worker also counts up a number in
its epoch's row, and those of other machines take it for dead once they have seen the number stand still for
`SILENT_SECONDS` by their own clock. It may live nevertheless, cut off or stopped: its epoch is closed then, and the
database takes nothing of it any more (`Database.epoch`) until it has begun another one.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import socket
import uuid
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

BEAT_SECONDS: Final = 1.0
SILENT_SECONDS: Final = 10.0
_BLIND_SECONDS: Final = 3.0  # who did not look for so long begins to watch anew: the database may have been away


class Epoch:
    """This process's own epoch, held until `release` or death."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.id = str(uuid.uuid4())
        self.node = node_name(directory)
        self._path = directory / f"{self.id}.lock"
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def release(self) -> None:
        """Ends the epoch; what it left open is then for others to close."""
        os.close(self._descriptor)


class Watch:
    """Which epochs of other machines have fallen silent, as this process has seen it."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._looked_at = -_BLIND_SECONDS
        self._since: dict[str, tuple[int, float]] = {}

    def silent(self, beats: Mapping[str, int]) -> list[str]:
        """`beats`: the numbers of all epochs of others that are open, as they are now."""
        now = self._clock()
        if now - self._looked_at > _BLIND_SECONDS:
            self._since.clear()
        self._looked_at = now
        self._since = {
            epoch: known if (known := self._since.get(epoch)) is not None and known[0] == count else (count, now)
            for epoch, count in beats.items()
        }
        return [epoch for epoch, (_, since) in self._since.items() if now - since >= SILENT_SECONDS]


def node_name(directory: Path) -> str:
    """What the workers have in common that can lock the files of this folder, and no others have. 32 hex digits.

    A copy of the folder is another node, on the same machine or elsewhere.
    """
    machine = ""
    with suppress(OSError):
        machine = Path("/etc/machine-id").read_text(encoding="ascii").strip()
    found = directory.stat()
    told = f"{machine}\n{socket.gethostname()}\n{directory.resolve()}\n{found.st_dev}\n{found.st_ino}"
    return hashlib.sha256(told.encode()).hexdigest()[:32]


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
