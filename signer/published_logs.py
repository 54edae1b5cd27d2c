"""The transparency logs as anybody may read them: checkpoints, tiles and proofs of what a checkpoint covers.

The log that grows now, and every one that the deployment had with another HSM: those have stopped, and stay readable,
since proofs of what was signed then name them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, NoReturn

import msgspec

from signer.audit.checkpoints import NoteSigner, proof_text
from signer.audit.reading import Head, LogReader, heads
from signer.audit.tree import TILE_HEIGHT, TILE_WIDTH
from signer.errors import NotFound

if TYPE_CHECKING:
    from collections.abc import Callable

    from keystore.db.engine import Database

_DEEPEST: Final = 63  # tlog-tiles, "Merkle Tree": levels are 0 to 63


class TrustedLog(msgspec.Struct, frozen=True):
    """A log in a trust bundle: its key, its witnesses' keys, and how many of their cosignatures a proof needs."""

    key: str
    witnesses: Sequence[str]
    cosignatures: int


class PublishedLogs:
    """Reads only. Whatever no stored checkpoint covers is `NotFound`, as what never was.

    `identifier` names a log by the last part of its origin; None is the one that grows.
    """

    def __init__(
        self,
        database: Database,
        witnesses: Sequence[str] = (),
        cosignatures: int = 0,
        shown_heads: Callable[[], list[Head]] | None = None,
    ) -> None:
        """`witnesses` (verifier keys) are asked to cosign the growing log, and so many of them must: then a proof
        carries so many from the start. `shown_heads`: the logs as they may be shown, where somebody writes to them."""
        self._database = database
        self._shown_heads = shown_heads or partial(heads, database)
        self._witnesses = witnesses
        self._cosignatures = cosignatures

    def trusted(self) -> list[TrustedLog]:
        """Every log as a trust bundle names it, the growing one first. Who cosigned a former one is not known here."""
        *former, growing = self._shown_heads()
        return [
            TrustedLog(_signer(growing).verifier_key, self._witnesses, self._cosignatures),
            *(TrustedLog(_signer(head).verifier_key, (), 0) for head in reversed(former)),
        ]

    def verifier_key(self, identifier: str | None) -> str:
        """One log's key, `NAME+ID+KEY` (signed-note, "Verifier keys")."""
        return _signer(self._head(identifier)).verifier_key

    def checkpoint(self, identifier: str | None, *, cosigned: bool = False) -> str:
        """The newest checkpoint, with its signatures; `cosigned`: the newest that witnesses have cosigned."""
        head = self._head(identifier)
        if cosigned:
            return head.cosigned if head.cosigned is not None else _refuse("no witness has cosigned this log yet")
        # Of one size there is one head: the cosigned note says no less.
        newest = head.cosigned if head.cosigned_size == head.checkpoint_size else head.checkpoint
        return newest or head.checkpoint or _refuse("this log has no checkpoint yet")

    def tile(self, identifier: str | None, level: int, tile: int, width: int) -> bytes:
        """The first `width` hashes of a tile."""
        head = self._head(identifier)
        _require_covered(head, level, tile, width)
        return self._reader(head).tile(level, tile, width)

    def bundle(self, identifier: str | None, tile: int, width: int) -> bytes:
        """The first `width` entries of a tile of level 0."""
        head = self._head(identifier)
        _require_covered(head, 0, tile, width)
        return self._reader(head).bundle(tile, width)

    def proof(self, identifier: str | None, index: int) -> str:
        """The proof (`c2sp.org/tlog-proof@v1`) of a leaf, under the newest cosigned checkpoint that covers it, else
        under the newest."""
        head = self._head(identifier)
        size, checkpoint = head.checkpoint_size, head.checkpoint
        if head.cosigned is not None and index < head.cosigned_size:
            size, checkpoint = head.cosigned_size, head.cosigned
        if checkpoint is None or index >= size:
            _refuse("this log has no such entry")
        reader = self._reader(head)
        (leaf,) = reader.leaves(index, index + 1)
        return proof_text(leaf, index, reader.inclusion_lines(index, size), checkpoint)

    def _reader(self, head: Head) -> LogReader:
        return LogReader(self._database, head.log, head.first)

    def _head(self, identifier: str | None) -> Head:
        found = self._shown_heads()
        if identifier is not None:
            found = [head for head in found if head.origin.rpartition("/")[2] == identifier]
        return found[-1] if found else _refuse("there is no such log")


def _require_covered(head: Head, level: int, tile: int, width: int) -> None:
    if level > _DEEPEST or tile * TILE_WIDTH + width > max(head.checkpoint_size, 0) >> level * TILE_HEIGHT:
        _refuse("no checkpoint of this log covers such a tile")


def _signer(head: Head) -> NoteSigner:
    return NoteSigner(head.origin, head.public_key)


def _refuse(message: str) -> NoReturn:
    raise NotFound(message)
