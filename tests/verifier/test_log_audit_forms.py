"""Bytes that are no log: every one refused with its place, none by a traceback, none read without a limit."""

from __future__ import annotations

import base64
import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from tests.fuzz.mutations import mutations
from tests.verifier import log_builder, log_files
from tests.verifier.log_builder import log_signer
from tests.verifier.log_files import Entry, checkpoint, entries, export_lines, utf8, write_tiles
from verifier.errors import Indeterminate, Rejected
from verifier.log import DirectorySource, ExportSource, LogRejected, audit_log
from verifier.log.export import MAXIMUM_LINE
from verifier.log.leaves import read_leaf
from verifier.log_leaves import FormerLeaf, RowsLeaf, parse_leaf
from verifier.notes import parse_key

if TYPE_CHECKING:
    from pathlib import Path

KEY = parse_key(log_signer().text)
LOG = entries(300)
LINES = export_lines(LOG)
SIGNATURE: dict[str, str] = {"digest": "ab" * 32, "sha256": "cd" * 32}
NAMES: dict[str, object] = {"algorithm": "ECDSA_SHA_256", "key_sha256": "ef" * 32, "key_version": 1}


def both_ways(leaf: bytes) -> bool:
    """Whether it is a leaf; that both readers say the same of it."""
    try:
        expected = parse_leaf(leaf)
    except Rejected:
        with pytest.raises((LogRejected, Indeterminate)):
            read_leaf(leaf, 0)
        return False
    found = read_leaf(leaf, 0)
    if isinstance(expected, RowsLeaf | FormerLeaf):
        assert found == expected
        return True
    assert not isinstance(found, RowsLeaf | FormerLeaf)
    assert found.signatures == tuple((each.digest, each.sha256) for each in expected.signatures)
    assert found.time == log_builder.leaf_time(expected.time)
    assert found[:3] == (expected.algorithm, expected.key_version, expected.record_sha256)
    return True


def test_the_quick_reader_of_leaves_says_what_the_strict_one_says() -> None:
    leaf, rows = log_builder.decision_leaf, log_builder.rows_leaf
    good = [
        *(leaf(), leaf(SIGNATURE, **NAMES), leaf(SIGNATURE, SIGNATURE, **NAMES), leaf(algorithm="RSA")),
        *(leaf({"digest": "ab" * 48, "sha256": "cd" * 32}, {"digest": "ab" * 64, "sha256": "00" * 32}, **NAMES),),
        *(leaf(key_sha256="00" * 32), leaf(key_version=999_999_999_999_999), leaf(key_version=2**53 - 1)),
        *(rows(1), rows(2**53 - 1)),
    ]
    bad = [
        *(b"", b"{}", b"null", leaf()[:-1], leaf() + b"\n", leaf(v=0), leaf(v=2), leaf(v=True), rows(0), rows(-1)),
        *(
            leaf(SIGNATURE),
            leaf(SIGNATURE, **NAMES | {"key_sha256": None}),
            leaf(SIGNATURE, **NAMES | {"key_version": 0}),
        ),
        *(leaf(SIGNATURE, **NAMES | {"algorithm": None}), leaf(SIGNATURE, **NAMES | {"key_version": None})),
        *(leaf(algorithm="ecdsa"), leaf(algorithm="X" * 65), leaf(key_version=2**53), leaf(key_version="1")),
        *(leaf(time="2026-02-30T00:00:00.000000Z"), leaf(time="2026-01-01T00:00:00.00000Z"), leaf(time="2026")),
        *(leaf(time="2026-01-01T00:00:00.000000"), leaf({**SIGNATURE, "more": ""}), leaf({"digest": "ab"}, **NAMES)),
        *(leaf(record_sha256="AB" * 32), leaf(more=1), leaf().replace(b":", b": "), leaf(signatures={})),
        *(leaf(SIGNATURE, **NAMES).replace(b"[{", b"[{},{"), leaf(SIGNATURE, **NAMES).replace(b"}]", b"},]")),
    ]
    assert all(both_ways(each) for each in good)
    assert not any(both_ways(each) for each in bad)
    found = [both_ways(each) for each in mutations(good, 3000)]
    assert 0 < sum(found) < len(found)


