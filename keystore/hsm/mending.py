"""The connection to the HSM that a process has, and the thread that makes another one where it is lost.

Whoever meets the loss waits a moment for the first attempt, since a restarted HSM is back in milliseconds; from then on
everybody is refused at once, and this thread goes on trying, whether anybody calls or not.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from keystore.errors import HsmFault, HsmUnavailable, KeystoreError
from keystore.measures import count
from keystore.stays import STAYS, Work

if TYPE_CHECKING:
    from collections.abc import Callable

    from keystore.hsm.connection import Connection

_PATIENCE: Final = 1.0  # seconds that a caller waits for the first attempt
_FIRST_PAUSE: Final = 0.05  # seconds between two attempts, twice as long each time ...
_LONGEST_PAUSE: Final = 0.5  # ... up to this: a HSM that is back is found within it
_USELESS_FOR: Final = 0.25  # seconds in which nobody begins the module anew after that has helped nothing


class Mender:
    """Thread-safe. `connect` makes a connection, `is_current` says whether one is of this state of the module."""

    def __init__(self, connect: Callable[[], Connection], is_current: Callable[[Connection], bool]) -> None:
        self._connect = connect
        self._is_current = is_current
        self._changed = threading.Condition()
        self._connection = connect()
        self._thread: threading.Thread | None = None
        self._lost_at = 0.0
        self._fault: KeystoreError | None = None  # why the last attempt of this outage failed
        self._useless_until = 0.0
        self._closed = False

    @property
    def connection(self) -> Connection:
        """The last one that was made, whatever became of it."""
        return self._connection

    def usable(self) -> Connection:
        """The connection to try.

        Raises at once `HsmUnavailable` while the HSM is known to be lost, `HsmFault` while it is not as it should be.
        """
        if self._thread is not None and (self._fault is not None or time.monotonic() - self._lost_at > _PATIENCE):
            raise self._refusal()
        return self._connection

    def replaced(self, failed: Connection) -> Connection:
        """A connection newer than the failed one, if one is made in time. Raises: `HsmUnavailable`."""
        with self._changed:
            began = time.monotonic()
            while not self._is_newer(failed):
                if self._closed:
                    raise HsmUnavailable("the token was closed")
                if self._thread is None:  # again, too, where another token of this process has ended the new one
                    if self._lost_at - began > _PATIENCE:
                        raise self._refusal()
                    self._begin()
                if not self._has_ended() or self._fault is not None:
                    raise self._refusal()
            return self._connection

    def _begin(self) -> None:
        self._lost_at, self._fault = time.monotonic(), None
        self._thread = threading.Thread(target=self._mend, name="hsm-mender", daemon=True)
        self._thread.start()

    def _has_ended(self) -> bool:
        """Whether the first attempt has come to anything in time."""
        left = self._lost_at + _PATIENCE - time.monotonic()
        return self._changed.wait_for(lambda: self._thread is None or self._fault is not None, max(left, 0.0))

    def is_worth_it(self) -> bool:
        """Whether a new connection may help; not just after one that did not."""
        return time.monotonic() >= self._useless_until

    def has_not_helped(self) -> None:
        """A call failed on a new connection as it had failed on the one before."""
        self._useless_until = time.monotonic() + _USELESS_FOR

    def close(self) -> None:
        """Nothing is mended from now on."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _is_newer(self, failed: Connection) -> bool:
        return self._connection is not failed and self._is_current(self._connection)

    def _refusal(self) -> HsmUnavailable | HsmFault:
        if self._fault is None:
            return HsmUnavailable("the HSM was lost a moment ago and is not back yet")
        kind = HsmFault if isinstance(self._fault, HsmFault) else HsmUnavailable
        refusal = kind(str(self._fault))
        refusal.__cause__ = self._fault
        return refusal

    def _mend(self) -> None:
        pause = _FIRST_PAUSE
        while True:
            fault: KeystoreError
            stay = STAYS.enter(Work.LOGIN)
            try:
                made = self._connect()
            except KeystoreError as error:
                fault = error
            except Exception as error:  # noqa: BLE001 - whatever it was: nobody else would try again
                fault = HsmUnavailable(f"no new connection could be made: {type(error).__name__}")
            else:
                count(("hsm_reconnects",))
                with self._changed:
                    self._connection, self._fault, self._thread = made, None, None
                    self._changed.notify_all()
                return
            finally:
                with suppress(HsmUnavailable):
                    STAYS.leave(stay)
            with self._changed:
                self._fault = fault
                self._changed.notify_all()
                if self._closed or self._changed.wait_for(lambda: self._closed, pause):
                    self._thread = None
                    return
            pause = min(2 * pause, _LONGEST_PAUSE)
