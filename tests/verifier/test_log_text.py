"""The text of a proof and the entry in it: one encoding each; whatever else there is is refused, and never crashes."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.verifier import proof_builder
from tests.verifier.log_builder import LogBuilder, NoteSigner, canonical, decision_leaf, log_signer, rows_leaf
from tests.verifier.pki import NOW
from tests.verifier.proof_builder import LOG, proof
from verifier import DecisionLeaf, Indeterminate, LoggedSignature, Rejected, RowsLeaf, trusted_log, verify_log_proof
from verifier.log_leaves import MAXIMUM_LEAF, check_names, parse_leaf
from verifier.log_proofs import MAXIMUM_PROOF, parse_proof

SIGNATURE = {"digest": "ab" * 32, "sha256": "cd" * 32}
KEY = {"algorithm": "ECDSA_SHA_256", "key_sha256": "12" * 32, "key_version": 3}
LEAF = decision_leaf(SIGNATURE, **KEY)
GOOD = proof(LEAF)
HEAD, NOTE = GOOD.split(b"\n\n", 1)
LINES = HEAD.decode().split("\n")


def text(*lines: str, note: bytes = NOTE) -> bytes:
    return "\n".join(lines).encode() + b"\n\n" + note


def refused(data: bytes, cosignatures: int = 0) -> str:
    with pytest.raises(Rejected) as caught:
        verify_log_proof(data, [proof_builder.trust(cosignatures)], clock=NOW)
    return caught.value.code


def test_a_good_proof() -> None:
    assert text(*LINES) == GOOD
    parsed = parse_proof(GOOD)
    assert (parsed.entry, parsed.index, len(parsed.hashes)) == (LEAF, 5, 3)
    entry = verify_log_proof(GOOD, [proof_builder.trust()], clock=NOW)
    assert isinstance(entry.leaf, DecisionLeaf)
    assert entry.leaf.signatures == (LoggedSignature("ab" * 32, "cd" * 32),)
    assert (entry.leaf.key_version, entry.leaf.time.microsecond) == (3, 678901)


VECTORS = json.loads(Path(__file__).with_name("log_vectors.json").read_text())


@pytest.mark.parametrize("index", [int(each) for each in VECTORS["proofs"]])
def test_a_proof_by_another_program_holds(index: int) -> None:
    """PyPI tlog-scales made the log and the proofs. It writes no `extra`: the format has it be added."""
    entry = canonical({"journal": index + 1, "link": "05" * 32, "v": 1})
    lines = VECTORS["proofs"][str(index)].split("\n")
    made = "\n".join([lines[0], f"extra {base64.b64encode(entry).decode()}", *lines[1:]])
    log = trusted_log(VECTORS["log"])
    found = verify_log_proof(made, [log])
    assert (found.index, found.checkpoint.size, found.leaf) == (index, 600, RowsLeaf(index + 1, "05" * 32))
    with pytest.raises(Rejected):
        verify_log_proof(made.replace(f"index {index}", f"index {index + 1}"), [log])


def test_a_log_of_one_entry_needs_no_hashes() -> None:
    log = LogBuilder([rows_leaf(1)])
    entry = verify_log_proof(log.proof(0, log.checkpoint(LOG)), [proof_builder.trust()], clock=NOW)
    assert entry.leaf == RowsLeaf(1, "05" * 32)


def test_an_entry_that_is_no_decision_is_proven_too() -> None:
    """The API tells of any entry; a signature asks for one about itself."""
    entry = verify_log_proof(proof(rows_leaf(9)), [proof_builder.trust()], clock=NOW)
    assert entry.leaf == RowsLeaf(9, "05" * 32)
    with pytest.raises(Rejected) as caught:
        entry.position_of([])
    assert caught.value.code == "log_entry_mismatch"
    with pytest.raises(ValueError, match="at least one"):
        check_names(parse_leaf(LEAF), [])


VERSION, EXTRA, INDEX, *HASHES = LINES


@pytest.mark.parametrize(
    "data",
    {
        "nothing": b"",
        "line feeds": b"\n\n\n\n",
        "a checkpoint alone": NOTE,
        "a head alone": HEAD,
        "an older version": text(VERSION.replace("v1", "v0"), EXTRA, INDEX, *HASHES),
        "a newer version": text(VERSION + "2", EXTRA, INDEX, *HASHES),
        "a line above": text("", *LINES),
        "a byte order mark": b"\xef\xbb\xbf" + GOOD,
        "no extra": text(VERSION, INDEX, *HASHES),
        "an empty extra": text(VERSION, "extra ", INDEX, *HASHES),
        "two extras": text(VERSION, EXTRA, EXTRA, INDEX, *HASHES),
        "extra behind index": text(VERSION, INDEX, EXTRA, *HASHES),
        "two spaces": text(VERSION, EXTRA.replace(" ", "  "), INDEX, *HASHES),
        "base64 without padding": text(VERSION, EXTRA, INDEX, *(each.rstrip("=") for each in HASHES)),
        "no index": text(VERSION, EXTRA, *HASHES),
        "no number": text(VERSION, EXTRA, "index ", *HASHES),
        "a leading zero": text(VERSION, EXTRA, "index 05", *HASHES),
        "a sign": text(VERSION, EXTRA, "index +5", *HASHES),
        "a negative place": text(VERSION, EXTRA, "index -5", *HASHES),
        "a place beyond the log": text(VERSION, EXTRA, "index 7", *HASHES),
        "a very long number": text(VERSION, EXTRA, "index " + "9" * 1500, *HASHES),
        "a place beyond all logs": text(VERSION, EXTRA, f"index {2**63}", *HASHES),
        "a hash too few": text(*LINES[:-1]),
        "a hash too many": text(*LINES, HASHES[0]),
        "hashes in another order": text(VERSION, EXTRA, INDEX, *HASHES[::-1]),
        "a short hash": text(*LINES[:-1], base64.b64encode(bytes(31)).decode()),
        "a long hash": text(*LINES[:-1], base64.b64encode(bytes(33)).decode()),
        "hashes in hex": text(VERSION, EXTRA, INDEX, *(base64.b64decode(each).hex() for each in HASHES)),
        "64 hashes": text(VERSION, EXTRA, INDEX, *HASHES[:1] * 64),
        "something else among the hashes": text(VERSION, EXTRA, INDEX, HASHES[0], "x", *HASHES[1:]),
        "an empty line among the hashes": text(VERSION, EXTRA, INDEX, HASHES[0], "", *HASHES[1:]),
        "carriage returns": GOOD.replace(b"\n", b"\r\n"),
        "letters that are no ASCII": text(VERSION, EXTRA, "index \uff15", *HASHES),
        "no signature": HEAD + b"\n\n" + NOTE[: NOTE.rindex(b"\n\n") + 1],
        "something behind": GOOD + b"x",
        "a line feed behind": GOOD + b"\n",
        "another root": text(*LINES, note=LogBuilder([b"x"] * 7).checkpoint(LOG)),
        "another entry": text(VERSION, f"extra {base64.b64encode(rows_leaf(5)).decode()}", INDEX, *HASHES),
        "too large": text(VERSION, f"extra {base64.b64encode(bytes(MAXIMUM_PROOF)).decode()}", INDEX, *HASHES),
    }.items(),
    ids=lambda pair: pair[0],
)
def test_proofs_that_are_none(data: tuple[str, bytes]) -> None:
    assert refused(data[1]) == "log_proof_invalid"


def test_a_log_of_the_same_name_by_somebody_else() -> None:
    """Whoever has no log key can build any tree, sign its head with another key, and write the log's name on it."""
    forger = NoteSigner(LOG.name, log_signer("forger").private_key)
    log = LogBuilder([LEAF])
    made = log.proof(0, log.checkpoint(forger))
    assert refused(made) == "untrusted_signer"
    renamed = made.replace(base64.b64encode(forger.key_id)[:5], base64.b64encode(LOG.key_id)[:5])
    assert refused(renamed) in ("untrusted_signer", "log_proof_invalid")
    # The id of the log's key over a signature of another's: the id selects, and proves nothing.
    head = log.checkpoint(forger)
    body = head[: head.rindex(b"\n\n") + 1]
    claimed = body + b"\n" + LOG.line(forger.private_key.sign(body))
    assert refused(log.proof(0, claimed)) == "log_proof_invalid"
    # Witnesses that cosign whatever they are shown do not stand in for the log's own signature.
    assert refused(log.proof(0, proof_builder.cosigned(head)), 3) == "untrusted_signer"


