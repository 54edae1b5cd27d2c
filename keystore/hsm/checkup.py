"""What a token says of itself before anybody logs in: whether it is there, and whether a PIN may still be tried."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pkcs11 import PKCS11Error, TokenFlag

from keystore.hsm.connection import file_lock, find_token
from keystore.hsm.module import load_module
from keystore.hsm.return_values import CryptokiError, cryptoki_error
from keystore.hsm.translation import translate

if TYPE_CHECKING:
    from keystore.api import TokenInfo
    from keystore.configuration import HsmConfiguration


@dataclass(frozen=True, slots=True)
class TokenState:
    """`last_try`: one more wrong PIN locks it, or it is locked already. `tried`: the last PIN that was tried was
    wrong."""

    info: TokenInfo
    last_try: bool
    tried: bool
    write_protected: bool


def token_state(configuration: HsmConfiguration) -> TokenState:
    """The token that the configuration names. Nobody logs in. Raises: `ConfigurationError`, `HsmUnavailable`."""
    module = load_module(configuration.module)
    with module.gate.exclusive():
        try:
            with file_lock(configuration.lock_file):
                module.initialise(configuration.environment)
                found = find_token(module, configuration.uri)
                try:
                    flags = found.token.flags
                except PKCS11Error as error:
                    raise cryptoki_error("C_GetTokenInfo", error) from error
        except CryptokiError as error:
            raise translate(error) from error
        finally:
            module.finalise()
    return TokenState(
        info=found.info,
        last_try=bool(flags & (TokenFlag.USER_PIN_FINAL_TRY | TokenFlag.USER_PIN_LOCKED)),
        tried=bool(flags & TokenFlag.USER_PIN_COUNT_LOW),
        write_protected=TokenFlag.WRITE_PROTECTED in flags,
    )
