"""Merkle trees of transparency logs: what a proof proves (RFC 9162 section 2.1, RFC 6962 section 2.1).

Hashes are 32 bytes of SHA-256. Nothing here decides whom to believe: the root comes from a signed checkpoint.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from verifier.errors import Rejected

if TYPE_CHECKING:
    from collections.abc import Sequence

HASH_SIZE: Final = 32
EMPTY_ROOT: Final = hashlib.sha256().digest()
MAXIMUM_SIZE: Final = 2**63 - 1
_MISMATCH: Final = "log_proof_invalid"


def leaf_hash(entry: bytes) -> bytes:
    """The hash of a leaf (RFC 9162 section 2.1.1): the first byte keeps it apart from inner nodes."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node (RFC 9162 section 2.1.1)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def root_from_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes]) -> bytes:
    """The root of the tree of `size` leaves that has this leaf hash at `index` (RFC 9162 section 2.1.3.2).

    Raises `Rejected` if the proof has not just the hashes that such a place needs.
    """
    if not 0 <= index < size <= MAXIMUM_SIZE:
        raise Rejected(_MISMATCH, f"the proof is for the entry {index} of a log of {size} entries")
    _require_hashes(leaf, *proof)
    node, last, root = index, size - 1, leaf
    for step in proof:
        if last == 0:
            raise Rejected(_MISMATCH, "the inclusion proof is too long")
        if node & 1 or node == last:
            root = node_hash(step, root)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            root = node_hash(root, step)
        node, last = node >> 1, last >> 1
    if last != 0:
        raise Rejected(_MISMATCH, "the inclusion proof is too short")
    return root


def require_consistent(
    first_size: int, first_root: bytes, second_size: int, second_root: bytes, proof: Sequence[bytes]
) -> None:
    """That the tree of `second_size` begins with all leaves of the first one (RFC 9162 section 2.1.4.2).

    Raises `Rejected`.
    """
    if not 0 <= first_size <= second_size <= MAXIMUM_SIZE:
        raise Rejected(_MISMATCH, f"a log of {second_size} entries does not continue one of {first_size}")
    _require_hashes(first_root, second_root, *proof)
    if second_size == 0 and second_root != EMPTY_ROOT:
        raise Rejected(_MISMATCH, "a log without entries has another root")
    if first_size in (0, second_size):
        expected = EMPTY_ROOT if first_size == 0 else second_root
        if proof or first_root != expected:
            raise Rejected(_MISMATCH, f"the log of {second_size} entries does not continue the one of {first_size}")
        return
    hashes = [first_root, *proof] if first_size & (first_size - 1) == 0 else list(proof)
    if not hashes:
        raise Rejected(_MISMATCH, "the consistency proof is empty")
    node, last = first_size - 1, second_size - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    old = new = hashes[0]
    for step in hashes[1:]:
        if last == 0:
            raise Rejected(_MISMATCH, "the consistency proof is too long")
        if node & 1 or node == last:
            old, new = node_hash(step, old), node_hash(step, new)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            new = node_hash(new, step)
        node, last = node >> 1, last >> 1
    if last != 0 or old != first_root or new != second_root:
        raise Rejected(_MISMATCH, f"the log of {second_size} entries does not continue the one of {first_size}")


def _require_hashes(*hashes: bytes) -> None:
    """What is put side by side under one hash must have fixed places, or it could be read in two ways."""
    if any(len(each) != HASH_SIZE for each in hashes):
        raise Rejected(_MISMATCH, f"a hash of the proof has not {HASH_SIZE} bytes")
