"""A call on its way through the pipeline, stepped by whoever has it at the moment."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from signer.admission import NOBODY

if TYPE_CHECKING:
    from keystore.errors import KeystoreError
    from signer.admission import Caller
    from signer.audit.logged import Due, Logged, Steps
    from signer.call import Call
    from signer.lane.connection import Connection
    from signer.lane.heads import PlainHead


class Ended(NamedTuple):
    """What a call came to: the octets of its answer's body, or the error that is to be its answer."""

    body: bytes = b""
    error: Exception | None = None


class Flight:
    """One call. `octets` are its whole request; `left` is how many seconds it may still wait for the database."""

    __slots__ = ("_steps", "call", "caller", "connection", "due", "head", "left", "logged", "lost", "octets")

    def __init__(
        self, connection: Connection, head: PlainHead, call: Call, octets: bytes, steps: Steps[bytes], left: float
    ) -> None:
        self.connection = connection
        self.head = head
        self.call = call
        self.caller: Caller = NOBODY  # whose it seems to be
        self.octets = octets
        self.left = left
        self.due: Due | None = None  # what must be written before it goes on
        self.logged: Logged | KeystoreError | None = None  # what became of that
        self.lost = False  # given up: whatever comes of it is thrown away
        self._steps = steps

    def step(self) -> Ended | None:
        """Goes on until something must be written (`due`), or to its end. Whatever it raises is its own end, and
        nobody else's."""
        logged = self.logged
        try:
            if isinstance(logged, Exception):
                self.due = self._steps.throw(logged)
            else:
                self.due = next(self._steps) if logged is None else self._steps.send(logged)
        except StopIteration as end:
            return Ended(end.value)
        except Exception as error:  # noqa: BLE001 - here errors become answers, as in Flask's handler
            return Ended(error=error)
        return None
