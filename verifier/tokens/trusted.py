"""Token keys from a trust file: those that it lists for the purpose `jwt` and for this one issuer, by `kid`.

A trust file tells no `kid`: the one that counts is the key's thumbprint (RFC 7638), as Sealmark's tokens have it.
"""

from __future__ import annotations

import hashlib
import json
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from verifier.errors import Indeterminate, Rejected
from verifier.keys import PublicKey, describe_key, fingerprint
from verifier.results import KeyFacts
from verifier.tokens import base64url
from verifier.tokens.jwks import KeySet, TokenKey

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from verifier.algorithms import SignatureAlgorithm
    from verifier.trust import Trust, TrustedKey

PURPOSE: Final = "jwt"
_CURVES: Final[Mapping[str, str]] = MappingProxyType(
    {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521", "secp256k1": "secp256k1"}
)


def trusted_key_set(trust: Trust, issuer: str, *, at: datetime, latest: datetime) -> KeySet:
    """The keys that may sign this issuer's tokens. One that may not now stays in it with the reason.

    `latest` is the last moment whose revocations count (`TrustedKey.check_usable`). `Indeterminate` (no_trust) if the
    trust lists no token key of the issuer.
    """
    keys: dict[str, TokenKey] = {}
    unusable: dict[str, Rejected | Indeterminate] = {}
    for listed in _keys_of(trust, issuer):
        key_id = thumbprint(listed.public_key)
        try:
            listed.check_usable(at=at, latest=latest)
            keys[key_id] = TokenKey(key_id, listed.public_key, _only_algorithm(listed))
        except (Rejected, Indeterminate) as reason:
            unusable[key_id] = reason
    if not keys and not unusable:
        raise Indeterminate("no_trust", f"The trust file names no key for tokens of {issuer!r}.")
    return KeySet(MappingProxyType(keys), MappingProxyType(unusable))


def describe_trusted_key(trust: Trust, issuer: str, key: TokenKey) -> KeyFacts:
    """The key of a token that was verified with `trusted_key_set`, with the entry that lists it."""
    (listed,) = (each for each in _keys_of(trust, issuer) if thumbprint(each.public_key) == key.key_id)
    return KeyFacts(
        algorithm=key.algorithm.name,
        kind=describe_key(key.public_key),
        sha256=fingerprint(key.public_key),
        trusted_by="key",
        key_id=listed.key_id,
        key_version=listed.key_version,
        name=listed.name,
        entries=(listed.describe(),),
    )


def _keys_of(trust: Trust, issuer: str) -> tuple[TrustedKey, ...]:
    """A bare public key names no issuer, so it is not among them: the caller would have to say whose it is."""
    return tuple(key for key in trust.keys if key.purpose == PURPOSE and key.issuer == issuer)


def _only_algorithm(listed: TrustedKey) -> SignatureAlgorithm:
    """RFC 8725 section 3.1: each key makes one algorithm, the one that its curve leaves (RFC 7518 section 3.4)."""
    curve = listed.public_key.curve.name if isinstance(listed.public_key, ec.EllipticCurvePublicKey) else None
    fitting = [each for each in listed.algorithms if each.jws is not None and each.jws_curve == curve]
    if len(fitting) != 1 or len(listed.algorithms) != 1:
        message = f"The token's key {listed.label} is not listed for exactly one algorithm of tokens."
        raise Indeterminate("unsupported_key", message)
    return fitting[0]


def thumbprint(key: PublicKey) -> str:
    """The key's JWK thumbprint with SHA-256 (RFC 7638 section 3, RFC 8037 section 2), base64url."""
    if isinstance(key, rsa.RSAPublicKey):
        numbers = key.public_numbers()
        members = {"e": _octets(numbers.e), "kty": "RSA", "n": _octets(numbers.n)}
    elif isinstance(key, ec.EllipticCurvePublicKey):
        point, size = key.public_numbers(), (key.key_size + 7) // 8
        x, y = (base64url.encode(each.to_bytes(size, "big")) for each in (point.x, point.y))
        members = {"crv": _CURVES[key.curve.name], "kty": "EC", "x": x, "y": y}
    else:
        members = {"crv": "Ed25519", "kty": "OKP", "x": base64url.encode(key.public_bytes_raw())}
    canonical = json.dumps(members, separators=(",", ":"), sort_keys=True).encode()
    return base64url.encode(hashlib.sha256(canonical).digest())


def _octets(number: int) -> str:
    return base64url.encode(number.to_bytes((number.bit_length() + 7) // 8, "big"))
