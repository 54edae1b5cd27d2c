"""JSON Web Keys (RFC 7517) of public keys, and the sets that verifiers of tokens fetch.

`kid` is the RFC 7638 thumbprint; `alg` is `EdDSA` for Ed25519, since PyJWT drops keys that say `Ed25519`; there is no
`key_ops`, which says the same as `use` and which clients compare with it.
"""

from __future__ import annotations

import base64
import hashlib
import json
from functools import lru_cache
from typing import TYPE_CHECKING, Final, TypedDict

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey, MLDSA65PublicKey, MLDSA87PublicKey

from keystore.algorithms import SIGNING_ALGORITHMS
from signer.errors import ServiceUnavailable, Unprocessable
from signer.formats import publickey

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

# RFC 7518 section 6.2.1.1, RFC 8812 section 3.1
_CURVES: Final = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521", "secp256k1": "secp256k1"}
_SECP256K1_ALGORITHM: Final = "ES256K"  # RFC 8812 section 3.2

# RFC 9964: kty AKP, which has the algorithm in its thumbprint. Some clients break on it: it is in no key set here.
_ML_DSA: Final = ((MLDSA44PublicKey, "ML-DSA-44"), (MLDSA65PublicKey, "ML-DSA-65"), (MLDSA87PublicKey, "ML-DSA-87"))

JsonWebKey = dict[str, str | list[str]]


class JsonWebKeySet(TypedDict):
    """RFC 7517 section 5."""

    keys: list[JsonWebKey]


def _base64url(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode("ascii")


def _unsigned(value: int, size: int | None = None) -> str:
    """Base64urlUInt (RFC 7518 section 2), in `size` octets or the fewest."""
    return _base64url(value.to_bytes(size or (value.bit_length() + 7) // 8, "big"))


@lru_cache(maxsize=4096)
def _required_members(public_key: bytes) -> tuple[tuple[str, str], ...]:
    """The members that a thumbprint covers (RFC 7638 section 3.2, RFC 8037 section 2), in their order."""
    key = publickey.load(public_key)
    if isinstance(key, rsa.RSAPublicKey):
        numbers = key.public_numbers()
        return (("e", _unsigned(numbers.e)), ("kty", "RSA"), ("n", _unsigned(numbers.n)))
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in _CURVES:
        size = (key.curve.key_size + 7) // 8
        point = key.public_numbers()
        return (
            ("crv", _CURVES[key.curve.name]),
            ("kty", "EC"),
            ("x", _unsigned(point.x, size)),
            ("y", _unsigned(point.y, size)),
        )
    if isinstance(key, ed25519.Ed25519PublicKey):
        return (("crv", "Ed25519"), ("kty", "OKP"), ("x", _base64url(key.public_bytes_raw())))
    for kind, name in _ML_DSA:
        if isinstance(key, kind):
            return (("alg", name), ("kty", "AKP"), ("pub", _base64url(key.public_bytes_raw())))
    message = "this kind of public key has no JSON form here"
    raise Unprocessable(message, field="format")


def key_id(public_key: bytes) -> str | None:
    """The thumbprint; None where there is no public half (empty) or none with a JSON form (ML-KEM)."""
    try:
        return thumbprint(public_key) if public_key else None
    except Unprocessable:
        return None


@lru_cache(maxsize=4096)
def thumbprint(public_key: bytes) -> str:
    """RFC 7638: base64url of SHA-256 over the required members. `public_key` is DER SubjectPublicKeyInfo."""
    canonical = json.dumps(dict(_required_members(public_key)), separators=(",", ":"), sort_keys=True)
    return _base64url(hashlib.sha256(canonical.encode("ascii")).digest())


def jwk(public_key: bytes, *, algorithm: str, chain: Sequence[bytes] = ()) -> JsonWebKey:
    """The public key as a JWK with its certificates.

    `public_key` is DER SubjectPublicKeyInfo, `algorithm` a name of `SIGNING_ALGORITHMS`, `chain` DER certificates, leaf
    first. Raises: `ServiceUnavailable` if the leaf holds another key; `Unprocessable` for a kind without a JSON form.
    """
    members = dict(_required_members(public_key))
    name = SIGNING_ALGORITHMS[algorithm].jws
    if members.get("crv") == "secp256k1":
        name = _SECP256K1_ALGORITHM
    described: JsonWebKey = {
        **members,
        "kid": thumbprint(public_key),
        "use": "sig",
        **({} if name is None else {"alg": name}),
    }
    if chain:
        if publickey.certified_key(chain[0]) != publickey.load(public_key):
            message = "the certificate kept for the key is not the key's"
            raise ServiceUnavailable(message)
        described["x5c"] = [base64.b64encode(certificate).decode("ascii") for certificate in chain]  # not base64url
        described["x5t#S256"] = _base64url(hashlib.sha256(chain[0]).digest())
    return described


def algorithm_of(key: JsonWebKey) -> str:
    """The JWS name (RFC 7518 section 3.1) that a JWK says it is for, or an empty text."""
    return str(key.get("alg", ""))


def key_set(keys: Iterable[JsonWebKey]) -> JsonWebKeySet:
    """One issuer's set, in the order given; a key that comes twice stands once."""
    return {"keys": list({str(key["kid"]): key for key in keys}.values())}
