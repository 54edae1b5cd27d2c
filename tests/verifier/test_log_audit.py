"""A whole log audited: what is found where everything holds, signatures and cosignatures, and the kept head."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from keystore import journal
from signer.audit import leaf as signer_leaf
from tests.verifier import log_files
from tests.verifier.log_builder import LogBuilder, NoteSigner, cosign, log_signer, sign_note, witness_signer
from tests.verifier.log_files import Entry, builder, checkpoint, entries, export_lines, write_tiles
from verifier.errors import Indeterminate, Rejected
from verifier.log import (
    DirectorySource,
    ExportSource,
    KeptHead,
    LogAudit,
    LogEntry,
    LogRejected,
    RowEntry,
    audit_log,
    describe_audit,
    load_head,
    store_head,
)
from verifier.log.leaves import Decision, link_of, read_leaf
from verifier.log.tree import TileTree, fold, tile_path
from verifier.log_leaves import RowsLeaf
from verifier.merkle import leaf_hash
from verifier.notes import NoteKey, parse_key
from verifier.results import Cosigned

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

KEY = parse_key(log_signer().text)
LOG = entries(1000)
SEEN = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


class Memory:
    """A source that remembers what was asked of it. It has no tiles."""

    has_records = True
    has_tiles = False

    def __init__(self, made: Sequence[Entry], note: bytes | None = None) -> None:
        self._made = made
        self._note = note or checkpoint(made)
        self.asked: list[tuple[int, int]] = []
        self.given = 0

    def checkpoint(self) -> bytes:
        return self._note

    def entries(self, first: int, size: int) -> Iterator[LogEntry]:
        self.asked.append((first, size))
        for index, entry in enumerate(self._made[first:size], first):
            self.given += 1
            row = None
            if entry.row is not None:
                members = {name: entry.row[name] for name in ("table", "id", "revision", "previous")}
                row = RowEntry(seal=bytes.fromhex(entry.row["seal"]), link=bytes.fromhex(entry.row["link"]), **members)
            yield LogEntry(index, entry.leaf, entry.nonce, entry.record, row)

    def tile(self, level: int, number: int, width: int) -> bytes | None:
        raise AssertionError((level, number, width))


def audit(made: Sequence[Entry], head: KeptHead | None = None, *, full: bool = False) -> LogAudit:
    return audit_log(Memory(made), KEY, head=head, full=full)


def where(made: Sequence[Entry], head: KeptHead | None = None, note: bytes | None = None) -> dict[str, int | str]:
    """The place that an audit rejects."""
    with pytest.raises(LogRejected) as caught:
        audit_log(Memory(made, note), KEY, head=head)
    assert caught.value.as_json() == {
        "verified": False,
        "outcome": "rejected",
        "code": caught.value.code,
        "message": caught.value.message,
        **caught.value.where,
    }
    return caught.value.where


@pytest.mark.parametrize("size", [0, 1, 2, 255, 256, 257, 511, 512, 700])
def test_every_source_finds_the_same(size: int, tmp_path: Path) -> None:
    made = LOG[:size]
    (tmp_path / "export").write_bytes(b"".join(export_lines(made)))
    tiles = DirectorySource(write_tiles(tmp_path / "log", made))
    export, directory = audit_log(ExportSource(tmp_path / "export"), KEY), audit_log(tiles, KEY)
    found = audit(made)
    assert export == found
    assert (found.origin, found.size, found.root) == (log_signer().name, size, builder(made).root())
    rows = sum(entry.row is not None for entry in made)
    counts = sum(entry.record is not None and b'"kind":"count"' in entry.record for entry in made)
    signed = sum(entry.record is not None and b'"signatures":' in entry.record for entry in made)
    assert (found.start, found.entries, found.rows, found.counts) == (0, size, rows, counts)
    assert (found.decisions, found.signatures) == (size - rows - counts, signed)
    assert found.journal == ((1, rows) if rows else None)
    times = [json.loads(entry.leaf)["time"] for entry in made if entry.row is None]
    assert (found.first_time, found.last_time) == ((min(times), max(times)) if times else (None, None))
    # What a leaf alone does not tell: that a decision is a count.
    assert (directory.counts, directory.decisions) == (None, found.decisions + counts)
    assert (directory.head.tiles, directory.head.leaves, directory.head.marks) == (
        *(found.head.tiles, found.head.leaves, found.head.marks),
    )
    assert (directory.signatures, directory.journal, directory.root) == (found.signatures, found.journal, found.root)


def test_a_log_with_three_levels_of_tiles(tmp_path: Path) -> None:
    made = [log_files.decision(5)] * (65_536 + 300)
    tiles = write_tiles(tmp_path, made)
    assert (tiles / "tile/2/000.p/1").exists()
    head = audit_log(DirectorySource(tiles), KEY).head
    assert (head.tree().root(), len(head.tiles)) == (head.root, 257 * 32)
    again = audit_log(DirectorySource(tiles), KEY, head=head)
    assert (again.start, again.head) == (len(made), head)
    # With nothing new to read, the begun tiles alone are looked at.
    for name, place in (("tile/2/000.p/1", (0, 65_535)), ("tile/1/001.p/1", (65_536, 65_791))):
        data = (tiles / name).read_bytes()
        (tiles / name).write_bytes(bytes([data[0] ^ 1]) + data[1:])
        with pytest.raises(LogRejected) as caught:
            audit_log(DirectorySource(tiles), KEY, head=head)
        found = caught.value.where
        assert (found["tile"], found["first_index"], found["last_index"]) == (name, *place)
        (tiles / name).write_bytes(data)
    tile = tiles / "tile/1/000"
    tile.write_bytes(tile.read_bytes()[:-1] + b"?")
    with pytest.raises(LogRejected) as caught:
        audit_log(DirectorySource(tiles), KEY)
    assert caught.value.where == {"tile": "tile/1/000", "first_index": 65_280, "last_index": 65_535}


def test_the_tree_is_that_of_the_standard() -> None:
    leaves = [str(number).encode() for number in range(600)]
    tree, standard = TileTree(), LogBuilder(leaves)
    hashes = [leaf_hash(leaf) for leaf in leaves]
    assert fold(hashes) == standard.root()
    for size, digest in enumerate(hashes):
        assert tree.root() == standard.root(size)
        more = hashes[size : min(600, (size // 256 + 1) * 256)][:9]
        assert tree.root(more) == standard.root(size + len(more))
        tree.add([digest])
    assert TileTree.of_tiles([fold(hashes[:256]), fold(hashes[256:512])], hashes[512:]).root() == standard.root()


def test_paths_of_tiles() -> None:
    """C2SP tlog-tiles, "Paths"."""
    assert tile_path(0, 0) == "tile/0/000"
    assert tile_path(3, 999, 255) == "tile/3/999.p/255"
    assert tile_path("entries", 1000) == "tile/entries/x001/000"
    assert tile_path(1, 1_234_067, 1) == "tile/1/x001/x234/067.p/1"


def test_the_signer_s_own_leaves_links_and_records_are_read() -> None:
    """The formats are written here anew: this holds them against the service's encoders."""
    signature = signer_leaf.MadeSignature("ab" * 64, "cd" * 32)
    signed = signer_leaf.decision_leaf(
        b"{}",
        bytes(32),
        time=1_700_000_000_000_000,
        algorithm="ED25519_SHA_512",
        key_sha256=bytes(32),
        key_version=12,
        signatures=[signature, signature],
    )
    parsed = read_leaf(signed, 0)
    assert isinstance(parsed, Decision)
    assert parsed.signatures == (("ab" * 64, "cd" * 32),) * 2
    assert (parsed.algorithm, parsed.key_version, parsed.time) == (
        *("ED25519_SHA_512", 12, "2023-11-14T22:13:20.000000Z"),
    )
    assert isinstance(read_leaf(signer_leaf.decision_leaf(b"{}", bytes(32), time=0), 0), Decision)
    assert read_leaf(signer_leaf.rows_leaf(7, b"\7" * 32), 0) == RowsLeaf(7, "07" * 32)
    row = RowEntry("keys", "id-é", 3, b"seal", 2, b"")
    expected = journal.chain(journal.GENESIS, 7, "keys", "id-é", 3, b"seal", 2)
    assert link_of(bytes(32), 7, row) == expected