def test_every_part_cut_off() -> None:
    for end in range(len(GOOD)):
        assert refused(GOOD[:end], 3) in ("log_proof_invalid", "too_few_cosignatures")


def test_the_largest_proof() -> None:
    """With an entry as long as fits, and not a byte more."""
    room = MAXIMUM_PROOF - len(GOOD) + len(EXTRA)
    entry = b"x" * ((room - len("extra ")) // 4 * 3)
    log = LogBuilder([b"a", entry])
    made = log.proof(1, log.checkpoint(LOG))
    assert len(made) < MAXIMUM_PROOF
    assert parse_proof(made).entry == entry
    with pytest.raises(Rejected) as caught:
        parse_proof(made + b"x" * (MAXIMUM_PROOF + 1 - len(made)))
    assert caught.value.code == "too_large"


def test_the_clock_is_this_machines_unless_it_is_given() -> None:
    ahead = proof(decision_leaf(time="2999-01-01T00:00:00.000000Z"))
    with pytest.raises(Rejected):
        verify_log_proof(ahead, [proof_builder.trust()])
    assert verify_log_proof(ahead, [proof_builder.trust()], clock=datetime(2999, 1, 2, tzinfo=UTC))
    with pytest.raises(ValueError, match="clock"):
        verify_log_proof(GOOD, [proof_builder.trust()], clock=datetime(2999, 1, 2))  # noqa: DTZ001


def test_no_log_is_trusted_and_two_of_one_name() -> None:
    with pytest.raises(Indeterminate) as caught:
        verify_log_proof(GOOD, [], clock=NOW)
    assert caught.value.code == "no_trust"
    with pytest.raises(ValueError, match="twice"):
        verify_log_proof(GOOD, [proof_builder.trust(), proof_builder.trust(1)], clock=NOW)


MEMBERS = json.loads(LEAF)


def changed(**members: object) -> bytes:
    """The leaf with some members changed; ... takes one away."""
    return canonical({name: value for name, value in (MEMBERS | members).items() if value is not ...})


@pytest.mark.parametrize(
    "data",
    [
        LEAF,
        decision_leaf(),
        decision_leaf(**KEY),
        changed(signatures=[SIGNATURE, {"digest": "ab" * 64, "sha256": "cd" * 32}, {**SIGNATURE, "digest": "ab" * 48}]),
        changed(algorithm="RSAES_OAEP_SHA_256", signatures=[]),
        changed(algorithm=None, signatures=[]),
        rows_leaf(1),
        rows_leaf(2**53 - 1),
    ],
)
def test_entries_that_are_some(data: bytes) -> None:
    assert parse_leaf(data)


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"{}", b"[]", b"null", b"x", b"\xff", LEAF + b"\n", b" " + LEAF, LEAF[:-1], LEAF + LEAF),
        json.dumps(MEMBERS).encode(),
        json.dumps(MEMBERS, separators=(",", ":"), sort_keys=False).encode().replace(b'"v":1', b'"v":1 '),
        json.dumps(dict(reversed(MEMBERS.items())), separators=(",", ":")).encode(),
        LEAF.replace(b'"v":1', b'"v":1,"v":1'),
        LEAF.replace(b'"v":1', b'"v":1.0'),
        LEAF.replace(b"ECDSA", b"\\u0045CDSA"),
        *(changed(v=each) for each in (0, 2, True, "1", None)),
        changed(v=...),
        *(changed(**{name: ...}) for name in MEMBERS),
        changed(more=1),
        *(changed(algorithm=each) for each in (1, "", "ecdsa", "ECDSA SHA", "E" * 65, None)),
        *(changed(key_sha256=each) for each in (1, "", "12" * 31, "12" * 33, "AB" * 32, None)),
        *(changed(key_version=each) for each in (0, -1, 1.0, "1", True, 2**53, None)),
        *(changed(record_sha256=each) for each in (None, "ab" * 48, "AB" * 32, 7)),
        *(
            canonical({**MEMBERS, "signatures": json.loads(each)})
            for each in ("null", "{}", "[null]", "[1]", "[[]]", "[{}]")
        ),
        *(changed(signatures=[{**SIGNATURE, **each}]) for each in ({"digest": ""}, {"digest": "ab" * 20}, {"more": 1})),
        *(changed(signatures=[{**SIGNATURE, **each}]) for each in ({"sha256": "cd" * 48}, {"sha256": None})),
        *(changed(time=each) for each in (None, 1, "", "2026-01-02T03:04:05Z", "2026-01-02T03:04:05.678Z")),
        *(changed(time=f"2026-{each}.678901Z") for each in ("13-02T03:04:05", "02-30T03:04:05", "01-02T24:04:05")),
        changed(time="2026-01-02T03:04:05.678901+00:00"),
        *(canonical({"journal": each, "link": "05" * 32, "v": 1}) for each in (0, -1, True, "1", None, 1.5)),
        *(canonical({"journal": 1, "link": each, "v": 1}) for each in (None, "", "05" * 31, "0X" * 32)),
        canonical({"journal": 1, "link": "05" * 32, "more": 1, "v": 1}),
        canonical({**MEMBERS, "journal": 1}),
        b"[" * 100_000,
    ],
    ids=lambda data: repr(data[:200])[-60:],
)
def test_entries_that_are_none(data: bytes) -> None:
    with pytest.raises(Rejected) as caught:
        parse_leaf(data)
    assert caught.value.code in ("malformed", "too_large")
    assert len(data) > 3000 or refused(proof(data)) == "log_proof_invalid"


def test_entries_are_bounded() -> None:
    many = [SIGNATURE] * (MAXIMUM_LEAF // 160)
    assert parse_leaf(changed(signatures=many))
    with pytest.raises(Rejected) as caught:
        parse_leaf(changed(signatures=many * 2))
    assert caught.value.code == "too_large"
