"""What somebody with all rights over a log's bytes, and without the log's key, may try: all found, and where."""

from __future__ import annotations

import base64
import json
import random
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.verifier import log_files
from tests.verifier.log_builder import log_signer
from tests.verifier.log_files import Entry, checkpoint, entries, export_lines, write_tiles
from verifier.errors import Indeterminate, Rejected, VerificationError
from verifier.log import DirectorySource, ExportSource, KeptHead, LogRejected, audit_log
from verifier.notes import parse_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from verifier.log import LogSource

KEY = parse_key(log_signer().text)
LOG = entries(700)
NOTE = checkpoint(LOG)
OLD = 600  # the size at which a head was kept
OF_THE_CHECKPOINT = {"malformed", "signature_invalid", "untrusted_signer", "too_large", "unreadable_file"}

# Where the tampering is: the entries of which it may be one, or the size at which the log is cut, or the checkpoint.
Place = tuple[int, int] | int | None


@pytest.fixture(scope="module")
def genuine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The log as a directory and as an export, now and at the size of the kept head."""
    folder = tmp_path_factory.mktemp("genuine")
    for name, made in (("now", LOG), ("old", LOG[:OLD])):
        write_tiles(folder / name, made)
        (folder / f"{name}.jsonl").write_bytes(b"".join(export_lines(made)))
    return folder


@pytest.fixture(scope="module")
def kept(genuine: Path) -> KeptHead:
    return audit_log(ExportSource(genuine / "old.jsonl"), KEY).head


def refused(source: LogSource, head: KeptHead | None) -> VerificationError:
    with pytest.raises((Rejected, Indeterminate)) as caught:
        audit_log(source, KEY, head=head, full=True)
    error: VerificationError = caught.value
    return error


def check_place(error: VerificationError, place: Place) -> None:
    """That the rejection names the place: the very entry, or a range that has it; the size; or the checkpoint."""
    if place is None:
        assert error.code in OF_THE_CHECKPOINT
        return
    assert isinstance(error, LogRejected), error
    told = error.where
    if isinstance(place, int):
        assert told["size"] == place
    elif "index" in told:
        assert place[0] <= int(told["index"]) <= place[1], (error, place)
    else:
        first, last = int(told["first_index"]), int(told["last_index"])
        assert last - first < 256 or "missing" in error.message, error
        assert first <= place[1], (error, place)
        assert last >= place[0], (error, place)


def forged(index: int) -> Entry:
    """Another entry of the same kind, right in itself."""
    if LOG[index].row is not None:
        before = bytes(32) if index < 10 else bytes.fromhex(json.loads(LOG[index - 10].leaf)["link"])
        return log_files.row(1 + index // 10, before, table="forged")
    return log_files.decision(index, label="forged")


def changed(index: int) -> list[Entry]:
    return [*LOG[:index], forged(index), *LOG[index + 1 :]]


# A directory


class Tiles:
    """A copy of the directory that is tampered with."""

    def __init__(self, genuine: Path, folder: Path) -> None:
        self.genuine, self.folder = genuine, folder
        shutil.copytree(genuine / "now", folder)

    def entry_files(self) -> list[Path]:
        return sorted(path for path in (self.folder / "tile/entries").rglob("*") if path.is_file())

    def files(self) -> list[Path]:
        return sorted(path for path in self.folder.rglob("*") if path.is_file())

    def place_of(self, path: Path, at: int = 0) -> Place:
        """The entries that byte `at` of a file is about."""
        name = path.relative_to(self.folder).parts
        if name[0] == "checkpoint":
            return None
        number = int(name[2].removesuffix(".p"))
        if name[1] == "entries":
            return number * 256, min(number * 256 + 255, len(LOG) - 1)
        span = 256 ** int(name[1])
        first = number * 256 * span + at // 32 * span
        return first, first + span - 1

    def replace(self, made: list[Entry], note: bytes) -> None:
        shutil.rmtree(self.folder)
        write_tiles(self.folder, made, note)


def edit_file(log: Tiles, chance: random.Random) -> Place:
    path = chance.choice(log.files())
    data = bytearray(path.read_bytes())
    at = chance.randrange(len(data))
    data[at] ^= chance.randrange(1, 256)
    path.write_bytes(data)
    return log.place_of(path, at)


def delete_file(log: Tiles, chance: random.Random) -> Place:
    path = chance.choice(log.files())
    path.unlink()
    return log.place_of(path)


def truncate_file(log: Tiles, chance: random.Random) -> Place:
    path = chance.choice(log.files())
    data = path.read_bytes()
    size = chance.randrange(len(data))
    path.write_bytes(data[:size])
    return log.place_of(path, size)


def swap_files(log: Tiles, chance: random.Random) -> Place:
    one, other = chance.sample(log.entry_files()[:2], 2)
    one_data, other_data = one.read_bytes(), other.read_bytes()
    one.write_bytes(other_data)
    other.write_bytes(one_data)
    return 0, 0


def restore_tiles(log: Tiles, _chance: random.Random) -> Place:
    shutil.rmtree(log.folder)
    shutil.copytree(log.genuine / "old", log.folder)
    write_tiles(log.folder, LOG[: OLD - 1])
    return OLD - 1


def recompute_tiles(log: Tiles, chance: random.Random) -> Place:
    """The whole tree is made anew; the log's own checkpoint is all that he cannot make."""
    index = chance.randrange(OLD)
    log.replace(changed(index), NOTE)
    return index, index


