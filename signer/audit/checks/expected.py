"""What the rows around the log must hold, by a record and its leaf: columns of an entry, its intent, its digests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Final

import msgspec

from keystore.algorithms import SIGNING_ALGORITHMS
from signer.audit.leaf import MadeSignature

if TYPE_CHECKING:
    from keystore.db.engine import Value
    from keystore.db.snapshot import Row

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_ABSENT: Final = msgspec.Raw()


class Record(msgspec.Struct, gc=False):
    """The members of a record, of the types that they must have. JSON in JSON stays as it is written."""

    kind: str
    time: str
    epoch: str
    outcome: str | None = None
    code: str | None = None
    request_id: str | None = None
    caller_request_id: str | None = None
    principal: str | None = None
    credential: str | None = None
    proof: msgspec.Raw = _ABSENT
    source: str | None = None
    action: str | None = None
    subject: str | None = None
    key_id: str | None = None
    version_id: str | None = None
    key_version: int | None = None
    algorithm: str | None = None
    purpose: str | None = None
    domain: str | None = None
    context: msgspec.Raw = _ABSENT
    policy_revision: int | None = None
    decided_by: str | None = None
    approval: str | None = None
    detail: msgspec.Raw = _ABSENT
    about: msgspec.Raw = _ABSENT
    intent: str | None = None
    intent_time: str | None = None
    item: int | None = None
    items: int | None = None
    signatures: list[MadeSignature] = []


class Leaf(msgspec.Struct, gc=False):
    """Any kind of leaf."""

    algorithm: str | None = None
    key_sha256: str | None = None
    key_version: int | None = None
    record_sha256: str | None = None
    signatures: list[MadeSignature] = []
    time: str = ""
    journal: Annotated[int, msgspec.Meta(ge=0)] = 0
    link: str = ""
    former: str = ""


class _Digests(msgspec.Struct, gc=False):
    sha256: str | None = None
    sha384: str | None = None
    sha512: str | None = None


class _Artifact(msgspec.Struct, gc=False):
    digests: _Digests | None = None


class About(msgspec.Struct, gc=False):
    """What an item is about: a file, or several."""

    digests: _Digests | None = None
    artifacts: list[_Artifact] = []


_NO_DIGESTS: Final = _Digests()
read_record: Final = msgspec.json.Decoder(Record).decode
read_leaf: Final = msgspec.json.Decoder(Leaf).decode
read_about: Final = msgspec.json.Decoder(About).decode


def agree(leaf: Leaf, record: Record) -> bool:
    """Whether the members that both have are the same."""
    return (
        record.time == leaf.time
        and record.signatures == leaf.signatures
        and record.algorithm == leaf.algorithm
        and record.key_version == leaf.key_version
    )


def columns_of(record: Record, about: About | None) -> Row:
    """What the columns for searching must be, in the table's order."""
    signed = record.signatures[0] if record.signatures else None
    return (
        record.kind,
        record.intent,
        record.item,
        _microseconds(record.time),
        record.outcome,
        record.code,
        record.request_id,
        record.caller_request_id,
        record.principal,
        record.credential,
        _text(record.proof),
        record.source,
        record.action,
        record.subject,
        record.key_id,
        None if signed is None else bytes.fromhex(signed.digest),
        None if signed is None else bytes.fromhex(signed.sha256),
        None if about is None else _artifact_digest(about, record.algorithm),
        _text(record.detail),
        record.epoch,
    )


def intent_of(record: Record, key_sha256: str | None) -> Row:
    """What the intent must be, in the order of `_INTENT_COLUMNS`."""
    return (
        record.intent,
        None if record.intent_time is None else _microseconds(record.intent_time),
        record.request_id,
        record.caller_request_id,
        record.principal,
        record.credential,
        _text(record.proof),
        record.source,
        record.action,
        record.subject,
        record.key_id,
        record.version_id,
        record.key_version,
        _octets(key_sha256),
        record.algorithm,
        record.purpose,
        record.domain,
        record.items,
        _text(record.context),
        record.policy_revision,
        record.decided_by,
        record.approval,
    )


def _text(raw: msgspec.Raw) -> str | None:
    return bytes(raw).decode() if raw else None


def _microseconds(moment: str) -> int:
    """Since 1970. ValueError for what is no time."""
    return (datetime.fromisoformat(moment) - _EPOCH) // _MICROSECOND


def _artifact_digest(about: About, algorithm: str | None) -> bytes | None:
    """Of the file, where the record is about one: the digest that is signed, or SHA-256, or whichever was given."""
    if about.digests is not None:
        row = SIGNING_ALGORITHMS.get(algorithm or "")
        signed = None if row is None else getattr(about.digests, row.hash_name or "", None)
        return _octets(signed) or _first_digest(about.digests)
    return _first_digest(about.artifacts[0].digests) if about.artifacts else None


def digests_of(record: Record, about: About | None, artifact_digest: Value) -> list[bytes]:
    """By what an entry is found: what was signed, its signatures, and all digests of its files."""
    named = [digest for one in record.signatures for digest in (one.digest, one.sha256)]
    if about is not None:
        files: list[_Artifact | About] = [*about.artifacts] or [about]
        for file in files:
            every = file.digests or _NO_DIGESTS
            named += [digest for digest in (every.sha256, every.sha384, every.sha512) if digest]
    found = dict.fromkeys(map(bytes.fromhex, named))
    return [*found] if not isinstance(artifact_digest, bytes) else [*(found | {artifact_digest: None})]


def _first_digest(digests: _Digests | None) -> bytes | None:
    return None if digests is None else _octets(digests.sha256 or digests.sha384 or digests.sha512)


def _octets(text: str | None) -> bytes | None:
    """Hex as octets; what is no hex as something that no column should hold."""
    if not text:
        return None
    try:
        return bytes.fromhex(text)
    except ValueError:
        return b""
