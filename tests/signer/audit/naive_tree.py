"""Merkle trees as RFC 9162 section 2.1 defines them, by recursion over the leaves' hashes; nothing of `signer`."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def _pair(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def _split(count: int) -> int:
    """The largest power of two below `count`."""
    power = 1
    while power * 2 < count:
        power *= 2
    return power


class NaiveTree:
    """A tree over leaf hashes. What lies on whole powers of two is remembered, so that large trees can be asked too."""

    def __init__(self, hashes: Sequence[bytes]) -> None:
        self.hashes = list(hashes)
        self._known: dict[tuple[int, int], bytes] = {}

    def root(self, begin: int, end: int) -> bytes:
        """MTH(D[begin:end]), section 2.1.1."""
        if begin == end:
            return hashlib.sha256(b"").digest()
        if end - begin == 1:
            return self.hashes[begin]
        if (begin, end) not in self._known:
            middle = begin + _split(end - begin)
            self._known[begin, end] = _pair(self.root(begin, middle), self.root(middle, end))
        return self._known[begin, end]

    def inclusion(self, index: int, begin: int, end: int) -> list[bytes]:
        """PATH(index, D[begin:end]), section 2.1.3.1; `index` counts from `begin`."""
        if end - begin == 1:
            return []
        half = _split(end - begin)
        middle = begin + half
        if index < half:
            return [*self.inclusion(index, begin, middle), self.root(middle, end)]
        return [*self.inclusion(index - half, middle, end), self.root(begin, middle)]

    def consistency(self, size: int, begin: int, end: int, whole: bool = True) -> list[bytes]:
        """SUBPROOF(size, D[begin:end], whole), section 2.1.4.1."""
        if size == end - begin:
            return [] if whole else [self.root(begin, end)]
        half = _split(end - begin)
        middle = begin + half
        if size <= half:
            return [*self.consistency(size, begin, middle, whole), self.root(middle, end)]
        return [*self.consistency(size - half, middle, end, False), self.root(begin, middle)]

    def level(self, level: int) -> list[bytes]:
        """The roots of all complete subtrees of 256^level leaves."""
        width = 256**level
        return [self.root(at, at + width) for at in range(0, len(self.hashes) - width + 1, width)]
