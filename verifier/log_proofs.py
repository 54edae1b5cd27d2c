"""Proofs that something stands in a transparency log, checked without the log (C2SP tlog-proof, tlog-checkpoint).

A proof carries the log's entry, the way from it to the root, and a head with that root, signed by the log and cosigned
by witnesses. Whom to believe comes from the caller. Every proof that is not right is a rejection, none is ignored.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from verifier.errors import Indeterminate, Rejected
from verifier.log_leaves import DecisionLeaf, Leaf, check_names, parse_leaf
from verifier.merkle import HASH_SIZE, leaf_hash, root_from_inclusion
from verifier.notes import (
    Checkpoint,
    Note,
    cosigned_at,
    parse_base64,
    parse_checkpoint,
    parse_decimal,
    parse_note,
    require_signature,
)
from verifier.results import Cosigned, LogPosition, TimeFacts
from verifier.times import CLOCK_MARGIN, format_time, require_aware
from verifier.trusted_logs import TrustedLog, check_distinct

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from verifier.errors import RejectionCode
    from verifier.log_leaves import MadeSignature

MAXIMUM_PROOF: Final = 4096  # what Sealmark's proofs never exceed
MAXIMUM_HASHES: Final = 63  # the height of the largest tree
HEADER: Final = "c2sp.org/tlog-proof@v1"
# Every other code says, of a proof, only that it does not hold; beside a signature it would be read as the signature's.
_CODES: Final[Mapping[str, RejectionCode]] = MappingProxyType(
    {code: code for code in ("untrusted_signer", "too_few_cosignatures")}
)

NOT_WITNESSED: Final = (
    "no witness of the log was asked: its operator could show another history to others, and its time is its own word"
)
NOT_RECORD: Final = "the full record behind the log's entry was not seen"


@dataclass(frozen=True, slots=True)
class Proof:
    """A proof as it is written: nothing of it is believed yet."""

    entry: bytes
    index: int
    hashes: tuple[bytes, ...]
    note: Note


@dataclass(frozen=True, slots=True)
class LoggedEntry:
    """An entry that a trusted log has, with as many cosignatures as are asked for. What it is about is still open.

    `proven_at` is the moment at which so many of the witnesses had seen it, None where none were asked for.
    """

    leaf: Leaf
    index: int
    checkpoint: Checkpoint
    log: TrustedLog
    cosigned: tuple[Cosigned, ...]
    proven_at: datetime | None

    def position_of(self, made: Sequence[MadeSignature]) -> LogPosition:
        """Where the log has these signatures. Rejected (log_entry_mismatch) unless its entry names each of them."""
        leaf = check_names(self.leaf, made)
        return LogPosition(
            origin=self.checkpoint.origin,
            index=self.index,
            size=self.checkpoint.size,
            root=self.checkpoint.root.hex(),
            logged_at=leaf.time,
            record_sha256=leaf.record_sha256,
            key_version=leaf.key_version,
            cosignatures=self.log.cosignatures,
            cosigned=self.cosigned,
            proven_at=self.proven_at,
        )

    @property
    def limits(self) -> tuple[str, ...]:
        """What the proof leaves open."""
        return (NOT_RECORD,) if self.proven_at is not None else (NOT_WITNESSED, NOT_RECORD)


def verify_log_proof(proof: bytes | str, logs: Sequence[TrustedLog], *, clock: datetime | None = None) -> LoggedEntry:
    """The entry that the proof is for, of whatever kind. `clock` is the machine's time, aware; now by default.

    Rejected: log_proof_invalid, untrusted_signer (not one of these logs), too_few_cosignatures. `Indeterminate`
    (no_trust) if no log is trusted at all.
    """
    if not logs:
        raise Indeterminate("no_trust", "There is a log proof, and no log is trusted: name one, by its key.")
    check_distinct(logs)
    now = datetime.now(UTC) if clock is None else require_aware(clock, "clock")
    try:
        return _verify(parse_proof(_octets(proof)), logs, now)
    except Rejected as error:
        code = _CODES.get(error.code, "log_proof_invalid")
        raise Rejected(code, f"The log proof does not hold: {error.message}.") from error


def open_proof(
    proof: bytes | str | None, logs: Sequence[TrustedLog], by_default: Sequence[TrustedLog], clock: datetime
) -> LoggedEntry | None:
    """What the verifying functions do first: None without a proof. ValueError for logs and no proof.

    Whoever names logs expects that they are asked; a proof that is forgotten must not pass for one that holds.
    """
    if proof is None:
        if logs:
            raise ValueError("logs are given, and no proof of theirs")
        return None
    return verify_log_proof(proof, logs or by_default, clock=clock)


def position_in(entry: LoggedEntry | None, made: Sequence[MadeSignature]) -> LogPosition | None:
    """What they do last: None without a proof. Rejected (log_entry_mismatch) for the proof of something else."""
    return None if entry is None else entry.position_of(made)


def judged_time(given: datetime | None, clock: datetime, entry: LoggedEntry | None, *, name: str = "at") -> TimeFacts:
    """When to judge: at the time given; else when the log's witnesses had seen the signature; else at the clock."""
    if given is not None:
        moment = require_aware(given, name)
        return TimeFacts(moment, "given", moment)
    if entry is not None and entry.proven_at is not None:
        return TimeFacts(entry.proven_at, "log", clock)
    return TimeFacts(clock, "now", clock)


