"""An HMAC key opened for one intent."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from keystore.errors import InvalidMac, WrongState

if TYPE_CHECKING:
    from keystore.api import BackingKey, HardwareToken, OpenedKeyInfo


class HmacKey:
    """Satisfies `keystore.api.MacKey`. `active`: whether this version makes new MACs."""

    __slots__ = ("_active", "_backing", "_token", "info")

    def __init__(self, token: HardwareToken, backing: BackingKey, info: OpenedKeyInfo, *, active: bool) -> None:
        self.info = info
        self._token = token
        self._backing = backing
        self._active = active

    def mac(self, message: bytes) -> bytes:
        """Raises: `WrongState` for a version that is not the active one."""
        if not self._active:
            raise WrongState(f"version {self.info.version} of the key makes no new MACs")
        return self._token.mac(self._backing, self.info.algorithm, message)

    def verify(self, message: bytes, mac: bytes) -> None:
        """Compares in constant time. Raises: `InvalidMac`, for one of another length too."""
        if not hmac.compare_digest(self._token.mac(self._backing, self.info.algorithm, message), mac):
            raise InvalidMac("this is not this key's MAC over this message")
