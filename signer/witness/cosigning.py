"""The witness's one act: it cosigns what continues the history that it has seen, and remembers that before it answers.

The order is what makes it worth something: judged and written under the store's lock, on the disk, and only then given
out. Killed at any moment, it may have remembered what nobody was told, and never the other way round.
"""

from __future__ import annotations

import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from signer.witness.errors import ForkRefusal, Refusal
from signer.witness.key import signature_line
from signer.witness.protocol import Head, parse_request, require_growth, require_signed
from signer.witness.store import Fork

if TYPE_CHECKING:
    from collections.abc import Callable

    from signer.witness.protocol import Asked
    from signer.witness.state import WitnessState
    from signer.witness.store import Log

# A clock that was set back by so much is taken for a mistake: the times of cosignatures must not run backwards.
CLOCK_STEP_SECONDS: Final = 60


def present() -> int:
    """Seconds since 1970, UTC."""
    return int(time.time())


class Cosigner:
    """Answers add-checkpoint. Safe to use from many threads, and beside other processes over the same folder."""

    def __init__(self, state: WitnessState, clock: Callable[[], int] = present) -> None:
        self._key = state.key
        self._store = state.store
        self._clock = clock

    def add_checkpoint(self, body: bytes) -> str:
        """The cosignature's line for a request's body.

        Raises `Refusal`; `StoreBusy` and `WitnessStateError` if the store cannot be used: then nothing was cosigned.
        """
        asked = parse_request(body)
        origin = asked.checkpoint.origin
        known = self._store.log(origin)
        if known is None:
            raise Refusal(HTTPStatus.NOT_FOUND, "this witness does not watch that log")
        require_signed(asked, known.key)  # before the lock: a stranger does not make the log wait
        fork: ForkRefusal | None = None
        line = ""
        with self._store.exclusively() as update:
            log = update.log(origin)
            if log is None:
                raise Refusal(HTTPStatus.NOT_FOUND, "this witness does not watch that log")
            try:
                require_growth(asked, log.head)
            except ForkRefusal as refusal:
                fork = refusal
                update.keep_fork(Fork(origin, log.head.size, log.note or b"", _signed_note(asked, log)))
            else:
                line = self._key.cosign(asked.note.text, self._seconds(log))
                head = Head(asked.checkpoint.size, asked.checkpoint.root)
                update.advance(log, head, _signed_note(asked, log) + line.encode())
        if fork is not None:
            raise fork
        return line

    def _seconds(self, log: Log) -> int:
        """The time to cosign with, never before the last one."""
        now = self._clock()
        last = 0 if log.cosigned_at is None else int(log.cosigned_at.timestamp())
        if now + CLOCK_STEP_SECONDS < last:
            raise Refusal(
                HTTPStatus.SERVICE_UNAVAILABLE, f"this witness's clock was set back by {last - now} s: it does not sign"
            )
        return max(now, last)


def _signed_note(asked: Asked, log: Log) -> bytes:
    """The checkpoint with the log's own signature and no other line: a stranger's lines are not kept."""
    key = log.key
    (own,) = (line for line in asked.note.signatures if (line.name, line.key_id) == (key.name, key.key_id))
    return asked.note.text + b"\n" + signature_line(key, own.signature).encode()