def test_the_checkpoint_must_be_signed_by_the_log() -> None:
    other = log_signer("other")
    for note, code in (
        (checkpoint(LOG, signer=other), "untrusted_signer"),
        (checkpoint(LOG).replace(b"\n1000\n", b"\n999\n"), "signature_invalid"),
        (b"no note", "malformed"),
        (sign_note(b"three\nlines\nno root\n", log_signer()), "malformed"),
        (builder(LOG).checkpoint(log_signer(), origin="sealmark/another"), "log_proof_invalid"),
    ):
        with pytest.raises(Rejected) as caught:
            audit_log(Memory(LOG, note), KEY)
        assert caught.value.code == code


def witnesses(count: int) -> tuple[list[NoteSigner], list[NoteKey]]:
    signers = [witness_signer(f"witness.example/{number}") for number in range(count)]
    return signers, [parse_key(signer.text) for signer in signers]


def test_cosignatures_are_counted() -> None:
    signers, keys = witnesses(3)
    note = checkpoint(LOG)
    for signer in signers[:2]:
        note = cosign(note, signer, SEEN)
    found = audit_log(Memory(LOG, note), KEY, witnesses=keys, cosignatures=2)
    assert (found.cosigned_size, found.cosigned) == (1000, tuple(Cosigned(key.name, SEEN) for key in keys[:2]))
    assert not any("shown" in limit for limit in found.not_covered)
    with pytest.raises(Rejected) as caught:
        audit_log(Memory(LOG, note), KEY, witnesses=keys, cosignatures=3)
    assert caught.value.code == "too_few_cosignatures"
    with pytest.raises(ValueError, match="3 cosignatures"):
        audit_log(Memory(LOG, note), KEY, witnesses=keys[:2], cosignatures=3)
    found = audit_log(Memory(LOG), KEY, witnesses=keys)
    assert (found.cosigned_size, found.cosigned) == (None, ())


