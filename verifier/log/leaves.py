"""Leaves, records and rows of a log: their one canonical form, and whether what lies behind a leaf is what it says.

A leaf is matched by one pattern: what the signer's encoder would not write is no leaf. The journal's chain is written
here anew from its format (a length or a type before every part), so that the verifier shares no code with the signer.
"""

from __future__ import annotations

import hashlib
import json
import re
from datetime import datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from verifier.errors import Indeterminate
from verifier.log.errors import LogRejected
from verifier.strict_json import JsonValue, parse_object

if TYPE_CHECKING:
    from verifier.log.source import RowEntry

MAXIMUM_LEAF: Final = 2**16 - 1  # C2SP tlog-tiles: an entry bundle has room for two bytes of length
MAXIMUM_RECORD: Final = 512 * 1024
NONCE_SIZE: Final = 32
LEAF_VERSION: Final = 1
GENESIS: Final = bytes(32)  # the link before the journal's first entry
_CHAIN_DOMAIN: Final = b"sealmark journal chain v1"

_HEX: Final = rb"[0-9a-f]{64}"
_SIGNATURE: Final = rb'\{"digest":"(?:[0-9a-f]{64}|[0-9a-f]{96}|[0-9a-f]{128})","sha256":"' + _HEX + rb'"\}'
_DECISION: Final = re.compile(
    rb'\{"algorithm":(?:null|"(?P<algorithm>[A-Z][A-Z0-9_]{0,63})"),'
    rb'"key_sha256":(?:null|"(?P<key_sha256>' + _HEX + rb')"),'
    rb'"key_version":(?:null|(?P<key_version>[1-9][0-9]{0,14})),'
    rb'"record_sha256":"(?P<record_sha256>' + _HEX + rb')",'
    rb'"signatures":\[(?P<signatures>(?:' + _SIGNATURE + rb"(?:," + _SIGNATURE + rb")*)?)\],"
    rb'"time":"(?P<time>[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6})Z","v":1\}'
)
_ROWS: Final = re.compile(rb'\{"journal":([1-9][0-9]{0,14}),"link":"(' + _HEX + rb')","v":1\}')
_encode: Final = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode


class DecisionLeaf(NamedTuple):
    """What anybody may know of a decision. Hashes are lower-case hex; `time` is RFC 3339 with six digits and a `Z`."""

    algorithm: str | None
    key_sha256: str | None
    key_version: int | None
    record_sha256: str
    signatures: tuple[tuple[str, str], ...]  # digest of what was signed, SHA-256 of the signature
    time: str


class RowsLeaf(NamedTuple):
    """An entry of the sealed rows' journal, and its link (32 bytes)."""

    journal: int
    link: bytes


def parse_leaf(leaf: bytes, index: int) -> DecisionLeaf | RowsLeaf:
    """A leaf in its canonical form.

    Raises: `LogRejected` (malformed) for anything else, `Indeterminate` (unsupported_format) for another version.
    """
    decision = _DECISION.fullmatch(leaf)
    if decision is not None:
        algorithm, key, version, record, signed, time = decision.groups()
        if signed and None in (algorithm, key, version):
            message = f"entry {index} has signatures and lacks their algorithm, key_sha256 or key_version"
            raise LogRejected(message, code="malformed", index=index)
        moment = time.decode()
        try:
            datetime.fromisoformat(moment)
        except ValueError:
            raise LogRejected(f"entry {index} has an impossible time", code="malformed", index=index) from None
        return DecisionLeaf(
            algorithm=None if algorithm is None else algorithm.decode(),
            key_sha256=None if key is None else key.decode(),
            key_version=None if version is None else int(version),
            record_sha256=record.decode(),
            signatures=_signatures(signed) if signed else (),
            time=moment + "Z",
        )
    rows = _ROWS.fullmatch(leaf)
    if rows is not None:
        return RowsLeaf(int(rows[1]), bytes.fromhex(rows[2].decode()))
    raise _unreadable(leaf, index)


