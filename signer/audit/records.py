"""What is written: the values of an intent, and the entries of the log. No plaintext, no secret.

An entry is a row of `log_entries` without its place: the full record (canonical JSON, for auditors), a random nonce,
the leaf that commits to both, and the columns by which entries are found.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from signer.audit.leaf import NONCE_SIZE, MadeSignature, decision_leaf, format_time, former_leaf, rows_leaf
from signer.audit.tree import leaf_hash

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from keystore.api import Key, KeyVersion
    from signer.access import Permit
    from signer.audit.reading import Head
    from signer.call import Call

OutcomeKind = Literal["succeeded", "failed", "denied", "unknown"]
Entry = dict[str, Any]
RECORD_VERSION: Final = 1
_MADE_HERE: Final = object()


@dataclass(frozen=True, slots=True)
class AuditedKey:
    """The key, version and algorithm that an intent is about. `key_sha256` is over the version's public key; a secret
    key has none."""

    key_id: str
    purpose: str | None = None
    domain: str | None = None
    version_id: str | None = None
    version: int | None = None
    algorithm: str | None = None
    key_sha256: bytes | None = None


def audited(key: Key, version: KeyVersion | None = None, algorithm: str | None = None) -> AuditedKey:
    """A key as an intent names it; with `version`, as what is about to be used."""
    if version is None:
        return AuditedKey(key.id, key.purpose.value, key.domain)
    hashed = hashlib.sha256(version.public_key).digest() if version.public_key else None
    return AuditedKey(key.id, key.purpose.value, key.domain, version.id, version.number, algorithm, hashed)


@dataclass(frozen=True, slots=True)
class RecordedIntent:
    """An intent that is durable. Satisfies `keystore.api.Intent`: the only thing that opens a key for use.

    Only `AuditTrail` makes one, after the commit. `row` is the intent as it was written.
    """

    intent_id: str
    key_id: str
    version_id: str
    algorithm: str
    permit: Permit
    row: Mapping[str, Any]
    proof: object = field(repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.proof is not _MADE_HERE:
            msg = "only the audit trail makes intents, once they are durable"
            raise TypeError(msg)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one item.

    `signatures` are those that the HSM made for it, released or not: (hash of what was signed, SHA-256 of the
    signature). `about` is what the item was, in the caller's words: canonical JSON; `artifact_digest` the file's
    digest, where it was a file.
    """

    item: int
    kind: OutcomeKind
    code: str | None = None
    signatures: Sequence[tuple[bytes, bytes]] = ()
    detail: str | None = None  # canonical JSON
    about: str | None = None
    artifact_digest: bytes | None = None
    key_id: str | None = None


@dataclass(frozen=True, slots=True)
class ItemsRefused:
    """Items of a permitted call that were refused before there was an intent for them: (position, code)."""

    permit: Permit
    call: Call
    items: Sequence[tuple[int, str]]


def canonical(members: Mapping[str, object]) -> str:
    """Canonical JSON, as `detail` holds it."""
    return msgspec.json.encode(members, order="sorted").decode()


def recorded(row: Mapping[str, Any], permit: Permit) -> RecordedIntent:
    """For `AuditTrail` alone, after the commit."""
    return RecordedIntent(
        row["id"], row["key_id"] or "", row["version_id"] or "", row["algorithm"] or "", permit, row, _MADE_HERE
    )


# What an entry takes over from its intent, by the name that it has there.
OF_THE_INTENT: Final = (
    *("request_id", "caller_request_id", "principal", "credential", "proof", "source", "action", "subject", "key_id"),
    *("version_id", "version", "key_sha256", "algorithm", "purpose", "domain", "items", "context"),
    *("policy_revision", "decided_by", "approval"),
)
_JSON: Final = frozenset({"context", "detail", "proof", "about"})  # texts that are canonical JSON themselves
_TIMES: Final = frozenset({"time", "intent_time"})
NOT_RECORDED: Final = frozenset({"key_sha256", "digest", "signature_sha256", "artifact_digest"})
_RENAMED: Final = {"intent_id": "intent", "version": "key_version"}
COLUMNS: Final = (
    *("kind", "intent_id", "item", "time", "outcome", "code", "request_id", "caller_request_id", "principal"),
    *("credential", "proof", "source", "action", "subject", "key_id", "digest", "signature_sha256"),
    *("artifact_digest", "detail", "epoch", "leaf", "leaf_hash", "nonce", "record"),
)
DIGESTS: Final = "digests"  # of an entry, and of no column: rows of `log_digests`
_EMPTY: Final[Entry] = dict.fromkeys(COLUMNS)


