"""The log as an outsider checks it who kept every proof: read from the database file, past the service, and recomputed.

Nothing of the service's own tree is used: hashes are the verifier's, and the root of every size is recomputed from the
leaves.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from tests.databases import hand
from verifier.merkle import EMPTY_ROOT, leaf_hash, node_hash, root_from_inclusion
from verifier.notes import SIGNATURE, NoteKey, parse_checkpoint, parse_note, require_signature

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from keystore.db import Value

HEADER: Final = "c2sp.org/tlog-proof@v1"
LARGEST_PROOF: Final = 4096  # bytes


@dataclass(frozen=True, slots=True)
class KeptProof:
    """What is kept of a proof once it has been verified: where the leaf is, and the head that it was proved under."""

    index: int
    leaf_sha256: bytes
    size: int
    root: bytes


def read_proof(text: str, key: NoteKey) -> tuple[KeptProof, dict[str, Any]]:
    """The proof, verified by itself, and its leaf. Raises `AssertionError`, `verifier.errors.Rejected`."""
    assert len(text.encode()) <= LARGEST_PROOF, len(text.encode())
    above, _, checkpoint = text.partition("\n\n")
    header, extra, index, *hashes = above.split("\n")
    assert header == HEADER
    assert extra.startswith("extra ")
    assert index.startswith("index ")
    leaf, place = base64.b64decode(extra[6:], validate=True), int(index[6:])
    note = parse_note(checkpoint.encode())
    require_signature(note, key)
    head = parse_checkpoint(note.text)
    assert head.origin == key.name
    path = [base64.b64decode(one, validate=True) for one in hashes]
    assert root_from_inclusion(leaf_hash(leaf), place, head.size, path) == head.root
    return KeptProof(place, hashlib.sha256(leaf).digest(), head.size, head.root), json.loads(leaf)


def require_signature_proved(text: str, key: NoteKey, signature: bytes) -> KeptProof:
    """The proof, where its leaf names this signature (ECDSA: DER). Raises as `read_proof`."""
    kept, leaf = read_proof(text, key)
    hashed = hashlib.sha256(signature).hexdigest()
    assert hashed in [one["sha256"] for one in leaf["signatures"]], leaf
    return kept


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of the log, at its place."""

    kind: str
    outcome: str | None
    intent: str | None
    item: int | None
    request_id: str | None
    caller_request_id: str | None
    action: str | None
    principal: str | None
    time: int  # microseconds since 1970
    leaf: bytes
    record: str | None


@dataclass(frozen=True)
class Log:
    """All leaves of a state directory's log, found to be what its head says."""

    key: NoteKey
    entries: Sequence[Entry]
    root: bytes
    first: int

    def decisions(self) -> list[Entry]:
        return [entry for entry in self.entries if entry.kind == "decision"]

    def require_kept(self, proofs: Iterable[KeptProof]) -> int:
        """That everything ever proved is still there, at its place, and that every head ever seen is one of this very
        log. Returns how many heads that were. Raises `AssertionError`."""
        roots: dict[int, bytes] = {}
        for proof in proofs:
            assert proof.index < proof.size <= len(self.entries), f"{proof} is beyond {len(self.entries)} leaves"
            hashed = hashlib.sha256(self.entries[proof.index].leaf).digest()
            assert hashed == proof.leaf_sha256, f"entry {proof.index} is another one"
            assert roots.setdefault(proof.size, proof.root) == proof.root, f"two heads of {proof.size} leaves"
        computed = roots_of([entry.leaf for entry in self.entries], roots)
        for size, root in roots.items():
            assert computed[size] == root, f"the head of {size} leaves is of another log"
        return len(roots)

    def require_complete(self, intents: Iterable[tuple[str, int]]) -> None:
        """That every intent (id, items) has exactly one entry for each item. Raises `AssertionError`."""
        places = Counter((entry.intent, entry.item) for entry in self.entries if entry.intent is not None)
        assert not places or max(places.values()) == 1, f"an item twice: {places.most_common(5)}"
        found = Counter(intent for intent, _ in places)
        wanted = Counter(dict(intents))
        assert not (wanted - found), f"items without an entry: {list((wanted - found).items())[:5]}"
        assert not (found - wanted), f"entries without an item: {list((found - wanted).items())[:5]}"