def test_a_leaf_of_a_later_version_is_no_forgery() -> None:
    with pytest.raises(Indeterminate) as caught:
        read_leaf(log_builder.decision_leaf(v=2), 7)
    assert (caught.value.code, "entry 7" in caught.value.message) == ("unsupported_format", True)


# Exports


def refused(path: Path, lines: list[bytes]) -> Rejected:
    path.write_bytes(b"".join(lines))
    with pytest.raises(Rejected) as caught:
        audit_log(ExportSource(path), KEY)
    assert isinstance(caught.value, LogRejected)
    return caught.value


def changed(index: int, /, **changes: Any) -> bytes:
    return utf8({**json.loads(LINES[index]), **changes}) + b"\n"


def without(index: int, name: str) -> bytes:
    members = json.loads(LINES[index])
    del members[name]
    return utf8(members) + b"\n"


ROW = json.loads(LINES[10])["row"]


@pytest.mark.parametrize(
    ("index", "line"),
    [
        (5, b"\n"),
        (5, b"[]\n"),
        (5, b"{\n"),
        (5, b"\xff\n"),
        (5, LINES[5][:-2] + b"\n"),
        (5, b"[" * 100_000 + b"\n"),
        (5, LINES[5].replace(b'{"index":5,', b'{"index":5,"index":5,')),
        (5, changed(5, index="5")),
        (5, changed(5, index=-5)),
        (5, changed(5, index=True)),
        (5, changed(5, index=5.0)),
        (5, changed(5, index=2**60)),
        (5, changed(5, more=1)),
        (5, changed(5, leaf=5)),
        (5, changed(5, leaf="?")),
        (5, changed(5, leaf="AAAA")),
        (5, changed(5, leaf=base64.b64encode(b"x" * 70_000).decode())),
        (5, changed(5, nonce="zz")),
        (5, changed(5, nonce="ab")),
        (5, changed(5, nonce=json.loads(LINES[5])["nonce"].upper())),
        (5, changed(5, record="text")),
        (5, changed(5, record={})),
        (5, changed(5, row=ROW)),
        (5, without(5, "nonce")),
        (5, without(5, "record")),
        (10, without(10, "row")),
        (10, changed(10, row={})),
        (10, changed(10, row=ROW | {"more": 1})),
        (10, changed(10, row=ROW | {"table": 5})),
        (10, changed(10, row=ROW | {"id": 5})),
        (10, changed(10, row=ROW | {"revision": "1"})),
        (10, changed(10, row=ROW | {"revision": True})),
        (10, changed(10, row=ROW | {"revision": -1})),
        (10, changed(10, row=ROW | {"previous": 2**53})),
        (10, changed(10, row=ROW | {"seal": "x"})),
        (10, changed(10, row=ROW | {"link": "00"})),
        (10, changed(10, nonce="00" * 32)),
    ],
)
def test_a_line_that_is_no_entry(index: int, line: bytes, tmp_path: Path) -> None:
    error = refused(tmp_path / "export", [*LINES[:index], line, *LINES[index + 1 :]])
    assert error.as_json()["index"] == index


def test_the_line_is_named_too(tmp_path: Path) -> None:
    error = refused(tmp_path / "export", [*LINES[:5], b"{\n", *LINES[6:]])
    assert (error.code, error.as_json()["line"]) == ("malformed", 6)
    assert "line 6" in error.message


def test_a_line_without_an_end_is_not_read_to_it(tmp_path: Path) -> None:
    error = refused(tmp_path / "export", [*LINES[:5], b" " * (MAXIMUM_LINE + 1), *LINES[5:]])
    assert (error.code, error.as_json()["line"]) == ("too_large", 6)


