"""The witness's folder: what refuses to start, and what is never lost or made anew by itself."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import stat
import threading
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from signer.cli.main import cli
from signer.witness.cosigning import Cosigner
from signer.witness.errors import Refusal, UnsafeAddress, WitnessStateError
from signer.witness.serving import server_options
from signer.witness.state import create_state, open_state
from signer.witness.store import FORKS_KEPT, StoreBusy
from tests.signer.witness.support import NAME, growth, leaves, request
from tests.verifier.log_builder import LogBuilder, log_signer, witness_signer
from verifier.notes import parse_key

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SIGNER = log_signer()
LOG = LogBuilder(leaves(40))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A witness that has cosigned the size 20 of one log."""
    state = create_state(tmp_path / "witness", NAME)
    state.store.add_log(parse_key(SIGNER.text))
    Cosigner(state).add_checkpoint(growth(LOG, SIGNER, 0, 20))
    return tmp_path / "witness"


def witness(*words: str | Path) -> Result:
    return CliRunner().invoke(cli, ["witness", *(str(word) for word in words)])


def size(folder: Path) -> int:
    found = open_state(folder).store.log(SIGNER.name)
    assert found is not None
    return found.head.size


def test_only_its_owner_can_read_it(folder: Path) -> None:
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.iterdir())}
    assert modes == {"witness": 0o700, "witness.key": 0o600, "witness.db": 0o600}


def test_every_commit_is_on_the_disk_in_one_file(folder: Path) -> None:
    with open_state(folder).store._opened() as connection:
        assert connection.execute("PRAGMA synchronous").fetchone() == (3,)  # EXTRA
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    assert {path.name for path in folder.iterdir()} == {"witness.key", "witness.db"}


def test_nothing_that_is_there_is_overwritten(folder: Path, tmp_path: Path) -> None:
    before = (folder / "witness.key").read_bytes()
    again = witness("init", "--state", folder, "--name", NAME)
    assert (again.exit_code, "not an empty folder" in again.stderr) == (1, True)
    assert (folder / "witness.key").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["witness"]
    (tmp_path / "empty").mkdir()
    assert witness("init", "--state", tmp_path / "empty", "--name", NAME).exit_code == 0


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\nb", "/x", "é", "x" * 201])
def test_a_name_that_cannot_stand_in_a_note_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(WitnessStateError, match="not a witness's name"):
        create_state(tmp_path / "w", name)
    assert not any(tmp_path.iterdir())


def test_a_key_without_its_store_never_cosigns_again(folder: Path) -> None:
    (folder / "witness.db").unlink()
    with pytest.raises(WitnessStateError, match=r"second history.*new key in another folder"):
        open_state(folder)
    for words in (("key",), ("list-logs",), ("serve",), ("add-log", SIGNER.text), ("init", "--name", NAME)):
        assert witness(words[0], "--state", folder, *words[1:]).exit_code == 1
    assert not (folder / "witness.db").exists()


def test_a_store_without_its_key_is_no_witness(folder: Path) -> None:
    (folder / "witness.key").unlink()
    with pytest.raises(WitnessStateError, match=r"witness\.key is missing"):
        open_state(folder)


def test_a_folder_without_either_says_how_to_begin(tmp_path: Path) -> None:
    with pytest.raises(WitnessStateError, match="sealmark witness init"):
        open_state(tmp_path)


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def execute(folder: Path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(folder / "witness.db")) as connection, connection:
        connection.execute(statement, values)


def another_witness(folder: Path) -> None:
    other = create_state(folder.parent / "other", NAME)
    other.store.add_log(parse_key(SIGNER.text))
    shutil.copy(folder.parent / "other" / "witness.db", folder / "witness.db")


