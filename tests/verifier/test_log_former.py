"""A log that took the place of another one: what its entry 0 says, and what an auditor of the former log sees."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from signer.audit.leaf import former_leaf
from tests.verifier.log_builder import canonical, log_signer
from tests.verifier.log_files import Entry, builder, checkpoint, entries, export_lines
from verifier.command import run
from verifier.errors import Indeterminate, Rejected
from verifier.log import ExportSource, KeptHead, LogRejected, audit_log, describe_audit
from verifier.log_leaves import FormerLeaf, check_names, parse_leaf
from verifier.notes import parse_key

if TYPE_CHECKING:
    from pathlib import Path

OLD, NEW = log_signer("log"), log_signer("next")
FORMER = entries(300)


def leaf_of(size: int, /, **changes: object) -> bytes:
    """Entry 0 of the log that follows the first `size` entries of the former one."""
    members = {
        "checkpoint": checkpoint(FORMER[:size]).decode(),
        "former": OLD.name,
        "root": builder(FORMER[:size]).root().hex(),
        "size": size,
        "v": 1,
    }
    return canonical(members | changes)


def following(size: int, /, **changes: object) -> list[Entry]:
    return [Entry(leaf_of(size, **changes)), *(entry for entry in entries(20) if entry.row is None)]


def written(folder: Path, made: list[Entry]) -> Path:
    lines = [
        *export_lines(made)[:-1],
        json.dumps({"checkpoint": checkpoint(made, signer=NEW).decode()}).encode() + b"\n",
    ]
    path = folder / "new.jsonl"
    path.write_bytes(b"".join(lines))
    return path


def kept(size: int, folder: Path) -> KeptHead:
    path = folder / f"former-{size}"
    path.write_bytes(b"".join(export_lines(FORMER[:size])))
    return audit_log(ExportSource(path), parse_key(OLD.text)).head


def test_the_service_writes_what_the_verifier_reads() -> None:
    note, root = checkpoint(FORMER), builder(FORMER).root()
    leaf = former_leaf(OLD.name, 300, root, note.decode())
    assert leaf == leaf_of(300)
    assert parse_leaf(leaf) == FormerLeaf(OLD.name, 300, root.hex(), note)
    assert parse_leaf(former_leaf(OLD.name, 0, bytes(32), None)) == FormerLeaf(OLD.name, 0, "00" * 32, None)
    with pytest.raises(Rejected, match="not about a signature"):
        check_names(parse_leaf(leaf), [])


@pytest.mark.parametrize(
    "changes",
    [
        {"size": 299},  # the checkpoint is of more
        {"former": "sealmark/000000000000/us-east-1/0000000000000000"},
        {"root": "00" * 32},
        {"checkpoint": "no note"},
        {"checkpoint": 1},
        {"former": 1},
        {"size": -1},
        {"size": True},
        {"root": "AB" * 32},
        {"more": 1},
        {"v": 2},
    ],
)
def test_a_leaf_that_contradicts_itself_is_malformed(changes: dict[str, object]) -> None:
    with pytest.raises(Rejected) as caught:
        parse_leaf(leaf_of(300, **changes))
    assert caught.value.code == "malformed"


def test_a_log_that_follows_another_one(tmp_path: Path) -> None:
    source = ExportSource(written(tmp_path, following(300)))
    found = audit_log(source, parse_key(NEW.text), former=kept(300, tmp_path))
    assert found.former is not None
    assert (found.former.origin, found.former.size) == (OLD.name, 300)
    assert f"follows:      {OLD.name}, which ended at 300 entries" in describe_audit(found)
    again = audit_log(source, parse_key(NEW.text), head=found.head)
    assert (again.former, again.start) == (None, again.size)
    assert audit_log(source, parse_key(NEW.text), head=found.head, former=kept(300, tmp_path)).former == found.former


def test_what_the_former_log_never_signed_is_named(tmp_path: Path) -> None:
    made = following(300, checkpoint=checkpoint(FORMER[:295]).decode())
    found = audit_log(ExportSource(written(tmp_path, made)), parse_key(NEW.text), former=kept(295, tmp_path))
    assert "the last 5 entries of the former log, which it never signed" in found.not_covered
    with pytest.raises(Indeterminate, match="audit it to its end"):
        audit_log(ExportSource(written(tmp_path, made)), parse_key(NEW.text), former=kept(294, tmp_path))
    other = [*entries(294), *entries(1)]
    forked = following(300, checkpoint=checkpoint(other).decode())
    with pytest.raises(LogRejected, match="its checkpoint has another root"):
        audit_log(ExportSource(written(tmp_path, forked)), parse_key(NEW.text), former=kept(295, tmp_path))


def test_what_was_cut_off_or_rewritten_of_the_former_log(tmp_path: Path) -> None:
    source = ExportSource(written(tmp_path, following(290)))
    with pytest.raises(LogRejected, match="entries 290 to 299 were cut off") as caught:
        audit_log(source, parse_key(NEW.text), former=kept(300, tmp_path))
    assert caught.value.where == {"index": 0, "size": 290}
    with pytest.raises(Indeterminate, match="audit it to its end"):
        audit_log(source, parse_key(NEW.text), former=kept(280, tmp_path))
    another = following(300, checkpoint=None, root="ab" * 32)
    with pytest.raises(LogRejected, match="another history"):
        audit_log(ExportSource(written(tmp_path, another)), parse_key(NEW.text), former=kept(300, tmp_path))
    strange = following(300, checkpoint=None, former="sealmark/000000000000/us-east-1/0000000000000000")
    with pytest.raises(LogRejected, match="and the former head is of"):
        audit_log(ExportSource(written(tmp_path, strange)), parse_key(NEW.text), former=kept(300, tmp_path))
    with pytest.raises(LogRejected, match="its entry 0 names no former log"):
        audit_log(ExportSource(written(tmp_path, following(300)[1:])), parse_key(NEW.text), former=kept(300, tmp_path))


def test_only_entry_0_names_a_former_log(tmp_path: Path) -> None:
    made = following(300)
    with pytest.raises(LogRejected, match="only the first entry") as caught:
        audit_log(ExportSource(written(tmp_path, [*made, made[0]])), parse_key(NEW.text))
    assert caught.value.where["index"] == len(made)
    made[0].nonce, made[0].record = made[1].nonce, made[1].record
    with pytest.raises(LogRejected, match="has a record or a row"):
        audit_log(ExportSource(written(tmp_path, made)), parse_key(NEW.text))


def test_the_command_takes_the_former_head(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = tmp_path / "old.jsonl", written(tmp_path, following(300))
    old.write_bytes(b"".join(export_lines(FORMER)))
    told = ["log", str(new), "--log-key", NEW.text, "--former", str(tmp_path / "old.head"), "--json"]
    assert run(told) == 2
    assert "audit the former log" in capsys.readouterr().out
    assert run(["log", str(old), "--log-key", OLD.text, "--head", str(tmp_path / "old.head")]) == 0
    capsys.readouterr()
    assert run(told) == 0
    assert json.loads(capsys.readouterr().out)["former"]["size"] == 300
    written(tmp_path, following(290))
    assert run(told) == 1
    assert json.loads(capsys.readouterr().out)["size"] == 290
