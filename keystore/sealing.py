"""The sealed row: one canonical encoding of a row, and the tag that the HSM makes over it.

The attacker here writes to the database and has no HSM session. The encoding is injective: it names the integrity key,
the table, the row, its revision and every column, each value with a tag of its type and every variable part with its
length, so that no two different rows share one. What keeps an older copy of a row out is the journal
(`keystore.journal`).
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from keystore.db.engine import Value
from keystore.errors import IntegrityFailure

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

# The first field of everything that the integrity key tags. Another shape of row gets another version.
ROW_DOMAIN: Final = b"sealmark sealed row v1"
LINK_DOMAIN: Final = b"sealmark journal link v1"
SNAPSHOT_DOMAIN: Final = b"sealmark journal snapshot v1"


class Uncanonical(ValueError):
    """A value that the encoding has no form for: the database did not get it from here."""


def encode_field(octets: bytes) -> bytes:
    """A variable part: its length in 4 octets, big-endian, and itself."""
    return len(octets).to_bytes(4, "big") + octets


def encode_value(value: Value) -> bytes:
    """A value with its type's tag: `n`, `i` and 8 octets signed big-endian, `s` and UTF-8, `b` and octets.

    Raises: `Uncanonical` for any other type (truth values and floats among them), a number that does not fit, or a text
    that is not Unicode.
    """
    if value is None:
        return b"n"
    if type(value) is str:
        try:
            return b"s" + encode_field(value.encode())
        except UnicodeEncodeError as exc:
            raise Uncanonical("a text that is not Unicode") from exc
    if type(value) is bytes:
        return b"b" + encode_field(value)
    if type(value) is int:
        try:
            return b"i" + value.to_bytes(8, "big", signed=True)
        except OverflowError as exc:
            raise Uncanonical("a number of more than 64 bits") from exc
    raise Uncanonical(f"a value of type {type(value).__name__}")


def encode_row(key_id: str, table: str, row_id: str, revision: int, columns: Sequence[tuple[str, Value]]) -> bytes:
    """The octets that a row's seal covers. `columns` are names and values in the schema's order."""
    parts = [encode_field(ROW_DOMAIN), encode_value(key_id), encode_value(table), encode_value(row_id)]
    parts += [encode_value(revision), len(columns).to_bytes(4, "big")]
    for name, value in columns:
        parts += [encode_value(name), encode_value(value)]
    return b"".join(parts)


@dataclass(frozen=True, slots=True)
class SealedRow:
    """A row whose seal and place in the journal were checked, or just written. `seq` is its journal entry's number."""

    table: str
    id: str
    revision: int
    values: Mapping[str, Value]
    seal: bytes = field(repr=False)
    seq: int

    def text(self, name: str) -> str:
        """A column that holds text."""
        value = self.values[name]
        if not isinstance(value, str):
            raise self._not("text", name)
        return value

    def optional_text(self, name: str) -> str | None:
        """A column that holds text or null."""
        return None if self.values[name] is None else self.text(name)

    def number(self, name: str) -> int:
        """A column that holds a number."""
        value = self.values[name]
        if not isinstance(value, int):
            raise self._not("a number", name)
        return value

    def optional_number(self, name: str) -> int | None:
        """A column that holds a number or null."""
        return None if self.values[name] is None else self.number(name)

    def octets(self, name: str) -> bytes:
        """A column that holds octets."""
        value = self.values[name]
        if not isinstance(value, bytes):
            raise self._not("octets", name)
        return value

    def optional_octets(self, name: str) -> bytes | None:
        """A column that holds octets or null."""
        return None if self.values[name] is None else self.octets(name)

    def _not(self, kind: str, name: str) -> IntegrityFailure:
        return IntegrityFailure(f"{self.table}/{self.id}: {name} is not {kind}")


class Sealer:
    """Makes and checks seals. `seal` is HMAC-SHA-256 by the HSM's integrity key, which `key_id` names."""

    def __init__(self, seal: Callable[[bytes], bytes], key_id: str) -> None:
        self._seal = seal
        self.key_id = key_id

    def row(self, table: str, row_id: str, revision: int, columns: Sequence[tuple[str, Value]]) -> bytes:
        """The seal of a row. Raises `Uncanonical`, `HsmUnavailable`."""
        return self._seal(encode_row(self.key_id, table, row_id, revision, columns))

    def is_row(self, seal: Value, table: str, row_id: str, revision: int, columns: Sequence[tuple[str, Value]]) -> bool:
        """Whether the row bears this seal. Raises `HsmUnavailable`."""
        try:
            expected = self.row(table, row_id, revision, columns)
        except Uncanonical:
            return False
        return isinstance(seal, bytes) and hmac.compare_digest(seal, expected)

    def link(self, link: bytes) -> bytes:
        """The seal of a link of the journal's chain."""
        return self._seal(encode_field(LINK_DOMAIN) + encode_value(self.key_id) + encode_value(link))

    def snapshot(self, *values: Value) -> bytes:
        """The seal of what is known of the journal (`keystore.journal_snapshots`)."""
        return self._seal(b"".join([encode_field(SNAPSHOT_DOMAIN), *map(encode_value, (self.key_id, *values))]))

    def is_snapshot(self, seal: Value, *values: Value) -> bool:
        """Whether it bears this seal. Raises `HsmUnavailable`."""
        try:
            expected = self.snapshot(*values)
        except Uncanonical:
            return False
        return isinstance(seal, bytes) and hmac.compare_digest(seal, expected)

    def is_link(self, seal: Value, link: bytes) -> bool:
        """Whether the link bears this seal. Raises `HsmUnavailable`."""
        return isinstance(seal, bytes) and hmac.compare_digest(seal, self.link(link))


def frozen(values: Mapping[str, Value]) -> Mapping[str, Value]:
    """A copy that cannot be changed."""
    return MappingProxyType(dict(values))
