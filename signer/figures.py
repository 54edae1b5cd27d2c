"""The figures of all workers of a state directory: each writes its own into a file, anyone can add them up.

A worker holds a lock as long as it lives. Whoever gathers takes over what a worker left that is gone, however it ended,
into one file for all of those, so that their number does not grow. Nothing here is durable or sealed: it is for
looking at. What cannot be written is left out until it can be, and no call waits for it.
"""

from __future__ import annotations

import fcntl
import os
import threading
import uuid
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from time import monotonic, sleep
from typing import TYPE_CHECKING, Final

import msgspec

from keystore.measures import BOUNDS, GAUGES, MEASURES, Figures

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from keystore.measures import Name

FOLDER: Final = "metrics"
_ENDED: Final = "ended"
_CLASSES: Final = len(BOUNDS) + 2
_PATIENCE: Final = 1.0  # seconds for another one that gathers
_PAUSE: Final = 0.002


class _Written(msgspec.Struct):
    """A file's content. `gauges` are of a living worker alone; `taken` are ended workers that are in it already."""

    counts: list[tuple[tuple[str, ...], int]] = []
    times: list[tuple[tuple[str, ...], list[float]]] = []
    gauges: list[tuple[tuple[str, ...], float]] = []
    taken: list[str] = []


@dataclass(slots=True)
class Gathered:
    """All figures of the service, and each living worker's gauges."""

    figures: Figures = field(default_factory=Figures)
    gauges: list[dict[Name, float]] = field(default_factory=list)


def begin_anew(folder: Path) -> None:
    """Removes what workers left that are gone: a service that starts begins to count at nothing. One that runs on the
    same folder keeps its own."""
    with suppress(OSError):
        if not folder.is_dir():
            return
        (folder / f"{_ENDED}.json").unlink(missing_ok=True)
        for lock in folder.glob("*.lock"):
            with _claimed(lock) as gone:
                if gone and lock.stem != _ENDED:
                    _remove(folder, lock.stem)


class SharedFigures:
    """One per worker. Raises `OSError` when it is made, where the folder cannot be."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, exist_ok=True)
        self._folder = folder
        self._id = uuid.uuid4().hex
        self._writing = threading.Lock()
        self._lock = _held_lock(folder / f"{self._id}.lock")

    def write(self) -> None:
        """Writes this worker's figures, for the others. Raises `OSError`."""
        own = MEASURES.total()
        gauges = [(name, float(ask())) for name, ask in list(GAUGES.items())]
        with self._writing:
            self._replace(self._id, _Written(list(own.counts.items()), list(own.times.items()), gauges))

    def gather(self) -> Gathered:
        """Everybody's. This worker's are of this moment; of the others what they wrote last."""
        deadline = monotonic() + _PATIENCE
        while True:
            with _claimed(self._folder / f"{_ENDED}.lock") as alone:
                # While another one gathers, files come and go. Who is stopped in the midst of it holds nobody up.
                if alone or monotonic() > deadline:
                    return self._gathered(take_over=alone)
            sleep(_PAUSE)

    def _gathered(self, *, take_over: bool) -> Gathered:
        if take_over:
            with suppress(OSError):
                self._take_over_the_dead()
        found = Gathered()
        own = MEASURES.total()
        found.figures.add(own.counts, own.times)
        found.gauges.append({name: float(ask()) for name, ask in list(GAUGES.items())})
        for file in sorted(self._folder.glob("*.json")):
            if file.stem == self._id:
                continue
            written = self._read(file.stem)
            found.figures.add(dict(written.counts), dict(written.times))
            if file.stem != _ENDED:
                found.gauges.append(dict(written.gauges))
        return found

    def close(self) -> None:
        """This worker ends: its last figures stay."""
        with suppress(OSError):
            self.write()
        os.close(self._lock)

    def _take_over_the_dead(self) -> None:
        for worker in self._read(_ENDED).taken:
            _remove(self._folder, worker)
        for lock in self._folder.glob("*.lock"):
            if lock.stem in (_ENDED, self._id):
                continue
            with _claimed(lock) as gone:
                if gone:
                    self._take_over(lock.stem)

    def _take_over(self, worker: str) -> None:
        """In this order, so that whoever is killed half-way leaves nothing that would be added twice."""
        ended, left = self._read(_ENDED), self._read(worker)
        total = Figures()
        for written in (ended, left):
            total.add(dict(written.counts), dict(written.times))
        self._replace(_ENDED, _Written(list(total.counts.items()), list(total.times.items()), taken=[worker]))
        _remove(self._folder, worker)

    def _read(self, name: str) -> _Written:
        """What a file says; nothing where it is missing, or is no file of ours."""
        with suppress(OSError, msgspec.MsgspecError):
            written = msgspec.json.decode((self._folder / f"{name}.json").read_bytes(), type=_Written)
            if all(len(classes) == _CLASSES for _, classes in written.times):
                return written
        return _Written()

    def _replace(self, name: str, written: _Written) -> None:
        target = self._folder / f"{name}.json"
        new = self._folder / f"{name}.{self._id}.new"
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(msgspec.json.encode(written))
        new.replace(target)


def _held_lock(path: Path) -> int:
    """A lock that is held until the descriptor is closed; another one took a new file for a dead worker's, maybe."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with suppress(FileNotFoundError):
            if path.stat().st_ino == os.fstat(descriptor).st_ino:
                return descriptor
        os.close(descriptor)


@contextmanager
def _claimed(lock: Path) -> Iterator[bool]:
    """Whether nobody holds the lock; nobody else gets it meanwhile."""
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        yield False
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        yield True
    finally:
        os.close(descriptor)


def _remove(folder: Path, worker: str) -> None:
    (folder / f"{worker}.json").unlink(missing_ok=True)
    for new in folder.glob(f"*.{worker}.new"):
        new.unlink(missing_ok=True)
    (folder / f"{worker}.lock").unlink(missing_ok=True)
