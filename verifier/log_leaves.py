"""The entries of a Sealmark's log, read strictly: what a decision, a row or a former log of the service left there.

An entry is canonical JSON (members sorted, no spaces, ASCII). It says nothing until a proof shows that the log has it,
and then it is the log's word: of its time nothing is believed, its digests are held against what the caller has.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias, TypeGuard

from verifier.errors import Rejected, VerificationError
from verifier.keys import fingerprint
from verifier.notes import parse_checkpoint, parse_note
from verifier.strict_json import JsonValue, check_members, parse_object
from verifier.times import parse_time

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from verifier.algorithms import SignatureAlgorithm
    from verifier.keys import PublicKey

MAXIMUM_LEAF: Final = 64 * 1024
LEAF_VERSION: Final = 1
_DECISION: Final = frozenset(
    {"algorithm", "key_sha256", "key_version", "record_sha256", "signatures", "time", "v"},
)
_ROWS: Final = frozenset({"journal", "link", "v"})
_FORMER: Final = frozenset({"checkpoint", "former", "root", "size", "v"})
_ALGORITHM: Final = re.compile(r"[A-Z][A-Z0-9_]{0,63}", re.ASCII)
_TIME: Final = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{6}Z", re.ASCII)
_SHA256: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_DIGEST: Final = re.compile(r"[0-9a-f]{64}|[0-9a-f]{96}|[0-9a-f]{128}", re.ASCII)


@dataclass(frozen=True, slots=True)
class LoggedSignature:
    """A signature as an entry names it, in lower-case hex.

    `digest` is that of what was signed, by the algorithm's own hash (SHA-512 for Ed25519); `sha256` is over the
    signature as a key makes it: DER for ECDSA, wherever it stands.
    """

    digest: str
    sha256: str


@dataclass(frozen=True, slots=True)
class DecisionLeaf:
    """What the service decided: signatures that it made, or none. `record_sha256` binds the full record, kept apart."""

    algorithm: str | None
    key_sha256: str | None
    key_version: int | None
    record_sha256: str
    signatures: tuple[LoggedSignature, ...]
    time: datetime


@dataclass(frozen=True, slots=True)
class RowsLeaf:
    """An entry of the journal of the service's sealed rows, and the link that chains it."""

    journal: int
    link: str


@dataclass(frozen=True, slots=True)
class FormerLeaf:
    """Entry 0 of a log that took the place of another one: where that one ended.

    `root` is hex. `checkpoint` is the newest one that the former log signed, of its size or a smaller one; None if
    there was none. Its signature is not looked at here.
    """

    origin: str
    size: int
    root: str
    checkpoint: bytes | None

    @property
    def unsigned(self) -> int:
        """How many of the former log's entries no checkpoint of it covers."""
        signed = 0 if self.checkpoint is None else parse_checkpoint(parse_note(self.checkpoint).text).size
        return self.size - signed


Leaf: TypeAlias = DecisionLeaf | RowsLeaf | FormerLeaf


@dataclass(frozen=True, slots=True)
class MadeSignature:
    """A signature that was verified, with all that an entry about it must name."""

    algorithm: str
    key_sha256: str
    signature: LoggedSignature


def made_over_digest(
    algorithm: SignatureAlgorithm, key: PublicKey, signature: bytes, digest: bytes
) -> tuple[MadeSignature]:
    """The one signature over a digest; `signature` is DER for ECDSA."""
    named = LoggedSignature(digest.hex(), hashlib.sha256(signature).hexdigest())
    return (MadeSignature(algorithm.name, fingerprint(key), named),)


def made_over_message(
    algorithm: SignatureAlgorithm, key: PublicKey, signature: bytes, message: bytes
) -> tuple[MadeSignature]:
    """The one signature over a message. Ed25519 hashes with SHA-512 inside (RFC 8032 section 5.1): its digest here."""
    digest = hashlib.new(algorithm.hash_name or "sha512", message).digest()
    return made_over_digest(algorithm, key, signature, digest)


def parse_leaf(data: bytes) -> Leaf:
    """Reads an entry. Rejected (malformed, too_large) unless it is the one encoding of one of the three kinds."""
    if len(data) > MAXIMUM_LEAF:
        raise Rejected("too_large", f"an entry of the log has at most {MAXIMUM_LEAF} bytes")
    try:
        members = parse_object(data)
        if json.dumps(members, sort_keys=True, separators=(",", ":")).encode("ascii") != data:
            raise ValueError("it is not canonical JSON")
        if not _is_number(members.get("v"), LEAF_VERSION) or members["v"] != LEAF_VERSION:
            raise ValueError(f"its version v is not {LEAF_VERSION}")
        if "former" in members:
            return _former(members)
        return _rows(members) if "journal" in members else _decision(members)
    except VerificationError as error:
        raise Rejected("malformed", f"the entry of the log is malformed: {error.message}") from error
    except ValueError as error:
        raise Rejected("malformed", f"the entry of the log is malformed: {error}") from error