def parse_proof(data: bytes) -> Proof:
    """Reads the text of a proof. Rejected (malformed, too_large) for what is not its one encoding."""
    if len(data) > MAXIMUM_PROOF:
        raise Rejected("too_large", f"a proof has at most {MAXIMUM_PROOF} bytes")
    head, separator, rest = data.partition(b"\n\n")
    try:
        lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError:
        raise Rejected("malformed", "there is something besides ASCII above the checkpoint") from None
    if not separator or len(lines) < 3 or lines[0] != HEADER:
        raise Rejected("malformed", f"it does not begin with the lines {HEADER}, extra and index")
    entry = parse_base64(lines[1].removeprefix("extra ")) if lines[1].startswith("extra ") else None
    if not entry:
        raise Rejected("malformed", "its second line is not the log's entry: extra and its base64")
    index = parse_decimal(lines[2].removeprefix("index ")) if lines[2].startswith("index ") else None
    if index is None:
        raise Rejected("malformed", "its third line is not the entry's place: index and a plain decimal number")
    hashes = tuple(each for each in map(parse_base64, lines[3:]) if each is not None and len(each) == HASH_SIZE)
    if len(hashes) != len(lines) - 3 or len(hashes) > MAXIMUM_HASHES:
        raise Rejected("malformed", f"it has not up to {MAXIMUM_HASHES} lines with the base64 of {HASH_SIZE} bytes")
    return Proof(entry, index, hashes, parse_note(rest))


def _octets(proof: bytes | str) -> bytes:
    # What has no UTF-8 form (a lone surrogate) becomes bytes that are no UTF-8 either, and is refused as such.
    return proof.encode("utf-8", "surrogatepass") if isinstance(proof, str) else proof


def _verify(proof: Proof, logs: Sequence[TrustedLog], clock: datetime) -> LoggedEntry:
    """From the signed head down to the entry: nothing is read of what is not vouched for by then, but to find a key."""
    checkpoint = parse_checkpoint(proof.note.text)
    log = next((each for each in logs if each.origin == checkpoint.origin), None)
    if log is None:
        raise Rejected("untrusted_signer", f"it is of the log {checkpoint.origin!r}, which is not trusted")
    require_signature(proof.note, log.key)
    if root_from_inclusion(leaf_hash(proof.entry), proof.index, checkpoint.size, proof.hashes) != checkpoint.root:
        raise Rejected("log_proof_invalid", "the log that was signed does not have this entry at this place")
    leaf = parse_leaf(proof.entry)
    cosigned = tuple(Cosigned(name, at) for name, at in cosigned_at(proof.note, log.witnesses).items())
    return LoggedEntry(leaf, proof.index, checkpoint, log, cosigned, _proven_at(leaf, _seen_at(log, cosigned), clock))


def _seen_at(log: TrustedLog, cosigned: Sequence[Cosigned]) -> datetime | None:
    """The earliest moment at which as many witnesses as are needed had seen the head. Rejected if they have not.

    Of N cosignatures needed it is the N-th in time: to move it, N witnesses would have to lie.
    """
    needed = log.cosignatures
    if len(cosigned) < needed:
        message = f"{len(cosigned)} of the log's trusted witnesses cosigned its head, and {needed} are needed"
        raise Rejected("too_few_cosignatures", message)
    return sorted(each.at for each in cosigned)[needed - 1] if needed else None


def _proven_at(leaf: Leaf, seen_at: datetime | None, clock: datetime) -> datetime | None:
    """When the entry existed at the latest. Rejected if it claims to be made after it was seen, or seen in the future.

    Clocks may differ by CLOCK_MARGIN, and a witness's tells whole seconds: where the log's is ahead, its time counts,
    so that nothing is judged before it was made. What is held in hand exists by now, whatever a clock ahead says.
    """
    if seen_at is not None and seen_at > clock + CLOCK_MARGIN:
        raise Rejected("log_proof_invalid", f"the log's head is cosigned at {format_time(seen_at)}, in the future")
    made = leaf.time if isinstance(leaf, DecisionLeaf) else None
    if made is not None and made > (clock if seen_at is None else seen_at) + CLOCK_MARGIN:
        raise Rejected("log_proof_invalid", f"the entry is of {format_time(made)}, after it was seen")
    return None if seen_at is None else min(max(seen_at, made or seen_at), clock)
