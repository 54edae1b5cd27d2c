"""A fresh SoftHSM token with the whole hierarchy and no database, for tests that import these fixtures."""

from __future__ import annotations

import fcntl
import secrets
import struct
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import pytest
from pkcs11 import Attribute, KeyType, ObjectClass

from keystore.configuration import HsmConfiguration, StateDirectory, hsm_configuration
from keystore.hierarchy import FoundedHierarchy, found_hierarchy
from keystore.hsm import Token, open_token
from keystore.hsm.officer import initialise_token, open_ceremony

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

    from keystore.api import TokenInfo

SOFTHSM: Final = "/usr/lib/softhsm/libsofthsm2.so"
DOMAIN: Final = "domain/default/1"
_BOOLEAN: Final = 1  # kinds of attributes in SoftHSM's files
_ULONG: Final = 2
OTHER_DOMAIN: Final = "domain/other/1"


@dataclass(frozen=True)
class TestToken:
    """A token, its PINs and the wrapped roots that the database would hold."""

    __test__ = False

    configuration: HsmConfiguration
    hierarchy: FoundedHierarchy
    officer_pin: bytes = field(repr=False)
    user_pin: bytes = field(repr=False)


def make_empty_token(directory: Path, label: str = "sealmark") -> tuple[HsmConfiguration, bytes, bytes]:
    """An initialised token without keys: (configuration, officer's PIN, service's PIN)."""
    state = StateDirectory(directory)
    directory.chmod(0o700)
    state.softhsm_tokens.mkdir(parents=True, mode=0o700)
    officer_pin, user_pin = secrets.token_hex(12).encode(), secrets.token_hex(12).encode()
    state.hsm_pin.touch(mode=0o600)
    state.hsm_pin.write_bytes(user_pin)
    configuration = hsm_configuration(state, f"pkcs11:token={label}?module-path={SOFTHSM}&pin-source=file:hsm.pin")
    initialise_token(
        configuration.module,
        configuration.environment,
        configuration.lock_file,
        label,
        officer_pin=officer_pin,
        user_pin=user_pin,
    )
    return configuration, officer_pin, user_pin


def make_token(directory: Path, domains: tuple[str, ...] = ("default", "other")) -> TestToken:
    """A token with the hierarchy that a ceremony founds."""
    configuration, officer_pin, user_pin = make_empty_token(directory)
    with open_ceremony(configuration, officer_pin=officer_pin, user_pin=user_pin) as ceremony:
        hierarchy = found_hierarchy(ceremony, domains)
        _log_public_keys[ceremony.info.serial] = hierarchy.log_public_key
    return TestToken(configuration, hierarchy, officer_pin, user_pin)


_log_public_keys: Final[dict[str, bytes]] = {}  # of this process's tokens, by serial number


def log_public_key_of(info: TokenInfo) -> bytes:
    """What a deployment row says of the log key of a token that `make_token` made in this process."""
    return _log_public_keys[info.serial]


@contextmanager
def log_key_missing(state: Path) -> Iterator[None]:
    """The SoftHSM of a state directory without its log key, seen by every process at its next call; then with it again.

    The object's file is moved aside and back. SoftHSM looks for files that came or went when the token's number of
    changes (`generation`) has grown.
    """
    key = _log_key_file(state)
    aside = key.with_suffix(".aside")
    key.rename(aside)
    _announce_change(key.parent)
    try:
        yield
    finally:
        aside.rename(key)
        _announce_change(key.parent)


def _log_key_file(state: Path) -> Path:
    """The oldest Ed25519 key of the token: a ceremony makes it before any customer's. Labels are encrypted."""
    files = [path for path in StateDirectory(state).softhsm_tokens.glob("*/*.object") if path.name != "token.object"]
    # A text that SoftHSM was changing when its disk was full is cut short: it is no key.
    whole = [path for path in files if path.stat().st_size]
    return min((path for path in whole if _is_ed25519(path)), key=lambda path: path.stat().st_mtime_ns)


def _is_ed25519(path: Path) -> bool:
    with path.open("rb") as file:
        _number(file)  # of changes to this object
        found = {}
        while Attribute.KEY_TYPE not in found and (octets := file.read(8)):
            attribute = int.from_bytes(octets, "big")
            kind = _number(file)
            if kind == _BOOLEAN:
                found[attribute] = file.read(1)[0]
            elif kind == _ULONG:
                found[attribute] = _number(file)
            else:  # octets, or a template
                file.seek(_number(file), 1)
    return (found.get(Attribute.CLASS), found.get(Attribute.KEY_TYPE)) == (ObjectClass.PRIVATE_KEY, KeyType.EC_EDWARDS)


def _number(file: BinaryIO) -> int:
    return int(struct.unpack(">Q", file.read(8))[0])


def _announce_change(token: Path) -> None:
    with (token / "generation").open("r+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        number = _number(file)
        file.seek(0)
        file.write(struct.pack(">Q", number + 1))


@pytest.fixture(scope="session")
def founded(tmp_path_factory: pytest.TempPathFactory) -> TestToken:
    """One founded token for the whole run. Tests add keys to it and leave its hierarchy alone."""
    return make_token(tmp_path_factory.mktemp("founded"))


@pytest.fixture(scope="session")
def token(founded: TestToken) -> Iterator[Token]:
    """The founded token, logged in. It heals by itself after a test's ceremony on another token of this process."""
    opened = open_token(founded.configuration)
    yield opened
    opened.close()
