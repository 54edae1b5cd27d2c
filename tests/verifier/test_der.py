"""The DER reader: one encoding for each value, and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verifier import der


def rebuild(element: der.Element) -> bytes:
    """The element from its parts, constructed ones from what they hold."""
    if element.tag & 0x20 == 0:
        return der.encode(element.tag, element.content)
    reader, parts = der.Reader(element.content), []
    while not reader.empty:
        parts.append(rebuild(reader.take_any()))
    return der.encode(element.tag, b"".join(parts))


@given(st.binary(max_size=40) | st.binary(max_size=12).map(lambda body: b"\x30" + bytes((len(body),)) + body))
def test_what_is_read_encodes_to_the_same_bytes(data: bytes) -> None:
    try:
        encoded = rebuild(der.parse(data, der.SEQUENCE))
    except der.DerError:
        return
    assert encoded == data


@given(st.integers(0, 70_000))
def test_lengths(length: int) -> None:
    element = der.parse(der.encode(der.OCTET_STRING, bytes(length)), der.OCTET_STRING)
    assert len(element.content) == length


@pytest.mark.parametrize(
    "data", ["", "04", "0401", "040100ff", "0480", "048100", "04817f", "0482007f", "0485000000000100", "1f8101"]
)
def test_bad_lengths(data: str) -> None:
    with pytest.raises(der.DerError):
        der.parse(bytes.fromhex(data), der.OCTET_STRING)


@given(st.integers(-(2**80), 2**80))
def test_integers(number: int) -> None:
    content = number.to_bytes(number.bit_length() // 8 + 1, "big", signed=True)
    if len(content) > 1 and der_redundant(content):
        with pytest.raises(der.DerError):
            der.integer(content)
        content = content[1:]
    assert der.integer(content) == number


def der_redundant(content: bytes) -> bool:
    return content[1:] != b"" and int.from_bytes(content[1:], "big", signed=True) == int.from_bytes(
        content, "big", signed=True
    )


@pytest.mark.parametrize("content", ["", "0001", "ff80", "0000"])
def test_bad_integers(content: str) -> None:
    with pytest.raises(der.DerError):
        der.integer(bytes.fromhex(content))


@pytest.mark.parametrize(
    ("content", "dotted"),
    [("2a864886f70d010702", "1.2.840.113549.1.7.2"), ("550406", "2.5.4.6"), ("883703", "2.999.3")],
)
def test_object_identifiers(content: str, dotted: str) -> None:
    assert der.object_identifier(bytes.fromhex(content)) == dotted


@pytest.mark.parametrize("content", ["", "80", "2a80", "2a8001", "2a86", "2a" + "01" * 64])
def test_bad_object_identifiers(content: str) -> None:
    with pytest.raises(der.DerError):
        der.object_identifier(bytes.fromhex(content))


def test_sets_are_sorted_and_distinct() -> None:
    assert len(der.set_of(bytes.fromhex("020101020102"))) == 2
    for content in ("020102020101", "020101020101"):
        with pytest.raises(der.DerError):
            der.set_of(bytes.fromhex(content))


@pytest.mark.parametrize(
    ("tag", "text", "moment"),
    [
        (der.UTC_TIME, "260102030405Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        (der.UTC_TIME, "500101000000Z", datetime(1950, 1, 1, tzinfo=UTC)),
        (der.UTC_TIME, "491231235959Z", datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC)),
        (der.GENERALIZED_TIME, "20500101000000Z", datetime(2050, 1, 1, tzinfo=UTC)),
    ],
)
def test_times(tag: int, text: str, moment: datetime) -> None:
    assert der.time(der.parse(der.encode(tag, text.encode()), tag)) == moment


@pytest.mark.parametrize(
    ("tag", "text"),
    [
        (der.UTC_TIME, "2601020304Z"),
        (der.UTC_TIME, "260102030405+0000"),
        (der.UTC_TIME, "261302030405Z"),
        (der.UTC_TIME, "260102030405Z\n"),
        (der.GENERALIZED_TIME, "20260102030405Z"),
        (der.GENERALIZED_TIME, "20500101000000.5Z"),
        (der.OCTET_STRING, "260102030405Z"),
    ],
)
def test_bad_times(tag: int, text: str) -> None:
    with pytest.raises(der.DerError):
        der.time(der.parse(der.encode(tag, text.encode()), tag))