def roots_of(leaves: Sequence[bytes], sizes: Iterable[int]) -> dict[int, bytes]:
    """The roots of these sizes, from the leaves (RFC 9162 section 2.1.1), in one pass."""
    wanted, roots = set(sizes), {}
    stack: list[tuple[int, bytes]] = []  # height and hash of complete subtrees, from the left
    if 0 in wanted:
        roots[0] = EMPTY_ROOT
    for size, leaf in enumerate(leaves, 1):
        stack.append((0, leaf_hash(leaf)))
        while len(stack) > 1 and stack[-1][0] == stack[-2][0]:
            height, right = stack.pop()
            stack[-1] = (height + 1, node_hash(stack[-1][1], right))
        if size in wanted:
            root = stack[-1][1]
            for _, left in reversed(stack[:-1]):
                root = node_hash(left, root)
            roots[size] = root
    return roots


def note_key(origin: str, public_key: bytes) -> NoteKey:
    """The verifier key of a log. `public_key` is DER."""
    raw = load_der_public_key(public_key).public_bytes(Encoding.Raw, PublicFormat.Raw)
    return NoteKey(origin, SIGNATURE, raw)


def log_key(database: Path) -> NoteKey:
    """The key of the growing log, as the database has it: an auditor would have been given it."""
    ((origin, public_key),) = query(database, "SELECT origin, public_key FROM log_heads ORDER BY log DESC LIMIT 1")
    return note_key(origin, public_key)


def read_log(database: Path) -> Log:
    """Every leaf of the growing log in its order; its head, tiles and checkpoint must follow from them.

    Raises `AssertionError`.
    """
    with hand(database) as connection, connection.snapshot():
        (head,) = connection.rows(
            "SELECT log, origin, public_key, first, size, root, checkpoint FROM log_heads ORDER BY log DESC LIMIT 1"
        )
        log, origin, public_key, first, size, root, checkpoint = head
        rows = connection.rows(
            "SELECT kind, outcome, intent_id, item, request_id, caller_request_id, action, principal, time, leaf, "
            "record, seq, leaf_hash FROM log_entries WHERE seq >= ? ORDER BY seq",
            first,
        )
        tiles = connection.rows("SELECT level, tile, hashes, root FROM log_tiles WHERE log = ?", log)
    assert [row[-2] - first for row in rows] == list(range(size)), "the head counts other entries than there are"
    entries = [Entry(*row[:-2]) for row in rows]
    key = note_key(origin, public_key)
    assert roots_of([entry.leaf for entry in entries], [size])[size] == root, "the head is not the root of its leaves"
    hashes = [leaf_hash(entry.leaf) for entry in entries]
    assert hashes == [row[-1] for row in rows], "a leaf hash is wrong"
    _require_tiles(hashes, {(level, tile): (octets, above) for level, tile, octets, above in tiles})
    note = parse_note(checkpoint.encode())
    require_signature(note, key)
    signed = parse_checkpoint(note.text)
    assert signed.size <= size
    assert roots_of([entry.leaf for entry in entries], [signed.size])[signed.size] == signed.root
    return Log(key, entries, root, first)


def _require_tiles(hashes: Sequence[bytes], tiles: dict[tuple[int, int], tuple[bytes, bytes]]) -> None:
    """That there is every full tile, right, and no other (C2SP tlog-tiles)."""
    level = 0
    while len(hashes) >= 256:
        above = []
        for tile in range(len(hashes) // 256):
            nodes = list(hashes[tile * 256 : tile * 256 + 256])
            kept, root = tiles.pop((level, tile))
            assert kept == b"".join(nodes), f"tile {level}/{tile}"
            while len(nodes) > 1:
                nodes = [node_hash(nodes[at], nodes[at + 1]) for at in range(0, len(nodes), 2)]
            assert root == nodes[0], f"root of tile {level}/{tile}"
            above += nodes
        level, hashes = level + 1, above
    assert not tiles, f"tiles that should not be: {list(tiles)[:5]}"


def query(database: Path, sql: str, parameters: Sequence[Value] = ()) -> list[tuple[Any, ...]]:
    """Rows of the database, read past the service."""
    with hand(database) as connection:
        return connection.rows(sql, *parameters)