def test_cosignatures_under_an_earlier_checkpoint_count_for_its_entries() -> None:
    signers, keys = witnesses(1)
    earlier = cosign(checkpoint(LOG, 600), signers[0], SEEN)
    found = audit_log(Memory(LOG), KEY, witnesses=keys, cosignatures=1, further=[earlier])
    assert (found.cosigned_size, found.cosigned) == (600, (Cosigned(keys[0].name, SEEN),))
    assert any("the entries from 600 on" in limit for limit in found.not_covered)


def test_a_further_checkpoint_must_fit() -> None:
    """Such as the one in a proof that somebody was given: the log that is shown here must have had that head."""
    changed = [*LOG[:500], log_files.decision(1, label="other"), *LOG[501:]]
    for size in (1, 500, 501, 600, 768, 1000):
        note = checkpoint(changed, size)
        if size <= 500:
            audit_log(Memory(LOG), KEY, further=[note])
            continue
        with pytest.raises(LogRejected) as caught:
            audit_log(Memory(LOG), KEY, further=[checkpoint(LOG, 400), note])
        if size == 1000:
            assert caught.value.where == {"size": 1000}
            assert "forked" in caught.value.message
        else:
            assert caught.value.where == {"first_index": 400, "last_index": size - 1, "size": size}
    with pytest.raises(LogRejected) as caught:
        audit_log(Memory(LOG[:600]), KEY, further=[checkpoint(LOG)])
    assert caught.value.where == {"size": 600}


