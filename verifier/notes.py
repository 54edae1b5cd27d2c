"""Signed notes, checkpoints and cosignatures of transparency logs, read strictly.

Formats: C2SP signed-note, tlog-checkpoint, tlog-cosignature (https://c2sp.org). Ed25519 alone. Signature lines under
names or key ids that the caller does not trust are left aside, as signed-note asks: they say nothing, good or bad.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from verifier import edwards
from verifier.errors import Indeterminate, Rejected
from verifier.merkle import HASH_SIZE, MAXIMUM_SIZE

if TYPE_CHECKING:
    from collections.abc import Iterable

SIGNATURE: Final = 0x01  # signed-note: Ed25519 over the text
COSIGNATURE: Final = 0x04  # tlog-cosignature: Ed25519 over a time and the text
MAXIMUM_NOTE: Final = 64 * 1024
MAXIMUM_SIGNATURES: Final = 64
_LINE: Final = "— "
_LATEST: Final = 253402300799  # the last second of the year 9999


@dataclass(frozen=True, slots=True)
class NoteKey:
    """A verifier key (signed-note, "Verifier keys"): who signs, and the kind of signature that it makes."""

    name: str
    kind: int
    public_key: bytes  # 32 bytes (RFC 8032 section 5.1.5)

    @property
    def key_id(self) -> bytes:
        """Four bytes that select, and prove nothing."""
        return hashlib.sha256(self.name.encode() + b"\n" + bytes([self.kind]) + self.public_key).digest()[:4]

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(bytes([self.kind]) + self.public_key).decode()}"


@dataclass(frozen=True, slots=True)
class NoteSignature:
    """One line below a note's text."""

    name: str
    key_id: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Note:
    """A signed note: its text, with the line feed that ends it, and the lines below it."""

    text: bytes
    signatures: tuple[NoteSignature, ...]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A log's head at one moment: `size` leaves have the root `root`."""

    origin: str
    size: int
    root: bytes


def parse_key(text: str) -> NoteKey:
    """`NAME+ID+KEY`. Raises `Indeterminate` (invalid_trust) for anything else, also for an id that is not the key's.

    A key outside the curve's prime order is refused as everywhere: under some, anybody can sign.
    """
    message = f"{text[:100]!r} is not a verifier key of the form NAME+ID+KEY"
    name, _, rest = text.partition("+")
    key_id, _, encoded = rest.partition("+")
    decoded = parse_base64(encoded)
    if not _is_name(name) or not name.isprintable() or decoded is None or len(decoded) != 33:
        raise Indeterminate("invalid_trust", message)
    key = NoteKey(name, decoded[0], decoded[1:])
    if key.kind not in (SIGNATURE, COSIGNATURE) or not edwards.is_public_key(key.public_key):
        raise Indeterminate("invalid_trust", f"{message}: its key is not one of Ed25519 for signatures or cosignatures")
    if key.key_id.hex() != key_id:
        raise Indeterminate("invalid_trust", f"{message}: its id would be {key.key_id.hex()}")
    return key


def parse_note(data: bytes) -> Note:
    """Raises `Rejected` (malformed)."""
    if len(data) > MAXIMUM_NOTE:
        raise Rejected("too_large", f"a signed note has at most {MAXIMUM_NOTE} bytes")
    try:
        whole = data.decode("utf-8")
    except UnicodeDecodeError:
        raise Rejected("malformed", "the note is not UTF-8") from None
    text, separator, below = whole.rpartition("\n\n")
    if not separator or not below.endswith("\n") or any(ord(char) < 0x20 and char != "\n" for char in whole):
        raise Rejected("malformed", "the note is not a text, an empty line and signatures")
    lines = below[:-1].split("\n")
    if len(lines) > MAXIMUM_SIGNATURES:
        raise Rejected("malformed", f"the note has more than {MAXIMUM_SIGNATURES} signatures")
    return Note((text + "\n").encode(), tuple(_parse_line(line) for line in lines))