@pytest.mark.parametrize(
    "last", [b"", b"\n", b"{}\n", b'{"checkpoint":5}\n', b'{"checkpoint":"x","more":1}\n', b"x" * 2_000_000]
)
def test_an_export_without_its_checkpoint_is_cut(last: bytes, tmp_path: Path) -> None:
    error = refused(tmp_path / "export", [*LINES[:-1], last])
    assert error.code == "malformed"
    assert "may be cut" in error.message
    assert error.as_json().get("size") == (None if last else 300)


def test_a_checkpoint_amid_the_lines_ends_nothing(tmp_path: Path) -> None:
    error = refused(tmp_path / "export", [*LINES[:5], LINES[-1], *LINES[5:]])
    assert error.as_json()["index"] == 5
    error = refused(tmp_path / "export", [*LINES, LINES[5], LINES[-1]])
    assert error.as_json()["line"] == 301


def test_other_writings_of_the_same_json_are_read(tmp_path: Path) -> None:
    """Spaces, escapes and the order of members are no matter: the record's own bytes are its canonical ones."""
    lines = [json.dumps(dict(reversed(json.loads(line).items())), indent=None).encode() + b"\r\n" for line in LINES]
    (tmp_path / "export").write_bytes(b"".join(lines))
    (tmp_path / "plain").write_bytes(b"".join(LINES).removesuffix(b"\n"))
    (tmp_path / "before").write_bytes(b"".join(export_lines(LOG[:100])))
    head = audit_log(ExportSource(tmp_path / "before"), KEY).head
    for kept in (None, head):
        found = [audit_log(ExportSource(tmp_path / name), KEY, head=kept) for name in ("export", "plain")]
        assert found[0] == found[1]
        assert found[0].entries == (300 if kept is None else 200)


def test_a_record_that_is_not_what_its_leaf_says(tmp_path: Path) -> None:
    """The leaf names the record by its hash, and the signer lied: the facts are held against each other."""
    for changes, member in (
        ({"time": "2026-01-02T03:04:05.000000Z"}, "time"),
        ({"time": None}, "time"),
        ({"algorithm": "ECDSA_SHA_384"}, "algorithm"),
        ({"algorithm": None}, "algorithm"),
        ({"key_version": 9}, "key_version"),
        ({"signatures": []}, "signatures"),
        ({"signatures": [SIGNATURE]}, "signatures"),
        ({"signatures": [1]}, "signatures"),
        ({"signatures": 1}, "signatures"),
    ):
        made = [log_files.row(1, bytes(32)), log_files.decision(1, **changes)]
        error = refused(tmp_path / "export", export_lines(made))
        assert error.as_json()["index"] == 1
        assert error.message.endswith(f"differ in {member}")


@pytest.mark.parametrize(
    "record", [b"{", b"[]", b'{"a":1,"a":1}', b"\xff", b'{"a":NaN}', b"[" * 5000, b'{"a":"\\ud800"}']
)
def test_a_record_that_is_no_json(record: bytes, tmp_path: Path) -> None:
    nonce = bytes(32)
    leaf = log_builder.decision_leaf(record_sha256=log_files.sha256(nonce + record).hex())
    lines = export_lines([Entry(leaf, nonce, record)])
    assert refused(tmp_path / "export", lines).as_json()["index"] == 0


@pytest.mark.parametrize(
    ("nonce", "more", "code"), [(16, 0, "log_proof_invalid"), (33, 0, "log_proof_invalid"), (32, 600_000, "too_large")]
)
def test_a_nonce_or_a_record_of_another_size(nonce: int, more: int, code: str, tmp_path: Path) -> None:
    """Although the leaf names just these bytes."""
    right = log_files.decision(1, detail="x" * more)
    assert right.record is not None
    members = json.loads(right.leaf) | {"record_sha256": log_files.sha256(bytes(nonce) + right.record).hex()}
    error = refused(
        tmp_path / "export", export_lines([Entry(log_builder.canonical(members), bytes(nonce), right.record)])
    )
    assert (error.code, error.as_json()["index"]) == (code, 0)


