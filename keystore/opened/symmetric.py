"""An AES key opened for one intent: what it makes says which key and version opens it, whatever is changed is found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keystore.ciphertexts import UNDECIPHERABLE, describe, header, sealed_part
from keystore.errors import HsmFault, Undecipherable, WrongState

if TYPE_CHECKING:
    from keystore.api import BackingKey, DataKeyPair, HardwareToken, OpenedKeyInfo


class SymmetricKey:
    """Satisfies `keystore.api.EncryptionKey`. `active`: whether this version makes new ciphertexts."""

    __slots__ = ("_active", "_backing", "_token", "info")

    def __init__(self, token: HardwareToken, backing: BackingKey, info: OpenedKeyInfo, *, active: bool) -> None:
        self.info = info
        self._token = token
        self._backing = backing
        self._active = active

    def encrypt(self, plaintext: bytes, context: bytes = b"") -> bytes:
        """See `keystore.ciphertexts`. Raises: `WrongState` for a version that is not the active one."""
        if not self._active:
            raise WrongState(f"version {self.info.version} of the key makes no new ciphertexts")
        head = header(self.info.key_id, self.info.version_id)
        return head + self._token.encrypt(self._backing, plaintext, head + context)

    def data_key(self, size: int, context: bytes) -> tuple[bytes, bytes]:
        """(plaintext, ciphertext) of octets that the HSM's random number generator made. Raises: as `encrypt`."""
        plaintext = self._token.random(size)
        if len(plaintext) != size:
            raise HsmFault(f"the HSM gave {len(plaintext)} random octets, not {size}")
        return plaintext, self.encrypt(plaintext, context)

    def data_key_pair(self, spec: str, context: bytes) -> tuple[DataKeyPair, bytes]:
        """(the pair, ciphertext of its private half). RSA takes seconds. Raises: as `encrypt`."""
        pair = self._token.make_data_key_pair(spec)
        return pair, self.encrypt(pair.private_key, context)

    def decrypt(self, ciphertext: bytes, context: bytes = b"") -> bytes:
        """Raises: `Undecipherable`, the same whatever is wrong."""
        origin = describe(ciphertext)
        if (origin.key_id, origin.version_id) != (self.info.key_id, self.info.version_id):
            raise Undecipherable(UNDECIPHERABLE)
        head = header(origin.key_id, origin.version_id)
        return self._token.decrypt(self._backing, sealed_part(ciphertext), head + context)
