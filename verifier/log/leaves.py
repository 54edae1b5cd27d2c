"""Leaves read quickly, and whether the record or the row that lies behind one is what it says.

The journal's chain is written here anew from its format (a type and a length before every part), so that the verifier
shares no code with the service.
"""

from __future__ import annotations

import hashlib
import json
import re
from datetime import datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from verifier.errors import Indeterminate, Rejected
from verifier.log.errors import LogRejected
from verifier.log_leaves import LEAF_VERSION, FormerLeaf, RowsLeaf, parse_leaf
from verifier.strict_json import JsonValue, parse_object

if TYPE_CHECKING:
    from verifier.errors import RejectionCode
    from verifier.log.source import RowEntry

MAXIMUM_LEAF: Final = 2**16 - 1  # C2SP tlog-tiles: an entry bundle has room for two bytes of length
MAXIMUM_RECORD: Final = 512 * 1024
NONCE_SIZE: Final = 32
GENESIS: Final = bytes(32)  # the link before the journal's first entry
_CHAIN_DOMAIN: Final = b"sealmark journal chain v1"

# Only saves time: what it does not match is read by the reader of leaves.
_HEX: Final = rb"[0-9a-f]{64}"
_SIGNATURE: Final = rb'\{"digest":"(?:[0-9a-f]{64}|[0-9a-f]{96}|[0-9a-f]{128})","sha256":"' + _HEX + rb'"\}'
_DECISION: Final = re.compile(
    rb'\{"algorithm":(?:null|"([A-Z][A-Z0-9_]{0,63})"),"key_sha256":(null|"' + _HEX + rb'"),'
    rb'"key_version":(?:null|([1-9][0-9]{0,14})),"record_sha256":"(' + _HEX + rb')",'
    rb'"signatures":\[((?:' + _SIGNATURE + rb"(?:," + _SIGNATURE + rb")*)?)\],"
    rb'"time":"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6})Z","v":1\}'
)
_ROWS: Final = re.compile(rb'\{"journal":([1-9][0-9]{0,14}),"link":"(' + _HEX + rb')","v":1\}')
_encode: Final = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode


class Decision(NamedTuple):
    """What a decision leaf says, in the words in which its record has to say it too."""

    algorithm: str | None
    key_version: int | None
    record_sha256: str
    signatures: tuple[tuple[str, str], ...]  # digest of what was signed, SHA-256 of the signature
    time: str


def read_leaf(leaf: bytes, index: int) -> Decision | RowsLeaf | FormerLeaf:
    """The leaf of entry `index`, as `verifier.log_leaves` reads it.

    Raises: `LogRejected` (malformed, too_large) for anything but the one encoding, `Indeterminate`
    (unsupported_format) for another version.
    """
    decision = _DECISION.fullmatch(leaf)
    if decision is not None:
        algorithm, key, version, record, signed, moment = decision.groups()
        is_named = algorithm is not None and key != b"null" and version is not None
        time = moment.decode()
        if (is_named or not signed) and _is_moment(time):
            return Decision(
                None if algorithm is None else algorithm.decode(),
                None if version is None else int(version),
                record.decode(),
                _signatures(signed) if signed else (),
                time + "Z",
            )
    elif (rows := _ROWS.fullmatch(leaf)) is not None:
        return RowsLeaf(int(rows[1]), rows[2].decode())
    return _read_slowly(leaf, index)


def _is_moment(time: str) -> bool:
    try:
        datetime.fromisoformat(time)
    except ValueError:
        return False
    return True


def _signatures(text: bytes) -> tuple[tuple[str, str], ...]:
    """The pairs in a list that the pattern has matched: every fourth and eighth piece between quotes."""
    pieces = text.decode().split('"')
    return tuple(zip(pieces[3::8], pieces[7::8], strict=True))


def _read_slowly(data: bytes, index: int) -> Decision | RowsLeaf | FormerLeaf:
    try:
        leaf = parse_leaf(data)
    except Rejected as error:
        _require_version(data, index)
        code: RejectionCode = "too_large" if error.code == "too_large" else "malformed"
        raise LogRejected(f"entry {index}: {error.message}", code=code, index=index) from error
    if isinstance(leaf, RowsLeaf | FormerLeaf):
        return leaf
    return Decision(
        algorithm=leaf.algorithm,
        key_version=leaf.key_version,
        record_sha256=leaf.record_sha256,
        signatures=tuple((each.digest, each.sha256) for each in leaf.signatures),
        time=leaf.time.isoformat(timespec="microseconds").replace("+00:00", "Z"),
    )


def _require_version(leaf: bytes, index: int) -> None:
    """What a later version of the service writes is not forged: it only cannot be read here."""
    try:
        version = parse_object(leaf).get("v")
    except ValueError:
        return
    if isinstance(version, int) and version > LEAF_VERSION:
        message = f"entry {index} is of version {version}, and this verifier reads version {LEAF_VERSION}"
        raise Indeterminate("unsupported_format", message)


def check_record(leaf: Decision, nonce: bytes, record: bytes, index: int) -> dict[str, JsonValue]:
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


def _differing(leaf: Decision, record: dict[str, JsonValue]) -> str | None:
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
