"""What tlog-scales, a reader of logs that is not ours, makes of a log; run by that library's own environment.

Reads a JSON list of questions from standard input and prints a list of answers: null where it accepts, else the words
it refuses with. It imports nothing of Sealmark.

    {"ask": "log", "log": URL or folder, "key": verifier key, "size": N}      the whole log, up to a checkpoint of N
    {"ask": "growth", "log": …, "key": …, "from": checkpoint, "to": checkpoint}
    {"ask": "proof", "proof": text, "key": …}
"""

from __future__ import annotations

import base64
import json
import sys

from cryptography.exceptions import InvalidSignature
from tlog_scales import backend, tiles
from tlog_scales.reader import TilesReader
from tlog_scales.signing import Vkey
from tlog_scales.tlog import (
    Checkpoint,
    ConsistencyProofInvalid,
    InclusionProof,
    InclusionProofInvalid,
)

# It asserts that sizes do not shrink.
REFUSALS = (AssertionError, RuntimeError, ValueError, InvalidSignature, ConsistencyProofInvalid, InclusionProofInvalid)


def signed(text: str, key: str) -> Checkpoint:
    """A checkpoint whose signature holds."""
    checkpoint = Checkpoint.from_text(text)
    verifier_key = Vkey.from_string(key)
    if checkpoint.origin != verifier_key.name:
        raise ValueError("another log's")
    checkpoint.verify(verifier_key)
    return checkpoint


def check_log(log: str, key: str, size: int) -> None:
    """Checkpoint, tiles and entries of the whole log."""
    place = backend.make_backend(log)
    content = place.get("checkpoint")
    if content is None:
        raise RuntimeError("no checkpoint")
    checkpoint = signed(content.decode(), key)
    reader = TilesReader(place)
    reader.set_size(checkpoint.size)
    if checkpoint.size != size or reader.calculate_root_hash() != checkpoint.root_hash:
        raise ValueError("the tiles' root is another than the checkpoint's")
    for index in range(checkpoint.size):
        hashed = tiles.leaf_hash(reader.get_entry(index))
        if reader.mth(index, index + 1) != hashed:
            raise ValueError(f"entry {index} is another than its hash")
    for index in {0, checkpoint.size // 2, checkpoint.size - 1}:
        proof = reader.get_inclusion_proof(index, checkpoint.size)
        proof.check(tiles.leaf_hash(reader.get_entry(index)), checkpoint.root_hash)


def check_growth(log: str, key: str, older: str, newer: str) -> None:
    """That the newer checkpoint's log begins with the older one's."""
    first, second = signed(older, key), signed(newer, key)
    reader = TilesReader(backend.make_backend(log))
    reader.set_size(second.size)
    reader.get_consistency_proof(first.size, second.size).check(first.root_hash, second.root_hash)


def check_proof(proof: str, key: str) -> None:
    """A c2sp.org/tlog-proof@v1 with its entry."""
    head, _, note = proof.partition("\n\n")
    name, extra, index, *hashes = head.split("\n")
    if name != "c2sp.org/tlog-proof@v1":
        raise ValueError("no proof")
    checkpoint = signed(note, key)
    entry = base64.b64decode(extra.removeprefix("extra "), validate=True)
    nodes = [base64.b64decode(each, validate=True) for each in hashes]
    found = InclusionProof(int(index.removeprefix("index ")), checkpoint.size, nodes)
    found.check(tiles.leaf_hash(entry), checkpoint.root_hash)


def answer(question: dict[str, object]) -> str | None:
    """None, or the words of the refusal."""
    key = str(question["key"])
    try:
        match question["ask"]:
            case "log":
                check_log(str(question["log"]), key, int(str(question["size"])))
            case "growth":
                check_growth(str(question["log"]), key, str(question["from"]), str(question["to"]))
            case _:
                check_proof(str(question["proof"]), key)
    except REFUSALS as error:
        return f"{type(error).__name__}: {error}"
    return None


if __name__ == "__main__":
    json.dump([answer(question) for question in json.load(sys.stdin)], sys.stdout)
