"""An issuer's key set (RFC 7517) → public keys that may verify its tokens, and the closed table of what verifies how.

What is not in the table is not used: no symmetric key, no RSA key below 2048 bits, no other curve. A key that stands
there with its private half is anybody's, and counts for nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from signer import strict_json

if TYPE_CHECKING:
    from collections.abc import Mapping

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey
LEAST_RSA_BITS: Final = 2048
LARGEST_RSA_BITS: Final = 8192  # verifying takes time that a stranger's token may cost
MAXIMUM_KEYS: Final = 100
_PRIVATE_MEMBERS: Final = ("d", "p", "q", "dp", "dq", "qi", "oth", "k")


@dataclass(frozen=True, slots=True)
class TokenAlgorithm:
    """A JWS algorithm (RFC 7518 section 3.1, RFC 8037) and the keys that it goes with."""

    name: str
    kty: str
    curve: str | None = None


TOKEN_ALGORITHMS: Final[Mapping[str, TokenAlgorithm]] = MappingProxyType(
    {
        row.name: row
        for row in (
            *(TokenAlgorithm(f"{scheme}{size}", "RSA") for scheme in ("RS", "PS") for size in (256, 384, 512)),
            TokenAlgorithm("ES256", "EC", "P-256"),
            TokenAlgorithm("ES384", "EC", "P-384"),
            TokenAlgorithm("ES512", "EC", "P-521"),
            TokenAlgorithm("EdDSA", "OKP", "Ed25519"),
        )
    }
)


@dataclass(frozen=True, slots=True)
class TokenKey:
    """One public key of a set. `algorithm` is what its own `alg` binds it to, if it has one."""

    kid: str
    kty: str
    curve: str | None
    algorithm: str | None
    public_key: PublicKey = field(repr=False)

    def verifies(self, algorithm: TokenAlgorithm) -> bool:
        """Whether the key may verify by this algorithm."""
        if self.algorithm is not None and self.algorithm != algorithm.name:
            return False
        return (self.kty, self.curve) == (algorithm.kty, algorithm.curve)


@dataclass(frozen=True, slots=True)
class KeySet:
    """The usable keys of one issuer's set, and why others of it are not usable."""

    keys: tuple[TokenKey, ...]
    left_out: tuple[str, ...] = ()

    def find(self, kid: str, algorithm: TokenAlgorithm) -> list[TokenKey]:
        """The keys of this `kid` that may verify so: one, unless the issuer made a mistake."""
        return [key for key in self.keys if key.kid == kid and key.verifies(algorithm)]


def parse_key_set(data: bytes) -> KeySet:
    """The usable keys of a JWKS. Raises `ValueError` with the reason if it is none."""
    document = strict_json.parse_object(data)
    members = document.get("keys")
    if not isinstance(members, list) or not all(isinstance(member, dict) for member in members):
        raise ValueError("it is no JWKS: it has no list `keys` of objects")
    if len(members) > MAXIMUM_KEYS:
        raise ValueError(f"it has more than {MAXIMUM_KEYS} keys")
    keys: list[TokenKey] = []
    left_out: list[str] = []
    for number, member in enumerate(members):
        try:
            keys.append(_key(member))
        except ValueError as reason:
            left_out.append(f"keys[{number}]: {reason}")
    return KeySet(tuple(keys), tuple(left_out))


def _key(member: dict[str, object]) -> TokenKey:
    kty, kid, algorithm = member.get("kty"), member.get("kid"), member.get("alg")
    curve = member.get("crv") if kty != "RSA" else None
    if kty not in ("RSA", "EC", "OKP"):
        raise ValueError("its type (kty) is not RSA, EC or OKP")
    if any(name in member for name in _PRIVATE_MEMBERS):
        raise ValueError("its private half is published with it")
    if not isinstance(kid, str) or not kid:
        raise ValueError("it has no kid")
    if member.get("use", "sig") != "sig":
        raise ValueError("it is not for signatures (use)")
    operations = member.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        raise ValueError("it is not for verifying (key_ops)")
    if algorithm is not None and (not isinstance(algorithm, str) or algorithm not in TOKEN_ALGORITHMS):
        raise ValueError("its algorithm (alg) is not one that is taken")
    if not any((row.kty, row.curve) == (kty, curve) for row in TOKEN_ALGORITHMS.values()):
        raise ValueError("its curve (crv) is not one that is taken")
    public_key = _public_key(member, algorithm or _any_algorithm(kty, curve))
    return TokenKey(kid, kty, str(curve) if curve else None, algorithm, public_key)


def _any_algorithm(kty: object, curve: object) -> str:
    return next(row.name for row in TOKEN_ALGORITHMS.values() if (row.kty, row.curve) == (kty, curve))


def _public_key(member: dict[str, object], algorithm: str) -> PublicKey:
    try:
        key: object = jwt.PyJWK(member, algorithm).key
    except (jwt.PyJWTError, ValueError, TypeError, KeyError) as error:
        raise ValueError("its members are not those of a public key") from error
    if isinstance(key, rsa.RSAPublicKey):
        if not LEAST_RSA_BITS <= key.key_size <= LARGEST_RSA_BITS:
            raise ValueError(f"an RSA key has {LEAST_RSA_BITS} to {LARGEST_RSA_BITS} bits")
        if key.public_numbers().e < 3 or key.public_numbers().e % 2 == 0:
            raise ValueError("its exponent is not odd")
        return key
    if isinstance(key, ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey):
        return key
    raise ValueError("it is not a public key of a kind that is taken")
