"""Keys of `protection: software`, opened for one intent. Every signature is verified here, as those of the HSM are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature

from keystore import software_keys
from keystore.errors import HsmFault, Unsupported, WrongState
from keystore.signing import load_public_key, verify_signature

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from keystore.api import BackingKey, OpenedKeyInfo, SigningKeyInfo
    from keystore.software import SoftwareKeys


class SoftwareSigningKey:
    """Satisfies `keystore.api.SigningKey`. Made by `Keystore.signing_key` alone, for one durable intent."""

    __slots__ = ("_private", "info", "public_key")

    def __init__(self, keys: SoftwareKeys, backing: BackingKey, info: SigningKeyInfo, public_key: bytes) -> None:
        self.info = info
        self.public_key = load_public_key(public_key)
        self._private = keys.open(backing, public_key)

    def sign(self, message: bytes) -> bytes:
        """Sign a message. See `keystore.api.SigningKey`."""
        algorithm = self.info.algorithm
        return self._checked(
            lambda: software_keys.sign(self._private, algorithm, message),
            lambda signature: verify_signature(self.public_key, algorithm, signature, message),
        )

    def sign_digest(self, _digest: bytes) -> bytes:
        """Refused: no algorithm of a software key takes a digest."""
        raise Unsupported(f"{self.info.algorithm.name} signs whole messages, not digests", field="digest")

    def sign_digests(self, digests: Sequence[bytes]) -> Iterator[bytes]:
        """Refused, as `sign_digest`."""
        return iter([self.sign_digest(digest) for digest in digests])

    def sign_mu(self, mu: bytes) -> bytes:
        """Sign a message representative. See `keystore.api.SigningKey`."""
        return self._checked(
            lambda: software_keys.sign_mu(self._private, mu),
            lambda signature: software_keys.verify_mu(self.public_key, signature, mu),
        )

    def _checked(self, make: Callable[[], bytes], verify: Callable[[bytes], None]) -> bytes:
        signature = make()
        try:
            verify(signature)
        except InvalidSignature as exc:
            raise HsmFault(f"the library's signature by key {self.info.key_id} does not verify") from exc
        return signature


class SoftwareEncapsulationKey:
    """Satisfies `keystore.api.EncapsulationKey`. Made by `Keystore.open_key` alone, for one durable intent."""

    __slots__ = ("_active", "_backing", "_keys", "_public_der", "_public_key", "info")

    def __init__(
        self, keys: SoftwareKeys, backing: BackingKey, info: OpenedKeyInfo, public_key: bytes, *, active: bool
    ) -> None:
        self.info = info
        self._active = active
        self._public_der = public_key
        self._public_key = load_public_key(public_key)
        self._keys = keys
        self._backing = backing

    def encapsulate(self) -> tuple[bytes, bytes]:
        """(shared secret, ciphertext), by the public half alone. See `keystore.api.EncapsulationKey`.

        Raises: `WrongState` for a version that is not the active one.
        """
        if not self._active:
            raise WrongState(f"version {self.info.version} of the key makes no new secrets")
        return software_keys.encapsulate(self._public_key)

    def decapsulate(self, ciphertext: bytes) -> bytes:
        """The shared secret. See `keystore.api.EncapsulationKey`."""
        return software_keys.decapsulate(self._keys.open(self._backing, self._public_der), ciphertext)