def test_what_lies_behind_each_leaf_must_be_there_and_nothing_else() -> None:
    one, other = LOG[10], LOG[11]
    assert one.row is not None
    for entry in (
        *(Entry(one.leaf), Entry(one.leaf, bytes(32), b"{}"), Entry(one.leaf, other.nonce, other.record, one.row)),
        *(Entry(other.leaf), Entry(other.leaf, other.nonce), Entry(other.leaf, None, other.record)),
        *(Entry(other.leaf, other.nonce, other.record, one.row), Entry(other.leaf, row=one.row)),
    ):
        at = 10 if entry.leaf == one.leaf else 11
        assert where([*LOG[:at], entry, *LOG[at + 1 :]]) == {"index": at}


def test_entries_that_are_missing_at_the_end() -> None:
    for size, there in ((600, 599), (600, 512), (600, 300), (512, 511), (257, 256), (1, 0)):
        found = where(LOG[:there], note=checkpoint(LOG, size))
        assert found == {"index": there, "size": there}


def test_entries_that_no_checkpoint_covers() -> None:
    class Longer(Memory):
        def entries(self, first: int, size: int) -> Iterator[LogEntry]:
            return super().entries(first, size + 1)

    for size in (0, 1, 256, 600):
        with pytest.raises(LogRejected, match="in no checkpoint") as caught:
            audit_log(Longer(LOG, checkpoint(LOG, size)), KEY)
        assert caught.value.where == {"index": size, "size": size}


# The kept head


def grown(made: Sequence[Entry], size: int) -> KeptHead:
    return audit(made[:size]).head


@pytest.mark.parametrize("size", [0, 1, 255, 256, 300, 512, 999, 1000])
def test_only_what_is_new_is_read(size: int) -> None:
    source = Memory(LOG)
    found = audit_log(source, KEY, head=grown(LOG, size))
    assert (source.asked, source.given) == ([(size, 1000)], 1000 - size)
    assert (found.start, found.entries, found.kept_size) == (size, 1000 - size, size)
    whole = audit(LOG)
    assert found.head == whole.head
    assert found.rows == sum(entry.row is not None for entry in LOG[size:])
    source = Memory(LOG)
    assert audit_log(source, KEY, head=grown(LOG, size), full=True).head == whole.head
    assert source.given == 1000


def test_records_that_were_not_there_before_are_read_from_the_beginning(tmp_path: Path) -> None:
    tiles = DirectorySource(write_tiles(tmp_path, LOG[:600]))
    head = audit_log(tiles, KEY).head
    assert not head.records
    source = Memory(LOG)
    found = audit_log(source, KEY, head=head)
    assert (found.start, source.given, found.head.records) == (0, 1000, True)
    # Tiles with nothing new take nothing away from it; with something new they do.
    whole = DirectorySource(write_tiles(tmp_path / "whole", LOG))
    assert audit_log(whole, KEY, head=found.head).head.records
    assert not audit_log(whole, KEY, head=grown(LOG, 600)).head.records


