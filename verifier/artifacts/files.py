"""Reads the signed file once, as a stream, in constant memory: only the digests that are needed, and the size."""

from __future__ import annotations

import hashlib
import os
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, TypeAlias

from verifier.errors import Indeterminate

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

CHUNK_BYTES: Final = 256 * 1024  # stays in a core's cache between being read and being hashed
MAXIMUM_MESSAGE_BYTES: Final = 64 * 1024 * 1024  # kept in memory only where Ed25519 must see every byte


@dataclass(frozen=True, slots=True)
class FileFacts:
    """Size in bytes, digests by hashlib's names, and the bytes themselves where asked for and not too many."""

    size: int
    digests: Mapping[str, bytes]
    message: bytes | None


@dataclass(frozen=True, slots=True)
class FileDigests:
    """A file that somebody else has read: its name, size in bytes and digests by hashlib's names.

    Whoever verifies with it vouches for the digests, as of a SHA256SUMS file that was just made or checked.
    """

    name: str | None
    size: int
    digests: Mapping[str, bytes]


AnyFile: TypeAlias = "str | os.PathLike[str] | BinaryIO | FileDigests"


def read_file(file: AnyFile, hash_names: Collection[str], *, keep_message: bool) -> tuple[FileFacts, str | None]:
    """What is needed of the file, and its base name, if it has one.

    `Indeterminate`: unreadable_file, or digest_unknown where `FileDigests` lack one that is needed.
    """
    if isinstance(file, FileDigests):
        if missing := sorted(set(hash_names) - file.digests.keys()):
            raise Indeterminate("digest_unknown", f"The file's {missing[0]} digest is needed and was not given.")
        return FileFacts(file.size, {name: file.digests[name] for name in hash_names}, None), file.name
    with open_stream(file) as (stream, name):
        return read_stream(stream, hash_names, keep_message=keep_message), name


@contextmanager
def open_stream(file: str | os.PathLike[str] | BinaryIO) -> Iterator[tuple[BinaryIO, str | None]]:
    """The file as a binary stream with its base name, if it has one. A caller's own stream is left open."""
    if not isinstance(file, str | os.PathLike):
        yield file, None
        return
    path = Path(file)
    try:
        stream = path.open("rb", buffering=0)
    except OSError as error:
        raise Indeterminate("unreadable_file", f"The file cannot be read: {error.strerror}.") from error
    with stream:
        yield stream, path.name


def read_stream(stream: BinaryIO, hash_names: Collection[str], *, keep_message: bool) -> FileFacts:
    """Reads to the end, once. `Indeterminate` (unreadable_file) if reading fails or the stream is not binary."""
    digests = {name: hashlib.new(name) for name in hash_names}
    kept = bytearray() if keep_message and _known_size(stream) <= MAXIMUM_MESSAGE_BYTES else None
    size = 0
    try:
        for chunk in _chunks(stream):
            size += len(chunk)
            for digest in digests.values():
                digest.update(chunk)
            if kept is not None and size <= MAXIMUM_MESSAGE_BYTES:
                kept += chunk
            else:
                kept = None
    except OSError as error:
        raise Indeterminate("unreadable_file", f"The file cannot be read: {error.strerror}.") from error
    except TypeError as error:
        raise Indeterminate("unreadable_file", "The file must be opened in binary mode.") from error
    message = None if kept is None else bytes(kept)
    return FileFacts(size, {name: digest.digest() for name, digest in digests.items()}, message)


def _known_size(stream: BinaryIO) -> int:
    """The size in bytes that the system tells of a file, 0 for what is none: a pipe, a stream in memory."""
    try:
        return os.fstat(stream.fileno()).st_size
    except (OSError, AttributeError):
        return 0


def _chunks(stream: BinaryIO) -> Iterator[bytes | memoryview]:
    """What is left in the stream, piece by piece; each is gone when the next one comes.

    Without a new buffer for each piece, hashing is as fast as `openssl dgst`.
    """
    read_into: Callable[[bytearray], int | None] | None = getattr(stream, "readinto", None)
    if read_into is None:
        while chunk := stream.read(CHUNK_BYTES):
            yield chunk
        return
    buffer = bytearray(CHUNK_BYTES)
    view = memoryview(buffer)
    while length := read_into(buffer):
        yield view[:length]
    if length is None:
        # A stream that does not wait has nothing yet: that is not its end, and half a file is not the file.
        raise Indeterminate("unreadable_file", "The file cannot be read to its end: its stream does not block.")
