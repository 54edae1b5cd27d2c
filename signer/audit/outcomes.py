"""The entries of an intent's items: what they share is encoded once, so that an item costs little.

A batch of a hundred signatures is a hundred records that differ in a few members. Each record and each leaf is cut, in
the order of canonical JSON, between the members that all items share and the item's own; what is written is the same,
octet for octet, as `records.decision` writes (a test holds the two against each other).
"""

from __future__ import annotations

import os
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

import msgspec

from signer.audit.leaf import LEAF_VERSION, NONCE_SIZE, format_time
from signer.audit.records import (
    COLUMNS,
    DIGESTS,
    NOT_RECORDED,
    OF_THE_INTENT,
    RECORD_VERSION,
    Entry,
    digests_of,
    recorded_name,
    shown,
)
from signer.audit.tree import leaf_hash

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from signer.audit.records import Outcome

_KIND: Final = "decision"
_ENCODE: Final = msgspec.json.Encoder().encode
_HOLE: Final = b"%b"


def outcomes_of(intent: Mapping[str, Any], outcomes: Iterable[Outcome], *, time: int, epoch: str) -> list[Entry]:
    """The entries of what became of an intent's items (`intent` is its row), all at `time`: microseconds since 1970."""
    shared = _Shared(intent, time, epoch)
    return [shared.entry(outcome) for outcome in outcomes]


class _Shared:
    """What the entries of one intent, written at one time, have in common."""

    __slots__ = ("_columns", "_leaf", "_members", "_records", "_values")

    def __init__(self, intent: Mapping[str, Any], time: int, epoch: str) -> None:
        self._values: dict[str, Any] = {name: intent[name] for name in OF_THE_INTENT} | {
            "intent_id": intent["id"],
            "intent_time": intent["time"],
            "kind": _KIND,
            "time": time,
            "epoch": epoch,
        }
        self._columns: Entry = {name: self._values.get(name) for name in COLUMNS}
        self._members = {
            recorded_name(name): _ENCODE(shown(name, value))
            for name, value in self._values.items()
            if value is not None and name not in NOT_RECORDED
        } | {"v": b"%d" % RECORD_VERSION}
        self._records: dict[tuple[str, ...], bytes] = {}  # templates by the names of the items' own members
        key_sha256 = self._values["key_sha256"]
        self._leaf = _template(
            {
                "algorithm": _ENCODE(self._values["algorithm"]),
                "key_sha256": _ENCODE(None if key_sha256 is None else key_sha256.hex()),
                "key_version": _ENCODE(self._values["version"]),
                "time": _ENCODE(format_time(time)),
                "v": b"%d" % LEAF_VERSION,
            },
            ("record_sha256", "signatures"),
        )

    def entry(self, outcome: Outcome) -> Entry:
        """The entry of one item, as `records.decision` would make it."""
        signed = _signatures(outcome.signatures)
        record = self._record(outcome, signed)
        nonce = os.urandom(NONCE_SIZE)
        leaf = self._leaf % (b'"%b"' % sha256(nonce + record).hexdigest().encode(), signed)
        entry = {
            **self._columns,
            "item": outcome.item,
            "outcome": outcome.kind,
            "code": outcome.code,
            "detail": outcome.detail,
            "artifact_digest": outcome.artifact_digest,
            "leaf": leaf,
            "leaf_hash": leaf_hash(leaf),
            "nonce": nonce,
            "record": record.decode(),
            DIGESTS: digests_of(outcome.signatures, outcome.about, outcome.artifact_digest),
        }
        if outcome.signatures:
            entry["digest"], entry["signature_sha256"] = outcome.signatures[0]
        if outcome.key_id is not None:
            entry["key_id"] = outcome.key_id
        return entry

    def _record(self, outcome: Outcome, signed: bytes) -> bytes:
        own: dict[str, bytes] = {}  # in the order of their names
        if outcome.about is not None:
            own["about"] = outcome.about.encode()
        if outcome.code is not None:
            own["code"] = _ENCODE(outcome.code)
        if outcome.detail is not None:
            own["detail"] = outcome.detail.encode()
        own["item"] = b"%d" % outcome.item
        if outcome.key_id is not None:
            own["key_id"] = _ENCODE(outcome.key_id)
        own["outcome"] = b'"%b"' % outcome.kind.encode()
        if outcome.signatures:
            own["signatures"] = signed
        names = tuple(own)
        template = self._records.get(names)
        if template is None:
            template = self._records[names] = _template(self._members, names)
        return template % tuple(own.values())


def _template(shared: Mapping[str, bytes], own: Sequence[str]) -> bytes:
    """A canonical JSON object with a hole for each of the item's own members, which are in the order of their names."""
    members = {name: value.replace(b"%", b"%%") for name, value in shared.items()} | dict.fromkeys(own, _HOLE)
    return b"{%b}" % b",".join(b'"%b":%b' % (name.encode(), members[name]) for name in sorted(members))


def _signatures(signatures: Sequence[tuple[bytes, bytes]]) -> bytes:
    """`leaf.MadeSignature` of each, as JSON."""
    each = [f'{{"digest":"{digest.hex()}","sha256":"{hashed.hex()}"}}' for digest, hashed in signatures]
    return f"[{','.join(each)}]".encode()