def decision(
    values: Mapping[str, Any],
    signatures: Sequence[tuple[bytes, bytes]] = (),
    *,
    time: int,
    epoch: str,
    kind: str = "decision",
) -> Entry:
    """An entry of these values; what has no column stands in the record alone."""
    made = [MadeSignature(digest.hex(), hashed.hex()) for digest, hashed in signatures]
    known = {**values, "kind": kind, "time": time, "epoch": epoch}
    record = _record(known, made)
    nonce = os.urandom(NONCE_SIZE)
    leaf = decision_leaf(
        record,
        nonce,
        time=time,
        algorithm=known.get("algorithm"),
        key_sha256=known.get("key_sha256"),
        key_version=known.get("version"),
        signatures=made,
    )
    entry = {name: known.get(name) for name in COLUMNS}
    if signatures:
        entry["digest"], entry["signature_sha256"] = signatures[0]
    entry[DIGESTS] = digests_of(signatures, known.get("about"), known.get("artifact_digest"))
    return entry | {"leaf": leaf, "leaf_hash": leaf_hash(leaf), "nonce": nonce, "record": record.decode()}


def digests_of(
    signatures: Sequence[tuple[bytes, bytes]], about: str | None, artifact_digest: bytes | None
) -> list[bytes]:
    """Every digest by which an entry is found, once each. `about` is canonical JSON."""
    found = [digest for pair in signatures for digest in pair]
    if artifact_digest is not None:
        found.append(artifact_digest)
    if about is not None and '"digests"' in about:
        found += file_digests(msgspec.json.decode(about))
    return list(dict.fromkeys(found))


def file_digests(about: object) -> list[bytes]:
    """The digests of every file that an item's `about` names."""
    files = about.get("artifacts", [about]) if isinstance(about, dict) else []
    return [
        bytes.fromhex(digest)
        for file in files
        for digest in (file.get("digests") or {}).values()
        if isinstance(digest, str)
    ]


def rows_entry(journal: int, link: bytes, *, time: int) -> Entry:
    """The entry of one entry of the sealed rows' journal."""
    leaf = rows_leaf(journal, link)
    return _EMPTY | {"kind": "rows", "time": time, "leaf": leaf, "leaf_hash": leaf_hash(leaf)}


def former_entry(former: Head, *, time: int) -> Entry:
    """Leaf 0 of the log that follows a former one."""
    newest = former.cosigned if former.cosigned_size == former.checkpoint_size else former.checkpoint
    leaf = former_leaf(former.origin, former.size, former.root, newest or former.checkpoint)
    return _EMPTY | {"kind": "former", "time": time, "leaf": leaf, "leaf_hash": leaf_hash(leaf)}


def _record(known: Mapping[str, Any], signatures: Sequence[MadeSignature]) -> bytes:
    record: dict[str, object] = {"v": RECORD_VERSION}
    for name, value in known.items():
        if value is None or name in NOT_RECORDED:
            continue
        record[recorded_name(name)] = shown(name, value)
    if signatures:
        record["signatures"] = signatures
    return msgspec.json.encode(record, order="sorted")


def recorded_name(name: str) -> str:
    """What a value is called in the record."""
    return _RENAMED.get(name, name)


def shown(name: str, value: str | int) -> object:
    """A value as the record has it."""
    if name in _JSON:
        return msgspec.Raw(str(value).encode())
    return format_time(int(value)) if name in _TIMES else value
