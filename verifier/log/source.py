"""Where the bytes of a log come from: what an audit asks of a directory, an export, or a database."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable


class RowEntry(NamedTuple):
    """An entry of the sealed rows' journal behind a rows leaf, in the order in which its link covers the members."""

    table: str
    id: str
    revision: int
    seal: bytes
    previous: int  # the number of the same row's entry before, 0 for its first
    link: bytes  # 32 bytes; what the source says it is


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One entry as the source has it, unchecked.

    `nonce` and `record` (its canonical JSON, UTF-8) belong to decision leaves, `row` to rows leaves; a leaf about a
    former log has none of them. A source without
    records leaves all three None; one with records leaves None what is missing, which the audit then rejects.
    """

    index: int
    leaf: bytes
    nonce: bytes | None = None
    record: bytes | None = None
    row: RowEntry | None = None


class LogSource(Protocol):
    """The bytes of one log. Nothing of it is believed.

    A method may raise `LogRejected` for bytes that it cannot read as what they should be (with the index, if known),
    and `Indeterminate` where the bytes cannot be had at all.
    """

    @property
    def has_records(self) -> bool:
        """Whether the records and rows behind the leaves are here. If so, one that is missing is a rejection."""
        ...

    @property
    def has_tiles(self) -> bool:
        """Whether hashes are here beside the entries. If so, each tile that the size implies is asked for."""
        ...

    def checkpoint(self) -> bytes:
        """The newest signed checkpoint, a note with all its signature lines."""
        ...

    def entries(self, first: int, size: int) -> Iterable[LogEntry]:
        """The entries from `first` up to `size` (not included), in order. A gap is what it is: the next one there is.

        Read lazily: the audit holds at most 256 of them. Going on beyond `size` is allowed where that means that the
        source has entries which its checkpoint does not sign, and is then rejected.
        """
        ...

    def tile(self, level: int, number: int, width: int) -> bytes | None:
        """The first `width` (1 to 256) hashes of a tile, 32 bytes each (C2SP tlog-tiles); None if it is missing."""
        ...
