"""The name that a key has by itself: its JWK thumbprint, which Sealmark gives as `kid`, `keyid` and hint."""

from __future__ import annotations

import base64
import hashlib
import json
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from verifier.keys import MLDSAPublicKey, parameter_set

if TYPE_CHECKING:
    from collections.abc import Mapping

    from verifier.keys import PublicKey

_CURVES: Final[Mapping[str, str]] = MappingProxyType(
    {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521", "secp256k1": "secp256k1"}
)


def thumbprint(key: PublicKey) -> str:
    """The key's JWK thumbprint with SHA-256 (RFC 7638 section 3, RFC 8037 section 2, RFC 9964), base64url."""
    if isinstance(key, rsa.RSAPublicKey):
        numbers = key.public_numbers()
        members = {"e": _octets(numbers.e), "kty": "RSA", "n": _octets(numbers.n)}
    elif isinstance(key, ec.EllipticCurvePublicKey):
        point, size = key.public_numbers(), (key.key_size + 7) // 8
        x, y = (_base64url(each.to_bytes(size, "big")) for each in (point.x, point.y))
        members = {"crv": _CURVES[key.curve.name], "kty": "EC", "x": x, "y": y}
    elif isinstance(key, MLDSAPublicKey):
        members = {"alg": parameter_set(key), "kty": "AKP", "pub": _base64url(key.public_bytes_raw())}
    else:
        members = {"crv": "Ed25519", "kty": "OKP", "x": _base64url(key.public_bytes_raw())}
    canonical = json.dumps(members, separators=(",", ":"), sort_keys=True).encode()
    return _base64url(hashlib.sha256(canonical).digest())


def _octets(number: int) -> str:
    return _base64url(number.to_bytes((number.bit_length() + 7) // 8, "big"))


def _base64url(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode("ascii")