def test_a_history_that_another_head_contradicts_is_located() -> None:
    """The log's key signs a forged history: only the kept head shows it, and where."""
    for changed in (0, 5, 255, 256, 511, 599):
        made = [*LOG[:changed], log_files.decision(1, label="forged"), *LOG[changed + 1 :]]
        if LOG[changed].row is not None:
            made[changed] = log_files.row(1 + changed // 10, bytes(32), table="forged")
        first = changed // 256 * 256
        expected = {"index": changed, "first_index": first, "last_index": min(first + 255, 599)}
        assert where(made, grown(LOG, 600)) == expected
    after = [*LOG[:600], log_files.row(61, bytes(32)), *LOG[601:]]
    assert where(after, grown(LOG, 600)) == {"index": 600}


def test_a_fork_at_the_kept_size_is_told_from_changed_entries() -> None:
    forged = [*LOG[:599], log_files.decision(1, label="forged")]
    note = checkpoint(forged)
    assert where(LOG[:600], grown(LOG, 600), note) == {"size": 600}
    assert where(forged, grown(LOG, 600), note)["index"] == 599
    # Without a head there is nothing to hold it against, and the answer says so.
    assert any("rewritten before" in limit for limit in audit(forged).not_covered)


@pytest.mark.parametrize("size", [0, 1, 300, 512, 599])
def test_a_log_that_was_cut_is_told_with_its_size(size: int) -> None:
    assert where(LOG[:size], grown(LOG, 600)) == {"size": size}


def test_a_log_that_was_cut_and_changed_is_told_with_the_entry() -> None:
    made = [*LOG[:100], log_files.decision(1, label="forged"), *LOG[101:300]]
    assert where(made, grown(LOG, 600))["index"] == 100
    made = [*LOG[:299], log_files.decision(1, label="forged")]
    assert where(made, grown(LOG, 600))["index"] == 299


def test_entries_that_hash_alike_in_four_bytes_do_not_pass() -> None:
    """The short marks only tell which entry it is: the roots decide."""
    head = grown(LOG, 600)
    for changed, place in ((5, (0, 255)), (550, (512, 599))):
        made = [*LOG[:changed], log_files.decision(1, label="forged"), *LOG[changed + 1 :]]
        digest = leaf_hash(made[changed].leaf)
        marks = bytearray(head.marks)
        marks[changed * 4 : changed * 4 + 4] = digest[:4]
        found = where(made, KeptHead(**_members(head) | {"marks": bytes(marks)}))
        assert found == {"first_index": place[0], "last_index": place[1]}


def _members(head: KeptHead) -> dict[str, Any]:
    return {name: getattr(head, name) for name in KeptHead.__slots__}


def test_a_changed_entry_is_named_before_a_missing_one() -> None:
    """Whatever else is wrong with the same tile, and whether or not a head was kept."""
    made = [*LOG[:550], log_files.decision(1, label="forged"), *LOG[551:590]]
    assert where(made, grown(LOG, 600), checkpoint(LOG, 700))["index"] == 550
    lying = log_files.decision(1)
    made = [*LOG[:550], Entry(lying.leaf, bytes(32), lying.record), *LOG[551:590]]
    assert where(made, None, checkpoint(LOG, 600)) == {"index": 550}


def test_a_checkpoint_from_before_the_kept_head_is_held_against_the_log() -> None:
    source = Memory(LOG)
    found = audit_log(source, KEY, head=grown(LOG, 600), further=[checkpoint(LOG, 400)])
    assert (found.start, source.given) == (0, 1000)
    forged = checkpoint([*LOG[:300], log_files.decision(1, label="forged"), *LOG[301:]], 400)
    with pytest.raises(LogRejected) as caught:
        audit_log(Memory(LOG), KEY, head=grown(LOG, 600), further=[forged])
    assert caught.value.where == {"first_index": 0, "last_index": 399, "size": 400}


class Newest(Memory):
    """An export of what came since: it has no entries before the number 500."""

    def entries(self, first: int, size: int) -> Iterator[LogEntry]:
        return super().entries(max(first, 500), size)


def test_what_came_since_is_enough_with_a_kept_head() -> None:
    assert audit_log(Newest(LOG), KEY, head=grown(LOG, 600)).entries == 400
    for head in (None, grown(LOG, 400)):
        with pytest.raises(LogRejected) as caught:
            audit_log(Newest(LOG), KEY, head=head)
        assert caught.value.where == {"index": 0 if head is None else 400}
    # Where it does not hold, the entries before cannot be asked, and what was found first stands.
    changed = [*LOG[:701], Entry(LOG[701].leaf, bytes(32), LOG[701].record), *LOG[702:]]
    with pytest.raises(LogRejected) as caught:
        audit_log(Newest(changed, checkpoint(LOG)), KEY, head=grown(LOG, 600))
    assert caught.value.where == {"index": 701}
    with pytest.raises(LogRejected) as caught:
        audit_log(Newest(LOG[:550]), KEY, head=grown(LOG, 600))
    assert caught.value.where == {"size": 550}


def test_the_head_of_another_log_is_refused() -> None:
    other = log_signer("other")
    note = checkpoint(LOG, signer=other)
    with pytest.raises(LogRejected, match="another log") as caught:
        audit_log(Memory(LOG, note), parse_key(other.text), head=grown(LOG, 600))
    assert other.name in caught.value.message


def test_the_head_is_kept_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "log.head"
    assert load_head(path) is None
    for size in (0, 300, 1000):
        head = grown(LOG, size)
        store_head(path, head)
        assert load_head(path) == head
        assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["log.head"]


def test_the_file_never_goes_back(tmp_path: Path) -> None:
    path = tmp_path / "log.head"
    kept = grown(LOG, 600)
    store_head(path, kept)
    other = log_signer("other")
    another = audit_log(Memory(LOG, checkpoint(LOG, signer=other)), parse_key(other.text)).head
    forked = audit([*LOG[:599], log_files.decision(1, label="forged")]).head
    early = audit([LOG[0], log_files.decision(1, label="forged"), *LOG[2:700]]).head
    late = audit([*LOG[:599], log_files.decision(1, label="forged"), *LOG[600:700]]).head
    # Those of which the short marks alone do not tell that they are other histories.
    alike = [replace(forked, marks=kept.marks), replace(early, marks=grown(LOG, 700).marks)]
    for head in (grown(LOG, 0), grown(LOG, 599), another, forked, early, late, *alike):
        with pytest.raises(Indeterminate, match="not replaced"):
            store_head(path, head)
        assert load_head(path) == kept


def test_a_head_that_cannot_be_written_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log.head"
    kept = grown(LOG, 600)
    store_head(path, kept)

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(Indeterminate, match="No space left"):
            store_head(path, grown(LOG, 1000))
    assert load_head(path) == kept
    assert os.listdir(tmp_path) == ["log.head"]
    with pytest.raises(Indeterminate, match="cannot be kept"):
        store_head(tmp_path / "nowhere" / "log.head", kept)


def test_a_damaged_file_is_no_head(tmp_path: Path) -> None:
    path = tmp_path / "log.head"
    store_head(path, grown(LOG, 600))
    good = path.read_bytes()
    members = json.loads(good)
    flipped = members["tiles"].translate(str.maketrans("Aa", "aA"))
    for data in (
        b"",
        b"[]",
        good[:-10],
        good.replace(b'"v": 1', b'"v": 2'),
        good.replace(b'"v": 1', b'"v": true'),
        good.replace(b"\\n600\\n", b"\\n601\\n"),
        *(
            json.dumps(members | changes).encode()
            for changes in (
                {"tiles": flipped},
                {"tiles": 5},
                {"tiles": "?"},
                {"tiles": members["tiles"][:-4]},
                {"leaves": ""},
                {"marks": members["marks"][4:]},
                {"link": None},
                {"link": "xx"},
                {"journal": "60"},
                {"records": 1},
                {"checkpoint": "no note"},
                {"more": 1},
            )
        ),
    ):
        path.write_bytes(data)
        with pytest.raises(Indeterminate) as caught:
            load_head(path)
        assert caught.value.code == "unreadable_file"
        with pytest.raises(Indeterminate):
            store_head(path, grown(LOG, 1000))
        assert path.read_bytes() == data
    with pytest.raises(Indeterminate, match="cannot be read"):
        load_head(tmp_path)


def test_what_was_found_is_told_to_people() -> None:
    signers, keys = witnesses(1)
    note = cosign(checkpoint(LOG), signers[0], SEEN)
    told = describe_audit(audit_log(Memory(LOG, note), KEY, witnesses=keys, head=grown(LOG, 600)))
    for text in (
        *("VERIFIED", log_signer().name, "1000 entries, root ", "400 entries: 352 decisions, 8 counts, 40 rows"),
        *(
            "journal:      entries 61 to 100",
            "the kept head of 600 entries",
            "by witness.example/0 at 2026-03-04T05:06:07Z",
        ),
        "the first 600 entries as they are now",
    ):
        assert text in told
