"""The canonical encoding is injective: an independent reader gets every row back, and reads nothing else."""

from __future__ import annotations

import hmac

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from keystore.db import Value
from keystore.errors import IntegrityFailure
from keystore.sealing import ROW_DOMAIN, SealedRow, Sealer, Uncanonical, encode_row, encode_value, frozen

VALUES = st.one_of(
    st.none(), st.integers(-(2**63), 2**63 - 1), st.text(st.characters(exclude_categories=["Cs"])), st.binary()
)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
COLUMNS = st.lists(st.tuples(NAMES, VALUES), max_size=5)
ROWS = st.tuples(NAMES, NAMES, NAMES, st.integers(1, 2**63 - 1), COLUMNS)


class Reader:
    """Reads the format from its description; shares no code with the writer."""

    def __init__(self, octets: bytes) -> None:
        self.rest = octets

    def take(self, size: int) -> bytes:
        assert len(self.rest) >= size
        taken, self.rest = self.rest[:size], self.rest[size:]
        return taken

    def field(self) -> bytes:
        return self.take(int.from_bytes(self.take(4), "big"))

    def value(self) -> Value:
        tag = self.take(1)
        if tag == b"n":
            return None
        if tag == b"i":
            return int.from_bytes(self.take(8), "big", signed=True)
        assert tag in (b"s", b"b")
        return self.field().decode() if tag == b"s" else self.field()

    def row(self) -> tuple[Value, Value, Value, Value, list[tuple[Value, Value]]]:
        assert self.field() == ROW_DOMAIN
        key_id, table, row_id, revision = (self.value() for _ in range(4))
        columns = [(self.value(), self.value()) for _ in range(int.from_bytes(self.take(4), "big"))]
        assert not self.rest
        return key_id, table, row_id, revision, columns


@given(ROWS)
def test_a_row_can_be_read_back_from_what_is_sealed(row: tuple[str, str, str, int, list[tuple[str, Value]]]) -> None:
    assert Reader(encode_row(*row)).row() == row


@given(ROWS, ROWS)
def test_different_rows_are_sealed_differently(
    one: tuple[str, str, str, int, list[tuple[str, Value]]], other: tuple[str, str, str, int, list[tuple[str, Value]]]
) -> None:
    assume(one != other)
    assert encode_row(*one) != encode_row(*other)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_text_and_the_same_octets_differ(text: str) -> None:
    assert encode_value(text) != encode_value(text.encode())


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, "\ud800", True, 1.0, ["x"]])
def test_what_the_schema_cannot_hold_has_no_form(value: Value) -> None:
    with pytest.raises(Uncanonical):
        encode_value(value)


def _sealer(key_id: str = "one") -> Sealer:
    return Sealer(lambda message: hmac.digest(b"key", message, "sha256"), key_id)


@pytest.mark.parametrize(
    ("key_id", "table", "row_id", "revision", "columns"),
    [
        ("two", "t", "r", 1, [("a", "x"), ("b", None)]),
        ("one", "u", "r", 1, [("a", "x"), ("b", None)]),
        ("one", "t", "s", 1, [("a", "x"), ("b", None)]),
        ("one", "t", "r", 2, [("a", "x"), ("b", None)]),
        ("one", "t", "r", 1, [("b", "x"), ("a", None)]),
        ("one", "t", "r", 1, [("a", "x")]),
        ("one", "t", "r", 1, [("a", b"x"), ("b", None)]),
    ],
)
def test_a_seal_fits_one_row_alone(
    key_id: str, table: str, row_id: str, revision: int, columns: list[tuple[str, Value]]
) -> None:
    seal = _sealer().row("t", "r", 1, [("a", "x"), ("b", None)])
    assert _sealer().is_row(seal, "t", "r", 1, [("a", "x"), ("b", None)])
    assert not _sealer(key_id).is_row(seal, table, row_id, revision, columns)


@pytest.mark.parametrize("seal", [None, "text", 1, b"", bytes(32)])
def test_what_is_no_seal_is_refused(seal: Value) -> None:
    assert not _sealer().is_row(seal, "t", "r", 1, [])
    assert not _sealer().is_link(seal, bytes(32))


def test_a_link_is_not_a_row() -> None:
    seen: list[bytes] = []

    def remember(message: bytes) -> bytes:
        seen.append(message)
        return bytes(32)

    sealer = Sealer(remember, "one")
    sealer.link(bytes(32))
    sealer.row("t", "r", 1, [])
    assert seen[0][:26] != seen[1][:26]


def test_a_column_is_read_as_what_it_is() -> None:
    row = SealedRow("t", "r", 1, frozen({"n": 1, "s": "x", "b": b"y", "none": None}), b"", 1)
    assert (row.number("n"), row.text("s"), row.octets("b")) == (1, "x", b"y")
    assert (row.optional_number("none"), row.optional_text("none"), row.optional_octets("none")) == (None, None, None)
    for read in (row.number, row.text, row.octets):
        with pytest.raises(IntegrityFailure, match="t/r: none is not"):
            read("none")
