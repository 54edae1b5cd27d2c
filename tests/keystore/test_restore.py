"""A deployment brought to a second token from the custodians' shares and the database."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, cast

import pytest

from keystore import open_keystore
from keystore.algorithms import PURPOSES, SOFTWARE_ONLY, Purpose
from keystore.api import Storage
from keystore.ceremony import RestoreOptions, initialise, renew_log, restore, rotate_domain
from keystore.configuration import StateDirectory
from keystore.errors import CeremonyError, HsmUnavailable, IntegrityFailure, KeystoreError, WrongState
from keystore.loading import copy_database
from keystore.log_anchor import EMPTY_ROOT, KeptHead
from tests.databases import init_options
from tests.keystore.support import allow_software_keys, intent_for, new_key

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from keystore.api import EncryptionKey, Key, MacKey
    from keystore.keystore import Keystore


pytestmark = pytest.mark.sqlite_only("a restore is made of a copy of an SQLite file")


class Deployment:
    """One that is in use: a key of every spec but the slowest, and a key with two versions."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.state = initialise(path, init_options(path)).state
        allow_software_keys(path, "ML_DSA_44")
        keystore = open_keystore(path)
        specs = [spec for spec in PURPOSES[Purpose.GENERAL] if spec not in ("RSA_4096", "RSA_3072", *SOFTWARE_ONLY)]
        specs.append("ML_DSA_44")
        self.keys: list[Key] = [keystore.create_key(new_key(spec, spec)) for spec in specs]
        self.encrypts = keystore.create_key(new_key(spec="SYMMETRIC_DEFAULT", purpose=Purpose.ENCRYPT))
        self.authenticates = keystore.create_key(new_key(spec="HMAC_256", purpose=Purpose.MAC))
        self.ciphertext = encrypting(keystore, self.encrypts).encrypt(b"plain", b"context")
        self.mac = cast("MacKey", keystore.open_key(intent_for(self.authenticates))).mac(b"message")
        self.secret = keystore.secrets.seal(b"secret", b"of whom")
        self.log_public_key = self._log_public_key(path)
        self.log_origin = keystore.log.origin
        keystore.log.keep_head(keystore.log.origin, 1_000, bytes(32))
        keystore.close()

    @staticmethod
    def _log_public_key(path: Path) -> bytes:
        keystore = open_keystore(path)
        row = keystore.store.get("deployment", "deployment")
        assert row is not None
        return row.octets("log_public_key")

    def shares(self, *numbers: int) -> list[str]:
        return [self.state.share(number).read_text(encoding="utf-8") for number in numbers]


def encrypting(keystore: Keystore, key: Key) -> EncryptionKey:
    return cast("EncryptionKey", keystore.open_key(intent_for(key)))


def check_secret_keys(keystore: Keystore, old: Deployment) -> None:
    """What was encrypted, authenticated and kept secret before is opened here."""
    assert encrypting(keystore, old.encrypts).decrypt(old.ciphertext, b"context") == b"plain"
    cast("MacKey", keystore.open_key(intent_for(old.authenticates))).verify(b"message", old.mac)
    assert keystore.secrets.open(old.secret, b"of whom") == b"secret"


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    return Deployment(tmp_path_factory.mktemp("old") / "state")


def test_everything_wrapped_signs_on_the_second_token(old: Deployment, tmp_path: Path) -> None:
    report = restore(tmp_path / "new", old.state.database, old.shares(5, 1, 3), RestoreOptions())
    (left,) = [key for key in old.keys if key.storage is Storage.TOKEN]
    assert report.carried == len(old.keys) - 1 + 3 == 9
    assert [(item.key_id, item.alias, item.spec) for item in report.not_carried] == [
        (left.id, "ECC_NIST_EDWARDS25519", "ECC_NIST_EDWARDS25519")
    ]
    assert report.domains == ("default",)
    keystore = open_keystore(tmp_path / "new")
    assert keystore.token_info.serial != open_serial(old)
    assert keystore.store.verify_everything() == report.rows
    for key in old.keys:
        again = keystore.get_key(key.id)
        assert again.versions[0].public_key == key.versions[0].public_key
        if key is left:
            with pytest.raises(WrongState):
                keystore.signing_key(intent_for(again)).sign(b"message")
        else:
            keystore.signing_key(intent_for(again)).sign(b"message")
    check_secret_keys(keystore, old)
    assert keystore.log.origin == old.log_origin
    with pytest.raises(HsmUnavailable, match=r"keeps no head of the log: .* \(sealmark restore --new-log\)"):
        keystore.log.kept_head()
    signed = keystore.create_key(new_key("made-there"))
    keystore.signing_key(intent_for(signed)).sign(b"message")
    keystore.close()


def open_serial(old: Deployment) -> str:
    keystore = open_keystore(old.path)
    keystore.close()
    return keystore.token_info.serial


