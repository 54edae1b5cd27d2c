"""A PIN that the token has refused is not tried again, by any process or after any restart: a few more would lock it.

The mark of it, `hsm.refused` beside the lock of logins, holds a salted scrypt of the PIN. It counts until the PIN's
file holds another one, or somebody removes it, who says by that: try this one once more. Whoever uses this holds that
lock.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from typing import TYPE_CHECKING, Final

from pkcs11 import TokenFlag

from keystore.errors import HsmUnavailable

if TYPE_CHECKING:
    from keystore.configuration import HsmConfiguration

_SALT: Final = 16  # octets
_HASH: Final = 32  # octets
_COST: Final = 2**14  # scrypt's n: 16 MiB and 50 ms


class RefusedPins:
    """What a process knows of the PINs that were refused, besides the mark that all share."""

    def __init__(self, configuration: HsmConfiguration) -> None:
        self._file = configuration.pin_file
        self._mark = configuration.lock_file.with_name("hsm.refused")
        self._known: tuple[bytes, bytes] | None = None  # hash of a PIN, and the mark that says no to it
        self._unmarked: bytes | None = None  # hash of one that was refused while no mark could be written

    def require_untried(self, pin: bytes) -> None:
        """Raises: `HsmUnavailable` for the PIN of the mark, and for any PIN while the mark cannot be read."""
        hashed = hashlib.sha256(pin).digest()
        if self._unmarked is not None and hmac.compare_digest(self._unmarked, hashed):
            raise HsmUnavailable(
                f"the token refuses the PIN in {self._file}: it is not tried again; write another there"
            )
        try:
            mark = self._mark.read_bytes()
        except FileNotFoundError:
            return
        except OSError as error:
            raise HsmUnavailable(
                f"{self._mark} cannot be read: {error.strerror}; no PIN is tried until then"
            ) from error
        if self._known != (hashed, mark):
            if len(mark) == _SALT + _HASH and not hmac.compare_digest(_marked(pin, mark[:_SALT]), mark):
                return
            self._known = hashed, mark
        raise HsmUnavailable(f"the token refuses the PIN in {self._file}: {self._advice}")

    def refuse(self, pin: bytes, why: Exception) -> HsmUnavailable:
        """Remembers it; what to raise. A disk that takes no mark leaves it to this process to remember."""
        made = _marked(pin, secrets.token_bytes(_SALT))
        try:
            descriptor = os.open(self._mark, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(made)
        except OSError as error:
            self._unmarked = hashlib.sha256(pin).digest()
            return HsmUnavailable(
                f"the token refuses the PIN in {self._file} ({why}), and {self._mark} cannot be written "
                f"({error.strerror}): stop the service before the token locks itself"
            )
        return HsmUnavailable(f"the token refuses the PIN in {self._file} ({why}): {self._advice}")

    def forget(self) -> None:
        """The token took a PIN."""
        self._mark.unlink(missing_ok=True)

    @property
    def _advice(self) -> str:
        return f"it is not tried again. Write the right one there; or, if this one is right by now, remove {self._mark}"


def require_tries_left(flags: TokenFlag) -> None:
    """Raises: `HsmUnavailable` where the token says that the next wrong PIN would be the last, or that it is locked."""
    if TokenFlag.USER_PIN_LOCKED in flags:
        raise HsmUnavailable(
            "the token's user PIN is locked: the officer sets another one (C_InitPIN), to be written into its file"
        )
    if TokenFlag.USER_PIN_FINAL_TRY in flags:
        raise HsmUnavailable(
            "the token takes one more PIN before it locks itself: the service leaves that try to you. Log in once with "
            "the right PIN by the HSM's own tool, which gives the tries back"
        )


def _marked(pin: bytes, salt: bytes) -> bytes:
    return salt + hashlib.scrypt(pin, salt=salt, n=_COST, r=8, p=1, dklen=_HASH)
