"""Initialise, find the token, log in: what a process holds of an HSM between two initialisations of the module.

PKCS#11 logs in an application, not a session: one login, and every session opened before or after it shares it. Workers
that do this at the same moment break SoftHSM's file store, so a file lock stands round it.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import TYPE_CHECKING, Final

from pkcs11 import PKCS11Error, TokenFlag

from keystore.api import TokenInfo
from keystore.configuration import read_secret
from keystore.errors import ConfigurationError, HsmUnavailable
from keystore.hsm.cache import KeyCache
from keystore.hsm.pins import RefusedPins, require_tries_left
from keystore.hsm.return_values import PIN_REFUSED, CryptokiError, ReturnValue, cryptoki_error
from keystore.hsm.session import Session

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pkcs11 import types

    from keystore.configuration import HsmConfiguration
    from keystore.hsm.module import Module
    from keystore.hsm.session import Key
    from keystore.token_uri import TokenUri

_PATIENCE: Final = 60.0  # seconds to wait for the other workers' logins
_TOO_FEW: Final = "the HSM has no session left for this process: set hsm.sessions lower, or have fewer workers"
_PAUSE: Final = 0.005  # seconds between two looks at the lock of logins, which take 50 ms and more
_GENERATING_SESSIONS: Final = 2  # RSA takes seconds: on sessions of its own, so that signing goes on


@dataclass(frozen=True, slots=True)
class SlotToken:
    """A token and the slot it is in."""

    slot: int  # CK_SLOT_ID
    info: TokenInfo
    flags: TokenFlag
    token: types.Token

    @property
    def initialised(self) -> bool:
        return TokenFlag.TOKEN_INITIALIZED in self.flags


@dataclass(frozen=True, slots=True)
class Connection:
    """One login's sessions and keys. All die together: a key is never used in another epoch of the module.

    `owner` makes the unwrapped keys, which live as long as its session; whoever uses it holds `owning`.
    """

    epoch: int
    process: int
    info: TokenInfo
    owner: Session
    signing: SimpleQueue[Session]
    generating: SimpleQueue[Session]
    cache: KeyCache[Key]
    integrity: Key
    domains: dict[str, Key] = field(default_factory=dict)
    links: dict[str, Key] = field(default_factory=dict)  # by label, as the domains
    data: dict[str, Key] = field(default_factory=dict)  # of `keystore.hsm.data_objects`, by name
    owning: threading.RLock = field(default_factory=threading.RLock)


@contextmanager
def file_lock(path: Path, *, patience: float = _PATIENCE, pause: float = _PAUSE) -> Iterator[None]:
    """Holds a lock file of all workers of a state directory; of several threads, one each.

    `patience` and `pause` between two looks are seconds. Raises: `HsmUnavailable` after `patience`, a minute unless
    given.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be opened: {error.strerror}") from error
    try:
        deadline = time.monotonic() + patience
        while not _locked(descriptor):
            if time.monotonic() > deadline:
                raise HsmUnavailable(f"another process has held {path} for too long")
            time.sleep(pause)
        yield
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def tokens(module: Module) -> list[SlotToken]:
    """Every token that is there, initialised or not."""
    try:
        with module.turn:
            return [_token(slot) for slot in module.library.get_slots(token_present=True)]
    except PKCS11Error as error:
        raise cryptoki_error("C_GetTokenInfo", error) from error


def find_token(module: Module, uri: TokenUri) -> SlotToken:
    """The one initialised token that the URI names. Raises: `HsmUnavailable` for none, `ConfigurationError` for two."""
    found = [token for token in tokens(module) if token.initialised and _matches(token.info, uri)]
    if len(found) > 1:
        raise ConfigurationError(f"hsm.uri: {len(found)} tokens are like that: name one by its serial=")
    if not found:
        raise HsmUnavailable("no token is like the one that hsm.uri names")
    return found[0]


def open_sessions(module: Module, token: SlotToken, signing: int) -> tuple[SimpleQueue[Session], SimpleQueue[Session]]:
    """(signing, generating): pools of sessions that share the process's login.

    An HSM that has fewer left for this process gives fewer: one to sign with at least, which then generates too.
    """
    pools: tuple[SimpleQueue[Session], SimpleQueue[Session]] = SimpleQueue(), SimpleQueue()
    wanted = [0, *[1] * _GENERATING_SESSIONS, *[0] * (signing - 1)]
    for opened, pool in enumerate(wanted):
        try:
            pools[pool].put(Session(module, token.token))
        except CryptokiError as error:
            if error.code != ReturnValue.SESSION_COUNT:
                raise
            if not opened:
                raise HsmUnavailable(_TOO_FEW) from error
            break
    return (pools[0], pools[0]) if pools[1].empty() else pools


@dataclass(frozen=True, slots=True)
class Login:
    """A logged-in session of the token, with which the rest of a connection is made."""

    epoch: int
    token: SlotToken
    session: Session


def log_in(module: Module, configuration: HsmConfiguration, pin: bytes, refused: RefusedPins | None = None) -> Login:
    """Initialises the module anew and logs in. Only inside `module.gate.exclusive()`.

    Raises: `CryptokiError`, and `HsmUnavailable` for a PIN that was refused before: it is not tried again.
    """
    refused = refused or RefusedPins(configuration)
    with file_lock(configuration.lock_file):
        refused.require_untried(pin)
        epoch = module.initialise(configuration.environment)
        token = find_token(module, configuration.uri)
        require_tries_left(token.flags)
        try:
            session = Session(module, token.token, user_pin=pin)
        except CryptokiError as error:
            if error.code in PIN_REFUSED:
                raise refused.refuse(pin, error) from error
            raise
        refused.forget()
        return Login(epoch, token, session)


def complete(module: Module, login: Login, integrity: Key, *, cache_size: int, sessions: int) -> Connection:
    """Opens the other sessions of a login whose integrity key was found."""
    signing, generating = open_sessions(module, login.token, sessions)
    return Connection(
        epoch=login.epoch,
        process=os.getpid(),
        info=login.token.info,
        owner=login.session,
        signing=signing,
        generating=generating,
        cache=KeyCache(cache_size),
        integrity=integrity,
    )


def read_pin(configuration: HsmConfiguration) -> bytes:
    """The service's PIN. Raises: `ConfigurationError`."""
    return read_secret(configuration.pin_file, "hsm.uri: pin-source")


def _token(slot: types.Slot) -> SlotToken:
    token = slot.get_token()
    info = TokenInfo(
        manufacturer=token.manufacturer_id,
        model=token.model,
        serial=token.serial.decode("utf-8", "replace"),
        label=token.label,
        officer_locked=TokenFlag.SO_PIN_LOCKED in token.flags,
        officer_failed=bool(token.flags & (TokenFlag.SO_PIN_COUNT_LOW | TokenFlag.SO_PIN_FINAL_TRY)),
    )
    return SlotToken(slot.slot_id, info, token.flags, token)


def _matches(info: TokenInfo, uri: TokenUri) -> bool:
    return all(
        wanted is None or wanted == actual
        for wanted, actual in (
            (uri.token, info.label),
            (uri.serial, info.serial),
            (uri.manufacturer, info.manufacturer),
            (uri.model, info.model),
        )
    )