def test_another_log_is_begun_and_the_rest_goes_on_from_there(old: Deployment, tmp_path: Path) -> None:
    """A second ceremony there, and a third place restored from it with the same shares."""
    new = StateDirectory(tmp_path / "new")
    restore(new.path, old.state.database, old.shares(1, 2, 3), RestoreOptions())
    assert Deployment._log_public_key(new.path) == old.log_public_key
    origin = renew_log(new.path, new.officer_pin.read_bytes().strip())
    assert Deployment._log_public_key(new.path) != old.log_public_key
    keystore = open_keystore(new.path)
    assert keystore.log.origin == origin != old.log_origin
    assert keystore.log.kept_head() == KeptHead(origin, 0, EMPTY_ROOT)
    assert len(keystore.log.sign(b"head")) == 64
    keystore.close()
    assert not list(new.ceremony.glob("*.share"))
    assert rotate_domain(new.path, "default", new.officer_pin.read_bytes().strip()) == 2
    report = restore(tmp_path / "third", new.database, old.shares(2, 4, 5), RestoreOptions())
    assert report.carried == len(old.keys) - 1 + 3
    keystore = open_keystore(tmp_path / "third")
    keystore.signing_key(intent_for(keystore.get_key(old.keys[0].id))).sign(b"message")
    check_secret_keys(keystore, old)
    keystore.close()


@pytest.mark.parametrize("numbers", [(), (1,), (1, 2), (4, 4, 4), (1, 2, 1)])
def test_fewer_shares_than_the_threshold_are_refused(old: Deployment, tmp_path: Path, numbers: Sequence[int]) -> None:
    with pytest.raises(CeremonyError, match="share"):
        restore(tmp_path / "new", old.state.database, old.shares(*numbers), RestoreOptions())
    assert list(tmp_path.iterdir()) == []


def test_shares_of_another_deployment_are_refused(old: Deployment, tmp_path: Path) -> None:
    other = initialise(tmp_path / "other", init_options(tmp_path / "other")).state
    shares = [other.share(number).read_text(encoding="utf-8") for number in (1, 2, 3)]
    with pytest.raises(CeremonyError, match="is not wrapped by this region key"):
        restore(tmp_path / "new", old.state.database, shares, RestoreOptions())
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("statement", "error"),
    [
        ("UPDATE keys SET description = 'other'", IntegrityFailure),
        ("UPDATE key_versions SET wrapped = x'00' WHERE wrapped IS NOT NULL", IntegrityFailure),
        ("UPDATE deployment SET account = '999999999999'", IntegrityFailure),
        ("UPDATE wrapped_roots SET state = 'destroyed' WHERE kind = 'domain'", KeystoreError),
        ("UPDATE wrapped_roots SET wrapped = zeroblob(40) WHERE kind = 'domain'", CeremonyError),
        ("UPDATE wrapped_roots SET wrapped = zeroblob(40) WHERE kind = 'integrity'", CeremonyError),
        ("UPDATE wrapped_roots SET token_label = 'region' WHERE kind = 'integrity'", CeremonyError),
        ("UPDATE wrapped_roots SET token_label = 'domain/default/9' WHERE kind = 'domain'", KeystoreError),
        ("DELETE FROM wrapped_roots WHERE kind = 'integrity'", CeremonyError),
        ("DELETE FROM aliases", IntegrityFailure),
        ("DELETE FROM deployment", KeystoreError),
        ("DROP TABLE keys", KeystoreError),
    ],
)
def test_a_database_that_was_changed_is_refused(
    old: Deployment, tmp_path: Path, statement: str, error: type[KeystoreError]
) -> None:
    copied = tmp_path / "copied.db"
    copy_database(old.state.database, copied)
    with sqlite3.connect(copied) as connection:
        connection.execute("PRAGMA foreign_keys=OFF")
        connection.execute(statement)
    connection.close()
    with pytest.raises(error):
        restore(tmp_path / "new", copied, old.shares(1, 2, 3), RestoreOptions())
    assert not (tmp_path / "new").exists()


def test_the_database_may_be_in_use(old: Deployment, tmp_path: Path) -> None:
    """What stands in the write-ahead log alone is copied too."""
    keystore = open_keystore(old.path)
    key = keystore.create_key(new_key())
    restore(tmp_path / "new", old.state.database, old.shares(1, 2, 3), RestoreOptions())
    keystore.close()
    there = open_keystore(tmp_path / "new")
    there.signing_key(intent_for(there.get_key(key.id))).sign(b"message")
    there.close()


@pytest.mark.parametrize("make", ["nothing", "text"])
def test_no_database(old: Deployment, tmp_path: Path, make: str) -> None:
    source = tmp_path / "source"
    if make == "text":
        source.write_text("no database at all, but a text of some length " * 20, encoding="utf-8")
    with pytest.raises(KeystoreError):
        restore(tmp_path / "new", source, old.shares(1, 2, 3), RestoreOptions())
    assert not (tmp_path / "new").exists()
