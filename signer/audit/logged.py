"""What goes into the log and what comes out of it: entries, their places, and proofs of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar

from keystore.errors import KeystoreError
from signer.audit.checkpoints import hash_line, proof_text

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

    from signer.audit.records import Entry
    from signer.audit.tree import Extension, Tree

_Result = TypeVar("_Result")


class Due(NamedTuple):
    """What one request has to write before it can go on: intents (rows of `audit_intents`), entries of the log, and
    whether it wants a proof of them."""

    intents: Sequence[Mapping[str, Any]] = ()
    entries: Sequence[Entry] = ()
    proved: bool = False


@dataclass(frozen=True, slots=True)
class Followed:
    """What this process has followed: the tree, and the last entry of the rows' journal that is a leaf."""

    tree: Tree
    journal: int


class NotPublished(KeystoreError):
    """Entries are in the log, and no checkpoint over them could be made or stored: what they are about is not given
    out, and they are not written again."""

    code = "audit_unavailable"


class InclusionLines:
    """The hashes of the new leaves' inclusion proofs, a line each. Two leaves share all above the node where they meet,
    and so do their texts: each node is written out once."""

    __slots__ = ("_known", "_last", "_levels")

    def __init__(self, extension: Extension) -> None:
        self._levels = extension.levels
        self._last = extension.tree.size - 1
        self._known: list[dict[int, str]] = [{} for _ in extension.levels]  # by position, from each level up

    def __call__(self, index: int) -> str:
        """The lines of the leaf `index`, from the leaf up (RFC 9162 section 2.1.3.1)."""
        return self._from(0, index, self._last)

    def _from(self, height: int, at: int, last: int) -> str:
        if not last:
            return ""
        known = self._known[height].get(at)
        if known is None:
            sibling = at ^ 1
            above = self._from(height + 1, at >> 1, last >> 1)
            level = self._levels[height]
            known = hash_line(level.nodes[sibling - level.first]) + above if sibling <= last else above
            self._known[height][at] = known
        return known


class Published(NamedTuple):
    """A checkpoint that was given out, with its signatures, and the size that it is over."""

    checkpoint: str
    size: int


@dataclass(frozen=True, slots=True)
class Logged:
    """Entries of one request, in the log: what proves it is made when it is asked for."""

    inclusion: Callable[[int], str]  # of a leaf's index, in the tree of the checkpoint: its hashes, a line each
    published: Published | None  # None: nobody asked for a checkpoint, or none could be had
    first: int  # index of the first of the entries
    leaves: Sequence[bytes]

    @property
    def checkpoint(self) -> str | None:
        """The checkpoint over the entries, with its signatures."""
        return None if self.published is None else self.published.checkpoint

    def proof(self, position: int) -> str:
        """The proof (`c2sp.org/tlog-proof@v1`) of the entry at this position of the request."""
        if self.published is None:
            msg = "the log has no checkpoint over these entries"
            raise NotPublished(msg)
        index = self.first + position
        return proof_text(self.leaves[position], index, self.inclusion(index), self.published.checkpoint)


Steps: TypeAlias = "Generator[Due, Logged, _Result]"
"""A piece of work that stops wherever something must be durable before it may go on: it yields what, and is sent what
was written, or thrown the `KeystoreError` that kept it from being written. Whoever runs it writes in between: alone
(`AuditTrail.run`), or for many at once. Any thread may go on with it."""
