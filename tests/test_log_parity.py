"""What the service writes into its log the verifier reads, and the tests' own log agrees: three hands, one format."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from signer.audit.checkpoints import NoteSigner, checkpoint_text, proof_text
from signer.audit.leaf import MadeSignature, decision_leaf, rows_leaf
from signer.audit.logged import InclusionLines
from signer.audit.tree import EMPTY_TREE, Tree
from signer.audit.tree import leaf_hash as written_hash
from tests.verifier import log_builder
from tests.verifier.log_builder import LogBuilder
from verifier import DecisionLeaf, LoggedSignature, RowsLeaf, trusted_log, verify_log_proof
from verifier.log_leaves import parse_leaf

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
SPKI = KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
NAME = f"sealmark/000000000000/us-east-1/{hashlib.sha256(SPKI).hexdigest()[:16]}"
MADE_AT = datetime(2026, 11, 25, 21, 40, 0, 123456, UTC)
MICROSECONDS = (MADE_AT - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
DIGESTS = (hashlib.sha256(b"").hexdigest(), hashlib.sha512(b"").hexdigest())
LEAVES = (
    decision_leaf(
        b"{}",
        bytes(32),
        time=MICROSECONDS,
        algorithm="ECDSA_SHA_256",
        key_sha256=bytes(32),
        key_version=2,
        signatures=[MadeSignature(digest, "ab" * 32) for digest in DIGESTS],
    ),
    decision_leaf(b'{"v":1}', bytes(32), time=MICROSECONDS - 123456),
    rows_leaf(7, bytes(32)),
)


def test_leaves_are_read_as_they_are_written() -> None:
    record = hashlib.sha256(bytes(32) + b"{}").hexdigest()
    signatures = tuple(LoggedSignature(digest, "ab" * 32) for digest in DIGESTS)
    assert parse_leaf(LEAVES[0]) == DecisionLeaf("ECDSA_SHA_256", "00" * 32, 2, record, signatures, MADE_AT)
    refusal = parse_leaf(LEAVES[1])
    assert isinstance(refusal, DecisionLeaf)
    assert (refusal.algorithm, refusal.signatures, refusal.time) == (None, (), MADE_AT.replace(microsecond=0))
    assert parse_leaf(LEAVES[2]) == RowsLeaf(7, "00" * 32)
    assert LEAVES[2] == log_builder.rows_leaf(7, bytes(32))
    assert LEAVES[0] == log_builder.decision_leaf(
        *({"digest": digest, "sha256": "ab" * 32} for digest in DIGESTS),
        algorithm="ECDSA_SHA_256",
        key_sha256="00" * 32,
        key_version=2,
        record_sha256=record,
        time=log_builder.leaf_time(MADE_AT),
    )


def test_keys_and_checkpoints_are_written_alike() -> None:
    signer, other = NoteSigner(NAME, SPKI), log_builder.NoteSigner(NAME, KEY)
    assert signer.verifier_key == other.text == str(trusted_log(other.text).key)
    log = LogBuilder(LEAVES)
    text = checkpoint_text(NAME, 3, log.root())
    assert f"{text}\n{signer.line(KEY.sign(text.encode()))}".encode() == log.checkpoint(other)


@pytest.mark.parametrize("groups", [[1] * 20, [3, 1, 7, 9], [20], [255, 1, 1, 256, 7]])
def test_every_proof_that_is_given_away_holds(groups: list[int]) -> None:
    """Grown in groups of requests, as the sequencer does it, across the borders of tiles too."""
    signer, log = NoteSigner(NAME, SPKI), LogBuilder()
    trusted = trusted_log(signer.verifier_key)
    tree: Tree = EMPTY_TREE
    for count in groups:
        leaves = [rows_leaf(log.size + number + 1, bytes(32)) for number in range(count)]
        for leaf in leaves:
            log.append(leaf)
        extension = tree.extended([written_hash(leaf) for leaf in leaves])
        tree = extension.tree
        assert (tree.size, tree.root) == (log.size, log.root())
        text = checkpoint_text(NAME, tree.size, tree.root)
        checkpoint = f"{text}\n{signer.line(KEY.sign(text.encode()))}"
        for number in {0, count // 2, count - 1}:
            index = extension.first + number
            made = proof_text(leaves[number], index, InclusionLines(extension)(index), checkpoint)
            assert made.encode() == log.proof(index, checkpoint.encode())
            entry = verify_log_proof(made, [trusted])
            assert (entry.index, entry.leaf) == (index, RowsLeaf(index + 1, "00" * 32))
