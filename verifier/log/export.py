"""A log in an export: JSON Lines, one entry a line with its record or row, the signed checkpoint in the last line."""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING, Final, NoReturn

from verifier.errors import Indeterminate
from verifier.log.errors import LogRejected
from verifier.log.leaves import MAXIMUM_LEAF, MAXIMUM_RECORD, canonical
from verifier.log.source import LogEntry, RowEntry
from verifier.notes import MAXIMUM_NOTE
from verifier.strict_json import JsonValue, check_members, parse_object

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

MAXIMUM_LINE: Final = 2 * (MAXIMUM_LEAF + MAXIMUM_RECORD)
_MAXIMUM_LAST: Final = 8 * MAXIMUM_NOTE  # a note with its characters escaped
_ROW_MEMBERS: Final = frozenset({"table", "id", "revision", "seal", "previous", "link"})
# Only saves time: what it does not match is read as any JSON is. The record is judged by who takes it.
_DECISION: Final = re.compile(
    rb'\{"index":(0|[1-9][0-9]{0,14}),"leaf":"([A-Za-z0-9+/]+={0,2})","nonce":"([0-9a-f]{64})","record":(\{.*\})\}\n?'
)
_INDEX: Final = re.compile(rb'\{"index":(0|[1-9][0-9]{0,14}),')


class ExportSource:
    """Reads an export file, from its beginning at every turn."""

    has_records = True
    has_tiles = False

    def __init__(self, path: Path) -> None:
        self._path = path

    def checkpoint(self) -> bytes:
        """The text in the last line."""
        try:
            with self._path.open("rb") as stream:
                last = _last_line(stream)
        except OSError as error:
            raise self._unreadable(error) from error
        try:
            value = parse_object(last)
            check_members(value, "the last line", exactly={"checkpoint"})
            if isinstance(text := value["checkpoint"], str):
                return text.encode()
            reason = "checkpoint is not a text"
        except ValueError as error:
            reason = str(error)
        message = f"the export does not end with its checkpoint, so that it may be cut: {reason}"
        raise LogRejected(message, code="malformed", **_cut_after(last))

    def entries(self, first: int, size: int) -> Iterator[LogEntry]:
        """The entries from `first` on, up to the line of the checkpoint."""
        try:
            with self._path.open("rb") as stream:
                yield from _entries(stream, first)
        except OSError as error:
            raise self._unreadable(error) from error

    def tile(self, level: int, number: int, width: int) -> bytes | None:
        """An export has none."""
        return None

    def _unreadable(self, error: OSError) -> Indeterminate:
        return Indeterminate("unreadable_file", f"{self._path} cannot be read: {error.strerror}.")


def _last_line(stream: BinaryIO) -> bytes:
    end = stream.seek(0, 2)
    stream.seek(max(0, end - _MAXIMUM_LAST))
    return stream.read(_MAXIMUM_LAST).removesuffix(b"\n").rpartition(b"\n")[2]


def _cut_after(line: bytes) -> dict[str, int]:
    """How many entries there are, if the last line is one."""
    found = _INDEX.match(line)
    return {} if found is None else {"size": int(found[1]) + 1}


def _entries(stream: BinaryIO, first: int) -> Iterator[LogEntry]:
    number = 0
    while line := stream.readline(MAXIMUM_LINE + 1):
        number += 1
        if len(line) > MAXIMUM_LINE:
            raise LogRejected(f"line {number} has more than {MAXIMUM_LINE} bytes", code="too_large", line=number)
        if line.startswith(b'{"checkpoint":'):
            break
        found = _INDEX.match(line)
        if found is not None and int(found[1]) < first:
            continue  # verified by an earlier audit
        entry = _parse_line(line, number)
        if entry.index >= first:
            yield entry
    if stream.read(1):
        raise LogRejected(f"line {number} is a checkpoint, and not the last line", code="malformed", line=number)


def _parse_line(line: bytes, number: int) -> LogEntry:
    """One entry. Raises `LogRejected` (malformed) with the line, and the index where it can be read."""
    found = _DECISION.fullmatch(line)
    if found is not None:
        index, leaf, nonce, record = found.groups()
        try:
            return LogEntry(int(index), _leaf(leaf), bytes.fromhex(nonce.decode()), record)
        except ValueError as error:
            _refuse(number, str(error), int(index))
    try:
        members = parse_object(line)
    except ValueError as error:
        _refuse(number, str(error))
    index = members.get("index")
    if not isinstance(index, int) or isinstance(index, bool) or index < 0:
        _refuse(number, "index is not a number from 0 on")
    try:
        return _entry(index, members)
    except ValueError as error:
        _refuse(number, str(error), index)


def _refuse(number: int, reason: str, index: int | None = None) -> NoReturn:
    where = {"line": number} if index is None else {"line": number, "index": index}
    raise LogRejected(f"line {number} of the export is no entry: {reason}", code="malformed", **where)


def _entry(index: int, members: dict[str, JsonValue]) -> LogEntry:
    """The entry of a line in any writing of its JSON. ValueError if it has not just the members of its kind."""
    if members.keys() == {"index", "leaf"}:  # of a former log: all that it says stands in the leaf
        return LogEntry(index, _leaf(_text(members, "leaf").encode()))
    if "row" in members:
        check_members(members, "it", exactly={"index", "leaf", "row"})
        return LogEntry(index, _leaf(_text(members, "leaf").encode()), row=_row(members["row"]))
    check_members(members, "it", exactly={"index", "leaf", "nonce", "record"})
    if not isinstance(members["record"], dict):
        raise ValueError("record is not an object")
    leaf, nonce = _leaf(_text(members, "leaf").encode()), _hex(members, "nonce")
    return LogEntry(index, leaf, nonce, canonical(members["record"]))


def _row(value: JsonValue) -> RowEntry:
    if not isinstance(value, dict):
        raise ValueError("row is not an object")
    check_members(value, "row", exactly=_ROW_MEMBERS)
    return RowEntry(
        table=_text(value, "table"),
        id=_text(value, "id"),
        revision=_number(value, "revision"),
        seal=_hex(value, "seal"),
        previous=_number(value, "previous"),
        link=_hex(value, "link"),
    )


def _leaf(text: bytes) -> bytes:
    try:
        leaf = binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error:
        leaf = b""
    if not leaf or base64.b64encode(leaf) != text:
        raise ValueError("leaf is not standard base64")
    return leaf


def _text(members: dict[str, JsonValue], name: str) -> str:
    value = members[name]
    if not isinstance(value, str):
        raise ValueError(f"{name} is not a text")
    return value


def _number(members: dict[str, JsonValue], name: str) -> int:
    value = members[name]
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{name} is not a number from 0 on")
    return value


def _hex(members: dict[str, JsonValue], name: str) -> bytes:
    text = _text(members, name)
    octets = bytes.fromhex(text)
    if octets.hex() != text:
        raise ValueError(f"{name} is not lower-case hex")
    return octets