def test_the_rows_journal_has_no_gap(tmp_path: Path) -> None:
    first = log_files.row(1, bytes(32))
    link = bytes.fromhex(json.loads(first.leaf)["link"])
    for second in (log_files.row(1, bytes(32)), log_files.row(3, link), log_files.row(2, bytes(32))):
        assert refused(tmp_path / "export", export_lines([first, second])).as_json()["index"] == 1
    # The log of a new HSM goes on with the journal where the former one ended.
    later = [log_files.row(7, link), log_files.row(8, bytes.fromhex(json.loads(log_files.row(7, link).leaf)["link"]))]
    (tmp_path / "export").write_bytes(b"".join(export_lines(later)))
    assert audit_log(ExportSource(tmp_path / "export"), KEY).journal == (7, 8)


# Directories


def tiles_refused(folder: Path) -> LogRejected:
    with pytest.raises(LogRejected) as caught:
        audit_log(DirectorySource(folder), KEY)
    return caught.value


@pytest.mark.parametrize(
    ("name", "data"),
    [
        *(("tile/entries/000", data) for data in (b"", b"\x00", b"\xff\xff", b"\x00\x00" * 300, b"x" * 20_000_000)),
        *(("tile/0/000", data) for data in (b"", b"x" * 31, b"x" * 8193)),
    ],
)
def test_files_of_other_bytes(name: str, data: bytes, tmp_path: Path) -> None:
    write_tiles(tmp_path, LOG)
    (tmp_path / name).write_bytes(data)
    error = tiles_refused(tmp_path)
    assert error.where.get("index", error.where.get("first_index")) == 0
    assert error.where["tile"] == name


def test_a_tile_that_goes_on(tmp_path: Path) -> None:
    write_tiles(tmp_path, LOG)
    for name in ("tile/0/000", "tile/0/001.p/44", "tile/1/000.p/1"):
        path = tmp_path / name
        path.write_bytes(path.read_bytes() + b"\x00")
        assert tiles_refused(tmp_path).where["tile"] == name
        path.write_bytes(path.read_bytes()[:-1])
    assert audit_log(DirectorySource(tmp_path), KEY).size == 300


@pytest.mark.parametrize("more", [b"\x00", b"\x00\x00", b"\x00\x01x"])
def test_a_bundle_that_goes_on(more: bytes, tmp_path: Path) -> None:
    write_tiles(tmp_path, LOG)
    path = tmp_path / "tile/entries/001.p/44"
    path.write_bytes(path.read_bytes() + more)
    place = {"first_index": 256, "last_index": 299, "tile": "tile/entries/001.p/44"}
    assert tiles_refused(tmp_path).where == place


def test_what_is_no_file_is_missing(tmp_path: Path) -> None:
    """A pipe would be waited for, a loop of links followed."""
    for kind in ("pipe", "folder", "loop"):
        place = write_tiles(tmp_path / kind, LOG) / "tile/0/000"
        place.unlink()
        if kind == "pipe":
            os.mkfifo(place)
        elif kind == "folder":
            place.mkdir()
        else:
            place.symlink_to(place)
        with pytest.raises((LogRejected, Indeterminate)) as caught:
            audit_log(DirectorySource(tmp_path / kind), KEY)
        assert "tile/0/000" in caught.value.message


def test_partial_tiles_that_became_full_since_the_checkpoint(tmp_path: Path) -> None:
    """What is served grows while it is copied: the beginning of a full tile is the partial one."""
    write_tiles(tmp_path, entries(600), checkpoint(entries(600), 300))
    assert audit_log(DirectorySource(tmp_path), KEY).size == 300


def test_no_log_at_all(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(Indeterminate) as caught:
            audit_log(DirectorySource(path), KEY)
        assert caught.value.code == "unreadable_file"
    with pytest.raises(Indeterminate):
        audit_log(ExportSource(tmp_path / "nowhere"), KEY)
