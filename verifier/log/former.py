"""Whether a log begins where another one ended: after a new HSM, or a database that was put back.

A log's key is its name, so that a service whose log key is gone, or whose newest database is lost, begins another log.
Entry 0 of that one says at which head the former log ended. Whoever kept a head of the former log sees here whether
that is the head that it knows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from verifier.errors import Indeterminate
from verifier.log.errors import LogRejected
from verifier.notes import parse_checkpoint, parse_note

if TYPE_CHECKING:
    from verifier.log.head import KeptHead
    from verifier.log_leaves import FormerLeaf


def require_follows(said: FormerLeaf | None, kept: KeptHead) -> None:
    """Raises `LogRejected` unless the log begins at the kept head of the former one, or beyond it, where the former one
    could sign no more.

    `Indeterminate` where the former log went on beyond what was kept of it: then that has to be audited first.
    """
    if said is None:
        raise LogRejected(f"the log does not begin where {kept.origin} ended: its entry 0 names no former log", index=0)
    if said.origin != kept.origin:
        raise LogRejected(f"the log follows {said.origin}, and the former head is of {kept.origin}", index=0)
    signed = None if said.checkpoint is None else parse_checkpoint(parse_note(said.checkpoint).text)
    if signed is not None and signed.size == kept.size:
        # All that the former log signed was audited; what it had beyond that, the new log alone speaks for.
        if signed.root != kept.root:
            raise LogRejected(
                f"the log follows another history of {kept.origin}: its checkpoint has another root", index=0
            )
        return
    if said.size > kept.size:
        message = f"the former log ended at {said.size} entries, and {kept.size} of them were audited"
        raise Indeterminate(
            "unreadable_file", f"{message}: audit it to its end, with its kept head, and then this one."
        )
    if said.size < kept.size:
        message = f"the log follows the first {said.size} entries of {kept.origin}, and {kept.size} were audited"
        raise LogRejected(f"{message}: entries {said.size} to {kept.size - 1} were cut off", index=0, size=said.size)
    if said.root != kept.root.hex():
        message = f"the log follows another history of {kept.origin}: it names another root of {said.size} entries"
        raise LogRejected(message, index=0, size=said.size)
