"""Log proofs: the text, and, since no changed entry passes the tree, entries that a trusted log really has."""

from __future__ import annotations

import json

from tests.verifier import pki
from tests.verifier.log_builder import LogBuilder, decision_leaf, rows_leaf, sign_note
from tests.verifier.proof_builder import LOG, cosigned, proof, trust
from verifier import VerificationError, verify_log_proof
from verifier.log_leaves import DecisionLeaf, LoggedSignature, MadeSignature

NAME = "log_proof"
LOGS = (trust(2),)
ENTRY = b"entry:"
HEAD = b"head:"
SIGNATURE = {"digest": "ab" * 32, "sha256": "cd" * 32}
MADE = MadeSignature("ECDSA_SHA_256", "12" * 32, LoggedSignature("ab" * 32, "cd" * 32))
LEAF = decision_leaf(SIGNATURE, algorithm="ECDSA_SHA_256", key_sha256="12" * 32, key_version=1)


def seeds() -> list[bytes]:
    """Proofs, and, after `entry:` and `head:`, leaves for a log and texts for its key to sign."""
    head = LogBuilder([LEAF]).checkpoint(LOG)
    entries = [LEAF, decision_leaf(), rows_leaf(3), json.dumps(json.loads(LEAF)).encode()]
    return [
        *(proof(entry) for entry in entries),
        *(ENTRY + entry for entry in entries),
        HEAD + head[: head.rindex(b"\n\n") + 1],
    ]


def _proof_of(data: bytes) -> bytes:
    if data.startswith(ENTRY):
        return proof(data.removeprefix(ENTRY))
    if data.startswith(HEAD):
        log = LogBuilder([LEAF])
        good = log.proof(0, log.checkpoint(LOG))
        return good[: good.index(b"\n\n") + 2] + cosigned(sign_note(data.removeprefix(HEAD), LOG))
    return data


def one(data: bytes) -> None:
    """Proven or refused. What is proven can be reported, and stands where it is said to stand."""
    try:
        made = _proof_of(data)
    except ValueError:
        return  # the test's own log does not have what is asked for
    try:
        entry = verify_log_proof(made, LOGS, clock=pki.NOW)
        position = entry.position_of([MADE])
    except VerificationError:
        return
    json.dumps(position.as_json())
    if not isinstance(entry.leaf, DecisionLeaf) or position.proven_at is None or position.index >= position.size:
        raise AssertionError("an entry was proven that is not as demanded")
