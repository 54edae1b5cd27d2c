"""What only a ceremony does on a token: make it, and log the security officer in.

The officer alone can make a key TRUSTED, and SoftHSM's officer makes only PRIVATE=false objects, which work without a
PIN. So a ceremony makes them as session objects, which no other process can see, changes the login of the same session
from officer to user, and lets the user copy each to a private, locked token object.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from keystore.errors import CeremonyError
from keystore.hsm.connection import file_lock, find_token, tokens
from keystore.hsm.module import load_module
from keystore.hsm.return_values import PIN_REFUSED, CryptokiError
from keystore.hsm.session import SECURITY_OFFICER, USER, Session

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from keystore.api import TokenInfo
    from keystore.configuration import HsmConfiguration
    from keystore.hsm.connection import SlotToken
    from keystore.hsm.module import Module


@dataclass(frozen=True, slots=True)
class Ceremony:
    """The one session of a ceremony. `as_officer` and `as_user` are used in turn, never inside each other."""

    session: Session
    info: TokenInfo
    _officer_pin: bytes = field(repr=False)
    _user_pin: bytes = field(repr=False)

    @contextmanager
    def as_officer(self) -> Iterator[Session]:
        yield from self._logged_in(SECURITY_OFFICER, self._officer_pin, "the security officer's PIN")

    @contextmanager
    def as_user(self) -> Iterator[Session]:
        yield from self._logged_in(USER, self._user_pin, "the service's PIN")

    def _logged_in(self, user: int, pin: bytes, name: str) -> Iterator[Session]:
        try:
            self.session.login(user, pin)
        except CryptokiError as error:
            if error.code in PIN_REFUSED:
                raise CeremonyError(f"the token refuses {name}; it is not tried again") from error
            raise
        try:
            yield self.session
        finally:
            self.session.logout()


@contextmanager
def open_ceremony(configuration: HsmConfiguration, *, officer_pin: bytes, user_pin: bytes) -> Iterator[Ceremony]:
    """A session for a ceremony, alone in this process; other processes go on serving.

    Raises: `CeremonyError` for whatever the HSM refuses on the way.
    """
    module = load_module(configuration.module)
    with module.gate.exclusive():
        try:
            with file_lock(configuration.lock_file):
                module.initialise(configuration.environment)
                token = find_token(module, configuration.uri)
                session = Session(module, token.token)
            yield Ceremony(session, token.info, officer_pin, user_pin)
        except CryptokiError as error:
            raise CeremonyError(f"the HSM refused a step of the ceremony ({error})") from error
        finally:
            module.finalise()


def initialise_token(
    module_path: Path, environment: Mapping[str, str], lock: Path, label: str, *, officer_pin: bytes, user_pin: bytes
) -> None:
    """Makes a token of that label in the one free slot. PINs go to the module by call, never on a command line.

    Raises: `CeremonyError` if a token bears that label already, or none is free.
    """
    module = load_module(module_path)
    with module.gate.exclusive(), file_lock(lock):
        try:
            module.initialise(environment)
            slot = _free_slot(module, label)
            with module.turn:
                module.native.initialise_token(slot, officer_pin, label)
            module.initialise(environment)  # SoftHSM gives the new token a slot of its own
            session = Session(module, _token_of(module, label).token)
            session.login(SECURITY_OFFICER, officer_pin)
            session.set_user_pin(user_pin)
        except CryptokiError as error:
            raise CeremonyError(f"the token could not be made ({error})") from error
        finally:
            module.finalise()


def _free_slot(module: Module, label: str) -> int:
    found = tokens(module)
    if any(token.initialised and token.info.label == label for token in found):
        raise CeremonyError(f"a token labelled {label!r} is there already")
    free = [token.slot for token in found if not token.initialised]
    if not free:
        raise CeremonyError("no slot of the module has a token that is still to be initialised")
    return free[0]


def _token_of(module: Module, label: str) -> SlotToken:
    found = [token for token in tokens(module) if token.initialised and token.info.label == label]
    if len(found) != 1:
        raise CeremonyError(f"{len(found)} tokens are labelled {label!r} after making one")
    return found[0]
