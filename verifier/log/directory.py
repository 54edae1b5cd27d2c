"""A log in a directory, in the files that C2SP tlog-tiles serves: `checkpoint`, `tile/L/N`, `tile/entries/N`."""

from __future__ import annotations

import os
import re
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
_WIDTH: Final = re.compile(r"[1-9][0-9]{0,2}", re.ASCII)
_MAXIMUM_BUNDLE: Final = TILE_WIDTH * (_LENGTH + 2**16 - 1)


class DirectorySource:
    """Reads a directory. Where a partial tile has grown since the checkpoint, the beginning of it counts."""

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
            path, bundle = self._find("entries", number, width, _MAXIMUM_BUNDLE)
            if bundle is None:
                last = begin + width - 1
                raise LogRejected(f"{path} is missing", first_index=begin, last_index=last, tile=path)
            is_exact = path == tile_path("entries", number, width)
            leaves = _split_bundle(bundle, begin, path, least=width, most=width if is_exact else TILE_WIDTH)
            yield from (LogEntry(index, leaf) for index, leaf in enumerate(leaves[:width], begin) if index >= first)

    def tile(self, level: int, number: int, width: int) -> bytes | None:
        """The hashes of a tile."""
        path, data = self._find(level, number, width, TILE_WIDTH * HASH_SIZE)
        has_grown = path != tile_path(level, number, width)
        return data[: width * HASH_SIZE] if data is not None and has_grown else data

    def _find(self, level: int | str, number: int, width: int, maximum: int) -> tuple[str, bytes | None]:
        """The tile of this width, or else one that it has grown to, with its path."""
        path = tile_path(level, number, width)
        data = self._read(path, maximum)
        if data is None and width < TILE_WIDTH:
            for other in [TILE_WIDTH, *self._wider(tile_path(level, number), width)]:
                found = self._read(tile_path(level, number, other), maximum)
                if found is not None:
                    return tile_path(level, number, other), found
        return path, data

    def _wider(self, path: str, width: int) -> list[int]:
        """The widths of the partial tiles of this place that are wider."""
        try:
            names = os.listdir(self._directory / f"{path}.p")
        except OSError:
            return []
        widths = (int(name) for name in names if _WIDTH.fullmatch(name))
        return sorted(each for each in widths if width < each < TILE_WIDTH)

    def _read(self, path: str, maximum: int) -> bytes | None:
        """A file of the log, or of a longer one its first `maximum` + 1 bytes; None if it is not there, or a folder."""
        place = self._directory / path
        try:
            # A pipe would be waited for otherwise.
            with open(os.open(place, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as stream:
                return stream.read(maximum + 1)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        except OSError as error:
            raise Indeterminate("unreadable_file", f"{place} cannot be read: {error.strerror}.") from error


def _split_bundle(bundle: bytes, first: int, path: str, *, least: int, most: int) -> list[bytes]:
    """The entries of a bundle (each a big-endian uint16 length and itself), of which there are so many."""
    leaves: list[bytes] = []
    at = 0
    while at < len(bundle) and len(leaves) < most:
        begin = at + _LENGTH
        end = begin + int.from_bytes(bundle[at:begin], "big")
        if begin > len(bundle) or end > len(bundle):
            break
        leaves.append(bundle[begin:end])
        at = end
    is_whole = at == len(bundle)
    if len(leaves) < least:
        index = first + len(leaves)
        what = "is missing" if is_whole else "ends early"
        raise LogRejected(f"entry {index} {what} in {path}", code="malformed", index=index, tile=path)
    if not is_whole:
        last = first + len(leaves) - 1
        message = f"{path} goes on after its {len(leaves)} entries"
        raise LogRejected(message, code="malformed", first_index=first, last_index=last, tile=path)
    return leaves
