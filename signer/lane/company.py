"""Whether a lane waits for those whom it has just answered together, so that they go together again.

A round has costs that its calls share: two commits, a checkpoint's signature. Callers who ask again and again come back
one after another within a fraction of a millisecond; a round that began with the first of them would leave the others
to the next one. So whoever comes first waits for the rest, a moment, for as long as that is not in vain.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import select

MOST_SECONDS: Final = 0.0005  # a caller waits for others: less than a commit takes
_PAUSE: Final = 0.0001  # seconds between two looks
_FEWEST: Final = 2  # calls that have anything to share
_MOST_PASSED: Final = 64  # rounds without a try, after several that were in vain


class Company:
    """Of one lane. `answered` counts the connections that were answered in this round and may ask again."""

    __slots__ = ("_passed", "_to_pass", "_wanted", "answered")

    def __init__(self) -> None:
        self.answered = 0
        self._wanted = 0
        self._to_pass = 0  # rounds without a try: doubled by each that was in vain
        self._passed = 0

    def wanted(self, ready: int, *, alone: bool) -> bool:
        """Whether more than the `ready` ones are to be waited for; `alone`: nothing else is to be done meanwhile.

        Begins a new round: those who were answered in the last one are counted no more.
        """
        self._wanted, self.answered = self.answered, 0
        if not alone or self._wanted < _FEWEST or not 0 < ready < self._wanted:
            return False
        if self._passed < self._to_pass:
            self._passed += 1
            return False
        self._passed = 0
        return True

    def gathered(self, poller: select.epoll) -> list[tuple[int, int]]:
        """What is ready once all of them are, or the moment is over."""
        until = time.monotonic() + MOST_SECONDS
        while True:
            time.sleep(_PAUSE)
            ready = poller.poll(0.0)
            if len(ready) >= self._wanted:
                self._to_pass = 0
                return ready
            if time.monotonic() >= until:
                in_vain = 2 * len(ready) < self._wanted
                self._to_pass = min(2 * self._to_pass + 1, _MOST_PASSED) if in_vain else 0
                return ready
