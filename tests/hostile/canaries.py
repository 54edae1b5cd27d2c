"""Secrets that stand nowhere: each is looked for in every form in which a careless line would write it down.

Forms: the octets themselves, hex of both cases, base64 and base64url wherever they begin in a longer text, UTF-16 of
both orders, a JSON string's escapes, and a percent-encoded URL.
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import quote_from_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

SHORTEST: Final = 8  # octets: what is shorter is found by chance
_BLOCK: Final = 4 * 1024 * 1024  # octets of a file that are looked at at a time


def forms(secret: bytes) -> frozenset[bytes]:
    """Every way of writing the secret. Raises: `ValueError` for one that is found by chance."""
    if len(secret) < SHORTEST:
        raise ValueError(f"a canary has at least {SHORTEST} octets")
    made = {secret, secret.hex().encode(), secret.hex().upper().encode(), quote_from_bytes(secret).encode()}
    for offset in range(3):
        # Of the characters that also hold bits of what stands before or after, nothing is known.
        text = base64.b64encode(bytes(offset) + secret)
        whole = text[(0, 2, 3)[offset] : (offset + len(secret)) * 8 // 6]
        made |= {whole, whole.translate(bytes.maketrans(b"+/", b"-_"))}
    if secret.isascii():
        text_form = secret.decode("ascii")
        made |= {text_form.encode("utf-16-le"), text_form.encode("utf-16-be"), json.dumps(text_form)[1:-1].encode()}
    return frozenset(made)


@dataclass(frozen=True, slots=True)
class Leak:
    """Where which secret stood. The secret itself is not repeated."""

    secret: str
    place: str


class Canaries:
    """Secrets by what they are."""

    def __init__(self, secrets: Mapping[str, bytes]) -> None:
        self._names = {form: name for name, secret in secrets.items() for form in forms(secret)}
        longest = sorted(self._names, key=len, reverse=True)
        self._pattern = re.compile(b"|".join(map(re.escape, longest))) if longest else None
        self._overlap = max(map(len, longest), default=0)

    def within(self, octets: bytes) -> set[str]:
        """Which secrets stand in these octets."""
        if self._pattern is None:
            return set()
        return {self._names[found.group()] for found in self._pattern.finditer(octets)}

    def within_file(self, path: Path) -> set[str]:
        """The same, of a file of any size."""
        found: set[str] = set()
        with path.open("rb") as file:
            for block in self._blocks(iter(lambda: file.read(_BLOCK), b"")):
                found |= self.within(block)
        return found

    def leaks(self, folder: Path, *, allowed: frozenset[str] = frozenset()) -> list[Leak]:
        """What stands in the files below the folder, but in those whose names end so: who holds secrets by nature."""
        files = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix not in allowed)
        return [Leak(name, str(path.relative_to(folder))) for path in files for name in sorted(self.within_file(path))]

    def _blocks(self, read: Iterator[bytes]) -> Iterator[bytes]:
        tail = b""
        for block in read:
            yield tail + block
            tail = block[-self._overlap :]
