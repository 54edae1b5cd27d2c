"""The kept head: what an auditor has verified of a log, kept in a file of its own, and only ever moved forward.

Beside size and root it has what locates a rewritten history: the root of every full tile of 256 entries (32 bytes
each), the hashes of the entries behind them, and the first 4 bytes of every entry's hash. The roots decide; the 4 bytes
only tell which entry of a tile it was. One million entries take 5.5 MB.
"""

from __future__ import annotations

import base64
import json
import os
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from verifier.errors import Indeterminate, VerificationError
from verifier.log.tree import TILE_WIDTH, TileTree, split_hashes
from verifier.merkle import HASH_SIZE
from verifier.notes import parse_checkpoint, parse_note
from verifier.strict_json import JsonValue, check_members, parse_object

if TYPE_CHECKING:
    from pathlib import Path

HEAD_VERSION: Final = 1
MARK_SIZE: Final = 4
MAXIMUM_HEAD: Final = 1024 * 1024 * 1024
_MEMBERS: Final = frozenset({"v", "checkpoint", "journal", "link", "records", "tiles", "leaves", "marks"})


@dataclass(frozen=True, slots=True)
class KeptHead:
    """A log as far as it was verified. `tiles`, `leaves` and `marks` are joined hashes and parts of hashes."""

    checkpoint: bytes  # the signed note: the evidence, should the log ever show another history
    origin: str
    size: int
    root: bytes
    tiles: bytes  # the root of each full tile of level 0
    leaves: bytes  # the hashes of the entries behind those tiles
    marks: bytes  # the first bytes of each entry's hash
    journal: int | None  # the last entry of the rows' journal in the log
    link: bytes | None  # and its link
    records: bool  # whether every record and row behind the leaves was held against them

    def tree(self) -> TileTree:
        """The tree, ready to grow."""
        return TileTree.of_tiles(split_hashes(self.tiles), split_hashes(self.leaves))


def load_head(path: Path) -> KeptHead | None:
    """The head that was kept; None if the file is not there.

    Raises: `Indeterminate` (unreadable_file) if it cannot be read, or is not what `store_head` writes.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(MAXIMUM_HEAD + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Indeterminate("unreadable_file", f"{path} cannot be read: {error.strerror}.") from error
    try:
        return _parse(data)
    except (ValueError, VerificationError) as error:
        raise Indeterminate("unreadable_file", f"{path} is not a kept head: {error}.") from error


def _parse(data: bytes) -> KeptHead:
    if len(data) > MAXIMUM_HEAD:
        raise ValueError("it is too large")
    members = parse_object(data)
    check_members(members, "it", exactly=_MEMBERS)
    if members["v"] != HEAD_VERSION or isinstance(members["v"], bool):
        raise ValueError(f"its version is not {HEAD_VERSION}")
    journal, link, records = members["journal"], members["link"], members["records"]
    if not isinstance(records, bool) or isinstance(journal, bool) or not isinstance(journal, int | None):
        raise ValueError("a member has another type than it should")
    note = _text(members, "checkpoint").encode()
    checkpoint = parse_checkpoint(parse_note(note).text)
    head = KeptHead(
        checkpoint=note,
        origin=checkpoint.origin,
        size=checkpoint.size,
        root=checkpoint.root,
        tiles=_joined(members, "tiles"),
        leaves=_joined(members, "leaves"),
        marks=_joined(members, "marks"),
        journal=journal,
        link=None if link is None else bytes.fromhex(_text(members, "link")),
        records=records,
    )
    counts = divmod(head.size, TILE_WIDTH)
    if (len(head.tiles), len(head.leaves)) != (counts[0] * HASH_SIZE, counts[1] * HASH_SIZE):
        raise ValueError("its hashes are not as many as its size says")
    if len(head.marks) != head.size * MARK_SIZE or (journal is None) != (link is None):
        raise ValueError("its members do not belong together")
    if head.tree().root() != head.root:
        raise ValueError("its hashes do not have the root of its checkpoint")
    return head


def _text(members: dict[str, JsonValue], name: str) -> str:
    value = members[name]
    if not isinstance(value, str):
        raise ValueError(f"{name} is not a text")
    return value


def _joined(members: dict[str, JsonValue], name: str) -> bytes:
    return base64.b64decode(_text(members, name), validate=True)


def store_head(path: Path, head: KeptHead) -> None:
    """Writes the head so that either it or the one before is there, whatever happens. Mode 0600.

    Raises: `Indeterminate` (unreadable_file) if it cannot be written, or if the file has a head that this one does not
    continue: another log's, or one further on.
    """
    kept = load_head(path)
    if kept is not None and not _continues(head, kept):
        message = f"{path} has the head of {kept.origin} at {kept.size} entries, which is not replaced."
        raise Indeterminate("unreadable_file", message)
    try:
        _replace(path, _format(head))
    except OSError as error:
        raise Indeterminate("unreadable_file", f"The head cannot be kept in {path}: {error.strerror}.") from error


def _continues(head: KeptHead, kept: KeptHead) -> bool:
    """Whether what is known of a head allows that it comes after the one that is kept."""
    begins_alike = head.tiles.startswith(kept.tiles) and head.marks.startswith(kept.marks)  # and so is no shorter
    return head.origin == kept.origin and begins_alike and (head.size > kept.size or head.root == kept.root)


def _format(head: KeptHead) -> bytes:
    members: dict[str, JsonValue] = {
        "v": HEAD_VERSION,
        "checkpoint": head.checkpoint.decode(),
        "journal": head.journal,
        "link": None if head.link is None else head.link.hex(),
        "records": head.records,
        "tiles": base64.b64encode(head.tiles).decode(),
        "leaves": base64.b64encode(head.leaves).decode(),
        "marks": base64.b64encode(head.marks).decode(),
    }
    return json.dumps(members, indent=0).encode() + b"\n"


def _replace(path: Path, data: bytes) -> None:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mkstemp's mode is 0600
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(name, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
