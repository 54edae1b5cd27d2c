"""Who is inside the HSM just now: one `Stay` for each call, from before it waits for a session until it is back.

A call into a PKCS#11 module cannot be interrupted. A watchdog (`signer.watchdog`) looks at these and gives up those
that stay too long: what they bring after all is refused to whoever made the call, so that it is never released. Knows
nothing of PKCS#11.
"""

from __future__ import annotations

import threading
from enum import Enum
from typing import TYPE_CHECKING, Final

from keystore.errors import HsmUnavailable

if TYPE_CHECKING:
    from collections.abc import Sized


class Work(Enum):
    """What a stay is for: how long it may take depends on it."""

    USE = "use"  # a signature, a seal, an unwrapping
    GENERATION = "generation"  # a key pair, which may take seconds
    LOGIN = "login"  # the module begun anew, and the token looked through


class Stay:
    """One thread's call into the HSM, or its calls for a batch."""

    __slots__ = ("made", "thread", "work")

    def __init__(self, thread: int, work: Work, made: Sized) -> None:
        self.thread = thread  # `threading.get_ident()` of it
        self.work = work
        self.made = made  # what has come of a batch so far


class Stays:
    """Thread-safe, without a lock: a stay is taken out once, by its own thread or by whoever gives it up."""

    def __init__(self) -> None:
        self._inside: dict[Stay, None] = {}

    def enter(self, work: Work, made: Sized = ()) -> Stay:
        """`made` grows with each result of a batch."""
        stay = Stay(threading.get_ident(), work, made)
        self._inside[stay] = None
        return stay

    def leave(self, stay: Stay) -> None:
        """The call is back. Raises: `HsmUnavailable` if it was given up: its caller has been answered already."""
        try:
            del self._inside[stay]
        except KeyError:
            raise HsmUnavailable("the HSM answered when its caller had been told already that it does not") from None

    def give_up(self, stay: Stay) -> bool:
        """Whether this came before the call was back."""
        try:
            del self._inside[stay]
        except KeyError:
            return False
        return True

    def now(self) -> list[Stay]:
        """All that are inside."""
        return list(self._inside)


STAYS: Final = Stays()
"""Those of this process."""
