"""Signed notes, checkpoints and verifier keys."""

from __future__ import annotations

from tests.verifier import pki
from tests.verifier.log_builder import LogBuilder, cosign, log_signer, witness_signer
from verifier import VerificationError
from verifier.notes import cosigned_at, parse_checkpoint, parse_key, parse_note, require_signature

NAME = "notes"
LOG, WITNESS = log_signer(), witness_signer()
LOG_KEY, WITNESS_KEY = parse_key(LOG.text), parse_key(WITNESS.text)


def seeds() -> list[bytes]:
    """Heads with and without a cosignature, their text alone, and keys."""
    head = LogBuilder([b"a", b"b"]).checkpoint(LOG)
    return [
        head,
        cosign(head, WITNESS, pki.NOW),
        head[: head.rindex(b"\n\n") + 1],
        LOG.text.encode(),
        WITNESS.text.encode(),
    ]


def _note(data: bytes) -> None:
    note = parse_note(data)
    parse_checkpoint(note.text)
    cosigned_at(note, [WITNESS_KEY])
    require_signature(note, LOG_KEY)
    if note.text not in seeds():
        raise AssertionError("a text was read as signed that never was")


def _key(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    if str(parse_key(text)) != text:
        raise AssertionError("a key has two texts")


def one(data: bytes) -> None:
    """Read as each of them, or refused."""
    for read in (_note, parse_checkpoint, _key):
        try:
            read(data)
        except VerificationError:
            continue