DAMAGE: dict[str, Callable[[Path], object]] = {
    "empty store": lambda folder: (folder / "witness.db").write_bytes(b""),
    "not a database": lambda folder: (folder / "witness.db").write_bytes(b"x" * 8192),
    "cut store": lambda folder: os.truncate(folder / "witness.db", 4096),
    "store of another witness": another_witness,
    "another version": lambda folder: execute(folder, "PRAGMA user_version = 2"),
    "another program's": lambda folder: execute(folder, "PRAGMA application_id = 1"),
    "no table": lambda folder: execute(folder, "DROP TABLE logs"),
    "no witness": lambda folder: execute(folder, "DELETE FROM witness"),
    "smaller size": lambda folder: execute(folder, "UPDATE logs SET size = 19"),
    "no checkpoint": lambda folder: execute(folder, "UPDATE logs SET note = NULL"),
    "a checkpoint of its own": lambda folder: execute(
        folder, "UPDATE logs SET size = 5, note = ?", LOG.checkpoint(SIGNER, 5)
    ),
    "another key": lambda folder: execute(folder, "UPDATE logs SET key = ?", log_signer("x").text),
    "another origin": lambda folder: execute(folder, "UPDATE logs SET origin = 'x'"),
    "no key at all": lambda folder: execute(folder, "UPDATE logs SET key = ''"),
    "a bit of the checkpoint": lambda folder: execute(
        folder, "UPDATE logs SET note = CAST(replace(CAST(note AS TEXT), char(10) || '20' || char(10), ?) AS BLOB)",
        "\n21\n",
    ),
    "a bit of the key": lambda folder: flip(folder / "witness.key", 50),
    "a bit of the key's name": lambda folder: flip(folder / "witness.key", 14),
    "empty key": lambda folder: (folder / "witness.key").write_bytes(b""),
    "more after the key": lambda folder: (folder / "witness.key").write_bytes(
        (folder / "witness.key").read_bytes() + b"\n"
    ),
    "key open to others": lambda folder: (folder / "witness.key").chmod(0o640),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_damaged_refuses_to_start_and_shows_no_secret(folder: Path, damage: str) -> None:
    secret = (folder / "witness.key").read_text().split("+", 4)[4].strip()
    DAMAGE[damage](folder)
    for command in ("key", "serve", "list-logs"):
        refused = witness(command, "--state", folder)
        assert refused.exit_code == 1
        assert refused.stderr.startswith("Error: witness_state: ")
        assert secret not in refused.output


def test_a_store_that_cannot_be_written_cosigns_nothing(folder: Path) -> None:
    state = open_state(folder)
    with state.store.exclusively(), pytest.MonkeyPatch.context() as patch:
        patch.setattr("signer.witness.store.LOCK_SECONDS", 0.05)
        with pytest.raises(StoreBusy, match="locked"):
            Cosigner(state).add_checkpoint(growth(LOG, SIGNER, 20, 30))
    (folder / "witness.db").rename(folder / "elsewhere")
    with pytest.raises(StoreBusy):
        Cosigner(state).add_checkpoint(growth(LOG, SIGNER, 20, 30))
    assert not (folder / "witness.db").exists()
    (folder / "elsewhere").rename(folder / "witness.db")
    assert size(folder) == 20
    Cosigner(state).add_checkpoint(growth(LOG, SIGNER, 20, 30))
    assert size(folder) == 30


def test_what_fails_before_the_commit_leaves_nothing_behind(folder: Path) -> None:
    state = open_state(folder)

    def fail() -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Cosigner(state, fail).add_checkpoint(growth(LOG, SIGNER, 20, 30))
    assert size(folder) == 20


def test_of_many_at_once_one_goes_first(folder: Path) -> None:
    """Each of the threads would grow the log its own way; a signature of one size is given out for one of them."""
    logs = [LogBuilder([*leaves(20), *leaves(10, str(number))]) for number in range(8)]
    gone: list[int] = []
    refusals: list[int] = []
    barrier = threading.Barrier(len(logs))

    def grow(number: int) -> None:
        cosigner = Cosigner(open_state(folder))
        barrier.wait()
        try:
            cosigner.add_checkpoint(growth(logs[number], SIGNER, 20, 30))
            gone.append(number)
        except Refusal as refusal:
            refusals.append(refusal.status)

    threads = [threading.Thread(target=grow, args=(number,)) for number in range(len(logs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(gone) == 1
    assert refusals == [409] * 7
    found = open_state(folder).store.log(SIGNER.name)
    assert found is not None
    assert (found.head.size, found.head.root) == (30, logs[gone[0]].root())


def test_proofs_of_forks_are_kept_and_shown(folder: Path) -> None:
    state = open_state(folder)
    assert witness("forks", "--state", folder).exit_code == 0
    others = [LogBuilder(leaves(20, f"other {number}")) for number in range(FORKS_KEPT + 1)]
    for other in others:
        with pytest.raises(Refusal):
            Cosigner(state).add_checkpoint(request(20, [], other.checkpoint(SIGNER)))
    shown = witness("forks", "--state", folder, "--json")
    assert shown.exit_code == 1
    assert "log_forked" in shown.stderr
    found = json.loads(shown.stdout)["forks"]
    assert {one["shown"].encode() for one in found} == {other.checkpoint(SIGNER) for other in others[:FORKS_KEPT]}


def test_logs_are_added_listed_and_removed(folder: Path) -> None:
    def listed() -> list[tuple[str, bool, int]]:
        shown = json.loads(witness("list-logs", "--state", folder, "--json").stdout)["logs"]
        return [(one["origin"], one["watched"], one["size"]) for one in shown]

    other = log_signer("other")
    assert witness("add-log", "--state", folder, other.text).stdout == f"{other.name}\n"
    assert witness("add-log", "--state", folder, other.text).exit_code == 0
    assert sorted(listed()) == sorted([(SIGNER.name, True, 20), (other.name, True, 0)])
    assert witness("remove-log", "--state", folder, SIGNER.name).exit_code == 0
    assert (SIGNER.name, False, 20) in listed()
    again = witness("remove-log", "--state", folder, SIGNER.name)
    assert again.stderr.startswith("Error: unknown_log: ")
    assert witness("add-log", "--state", folder, SIGNER.text).exit_code == 0
    assert (SIGNER.name, True, 20) in listed()


def test_a_log_keeps_its_key(folder: Path) -> None:
    namesake = parse_key(SIGNER.text)
    other = type(namesake)(namesake.name, namesake.kind, log_signer("other").public_key)
    refused = witness("add-log", "--state", folder, str(other))
    assert refused.stderr.startswith("Error: log_conflict: ")
    assert witness("add-log", "--state", folder, witness_signer().text).stderr.startswith("Error: log_conflict: ")
    assert witness("add-log", "--state", folder, "nonsense").exit_code == 2


def test_other_machines_are_let_in_by_tls_alone(folder: Path, tmp_path: Path) -> None:
    for address in ("127.0.0.1:8300", "[::1]:8300", "localhost:8300", "127.8.9.1:0"):
        assert server_options(address, None, None)["bind"] == address
    for address in ("0.0.0.0:8300", "[::]:8300", "10.0.0.5:8300", "witness.example:8300", "localhost.example:8300"):
        with pytest.raises(UnsafeAddress, match="--tls-certificate"):
            server_options(address, None, None)
    refused = witness("serve", "--state", folder, "--listen", "0.0.0.0:8300")
    assert refused.stderr.startswith("Error: unsafe_address: ")
    assert witness("serve", "--state", folder, "--listen", "unix:/tmp/x").exit_code == 2
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    certificate.touch()
    key.touch(mode=0o644)
    assert "go together" in witness("serve", "--state", folder, "--tls-certificate", certificate).stderr
    with pytest.raises(WitnessStateError, match="chmod 600"):
        server_options("0.0.0.0:8300", certificate, key)
    key.chmod(0o600)
    assert server_options("0.0.0.0:8300", certificate, key)["keyfile"] == str(key)
