"""What is wrong with a log, and where."""

from __future__ import annotations

from typing import TYPE_CHECKING

from verifier.errors import Rejected

if TYPE_CHECKING:
    from verifier.errors import RejectionCode


class LogRejected(Rejected):
    """A log that does not add up. What is known of the place stands in `where`, and in `as_json()`.

    `where` has some of: `index` (the first bad entry), `first_index` and `last_index` (the bad entry is one of these),
    `size` (how many entries there are where the log is cut, or the size whose root is wrong), `line` (of an export,
    from 1), `tile` (its path below the log).
    """

    def __init__(self, message: str, *, code: RejectionCode = "log_proof_invalid", **where: int | str) -> None:
        super().__init__(code, message)
        self._code: RejectionCode = code
        self.where = where

    def at(self, index: int) -> LogRejected:
        """The same, with the entry where it was found."""
        return LogRejected(self.message, code=self._code, **self.where | {"index": index})

    def as_json(self) -> dict[str, object]:
        """The reason as JSON-compatible values, with the members of `where`."""
        return {**super().as_json(), **self.where}


def entries(first: int, last: int) -> str:
    """A range of entries, both ends included, in words."""
    return f"entry {first}" if first == last else f"entries {first} to {last}"
