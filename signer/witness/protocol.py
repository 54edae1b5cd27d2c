"""C2SP tlog-witness, add-checkpoint (https://c2sp.org/tlog-witness): what is asked, and whether it may be cosigned.

Pure: bytes and the state in, a checkpoint or a `Refusal` out. Who may be believed and what was cosigned before comes
from the store.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from signer.witness.errors import ForkRefusal, Refusal
from verifier.errors import Rejected
from verifier.merkle import EMPTY_ROOT, HASH_SIZE, MAXIMUM_SIZE, require_consistent
from verifier.notes import MAXIMUM_NOTE, parse_checkpoint, parse_note, require_signature

if TYPE_CHECKING:
    from verifier.notes import Checkpoint, Note, NoteKey

MAXIMUM_PROOF: Final = 63  # hashes
# `old`, the proof's lines of 44 characters, the empty line, and the note.
MAXIMUM_BODY: Final = 4 + 20 + MAXIMUM_PROOF * 45 + 2 + MAXIMUM_NOTE
_OLD: Final = re.compile(rb"old (0|[1-9][0-9]{0,18})")


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it was sent: nothing in it is believed yet."""

    old_size: int
    proof: tuple[bytes, ...]
    note: Note
    checkpoint: Checkpoint


@dataclass(frozen=True, slots=True)
class Head:
    """The newest checkpoint that was cosigned for a log: `size` leaves have the root `root`."""

    size: int
    root: bytes


def parse_request(body: bytes) -> Asked:
    """Raises `Refusal` (400) for anything but the one encoding that the protocol has."""
    if len(body) > MAXIMUM_BODY:
        raise Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a request has at most {MAXIMUM_BODY} octets")
    above, separator, signed = body.partition(b"\n\n")
    if not separator:
        raise _malformed("an empty line must stand between the consistency proof and the checkpoint")
    old, *lines = above.split(b"\n")
    found = _OLD.fullmatch(old)
    if not found or int(found[1]) > MAXIMUM_SIZE:
        raise _malformed("the first line must be `old` and a size in plain decimal")
    if len(lines) > MAXIMUM_PROOF:
        raise _malformed(f"a consistency proof has at most {MAXIMUM_PROOF} hashes")
    try:
        note = parse_note(signed)
        checkpoint = parse_checkpoint(note.text)
    except Rejected as reason:
        raise _malformed(reason.message) from None
    return Asked(int(found[1]), tuple(_hash(line) for line in lines), note, checkpoint)


def require_signed(asked: Asked, log: NoteKey) -> None:
    """Raises `Refusal` (403) unless the log's own key signed the checkpoint."""
    try:
        require_signature(asked.note, log)
    except Rejected as reason:
        raise Refusal(HTTPStatus.FORBIDDEN, reason.message) from None


def require_growth(asked: Asked, head: Head) -> None:
    """Raises `Refusal` unless the checkpoint continues what was cosigned last (`head`; size 0 before the first one).

    400 for an old size above the checkpoint's, 409 for an old size other than the head's, or for another root at the
    head's size (`ForkRefusal`), 422 for a proof that does not hold.
    """
    checkpoint = asked.checkpoint
    if asked.old_size > checkpoint.size:
        raise _malformed("the old size is above the checkpoint's")
    if asked.old_size != head.size:
        raise Refusal(HTTPStatus.CONFLICT, f"the last checkpoint cosigned has the size {head.size}", size=head.size)
    if checkpoint.size == head.size and checkpoint.root != head.root:
        if head.size == 0:
            raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, "the root of the empty log is SHA-256 of nothing")
        raise ForkRefusal(HTTPStatus.CONFLICT, f"another root was cosigned for the size {head.size}")
    try:
        require_consistent(head.size, head.root, checkpoint.size, checkpoint.root, asked.proof)
    except Rejected as reason:
        raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, reason.message) from None


EMPTY: Final = Head(0, EMPTY_ROOT)


def _hash(line: bytes) -> bytes:
    try:
        found = base64.b64decode(line, validate=True)
    except (binascii.Error, ValueError):
        found = b""
    if len(found) != HASH_SIZE or base64.b64encode(found) != line:
        raise _malformed("a line of the consistency proof is not the base64 of 32 octets")
    return found


def _malformed(message: str) -> Refusal:
    return Refusal(HTTPStatus.BAD_REQUEST, message)
