"""Files read as streams, and written whole or not at all.

What is written stands under a temporary name beside the target, and is named only when all of it is right.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol, TypeAlias

from verifier.errors import Indeterminate

if TYPE_CHECKING:
    from collections.abc import Iterator

AnySource: TypeAlias = "str | os.PathLike[str] | BinaryIO"


class Readable(Protocol):
    """What octets are read from."""

    def read(self, size: int, /) -> bytes:
        """At most `size` octets; none at the end."""


class Source:
    """A file that is read. A failure comes out as `Indeterminate` (unreadable_file), told apart from one of writing."""

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self._stream, self.name = stream, name

    def read(self, size: int, /) -> bytes:
        """At most `size` octets; none at the end."""
        try:
            chunk = self._stream.read(size)
        except OSError as error:
            raise unreadable(self.name, error) from error
        if not isinstance(chunk, bytes):
            raise Indeterminate("unreadable_file", f"{self.name} must be opened in binary mode, and must block.")
        return chunk

    def size(self) -> int:
        """Octets from here to the end. Indeterminate for what cannot say: a pipe."""
        try:
            here = self._stream.tell()
            end = self._stream.seek(0, os.SEEK_END)
            self._stream.seek(here)
        except (OSError, ValueError) as error:
            message = f"{self.name} does not say its size, as a file does: write it to one first."
            raise Indeterminate("unreadable_file", message) from error
        return end - here


@contextmanager
def open_source(file: AnySource) -> Iterator[Source]:
    """The file, or the caller's own stream, which is left open."""
    if not isinstance(file, str | os.PathLike):
        yield Source(file, "the stream")
        return
    try:
        stream = Path(file).open("rb", buffering=0)  # noqa: SIM115 - closed below; only its opening is translated
    except OSError as error:
        raise unreadable(str(file), error) from error
    with stream:
        yield Source(stream, str(file))


def unreadable(name: str, error: OSError) -> Indeterminate:
    """The failure to read a file."""
    return Indeterminate("unreadable_file", f"{name} cannot be read: {error.strerror}.")


@contextmanager
def new_file(target: Path) -> Iterator[BinaryIO]:
    """A stream whose octets become `target` (mode 0600) when the block ends well; else nothing is left of them.

    `Indeterminate` (unwritable_file) for a target that exists, which is left as it is, or that cannot be written.
    """
    if os.path.lexists(target):
        raise _taken(target)
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=".sealmark-", dir=target.parent)
    except OSError as error:
        raise _unwritable(target, error) from error
    try:
        with os.fdopen(descriptor, "wb") as stream:
            yield stream
            try:
                stream.flush()
                os.fsync(stream.fileno())
            except OSError as error:
                raise _unwritable(target, error) from error
        # A hard link fails where the name is taken; a rename would silently replace what is there.
        os.link(temporary, target)
    except FileExistsError as error:
        raise _taken(target) from error
    except OSError as error:
        raise _unwritable(target, error) from error
    finally:
        Path(temporary).unlink(missing_ok=True)


def _taken(target: Path) -> Indeterminate:
    return Indeterminate("unwritable_file", f"{target} exists already and was left as it is.")


def _unwritable(target: Path, error: OSError) -> Indeterminate:
    return Indeterminate("unwritable_file", f"{target} cannot be written: {error.strerror}.")
