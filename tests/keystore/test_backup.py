"""Backups of a deployment, and what becomes of ones that were damaged, changed, mixed, or are of another deployment."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from keystore import open_keystore
from keystore.backup_files import MANIFEST, BackupFolder
from keystore.ceremony import (
    InitOptions,
    RestoreOptions,
    back_up,
    initialise,
    restore,
    restore_database,
    rotate_domain,
)
from keystore.configuration import DatabaseConfiguration, StateDirectory
from keystore.errors import CeremonyError, ConfigurationError, IntegrityFailure, WrongState
from keystore.state_files import carried_configuration
from tests.databases import empty_database, init_options
from tests.hsm_support import SOFTHSM, make_empty_token
from tests.keystore.support import Attacker, intent_for, new_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from keystore.api import Key

ROOT = Path(__file__).resolve().parents[2]


class Deployment:
    """Some keys, a backup of them, and the custodians' shares."""

    def __init__(self, folder: Path) -> None:
        self.state = initialise(folder / "state", InitOptions()).state
        keystore = open_keystore(self.state.path)
        self.keys = [keystore.create_key(new_key(f"key-{number}")) for number in range(3)]
        self.on_token = keystore.create_key(new_key("edwards", "ECC_NIST_EDWARDS25519"))
        keystore.close()
        self.told: list[tuple[int, int]] = []
        self.folder = back_up(
            self.state.path, folder / "backup", lambda done, rows: self.told.append((done, rows))
        ).folder

    def shares(self, *numbers: int) -> list[str]:
        return [self.state.share(number).read_text(encoding="utf-8") for number in numbers or (1, 3, 5)]

    def copy(self, folder: Path) -> Path:
        """The backup, for somebody who does something to it."""
        return Path(shutil.copytree(self.folder, folder / "copy"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    return Deployment(tmp_path_factory.mktemp("backed-up"))


def signs(state: Path, *keys: Key) -> None:
    keystore = open_keystore(state)
    try:
        for key in keys:
            assert keystore.get_key(key.id).versions[0].public_key == key.versions[0].public_key
            keystore.signing_key(intent_for(keystore.get_key(key.id))).sign(b"message")
    finally:
        keystore.close()


def test_what_is_in_it_and_what_is_not(made: Deployment) -> None:
    manifest = BackupFolder(made.folder).manifest
    assert (manifest.carried, manifest.account, manifest.log) == (3, "000000000000", None)
    left = [(each.what, each.name, each.alias) for each in manifest.left_out]
    assert left[0] == ("key", made.on_token.id, "edwards")
    assert [what for what, _, _ in left[1:]] == ["log key", "region key", "PIN", "tokens"]
    rows = sum(file.rows for file in manifest.files)
    assert made.told[-1] == (rows, rows)
    assert made.told == sorted(made.told)
    everything = b"".join(path.read_bytes() for path in made.folder.rglob("*") if path.is_file())
    for secret in (made.state.hsm_pin, made.state.officer_pin, made.state.share(1)):
        assert secret.read_bytes().strip() not in everything
    assert {path.stat().st_mode & 0o777 for path in made.folder.rglob("*")} == {0o600, 0o700}


def test_it_is_restored_to_another_hsm(made: Deployment, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    report = restore(tmp_path / "new", made.folder, made.shares(), RestoreOptions(), lambda *each: told.append(each))
    assert (report.carried, [key.key_id for key in report.not_carried]) == (3, [made.on_token.id])
    assert {what: done for what, done, total in told if done == total} == {"rows": told[0][2], "keys": 4}
    signs(tmp_path / "new", *made.keys)
    with pytest.raises(WrongState, match="the key is disabled"):
        signs(tmp_path / "new", made.on_token)
    assert not (tmp_path / "new" / "unfinished").exists()


def test_nothing_is_overwritten(made: Deployment, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine").touch()
    with pytest.raises(CeremonyError, match="not an empty folder"):
        back_up(made.state.path, tmp_path / "other")
    with pytest.raises(CeremonyError, match="not an empty directory"):
        restore(tmp_path / "other", made.folder, made.shares(), RestoreOptions())
    with pytest.raises(CeremonyError, match=r"sealmark\.db is there already: nothing is overwritten"):
        restore_database(made.state.path, made.folder)
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["mine"]


def write(path: Path, octets: bytes) -> None:
    path.write_bytes(octets)


def resealed(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """The manifest as somebody writes it who can compute digests and has no HSM."""
    members = json.loads((folder / MANIFEST).read_text())
    change(members)
    (folder / MANIFEST).write_text(json.dumps(members, indent=2, sort_keys=True) + "\n")


def edited(folder: Path) -> None:
    """One row, with the digest in the manifest put right."""
    path = folder / "tables" / "keys.jsonl"
    octets = path.read_bytes().replace(b"user/key-admin", b"user/kez-admin")
    path.write_bytes(octets)

    def put_right(members: dict[str, Any]) -> None:
        for file in members["files"]:
            if file["name"] == "tables/keys.jsonl":
                file["sha256"] = hashlib.sha256(octets).hexdigest()

    resealed(folder, put_right)


def test_a_backup_moves_from_one_database_to_another(tmp_path: Path) -> None:
    """From the database that the tests run on to a file, and from a file to it."""
    state = initialise(tmp_path / "state", init_options(tmp_path / "state")).state
    keystore = open_keystore(state.path)
    key = keystore.create_key(new_key("release"))
    keystore.close()
    shares = [state.share(number).read_text() for number in (1, 2, 3)]
    restore(tmp_path / "file", back_up(state.path, tmp_path / "one").folder, shares, RestoreOptions())
    signs(tmp_path / "file", key)
    there = RestoreOptions(database_url=empty_database(tmp_path / "server" / "sealmark.db"))
    restore(tmp_path / "server", back_up(tmp_path / "file", tmp_path / "two").folder, shares, there)
    signs(tmp_path / "server", key)


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "flipped": (
        lambda it: write(it / "tables/keys.jsonl", (it / "tables/keys.jsonl").read_bytes().replace(b"P256", b"P384")),
        r"tables/keys\.jsonl: it is not the file that was written",
    ),
    "cut": (
        lambda it: write(it / "tables/row_journal.jsonl", (it / "tables/row_journal.jsonl").read_bytes()[:-40]),
        r"tables/row_journal\.jsonl: it is cut",
    ),
    "longer": (
        lambda it: write(it / "sealmark.toml", (it / "sealmark.toml").read_bytes() + b"#\n"),
        r"sealmark\.toml: it is longer",
    ),
    "missing": (lambda it: (it / "tables/aliases.jsonl").unlink(), r"tables/aliases\.jsonl: it is missing"),
    "more": (lambda it: write(it / "tables/more.jsonl", b"[]\n"), r"tables/more\.jsonl: the backup has no such file"),
    "edited": (edited, r"manifest\.json: its seal is not this deployment's"),
    "left-out": (
        lambda it: resealed(it, lambda members: members.update(left_out=[])),
        r"manifest\.json: its seal is not this deployment's",
    ),
    "unfinished": (lambda it: (it / MANIFEST).unlink(), "it is no backup, or one that was never finished"),
    "no-json": (lambda it: write(it / MANIFEST, b"{"), r"manifest\.json is not what `sealmark backup` writes"),
    "a-member-more": (
        lambda it: resealed(it, lambda members: members.update(more=1)),
        r"manifest\.json is not what `sealmark backup` writes",
    ),
    "a-strange-name": (
        lambda it: resealed(it, lambda members: members["files"][0].update(name="../../etc/passwd")),
        r"manifest\.json is not what `sealmark backup` writes",
    ),
    "another-version": (
        lambda it: resealed(it, lambda members: members.update(schema="0000")),
        "restore it with the version of Sealmark that made it",
    ),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_backup_that_is_not_as_it_was_made_is_refused(made: Deployment, tmp_path: Path, kind: str) -> None:
    damage, said = DAMAGE[kind]
    copy = made.copy(tmp_path)
    damage(copy)
    with pytest.raises(CeremonyError, match=said):
        restore(tmp_path / "new", copy, made.shares(), RestoreOptions())
    assert not (tmp_path / "new").exists()


def test_another_backups_files_and_another_deployments_shares(made: Deployment, tmp_path: Path) -> None:
    other = Deployment(tmp_path / "other")
    mixed = made.copy(tmp_path)
    shutil.copy(other.folder / "tables" / "keys.jsonl", mixed / "tables" / "keys.jsonl")
    with pytest.raises(CeremonyError, match=r"tables/keys\.jsonl: "):
        restore(tmp_path / "new", mixed, made.shares(), RestoreOptions())
    with pytest.raises(CeremonyError, match="is not wrapped by this region key"):
        restore(tmp_path / "new", made.folder, other.shares(), RestoreOptions())
    with pytest.raises(CeremonyError, match="2 custodians' shares were given, 3 different ones are needed"):
        restore(tmp_path / "new", made.folder, made.shares(1, 2), RestoreOptions())
    database = other.state.database
    database.rename(tmp_path / "away.db")
    with pytest.raises(CeremonyError, match="its seal is not this deployment's"):
        restore_database(other.state.path, made.folder)
    assert not database.exists()
    assert not (tmp_path / "new").exists()


@pytest.mark.sqlite_only("somebody changes a copy of an SQLite file")
def test_rows_that_bear_no_seal_are_not_backed_up_unseen(made: Deployment, tmp_path: Path) -> None:
    """The manifest seals whatever was there: it is the rows' own seals that say who wrote them."""
    state = Path(shutil.copytree(made.state.path, tmp_path / "state"))
    Attacker(state / "sealmark.db").run("UPDATE keys SET description = 'another'")
    folder = back_up(state, tmp_path / "backup").folder
    with pytest.raises(IntegrityFailure, match="keys/"):
        restore(tmp_path / "new", folder, made.shares(), RestoreOptions())
    assert not (tmp_path / "new").exists()
    Attacker(state / "sealmark.db").run("UPDATE keys SET published = 'text'")
    with pytest.raises(IntegrityFailure, match=r"keys, row 1: published is not of the type"):
        back_up(state, tmp_path / "again")
    assert not (tmp_path / "again" / MANIFEST).exists()


def test_the_database_alone_comes_back_to_its_own_hsm(made: Deployment, tmp_path: Path) -> None:
    state = StateDirectory(Path(shutil.copytree(made.state.path, tmp_path / "state")))
    for path in state.path.glob("sealmark.db*"):
        path.unlink()
    report = restore_database(state.path, made.folder)
    assert (report.carried, report.not_carried) == (4, ())
    signs(state.path, *made.keys, made.on_token)
    assert rotate_domain(state.path, "default", state.officer_pin.read_bytes().strip()) == 2
    for path in state.path.glob("sealmark.db*"):
        path.unlink()
    with pytest.raises(CeremonyError, match=r"does not hold 'domain/default/1'.* older than a rotation"):
        restore_database(state.path, made.folder)
    assert not list(state.path.glob("sealmark.db*"))
    with pytest.raises(ConfigurationError):
        restore_database(tmp_path / "nowhere", made.folder)


KILLED = """
import os, signal, sys
from pathlib import Path
from keystore import {module}
from keystore.ceremony import RestoreOptions, restore
real, left = {module}.{step}, {calls}
def step(*arguments, **named):
    global left
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    left -= 1
    return real(*arguments, **named)
{module}.{step} = step
new, backup, pin, uri, *shares = sys.argv[1:]
options = RestoreOptions(uri, Path(pin)) if uri else RestoreOptions()
restore(Path(new), Path(backup), [Path(share).read_text() for share in shares], options)
"""


def killed(
    made: Deployment, new: Path, module: str, step: str, calls: int, uri: str = "", pin: Path | None = None
) -> None:
    script = KILLED.format(module=module, step=step, calls=calls)
    shares = [str(made.state.share(number)) for number in (1, 3, 5)]
    done = subprocess.run(
        [sys.executable, "-c", script, str(new), str(made.folder), str(pin or ""), uri, *shares],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL


@pytest.mark.parametrize(("module", "step"), [("loading", "insert"), ("restoration", "write_configuration")])
def test_a_restore_that_was_killed_is_run_again(made: Deployment, tmp_path: Path, module: str, step: str) -> None:
    killed(made, tmp_path / "new", module, step, 0)
    assert (tmp_path / "new" / "unfinished").exists()
    with pytest.raises(ConfigurationError, match="does not exist"):
        open_keystore(tmp_path / "new")
    restore(tmp_path / "new", made.folder, made.shares(), RestoreOptions())
    signs(tmp_path / "new", *made.keys)


@pytest.mark.parametrize("calls", [1, 2, 3])
def test_an_hsm_of_ones_own_goes_on_with_what_was_cut_short(
    made: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    """The region key is on it; and the first of the others; and all of them: then it is the deployment's own."""
    configuration, officer_pin, _ = make_empty_token(tmp_path)
    monkeypatch.setenv("SOFTHSM2_CONF", configuration.environment["SOFTHSM2_CONF"])
    pin = tmp_path / "officer.pin"
    pin.touch(mode=0o600)
    pin.write_bytes(officer_pin)
    uri = f"pkcs11:token=sealmark?module-path={SOFTHSM}&pin-source=file:{configuration.pin_file}"
    module, step = ("hierarchy", "_settle") if calls < 3 else ("restoration", "_open_keys")
    killed(made, tmp_path / "new", module, step, calls if calls < 3 else 0, uri, pin)
    options = RestoreOptions(uri, pin)
    report = restore(tmp_path / "new", made.folder, made.shares(), options)
    assert (report.carried, len(report.not_carried)) == (3, 1)
    signs(tmp_path / "new", *made.keys)
    if calls == 3:
        other = Deployment(tmp_path / "other")
        monkeypatch.setenv("SOFTHSM2_CONF", configuration.environment["SOFTHSM2_CONF"])
        with pytest.raises(CeremonyError, match="'region' of another deployment"):
            restore(tmp_path / "third", other.folder, other.shares(), options)
        pin.write_bytes(b"another PIN")
        with pytest.raises(CeremonyError, match="refuses the security officer's PIN; it is not tried again"):
            restore(tmp_path / "third", made.folder, made.shares(), options)
        assert not (tmp_path / "third").exists()


def test_settings_are_taken_over_but_for_hsm_and_database() -> None:
    place = DatabaseConfiguration("postgresql://sealmark@db/x", Path("/run/secret"))
    former = """# ours
[hsm]
uri = "pkcs11:token=a"
sessions = 4
[server]  # the rest stays
workers = 4
[database]
url = "postgresql://db/x"
[[audit.exports]]
to = "file:audit.jsonl"
format = "json"
"""
    text = carried_configuration(former, "pkcs11:token=b", place)
    assert tomllib.loads(text) == {
        "hsm": {"uri": "pkcs11:token=b", "sessions": 4},
        "database": {"url": "postgresql://sealmark@db/x", "password_file": "/run/secret"},
        "server": {"workers": 4},
        "audit": {"exports": [{"to": "file:audit.jsonl", "format": "json"}]},
    }
    with pytest.raises(CeremonyError, match="as tables of their own"):
        carried_configuration('hsm.uri = "pkcs11:token=a"\n', "pkcs11:token=b", place)
    with pytest.raises(CeremonyError, match="not readable TOML"):
        carried_configuration("[", "pkcs11:token=b", place)
