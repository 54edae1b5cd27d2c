"""Raw detached signatures, for `general` keys and for artifact keys that were made with the format `raw`.

The bytes are what `openssl dgst -verify` takes: RSA octets (RFC 8017), DER `ECDSA-Sig-Value` (RFC 3279 section 2.2.3),
64 octets of Ed25519 (RFC 8032). Whether a key may sign a digest that a caller names is decided before, by its purpose.
"""

from __future__ import annotations

import hashlib
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from signer.errors import Unprocessable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keystore.api import SigningKey

_DIGEST_SIZES: Final[Mapping[str, int]] = MappingProxyType(
    {name: hashlib.new(name).digest_size for name in ("sha256", "sha384", "sha512")}
)


def require_digest(key: SigningKey, digest: bytes, *, field: str = "digest") -> str:
    """The name of the key's hash, if `digest` is as long as that hash's digests.

    Raises: `Unprocessable` naming `field`: another length, or an algorithm that signs messages alone (PureEdDSA).
    """
    algorithm = key.info.algorithm
    if algorithm.hash_name is None:
        message = f"{algorithm.name} signs messages, not digests: send the message"
        raise Unprocessable(message, field=field)
    size = _DIGEST_SIZES[algorithm.hash_name]
    if len(digest) != size:
        message = f"{algorithm.name} signs {algorithm.hash_name} digests of {size} bytes; this one has {len(digest)}"
        raise Unprocessable(message, field=field)
    return algorithm.hash_name


def sign_digest(key: SigningKey, digest: bytes) -> bytes:
    """The signature over `digest`, made by the caller with the algorithm's own hash.

    Raises: `Unprocessable` as `require_digest`; and what `SigningKey.sign_digest` raises.
    """
    require_digest(key, digest)
    return key.sign_digest(digest)


def sign_message(key: SigningKey, message: bytes) -> bytes:
    """The signature over `message`. Raises: what `SigningKey.sign` raises."""
    return key.sign(message)
