"""A `SigningKey` that remembers what it signed, so that the audit record can name each signature by its digests.

It adds nothing to what may be signed and hides no error: it stands between a format and the key, on the hot path.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

    from keystore.api import SigningKey, SigningKeyInfo

# EdDSA and ML-DSA sign the message itself; the record then names it by the hash that Ed25519 uses inside (RFC 8032).
_HASH_OF_MESSAGES: Final = "sha512"


class MadeSignature(NamedTuple):
    """One signature as the audit record names it.

    `message_digest` is the hash of what was signed, by the algorithm's own hash (SHA-512 where the message itself is
    signed), 32 to 64 octets;
    `signature_sha256` is the SHA-256 of the signature as the key returned it, 32 octets.
    """

    message_digest: bytes
    signature_sha256: bytes


class ObservedKey:
    """Wraps a `SigningKey` and is one itself. `made` lists its signatures in the order in which they were made."""

    __slots__ = ("_hash_name", "_key", "info", "made")

    def __init__(self, key: SigningKey) -> None:
        self._key = key
        self.info: SigningKeyInfo = key.info
        self._hash_name = key.info.algorithm.hash_name or _HASH_OF_MESSAGES
        self.made: list[MadeSignature] = []

    @property
    def public_key(self) -> PublicKeyTypes:
        return self._key.public_key

    def sign(self, message: bytes) -> bytes:
        """As `SigningKey.sign`; remembers the signature once it is made."""
        signature = self._key.sign(message)
        self._remember(hashlib.new(self._hash_name, message).digest(), signature)
        return signature

    def sign_digest(self, digest: bytes) -> bytes:
        """As `SigningKey.sign_digest`; remembers the signature once it is made."""
        signature = self._key.sign_digest(digest)
        self._remember(digest, signature)
        return signature

    def sign_digests(self, digests: Sequence[bytes]) -> Iterator[bytes]:
        """As `SigningKey.sign_digests`; remembers each signature once it is made."""
        for digest, signature in zip(digests, self._key.sign_digests(digests), strict=True):
            self._remember(digest, signature)
            yield signature

    def sign_mu(self, mu: bytes) -> bytes:
        """As `SigningKey.sign_mu`; remembers the signature once it is made. The message representative, 64 octets, is
        the hash of what was signed."""
        signature = self._key.sign_mu(mu)
        self._remember(mu, signature)
        return signature

    def _remember(self, digest: bytes, signature: bytes) -> None:
        self.made.append(MadeSignature(digest, hashlib.sha256(signature).digest()))
