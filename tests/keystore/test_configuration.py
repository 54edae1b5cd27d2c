"""The state directory's configuration: what is read, and every way in which it is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from keystore.configuration import load_keystore_configuration
from keystore.errors import ConfigurationError
from keystore.token_uri import parse_token_uri
from tests.hsm_support import SOFTHSM

URI = f"pkcs11:token=sealmark?module-path={SOFTHSM}&pin-source=file:hsm.pin"


def write(state: Path, text: str) -> Path:
    state.chmod(0o700)
    (state / "sealmark.toml").write_text(text, encoding="utf-8")
    (state / "sealmark.toml").chmod(0o600)
    return state


def test_defaults_and_relative_paths(tmp_path: Path) -> None:
    read = load_keystore_configuration(write(tmp_path, f'[hsm]\nuri = "{URI}"\n[server]\nbind = "whatever"\n'))
    assert (read.hsm.cache_size, read.hsm.sessions) == (1000, 8)
    assert read.hsm.pin_file == tmp_path / "hsm.pin"
    assert read.hsm.lock_file == tmp_path / "hsm.lock"
    assert read.hsm.module == Path(SOFTHSM)
    assert read.hsm.environment == {}
    assert read.database.url == f"sqlite:///{tmp_path}/sealmark.db"


def test_everything_said(tmp_path: Path) -> None:
    uri = f"pkcs11:serial=1%20a;model=M;manufacturer=F?pin-source=/etc/pin&module-path={SOFTHSM}"
    text = f'[hsm]\nuri = "{uri}"\ncache_size = 5\nsessions = 2\n[database]\nurl = "sqlite:////var/lib/x.db"\n'
    read = load_keystore_configuration(write(tmp_path, text))
    assert (read.hsm.cache_size, read.hsm.sessions) == (5, 2)
    assert (read.hsm.uri.serial, read.hsm.uri.token) == ("1 a", None)
    assert read.hsm.pin_file == Path("/etc/pin")
    assert read.database.url == "sqlite:////var/lib/x.db"


def test_softhsm_settings_follow_a_directory_that_moves(tmp_path: Path) -> None:
    old = tmp_path / "old"
    (old / "hsm" / "tokens").mkdir(parents=True)
    load_keystore_configuration(write(old, f'[hsm]\nuri = "{URI}"\n'))
    assert f"{old}/hsm/tokens" in (old / "hsm" / "softhsm2.conf").read_text(encoding="utf-8")
    new = old.rename(tmp_path / "new")
    read = load_keystore_configuration(new)
    assert f"{new}/hsm/tokens" in (new / "hsm" / "softhsm2.conf").read_text(encoding="utf-8")
    assert read.hsm.environment == {"SOFTHSM2_CONF": str(new / "hsm" / "softhsm2.conf")}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "hsm.uri is missing"),
        ("[hsm]\n", "hsm.uri is missing"),
        ("hsm = 1\n", "hsm is not a table"),
        ("[hsm\n", "not readable TOML"),
        (f'[hsm]\nuri = "{URI}"\npin = "1234"\n', "hsm.pin is not a setting"),
        (f'[hsm]\nuri = "{URI}"\n[database]\npath = "x"\n', "database.path is not a setting"),
        (f'[hsm]\nuri = "{URI}"\ncache_size = 0\n', "hsm.cache_size"),
        (f'[hsm]\nuri = "{URI}"\ncache_size = true\n', "hsm.cache_size"),
        (f'[hsm]\nuri = "{URI}"\nsessions = "8"\n', "hsm.sessions"),
        (f'[hsm]\nuri = "{URI}"\n[database]\nurl = 5\n', "database.url is not a text"),
        ("[hsm]\nuri = 5\n", "hsm.uri is not a text"),
        (f'[hsm]\nuri = "{URI}"\n[keys]\nspecs = []\n', "keys.specs is not a setting"),
        (f'[hsm]\nuri = "{URI}"\n[keys]\nsoftware_specs = "ML_DSA_65"\n', "software_specs is not a list"),
        (f'[hsm]\nuri = "{URI}"\n[keys]\nsoftware_specs = [65]\n', "65 cannot be in it"),
        (f'[hsm]\nuri = "{URI}"\n[keys]\nsoftware_specs = ["ML_DSA_66"]\n', "'ML_DSA_66' cannot be in it; there are"),
        (f'[hsm]\nuri = "{URI}"\n[keys]\nsoftware_specs = ["ECC_NIST_P256"]\n', "the HSM holds such keys"),
        (f'[hsm]\nuri = "{URI}"\n[keys]\nsoftware_specs = ["ML_KEM_512"]\n', "cryptographic library"),
        (f'[hsm]\nuri = "{URI}"\n[keys]\nsoftware_specs = ["ML_DSA_65", "ML_DSA_65"]\n', "twice"),
        ('[hsm]\nuri = "pkcs11:token=a?module-path=/no/such.so&pin-source=file:p"\n', "does not exist"),
    ],
)
def test_refused(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        load_keystore_configuration(write(tmp_path, text))


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="sealmark init"):
        load_keystore_configuration(tmp_path / "nothing")


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_can_write(tmp_path: Path, mode: int) -> None:
    write(tmp_path, f'[hsm]\nuri = "{URI}"\n')
    (tmp_path / "sealmark.toml").chmod(mode)
    with pytest.raises(ConfigurationError, match="can be written by others"):
        load_keystore_configuration(tmp_path)


def test_a_directory_that_others_can_write(tmp_path: Path) -> None:
    write(tmp_path, f'[hsm]\nuri = "{URI}"\n')
    tmp_path.chmod(0o770)
    with pytest.raises(ConfigurationError, match="can be written by others"):
        load_keystore_configuration(tmp_path)
    tmp_path.chmod(0o700)


@pytest.mark.parametrize(
    ("uri", "named"),
    [
        ("token=a", "not a pkcs11: URI"),
        ("http://x", "not a pkcs11: URI"),
        ("pkcs11:token=a?module-path=/m&pin-value=4711", "pin-value is refused"),
        ("pkcs11:token=a;pin-value=4711?module-path=/m&pin-source=file:p", "pin-value is refused"),
        ("pkcs11:token=a?module-path=/m", "pin-source is missing"),
        ("pkcs11:token=a?pin-source=file:p", "module-path is missing"),
        ("pkcs11:?module-path=/m&pin-source=file:p", "no token is named"),
        ("pkcs11:token=a;token=b?module-path=/m&pin-source=file:p", "token is given twice"),
        ("pkcs11:token=?module-path=/m&pin-source=file:p", "token is given twice or empty"),
        ("pkcs11:token=a;object=k?module-path=/m&pin-source=file:p", "'object' is not supported"),
        ("pkcs11:token=a?module-path=/m&pin-source=https:p", "only file: is supported"),
        ("pkcs11:token=%ff?module-path=/m&pin-source=file:p", "percent-encoded"),
    ],
)
def test_uris_refused(uri: str, named: str) -> None:
    with pytest.raises(ConfigurationError, match=named) as caught:
        parse_token_uri(uri)
    assert "4711" not in str(caught.value)


def test_pin_source_forms() -> None:
    for source, path in (("file:/p", "/p"), ("file:///p", "/p"), ("/p", "/p"), ("file:p", "p"), ("p", "p")):
        assert parse_token_uri(f"PKCS11:token=a?module-path=/m&pin-source={source}").pin_source == path
