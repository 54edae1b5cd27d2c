"""How many connections each worker has open, written where all workers of a service see it.

The kernel gives a new connection to whichever worker asks first. Callers keep their connections, so sixteen of them may
be four here and twelve there for hours: one worker then has more than its processor can do while the other one idles.
A worker therefore leaves a newcomer to one that has fewer, and ends some of its connections, after an answer that says
so, when it has far more than another: as it does after the other one was renewed. It loses no time over a worker that
does not come for a newcomer.
"""

from __future__ import annotations

import mmap
from time import monotonic, sleep
from typing import Final

_PLACES: Final = 256
_SIZE: Final = 4  # octets of a C int
_ABSENT: Final = -1
_LEEWAY: Final = 1  # connections more than another worker that do not matter ...
_LEEWAY_PART: Final = 4  # ... or this part of what that one has: moving a caller costs a connection
_PAUSE: Final = 0.0005  # seconds between two offers of one newcomer
_PATIENCE: Final = 0.02  # seconds until a newcomer whom nobody fetched is taken all the same


class ConnectionCounts:
    """One number a worker, in memory that is shared across the fork. Only the master claims and frees places."""

    def __init__(self, places: int = _PLACES) -> None:
        self._numbers = memoryview(mmap.mmap(-1, places * _SIZE)).cast("i")
        self._begun = mmap.mmap(-1, 1)
        for place in range(places):
            self._numbers[place] = _ABSENT
        self._free = list(reversed(range(places)))

    def claim(self) -> WorkerShare | None:
        """A place for a worker that is about to be forked; None where there are more workers than places."""
        return WorkerShare(self, self._free.pop()) if self._free else None

    def free(self, share: WorkerShare) -> None:
        """Takes the place of a worker that has ended."""
        self.write(share.place, _ABSENT)
        self._free.append(share.place)

    def write(self, place: int, connections: int) -> None:
        self._numbers[place] = connections
        if connections != _ABSENT:
            self._begun[0] = 1

    @property
    def begun(self) -> bool:
        """Whether any worker has ever taken connections."""
        return self._begun[0] == 1

    def fewest_of_others(self, place: int) -> int | None:
        """The fewest connections of any other worker that takes some; None if there is no other."""
        others = (number for other, number in enumerate(self._numbers) if other != place and number != _ABSENT)
        return min(others, default=None)


class WorkerShare:
    """A worker's own place. `accepting` is whether it takes connections just now; others do not count on it if not."""

    def __init__(self, counts: ConnectionCounts, place: int) -> None:
        self.place = place
        self._counts = counts
        self._connections = 0
        self._accepting = False
        self._offered_since: float | None = None

    def set_accepting(self, accepting: bool) -> None:
        self._accepting = accepting
        self._publish()

    def set_connections(self, connections: int) -> None:
        self._connections = connections
        self._publish()

    def service_has_begun(self) -> bool:
        """Whether any worker of the service has ever taken connections."""
        return self._counts.begun

    def leaves_it_to_others(self) -> bool:
        """Whether the newcomer who waits now is better off with another worker. Pauses a moment if so, and ends."""
        fewest = self._counts.fewest_of_others(self.place)
        if fewest is None or self._connections <= fewest:
            self._offered_since = None
            return False
        now = monotonic()
        if self._offered_since is None or now - self._offered_since > 2 * _PATIENCE:  # another newcomer than that one
            self._offered_since = now
        if now - self._offered_since > _PATIENCE:
            self._offered_since = None
            return False
        sleep(_PAUSE)
        return True

    def has_too_many(self) -> bool:
        """Whether another worker has so many fewer that callers should be sent there."""
        fewest = self._counts.fewest_of_others(self.place)
        return fewest is not None and self._connections - fewest > max(_LEEWAY, fewest // _LEEWAY_PART)

    def _publish(self) -> None:
        self._counts.write(self.place, self._connections if self._accepting else _ABSENT)
