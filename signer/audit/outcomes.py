"""The entries of an intent's items: what they share is encoded once, so that an item costs little; and what further
calls of the same caller with the same key share with them, so that a call of one item does too.

A batch of a hundred signatures is a hundred records that differ in a few members. Each record and each leaf is cut, in
the order of canonical JSON, between the members that all items share and the item's own; what is written is the same,
octet for octet, as `records.decision` writes (a test holds the two against each other).
"""

from __future__ import annotations

import os
from functools import lru_cache
from hashlib import sha256
from operator import itemgetter
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


# What differs from one call to the next, even if it is the same caller that asks for the same key.
_OF_THE_CALL: Final = ("request_id", "caller_request_id", "context")
_OF_THE_USE: Final = tuple(name for name in OF_THE_INTENT if name not in _OF_THE_CALL)
_use_of: Final = itemgetter(*_OF_THE_USE)


class _Use:
    """What the entries of all calls have in common that use one key alike: the same caller, version and decision."""

    def __init__(self, epoch: str, *values: Any) -> None:  # noqa: ANN401 - those of `_OF_THE_USE`, in their order
        of_the_use = dict(zip(_OF_THE_USE, values, strict=True)) | {"kind": _KIND, "epoch": epoch}
        self.columns: Entry = {name: of_the_use.get(name) for name in COLUMNS}
        self._members = {
            recorded_name(name): _ENCODE(shown(name, value))
            for name, value in of_the_use.items()
            if value is not None and name not in NOT_RECORDED
        } | {"v": b"%d" % RECORD_VERSION}
        self._records: dict[tuple[str, ...], bytes] = {}  # templates by the names of the items' own members
        key_sha256 = of_the_use["key_sha256"]
        self.leaf = _template(
            {
                "algorithm": _ENCODE(of_the_use["algorithm"]),
                "key_sha256": _ENCODE(None if key_sha256 is None else key_sha256.hex()),
                "key_version": _ENCODE(of_the_use["version"]),
                "v": b"%d" % LEAF_VERSION,
            },
            ("record_sha256", "signatures", "time"),
        )

    def record(self, own: Mapping[str, bytes]) -> bytes:
        """The record with the members of the call and of the item, which are in the order of their names."""
        names = tuple(own)
        template = self._records.get(names)
        if template is None:
            template = self._records[names] = _template(self._members, names)
        return template % tuple(own.values())


_used: Final = lru_cache(maxsize=512)(_Use)


class _Shared:
    """What the entries of one intent, written at one time, have in common."""

    __slots__ = ("_caller_request_id", "_columns", "_context", "_intent", "_request_id", "_times", "_use")

    def __init__(self, intent: Mapping[str, Any], time: int, epoch: str) -> None:
        self._use = _used(epoch, *_use_of(intent))
        request_id, caller_request_id, context = (intent[name] for name in _OF_THE_CALL)
        self._columns: Entry = {
            **self._use.columns,
            "intent_id": intent["id"],
            "time": time,
            "request_id": request_id,
            "caller_request_id": caller_request_id,
        }
        self._intent = _ENCODE(intent["id"])
        self._request_id = _ENCODE(request_id)
        self._caller_request_id = None if caller_request_id is None else _ENCODE(caller_request_id)
        self._context = None if context is None else context.encode()
        self._times = _ENCODE(format_time(intent["time"])), _ENCODE(format_time(time))

    def entry(self, outcome: Outcome) -> Entry:
        """The entry of one item, as `records.decision` would make it."""
        signed = _signatures(outcome.signatures)
        record = self._use.record(self._own(outcome, signed))
        nonce = os.urandom(NONCE_SIZE)
        leaf = self._use.leaf % (b'"%b"' % sha256(nonce + record).hexdigest().encode(), signed, self._times[1])
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

    def _own(self, outcome: Outcome, signed: bytes) -> dict[str, bytes]:
        """The members of the call and of the item, in the order of their names."""
        own: dict[str, bytes] = {}
        if outcome.about is not None:
            own["about"] = outcome.about.encode()
        if self._caller_request_id is not None:
            own["caller_request_id"] = self._caller_request_id
        if outcome.code is not None:
            own["code"] = _ENCODE(outcome.code)
        if self._context is not None:
            own["context"] = self._context
        if outcome.detail is not None:
            own["detail"] = outcome.detail.encode()
        own["intent"] = self._intent
        own["intent_time"] = self._times[0]
        own["item"] = b"%d" % outcome.item
        if outcome.key_id is not None:
            own["key_id"] = _ENCODE(outcome.key_id)
        own["outcome"] = b'"%b"' % outcome.kind.encode()
        own["request_id"] = self._request_id
        if outcome.signatures:
            own["signatures"] = signed
        own["time"] = self._times[1]
        return own


def _template(shared: Mapping[str, bytes], own: Sequence[str]) -> bytes:
    """A canonical JSON object with a hole for each of the item's own members, which are in the order of their names."""
    members = {name: value.replace(b"%", b"%%") for name, value in shared.items()} | dict.fromkeys(own, _HOLE)
    return b"{%b}" % b",".join(b'"%b":%b' % (name.encode(), members[name]) for name in sorted(members))


def _signatures(signatures: Sequence[tuple[bytes, bytes]]) -> bytes:
    """`leaf.MadeSignature` of each, as JSON."""
    each = [f'{{"digest":"{digest.hex()}","sha256":"{hashed.hex()}"}}' for digest, hashed in signatures]
    return f"[{','.join(each)}]".encode()
