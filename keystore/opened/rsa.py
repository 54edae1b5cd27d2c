"""An RSA key for encryption, opened for one intent: encrypts with its published half, decrypts in the HSM."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from keystore.ciphertexts import UNDECIPHERABLE
from keystore.errors import HsmFault, Undecipherable, Unsupported, WrongState
from keystore.opened.oaep import decrypt_oaep
from keystore.signing import load_public_key

if TYPE_CHECKING:
    from keystore.api import BackingKey, HardwareToken, OpenedKeyInfo

_HASHES: Final = MappingProxyType(
    {
        "sha1": hashes.SHA1(),  # noqa: S303 - of its hash OAEP needs nothing that SHA-1 has lost
        "sha256": hashes.SHA256(),
    }
)


class RsaEncryptionKey:
    """Satisfies `keystore.api.EncryptionKey`. `active`: whether this version makes new ciphertexts."""

    __slots__ = ("_active", "_backing", "_public_key", "_token", "info")

    def __init__(
        self, token: HardwareToken, backing: BackingKey, info: OpenedKeyInfo, public_key: bytes, *, active: bool
    ) -> None:
        loaded = load_public_key(public_key)
        if not isinstance(loaded, RSAPublicKey):
            raise HsmFault(f"the published key of {info.key_id} is not RSA")
        self.info = info
        self._token = token
        self._backing = backing
        self._public_key = loaded
        self._active = active

    def encrypt(self, plaintext: bytes, context: bytes = b"") -> bytes:
        """Bare RSAES-OAEP (RFC 8017 section 7.1.1). Raises: `Unsupported` for a plaintext that is too long."""
        _require_none(context)
        if not self._active:
            raise WrongState(f"version {self.info.version} of the key makes no new ciphertexts")
        known = _HASHES[self._hash_name]
        try:
            return self._public_key.encrypt(plaintext, padding.OAEP(padding.MGF1(known), known, None))
        except ValueError as error:
            raise Unsupported("the plaintext is too long for this key", field="plaintext") from error

    def decrypt(self, ciphertext: bytes, context: bytes = b"") -> bytes:
        """Raises: `Undecipherable`, the same for every fault: length and range are anybody's to see, the rest nobody's.

        RFC 8017 section 7.1.2.
        """
        _require_none(context)
        modulus = self._public_key.public_numbers().n
        if len(ciphertext) != (modulus.bit_length() + 7) // 8 or int.from_bytes(ciphertext, "big") >= modulus:
            raise Undecipherable(UNDECIPHERABLE)
        return decrypt_oaep(self._token, self._backing, self._hash_name, ciphertext)

    @property
    def _hash_name(self) -> str:
        name = self.info.algorithm.hash_name
        if name is None:
            raise Unsupported(f"{self.info.algorithm.name} is not RSA's", field="algorithm")
        return name


def _require_none(context: bytes) -> None:
    if context:
        raise Unsupported("RSA ciphertexts have no encryption context", field="context")