def _parse_line(line: str) -> NoteSignature:
    name, space, encoded = line.removeprefix(_LINE).partition(" ")
    decoded = parse_base64(encoded)
    if not line.startswith(_LINE) or not space or not _is_name(name) or decoded is None or len(decoded) < 5:
        raise Rejected("malformed", "a signature line of the note is not `— NAME BASE64`")
    return NoteSignature(name, decoded[:4], decoded[4:])


def parse_checkpoint(text: bytes) -> Checkpoint:
    """The text of a checkpoint: origin, size, root; further lines are refused. Raises `Rejected` (malformed)."""
    try:
        lines = text.decode("utf-8").split("\n")
    except UnicodeDecodeError:
        raise Rejected("malformed", "the checkpoint is not UTF-8") from None
    if len(lines) != 4 or lines[3] or not lines[0]:
        raise Rejected("malformed", "a checkpoint has three lines: origin, size and root")
    size, root = parse_decimal(lines[1]), parse_base64(lines[2])
    if size is None:
        raise Rejected("malformed", "the checkpoint's size is not a plain decimal number")
    if root is None or len(root) != HASH_SIZE:
        raise Rejected("malformed", "the checkpoint's root is not the base64 of 32 bytes")
    return Checkpoint(lines[0], size, root)


def parse_decimal(text: str) -> int | None:
    """A size or an index in ASCII digits without leading zeros, at most 2^63 - 1; None for anything else."""
    # Its length first: `int` refuses very long numbers by an exception of its own.
    if not (text.isascii() and text.isdigit()) or len(text) > len(str(MAXIMUM_SIZE)):
        return None
    number = int(text)
    return number if str(number) == text and number <= MAXIMUM_SIZE else None


def require_signature(note: Note, key: NoteKey) -> None:
    """That the note is signed by this key, once. Raises `Rejected` (untrusted_signer, signature_invalid)."""
    _require(key, note.text, _only(note, key, 64))


def cosigned_at(note: Note, keys: Iterable[NoteKey]) -> dict[str, datetime]:
    """When each of these witnesses saw the note, by name; those that did not cosign are left out.

    Raises `Rejected` (signature_invalid) if a line that claims to be one of theirs is not.
    """
    found: dict[str, datetime] = {}
    for key in keys:
        if not any(line.name == key.name and line.key_id == key.key_id for line in note.signatures):
            continue
        signature = _only(note, key, 72)
        seconds = int.from_bytes(signature[:8], "big")
        if not 0 < seconds <= _LATEST:
            raise Rejected("signature_invalid", f"the cosignature of {key.name} has no possible time")
        _require(key, b"cosignature/v1\ntime " + str(seconds).encode() + b"\n" + note.text, signature[8:])
        found[key.name] = datetime.fromtimestamp(seconds, UTC)
    return found


def _only(note: Note, key: NoteKey, size: int) -> bytes:
    mine = [line for line in note.signatures if line.name == key.name and line.key_id == key.key_id]
    if not mine:
        raise Rejected("untrusted_signer", f"the checkpoint is not signed by {key.name}")
    if len(mine) != 1 or len(mine[0].signature) != size:
        raise Rejected("signature_invalid", f"the checkpoint has not just one signature of {key.name}")
    return mine[0].signature


def _require(key: NoteKey, message: bytes, signature: bytes) -> None:
    try:
        Ed25519PublicKey.from_public_bytes(key.public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        raise Rejected("signature_invalid", f"the signature of {key.name} does not fit the checkpoint") from None


def _is_name(name: str) -> bool:
    """signed-note: not empty, no Unicode spaces, no plus."""
    return bool(name) and "+" not in name and not any(char.isspace() for char in name)


def parse_base64(text: str) -> bytes | None:
    """Standard base64 in its one canonical text (RFC 4648 sections 3.5 and 4); None for anything else."""
    try:
        decoded = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return decoded if base64.b64encode(decoded).decode() == text else None