def replay_checkpoint(log: Tiles, chance: random.Random) -> Place:
    size = chance.randrange(OLD)
    log.replace(LOG, checkpoint(LOG, size))
    write_tiles(log.folder, LOG[:size], checkpoint(LOG, size))
    return size


def swap_leaves(log: Tiles, chance: random.Random) -> Place:
    """Two entries change places, with the tree made anew."""
    one, other = sorted(chance.sample(range(OLD), 2))
    made = list(LOG)
    made[one], made[other] = made[other], made[one]
    log.replace(made, NOTE)
    return one, one


def drop_leaf(log: Tiles, chance: random.Random) -> Place:
    index = chance.randrange(OLD)
    log.replace([*LOG[:index], *LOG[index + 1 :], forged(699)], NOTE)
    return index, index


DIRECTORY_ATTACKS = (
    *(edit_file, delete_file, truncate_file, swap_files, restore_tiles, recompute_tiles, replay_checkpoint),
    *(swap_leaves, drop_leaf),
)


@pytest.mark.parametrize("attack", DIRECTORY_ATTACKS)
def test_a_tampered_directory(
    attack: Callable[[Tiles, random.Random], Place], genuine: Path, kept: KeptHead, tmp_path: Path
) -> None:
    for seed in range(4):
        chance = random.Random(f"{attack.__name__} {seed}")  # noqa: S311 (repeatable on purpose)
        log = Tiles(genuine, tmp_path / str(seed))
        place = attack(log, chance)
        check_place(refused(DirectorySource(log.folder), kept), place)


# An export

Lines = list[bytes]


def edit_line(lines: Lines, chance: random.Random) -> Place:
    at = chance.randrange(len(lines))
    line = bytearray(lines[at])
    line[chance.randrange(len(line) - 1)] ^= chance.randrange(1, 256)
    lines[at] = bytes(line)
    return None if at == len(LOG) else (at, at)


def edit_record(lines: Lines, chance: random.Random) -> Place:
    """The words of a record, with the hash in the leaf left as it was."""
    at = chance.choice([index for index, entry in enumerate(LOG) if entry.record is not None])
    lines[at] = lines[at].replace("user/Zoë".encode(), b"user/Eve")
    return at, at


def edit_record_and_leaf(lines: Lines, chance: random.Random) -> Place:
    at = chance.randrange(OLD)
    lines[at] = log_files.export_line(at, forged(at))
    return at, at