def check_names(leaf: Leaf, made: Sequence[MadeSignature]) -> DecisionLeaf:
    """The entry, if it is about each of these signatures. Rejected (log_entry_mismatch) says where it is not."""
    if not isinstance(leaf, DecisionLeaf) or not leaf.signatures:
        raise Rejected("log_entry_mismatch", "The log's entry is not about a signature.")
    if not made:
        raise ValueError("at least one signature is needed")
    for each in made:
        if each.key_sha256 != leaf.key_sha256:
            raise Rejected("log_entry_mismatch", "The log's entry is about a signature by another key.")
        if each.algorithm != leaf.algorithm:
            raise Rejected("log_entry_mismatch", f"The log's entry is about a signature by {leaf.algorithm}.")
        if each.signature.digest not in {named.digest for named in leaf.signatures}:
            raise Rejected("log_entry_mismatch", "The log's entry is about something else that was signed.")
        if each.signature not in leaf.signatures:
            message = "The log's entry is about another signature over the same, by the same key."
            raise Rejected("log_entry_mismatch", message)
    return leaf


def _decision(members: dict[str, JsonValue]) -> DecisionLeaf:
    check_members(members, "a decision", exactly=_DECISION)
    algorithm, version = members["algorithm"], members["key_version"]
    # Entries about other uses of keys than signatures name algorithms that this package does not know.
    if algorithm is not None and (not isinstance(algorithm, str) or not _ALGORITHM.fullmatch(algorithm)):
        raise ValueError("its algorithm is not an AWS name")
    if version is not None and not _is_number(version, 1):
        raise ValueError("its key_version is not a positive integer")
    listed = members["signatures"]
    if not isinstance(listed, list):
        raise ValueError("its signatures are not a list")
    signatures = tuple(_signature(each) for each in listed)
    key = None if members["key_sha256"] is None else _hex(members, "key_sha256", _SHA256)
    if signatures and None in (algorithm, key, version):
        raise ValueError("it has signatures and lacks their algorithm, key_sha256 or key_version")
    return DecisionLeaf(
        algorithm=algorithm,
        key_sha256=key,
        key_version=version,
        record_sha256=_hex(members, "record_sha256", _SHA256),
        signatures=signatures,
        time=_time(members),
    )


def _signature(value: JsonValue) -> LoggedSignature:
    if not isinstance(value, dict):
        raise ValueError("a signature is not an object")
    check_members(value, "a signature", exactly=frozenset({"digest", "sha256"}))
    return LoggedSignature(_hex(value, "digest", _DIGEST), _hex(value, "sha256", _SHA256))


def _rows(members: dict[str, JsonValue]) -> RowsLeaf:
    check_members(members, "an entry about rows", exactly=_ROWS)
    journal = members["journal"]
    if not _is_number(journal, 1):
        raise ValueError("its journal is not the number of an entry")
    return RowsLeaf(journal, _hex(members, "link", _SHA256))


def _former(members: dict[str, JsonValue]) -> FormerLeaf:
    check_members(members, "an entry about a former log", exactly=_FORMER)
    origin, size, root, text = members["former"], members["size"], _hex(members, "root", _SHA256), members["checkpoint"]
    if not isinstance(origin, str) or not _is_number(size, 0):
        raise ValueError("its former log is not a name, or its size not a number from 0 on")
    if text is not None:
        if not isinstance(text, str):
            raise ValueError("its checkpoint is not a text")
        checkpoint = parse_checkpoint(parse_note(text.encode()).text)
        if checkpoint.origin != origin or checkpoint.size > size:
            raise ValueError("its checkpoint is of another log, or of more entries than it says")
        if checkpoint.size == size and checkpoint.root.hex() != root:
            raise ValueError("its checkpoint has another root")
    return FormerLeaf(origin, size, root, None if text is None else text.encode())


def _is_number(value: JsonValue, least: int) -> TypeGuard[int]:
    """A JSON integer, neither `true` nor `1.0`."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _hex(members: dict[str, JsonValue], name: str, form: re.Pattern[str]) -> str:
    value = members[name]
    if not isinstance(value, str) or not form.fullmatch(value):
        raise ValueError(f"its {name} is not a digest in lower-case hex")
    return value


def _time(members: dict[str, JsonValue]) -> datetime:
    value = members["time"]
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        raise ValueError("its time is not UTC with six digits after the point")
    return parse_time(value)
