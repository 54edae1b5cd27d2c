"""A fresh SoftHSM token with the whole hierarchy and no database, for tests that import these fixtures."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import pytest

from keystore.configuration import HsmConfiguration, StateDirectory, hsm_configuration
from keystore.hierarchy import FoundedHierarchy, found_hierarchy
from keystore.hsm import Token, open_token
from keystore.hsm.officer import initialise_token, open_ceremony

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SOFTHSM: Final = "/usr/lib/softhsm/libsofthsm2.so"
DOMAIN: Final = "domain/default/1"
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
    return TestToken(configuration, hierarchy, officer_pin, user_pin)


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
