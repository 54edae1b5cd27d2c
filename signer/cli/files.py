"""Files written whole or not at all: made under a temporary name beside the target, synced, then named."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from signer.cli.errors import CommandFailed


def refuse_existing(path: Path, hint: str) -> None:
    """Refuse a target that is already there, a dangling link too."""
    if os.path.lexists(path):
        raise CommandFailed(f"{path} exists already: {hint}", code="exists")


@contextlib.contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except FileExistsError as exc:
        raise CommandFailed(f"{path} exists already and was left as it is", code="exists") from exc
    except OSError as exc:
        raise CommandFailed(f"{path} cannot be written: {exc.strerror}", code="unwritable_file") from exc


class PendingFile:
    """A temporary file beside its target, made before anything irreversible is done, so that a full disk, a missing
    folder or a missing right is met first. `mode` is that of the finished file.
    """

    def __init__(self, folder: Path, mode: int) -> None:
        self._folder = folder
        with _translated(folder):
            self._descriptor, name = tempfile.mkstemp(prefix=".sealmark-", dir=folder)
            os.fchmod(self._descriptor, mode)
        self._temporary = Path(name)

    def finish(self, target: Path, content: bytes, *, replace: bool) -> None:
        """Write `content` and give it the name `target`, which must not exist unless `replace`."""
        with _translated(target):
            with os.fdopen(self._descriptor, "wb") as stream:
                self._descriptor = -1
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            if replace:
                self._temporary.replace(target)
            else:
                # A hard link fails where the name is taken; a rename would silently replace it.
                os.link(self._temporary, target)

    def discard(self) -> None:
        """Remove what is left of the temporary file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        self._temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def pending_file(folder: Path, mode: int = 0o600) -> Iterator[PendingFile]:
    """A `PendingFile` that leaves nothing behind."""
    pending = PendingFile(folder, mode)
    try:
        yield pending
    finally:
        pending.discard()


def public_mode() -> int:
    """The mode that an ordinary new file has here: 0666 without the process's umask."""
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def write_whole(target: Path, content: bytes, *, replace: bool, mode: int | None = None) -> None:
    """Write a file atomically; `mode` is that of an ordinary new file unless given.

    Raises: CommandFailed where it exists and `replace` is false, or it cannot be written.
    """
    with pending_file(target.parent, public_mode() if mode is None else mode) as pending:
        pending.finish(target, content, replace=replace)
