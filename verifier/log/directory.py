"""A log in a directory, in the files that C2SP tlog-tiles serves: `checkpoint`, `tile/L/N`, `tile/entries/N`."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final

from verifier.errors import Indeterminate
from verifier.log.errors import LogRejected
from verifier.log.source import LogEntry
from verifier.log.tree import TILE_WIDTH, tile_path
from verifier.merkle import HASH_SIZE
from verifier.notes import MAXIMUM_NOTE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_LENGTH: Final = 2  # bytes before each entry of a bundle
_MAXIMUM_BUNDLE: Final = TILE_WIDTH * (_LENGTH + 2**16 - 1)


class DirectorySource:
    """Reads a directory. A partial tile may have become a full one since the checkpoint: its beginning counts then."""

    has_records = False
    has_tiles = True

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def checkpoint(self) -> bytes:
        """The file `checkpoint`."""
        data = self._read("checkpoint", MAXIMUM_NOTE)
        if data is None:
            raise Indeterminate("unreadable_file", f"{self._directory} has no file `checkpoint`: it is no log.")
        return data

    def entries(self, first: int, size: int) -> Iterator[LogEntry]:
        """The entries of the bundles that a log of this size has."""
        for number in range(first // TILE_WIDTH, -(-size // TILE_WIDTH)):
            begin = number * TILE_WIDTH
            width = min(TILE_WIDTH, size - begin)
            path = tile_path("entries", number, width)
            bundle = self._read(path, _MAXIMUM_BUNDLE)
            if bundle is None and width < TILE_WIDTH:
                path = tile_path("entries", number)
                bundle = self._read(path, _MAXIMUM_BUNDLE)
            if bundle is None:
                last = begin + width - 1
                raise LogRejected(f"{path} is missing", first_index=begin, last_index=last, tile=path)
            leaves = _split_bundle(bundle, begin, width, path)
            yield from (LogEntry(index, leaf) for index, leaf in enumerate(leaves, begin) if index >= first)

    def tile(self, level: int, number: int, width: int) -> bytes | None:
        """The hashes of a tile."""
        data = self._read(tile_path(level, number, width), TILE_WIDTH * HASH_SIZE)
        if data is None and width < TILE_WIDTH:
            data = self._read(tile_path(level, number), TILE_WIDTH * HASH_SIZE)
            data = None if data is None else data[: width * HASH_SIZE]
        return data

    def _read(self, path: str, maximum: int) -> bytes | None:
        """A file of the log; None if it is not there, or not a file."""
        place = self._directory / path
        try:
            # A pipe or a device would be waited for.
            with open(os.open(place, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as stream:
                if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                    return None
                data = stream.read(maximum + 1)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        except OSError as error:
            raise Indeterminate("unreadable_file", f"{place} cannot be read: {error.strerror}.") from error
        if len(data) > maximum:
            raise LogRejected(f"{path} has more than {maximum} bytes", code="too_large", tile=path)
        return data


def _split_bundle(bundle: bytes, first: int, width: int, path: str) -> list[bytes]:
    """The first `width` entries of a bundle: each a big-endian uint16 length and itself; at most 256 in all."""
    leaves: list[bytes] = []
    at = 0
    while at < len(bundle) and len(leaves) < TILE_WIDTH:
        begin = at + _LENGTH
        end = begin + int.from_bytes(bundle[at:begin], "big")
        if begin > len(bundle) or end > len(bundle):
            break
        leaves.append(bundle[begin:end])
        at = end
    is_whole = at == len(bundle)
    if len(leaves) < width:
        index = first + len(leaves)
        what = "is missing" if is_whole else "ends early"
        raise LogRejected(f"entry {index} {what} in {path}", code="malformed", index=index, tile=path)
    if not is_whole:
        index = first + len(leaves)
        raise LogRejected(f"{path} goes on after its {len(leaves)} entries", code="malformed", index=index, tile=path)
    return leaves[:width]