def edit_row(lines: Lines, chance: random.Random) -> Place:
    at = chance.choice([index for index, entry in enumerate(LOG) if entry.row is not None])
    members: dict[str, Any] = json.loads(lines[at])
    members["row"] |= chance.choice(({"revision": 99}, {"id": "row-9"}, {"seal": "00" * 32}, {"previous": 77}))
    lines[at] = log_files.utf8(members) + b"\n"
    return at, at


def drop_record(lines: Lines, chance: random.Random) -> Place:
    at = chance.randrange(len(LOG))
    members = json.loads(lines[at])
    kept = {name: value for name, value in members.items() if name in {"index", "leaf"}}
    lines[at] = log_files.utf8(kept) + b"\n"
    return at, at


def delete_line(lines: Lines, chance: random.Random) -> Place:
    at = chance.randrange(len(LOG))
    del lines[at]
    return (at, at) if at < len(LOG) - 1 else at


def delete_and_renumber(lines: Lines, chance: random.Random) -> Place:
    at = chance.randrange(OLD)
    made = [*LOG[:at], *LOG[at + 1 :]]
    lines[:-1] = [log_files.export_line(index, entry) for index, entry in enumerate(made)]
    return at, at


def swap_lines(lines: Lines, chance: random.Random) -> Place:
    one, other = sorted(chance.sample(range(len(LOG)), 2))
    lines[one], lines[other] = lines[other], lines[one]
    return one, one


def repeat_line(lines: Lines, chance: random.Random) -> Place:
    at = chance.randrange(len(LOG))
    lines.insert(at, lines[at])
    return at, at + 1


def truncate_export(lines: Lines, chance: random.Random) -> Place:
    """Cut after a whole line: the answer says how many entries there are."""
    size = chance.randrange(1, len(LOG))
    del lines[size:]
    return size


def cut_out_of_the_middle(lines: Lines, chance: random.Random) -> Place:
    first = chance.randrange(1, OLD)
    del lines[first : first + chance.randrange(2, 50)]
    return first, first


def restore_export(lines: Lines, chance: random.Random) -> Place:
    size = chance.randrange(1, OLD)
    lines[:] = export_lines(LOG[:size])
    return size


def replay_in_export(lines: Lines, chance: random.Random) -> Place:
    """An older genuine checkpoint under all the entries: those after it are in no checkpoint."""
    size = chance.randrange(OLD)
    lines[-1] = export_lines(LOG[:size])[-1]
    return size


EXPORT_ATTACKS = (
    *(
        edit_line,
        edit_record,
        edit_record_and_leaf,
        edit_row,
        drop_record,
        delete_line,
        delete_and_renumber,
        swap_lines,
    ),
    *(repeat_line, truncate_export, cut_out_of_the_middle, restore_export, replay_in_export),
)


@pytest.mark.parametrize("attack", EXPORT_ATTACKS)
def test_a_tampered_export(attack: Callable[[Lines, random.Random], Place], kept: KeptHead, tmp_path: Path) -> None:
    for seed in range(4):
        lines = export_lines(LOG, NOTE)
        chance = random.Random(f"{attack.__name__} {seed}")  # noqa: S311 (repeatable on purpose)
        place = attack(lines, chance)
        (tmp_path / "export").write_bytes(b"".join(lines))
        check_place(refused(ExportSource(tmp_path / "export"), kept), place)


def test_without_a_kept_head_the_checkpoint_still_holds(tmp_path: Path) -> None:
    """A tree made anew has another root than the checkpoint signs; which entry it was, nothing here tells."""
    write_tiles(tmp_path / "log", changed(300), NOTE)
    error = refused(DirectorySource(tmp_path / "log"), None)
    assert isinstance(error, LogRejected)
    assert error.where == {"first_index": 0, "last_index": 699, "size": 700}
    lines = export_lines(LOG, NOTE)
    lines[300:302] = [lines[301], lines[300]]
    (tmp_path / "export").write_bytes(b"".join(lines))
    check_place(refused(ExportSource(tmp_path / "export"), None), (300, 300))