def _signatures(text: bytes) -> tuple[tuple[str, str], ...]:
    """The pairs in a list that the pattern has matched: every fourth and eighth piece between quotes."""
    pieces = text.decode().split('"')
    return tuple(zip(pieces[3::8], pieces[7::8], strict=True))


def _unreadable(leaf: bytes, index: int) -> LogRejected | Indeterminate:
    if len(leaf) > MAXIMUM_LEAF:
        return LogRejected(f"entry {index} has more than {MAXIMUM_LEAF} bytes", code="too_large", index=index)
    try:
        version = parse_object(leaf).get("v")
    except ValueError:
        version = None
    if isinstance(version, int) and version > LEAF_VERSION:
        message = f"entry {index} is a leaf of version {version}, this verifier reads version {LEAF_VERSION}"
        return Indeterminate("unsupported_format", message)
    return LogRejected(f"entry {index} is not a leaf in its canonical form", code="malformed", index=index)


def check_record(leaf: DecisionLeaf, nonce: bytes, record: bytes, index: int) -> dict[str, JsonValue]:
    """The record behind a leaf. Raises `LogRejected` unless its bytes and what it says are those of the leaf."""
    if len(record) > MAXIMUM_RECORD:
        raise LogRejected(f"the record of entry {index} is too large", code="too_large", index=index)
    if len(nonce) != NONCE_SIZE or hashlib.sha256(nonce + record).hexdigest() != leaf.record_sha256:
        raise LogRejected(f"the record of entry {index} is not the one that its leaf names", index=index)
    facts = _parse_record(record, index)
    if member := _differing(leaf, facts):
        raise LogRejected(f"the record of entry {index} and its leaf differ in {member}", index=index)
    return facts


def _parse_record(record: bytes, index: int) -> dict[str, JsonValue]:
    """The record's members, read strictly. What is its own canonical encoding has no member twice."""
    try:
        value: JsonValue = json.loads(record)
        if isinstance(value, dict) and canonical(value) == record:
            return value
        return parse_object(record)  # such as a number that another encoder writes otherwise
    except (ValueError, RecursionError):
        raise LogRejected(f"the record of entry {index} is not JSON", code="malformed", index=index) from None


def canonical(value: JsonValue) -> bytes:
    """Members sorted, no spaces, UTF-8. ValueError for a text that is not Unicode."""
    return _encode(value).encode()


def _differing(leaf: DecisionLeaf, record: dict[str, JsonValue]) -> str | None:
    """A member in which the record and its leaf differ."""
    if record.get("time") != leaf.time:
        return "time"
    if record.get("algorithm") != leaf.algorithm:
        return "algorithm"
    if record.get("key_version") != leaf.key_version:
        return "key_version"
    signatures = record.get("signatures", [])
    if not isinstance(signatures, list) or len(signatures) != len(leaf.signatures):
        return "signatures"
    named = [(each.get("digest"), each.get("sha256")) for each in signatures if isinstance(each, dict)]
    return None if named == list(leaf.signatures) else "signatures"


def link_of(before: bytes, number: int, row: RowEntry) -> bytes | None:
    """The link of journal entry `number` that follows the link `before`; None if a value has no encoding."""
    values: tuple[bytes | int | str, ...] = (before, number, row.table, row.id, row.revision, row.seal, row.previous)
    try:
        parts = [_field(_CHAIN_DOMAIN), *(_value(value) for value in values)]
    except (OverflowError, UnicodeEncodeError):
        return None
    return hashlib.sha256(b"".join(parts)).digest()


def _field(octets: bytes) -> bytes:
    return len(octets).to_bytes(4, "big") + octets


def _value(value: bytes | int | str) -> bytes:
    """A value with the tag of its type: `b` and octets, `i` and 8 octets signed big-endian, `s` and UTF-8."""
    if isinstance(value, bytes):
        return b"b" + _field(value)
    if isinstance(value, int):
        return b"i" + value.to_bytes(8, "big", signed=True)
    return b"s" + _field(value.encode())
