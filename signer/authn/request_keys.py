"""The keys that may sign requests, and the one algorithm of each: a closed table, read from the key alone.

An `alg` parameter never chooses (RFC 9421 section 7.3.6): the library refuses one that is not the key's.
"""

from __future__ import annotations

import hashlib
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_pem_public_key,
)
from http_message_signatures import HTTPSignatureAlgorithm, algorithms

if TYPE_CHECKING:
    from collections.abc import Mapping

RequestKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey

ALGORITHMS: Final[Mapping[str, type[HTTPSignatureAlgorithm]]] = MappingProxyType(
    {
        "ecdsa-p256-sha256": algorithms.ECDSA_P256_SHA256,
        "ecdsa-p384-sha384": algorithms.ECDSA_P384_SHA384,
        "ed25519": algorithms.ED25519,
        "rsa-pss-sha512": algorithms.RSA_PSS_SHA512,
    }
)
_RSA_BITS: Final = range(2048, 8193)
_RSA_EXPONENT: Final = 65537  # a large one makes each verification slow
KINDS: Final = "P-256, P-384, Ed25519, or RSA of 2048 to 8192 bits with exponent 65537"


class UnusableKey(ValueError):
    """Not a public key of the closed table."""


def load_public_key(encoded: bytes) -> RequestKey:
    """A public key, DER or PEM SubjectPublicKeyInfo. Raises `UnusableKey`."""
    try:
        load = load_pem_public_key if encoded.lstrip().startswith(b"-----BEGIN") else load_der_public_key
        key = load(encoded)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UnusableKey(f"not a public key (PEM, SubjectPublicKeyInfo) of a known kind: {KINDS}") from error
    return require_request_key(key)


def require_request_key(key: object) -> RequestKey:
    """The key itself. Raises `UnusableKey` for what the closed table lacks."""
    if algorithm_of(key) is None or not isinstance(key, RequestKey):
        raise UnusableKey(f"the key's kind is not one of {KINDS}")
    return key


def algorithm_of(key: object) -> str | None:
    """The algorithm (RFC 9421 section 6.2.2) of a key; None for what the closed table lacks."""
    if isinstance(key, ed25519.Ed25519PublicKey):
        return "ed25519"
    if isinstance(key, ec.EllipticCurvePublicKey):
        return {"secp256r1": "ecdsa-p256-sha256", "secp384r1": "ecdsa-p384-sha384"}.get(key.curve.name)
    if isinstance(key, rsa.RSAPublicKey):
        usual = key.key_size in _RSA_BITS and key.public_numbers().e == _RSA_EXPONENT
        return "rsa-pss-sha512" if usual else None
    return None


def der_of(key: RequestKey) -> bytes:
    """DER SubjectPublicKeyInfo."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def fingerprint(public_key: bytes) -> str:
    """Lower-case hex SHA-256 of a DER SubjectPublicKeyInfo."""
    return hashlib.sha256(public_key).hexdigest()