def test_the_first_of_several_is_named(kept: KeptHead, tmp_path: Path) -> None:
    """Whatever each of them is: a record, a leaf, a line that cannot be read, all in one tile."""
    for first, second, third in ((3, 9, 101), (9, 101, 3), (101, 3, 9)):
        lines = export_lines(LOG, NOTE)
        lines[first] = lines[first].replace("user/Zoë".encode(), b"user/Eve")
        lines[second] = log_files.export_line(second, forged(second))
        lines[third] = b"{}\n"
        (tmp_path / "export").write_bytes(b"".join(lines))
        error = refused(ExportSource(tmp_path / "export"), kept)
        assert isinstance(error, LogRejected)
        assert error.where["index"] == 3


def test_a_leaf_of_a_later_version_hides_nothing(tmp_path: Path, kept: KeptHead) -> None:
    """It alone could not be decided; that it was not there before can."""
    later = Entry(LOG[5].leaf.replace(b'"v":1', b'"v":2'), LOG[5].nonce, LOG[5].record)
    write_tiles(tmp_path / "log", [*LOG[:5], later, *LOG[6:]])
    assert refused(DirectorySource(tmp_path / "log"), None).code == "unsupported_format"
    error = refused(DirectorySource(tmp_path / "log"), kept)
    assert isinstance(error, LogRejected)
    assert error.where["index"] == 5


def test_what_is_changed_before_the_head_is_found_when_all_is_read(
    genuine: Path, kept: KeptHead, tmp_path: Path
) -> None:
    """Otherwise only what is new is read, and the facts say so."""
    log = Tiles(genuine, tmp_path / "log")
    bundle = log.entry_files()[0]
    bundle.write_bytes(bundle.read_bytes().replace(b'"key_version":2', b'"key_version":3', 1))
    assert any("--full" in limit for limit in audit_log(DirectorySource(log.folder), KEY, head=kept).not_covered)
    check_place(refused(DirectorySource(log.folder), kept), (1, 1))


def test_a_rewritten_history_is_found_by_what_is_new_alone(kept: KeptHead, tmp_path: Path) -> None:
    """And then located by reading everything, also where the log's own key signed it."""
    for note in (NOTE, checkpoint(changed(77))):
        write_tiles(tmp_path / "log", changed(77), note)
        with pytest.raises(LogRejected) as caught:
            audit_log(DirectorySource(tmp_path / "log"), KEY, head=kept)
        assert caught.value.where["index"] == 77


def test_base64_of_the_same_leaf_in_another_writing_is_refused(kept: KeptHead, tmp_path: Path) -> None:
    lines = export_lines(LOG, NOTE)
    members = json.loads(lines[3])
    assert base64.b64decode(members["leaf"]) == LOG[3].leaf
    for leaf in (members["leaf"] + "\n", members["leaf"].rstrip("=") + "==", members["leaf"][:-1] + "!", ""):
        changed_line = log_files.utf8(members | {"leaf": leaf}) + b"\n"
        (tmp_path / "export").write_bytes(b"".join([*lines[:3], changed_line, *lines[4:]]))
        if base64.b64encode(LOG[3].leaf).decode() != leaf:
            check_place(refused(ExportSource(tmp_path / "export"), kept), (3, 3))


def every_attack() -> Iterator[str]:
    yield from (attack.__name__ for attack in (*DIRECTORY_ATTACKS, *EXPORT_ATTACKS))


def test_nothing_is_found_where_nothing_was_changed(genuine: Path, kept: KeptHead) -> None:
    for source in (DirectorySource(genuine / "now"), ExportSource(genuine / "now.jsonl")):
        assert audit_log(source, KEY, head=kept, full=True).size == 700
    assert len(set(every_attack())) == len(DIRECTORY_ATTACKS) + len(EXPORT_ATTACKS)
