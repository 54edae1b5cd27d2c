"""What goes into the log and what comes out of it: entries, their places, and proofs of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar

from keystore.errors import KeystoreError
from signer.audit.checkpoints import proof_text

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

    from signer.audit.records import Entry
    from signer.audit.tree import Tree

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


class Published(NamedTuple):
    """A checkpoint that was given out, with its signatures, and the size that it is over."""

    checkpoint: str
    size: int


@dataclass(frozen=True, slots=True)
class Logged:
    """Entries of one request, in the log: what proves it is made when it is asked for."""

    inclusion: Callable[[int], Sequence[bytes]]  # of a leaf's index, in the tree of the checkpoint
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
