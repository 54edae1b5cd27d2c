"""A bounded store of unwrapped keys, least recently used out first. It holds handles and knows nothing of PKCS#11.

An entry that is in use when it falls out is destroyed by the last of its users.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

_Handle = TypeVar("_Handle")


class CachedKey(Generic[_Handle]):
    """A handle and how many callers are using it just now. Only the cache changes it."""

    __slots__ = ("evicted", "handle", "permanent", "users")

    def __init__(self, handle: _Handle, *, permanent: bool) -> None:
        self.handle = handle
        self.permanent = permanent  # a token object: never destroyed by falling out
        self.users = 1
        self.evicted = False


class KeyCache(Generic[_Handle]):
    """Thread-safe. `acquire` and `release` come in pairs; `destroy` is given a handle that nobody uses any more."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._entries: OrderedDict[Hashable, CachedKey[_Handle]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def acquire(self, name: Hashable) -> CachedKey[_Handle] | None:
        with self._lock:
            entry = self._entries.get(name)
            if entry is not None:
                self._entries.move_to_end(name)
                entry.users += 1
            return entry

    def add(
        self, name: Hashable, handle: _Handle, destroy: Callable[[_Handle], None], *, permanent: bool
    ) -> CachedKey[_Handle]:
        """Adds a key that the caller uses from now on, and drops the oldest beyond the bound."""
        entry = CachedKey(handle, permanent=permanent)
        doomed: list[_Handle] = []
        with self._lock:
            self._entries[name] = entry
            while len(self._entries) > self._size:
                doomed += self._evict(next(iter(self._entries)))
        for unused in doomed:
            destroy(unused)
        return entry

    def release(self, entry: CachedKey[_Handle], destroy: Callable[[_Handle], None]) -> None:
        with self._lock:
            entry.users -= 1
            last = entry.evicted and not entry.users and not entry.permanent
        if last:
            destroy(entry.handle)

    def remove(self, name: Hashable, destroy: Callable[[_Handle], None]) -> None:
        """Drops an entry, if it is there."""
        with self._lock:
            doomed = self._evict(name) if name in self._entries else []
        for unused in doomed:
            destroy(unused)

    def _evict(self, name: Hashable) -> list[_Handle]:
        entry = self._entries.pop(name)
        entry.evicted = True
        return [entry.handle] if not entry.users and not entry.permanent else []
