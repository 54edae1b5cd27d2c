"""Matching of texts as policies do it: `*` and `?` in the policy's text alone, and case folded in ASCII alone.

What comes with a request is never a pattern. Time is bounded by the product of both lengths, whatever the pattern:
each piece between two stars is taken where it first fits and never tried again (an atomic group), which is all that a
match of stars needs.
"""

from __future__ import annotations

import re
import string
from functools import partial
from operator import eq
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_LOWER: Final = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


def ascii_lower(text: str) -> str:
    """A to Z become a to z, and nothing else does: the Kelvin sign is no K, the long s no S."""
    return text.lower() if text.isascii() else text.translate(_LOWER)


def has_wildcard(text: str) -> bool:
    """Whether the text of a policy stands for more than itself."""
    return "*" in text or "?" in text


def glob(pattern: str) -> Callable[[str], object]:
    """A test of whole texts: `*` is any number of characters, `?` exactly one, all else itself."""
    if pattern == "*":
        return _anything
    if not has_wildcard(pattern):
        return partial(eq, pattern)
    first, *rest = (_literal(piece) for piece in pattern.split("*"))
    if not rest:
        return re.compile(first, re.DOTALL).fullmatch
    *middle, last = rest
    found = "".join(f"(?>.*?{piece})" for piece in middle if piece)
    return re.compile(f"{first}{found}.*{last}", re.DOTALL).fullmatch


def any_of(patterns: tuple[str, ...]) -> Callable[[str], bool]:
    """A test that one of the patterns passes."""
    literal = frozenset(pattern for pattern in patterns if not has_wildcard(pattern))
    tests = tuple(glob(pattern) for pattern in patterns if has_wildcard(pattern))

    def matches(text: str) -> bool:
        return text in literal or any(test(text) for test in tests)

    return matches


def _literal(piece: str) -> str:
    return "".join("." if character == "?" else re.escape(character) for character in piece)


def _anything(_: str) -> bool:
    return True
