"""A JWK Set (RFC 7517), read strictly: which key id stands for which key, and the one algorithm that each key makes.

A set that leaks a private key, names two keys alike, names one key twice or carries a certificate of another key is
refused as a whole. A key that this package cannot use stays in the set with the reason, so that a token that names it
gets that answer and never another key. A `kid` is a name and no more: issuers choose it as they like, so that it is not
held against the key's thumbprint (RFC 7638).
"""

from __future__ import annotations

import base64
import copy
import hashlib
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from verifier.algorithms import BY_JWS, SignatureAlgorithm
from verifier.certificates import certified_key, load_certificate
from verifier.errors import Indeterminate, Rejected
from verifier.keys import (
    PublicKey,
    WeakKeyError,
    check_public_key,
    check_rsa_numbers,
    key_kind,
    subject_public_key_info,
)
from verifier.strict_json import JsonValue, parse_object
from verifier.tokens import base64url

if TYPE_CHECKING:
    from collections.abc import Mapping

MAXIMUM_JWKS_BYTES: Final = 1024 * 1024
MAXIMUM_KEYS: Final = 256
_PRIVATE_MEMBERS: Final = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"})
_CURVES: Final[Mapping[str, ec.EllipticCurve]] = MappingProxyType(
    {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}
)


@dataclass(frozen=True, slots=True)
class TokenKey:
    """A key of the set and the only algorithm that it is believed for.

    `thumbprints` are those of its certificate as the set tells them (`x5t`, `x5t#S256`), base64url; empty without one.
    """

    key_id: str
    public_key: PublicKey
    algorithm: SignatureAlgorithm
    thumbprints: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class KeySet:
    """The keys of one issuer by `kid`; `unusable` holds the answer for each key that is there but cannot be used."""

    keys: Mapping[str, TokenKey]
    unusable: Mapping[str, Rejected | Indeterminate]

    def find(self, key_id: str) -> TokenKey:
        """The key with this id. Rejected or Indeterminate with the reason why it cannot be used.

        An id that the set does not have is Indeterminate (unknown_key): this package fetches nothing and so cannot tell
        a set that is out of date from a forgery.
        """
        if key_id in self.unusable:
            raise copy.copy(self.unusable[key_id])
        if key_id not in self.keys:
            raise Indeterminate(
                "unknown_key", "The key set has no key with the token's kid: it is forged or the set is out of date."
            )
        return self.keys[key_id]


def parse_jwks(data: bytes) -> KeySet:
    """Reads one issuer's key set. `Indeterminate` (invalid_jwks) if it is malformed or must not be used at all."""
    try:
        if len(data) > MAXIMUM_JWKS_BYTES:
            raise ValueError(f"larger than {MAXIMUM_JWKS_BYTES} bytes")
        entries = parse_object(data).get("keys")
        if not isinstance(entries, list):
            raise ValueError("its member keys is not a list")
        if len(entries) > MAXIMUM_KEYS:
            raise ValueError(f"it holds more than {MAXIMUM_KEYS} keys")
        return _collect(entries)
    except ValueError as error:
        raise Indeterminate("invalid_jwks", f"The key set cannot be used: {error}.") from error


def _collect(entries: list[JsonValue]) -> KeySet:
    keys: dict[str, TokenKey] = {}
    unusable: dict[str, Rejected | Indeterminate] = {}
    for entry in entries:
        if not isinstance(entry, dict):
            raise ValueError("it holds something that is not a key")
        if leaked := sorted(_PRIVATE_MEMBERS & entry.keys()):
            raise ValueError(f"it holds private key material (member {leaked[0]!r})")
        key_id = entry.get("kid")
        if key_id is None:
            continue  # tokens are matched by kid alone: nothing can ever select this key
        if not isinstance(key_id, str) or not key_id:
            raise ValueError("a kid is not a text")
        if key_id in keys or key_id in unusable:
            raise ValueError("two keys have the same kid")
        try:
            keys[key_id] = _usable_key(key_id, entry)
        except (Rejected, Indeterminate) as reason:
            unusable[key_id] = reason
    if len({subject_public_key_info(key.public_key) for key in keys.values()}) != len(keys):
        # RFC 8725 section 3.1: a key makes one algorithm. And who withdraws one of its names would leave the other.
        raise ValueError("one key has two kids")
    return KeySet(MappingProxyType(keys), MappingProxyType(unusable))


def _usable_key(key_id: str, entry: dict[str, JsonValue]) -> TokenKey:
    """The key, or an exception of this package: the answer for a token that names it."""
    if entry.get("use") != "sig" or entry.get("key_ops", ["verify"]) != ["verify"]:
        raise Rejected("key_not_for_this_purpose", "The token's key is not marked as one for signatures.")
    kind = entry.get("kty")
    if kind not in ("RSA", "EC", "OKP"):
        raise Indeterminate("unsupported_key", "The token's key is of a kind that this verifier does not know.")
    try:
        public_key = check_public_key(_public_key(kind, entry))
    except WeakKeyError as error:
        raise Rejected("weak_key", f"The token's key is refused: {error}.") from error
    except UnsupportedAlgorithm as error:
        raise Indeterminate("unsupported_key", "The token's key is on an unknown curve.") from error
    thumbprints = _thumbprints(entry, public_key)
    return TokenKey(key_id, public_key, _pinned_algorithm(entry, public_key), thumbprints)


def _pinned_algorithm(entry: dict[str, JsonValue], public_key: PublicKey) -> SignatureAlgorithm:
    """The key's own `alg`. A curve leaves but one choice, so there the member may be missing (RFC 7518 section 3.4)."""
    name = entry.get("alg")
    curve = public_key.curve.name if isinstance(public_key, ec.EllipticCurvePublicKey) else None
    fitting = {row.jws for row in BY_JWS.values() if row.key_kind == key_kind(public_key) and row.jws_curve == curve}
    if name is None and len(fitting) == 1:
        name = next(iter(fitting))
    if name is None:
        raise Indeterminate("unsupported_key", "The token's key does not say which algorithm it is for.")
    if not isinstance(name, str) or name not in fitting:
        raise Rejected("algorithm_not_allowed", "The token's key is for an algorithm that is not allowed for it.")
    return BY_JWS[name]


def _public_key(kind: str, entry: dict[str, JsonValue]) -> object:
    """RFC 7518 section 6, RFC 8037 section 2: coordinates have the field's full length, integers the shortest."""
    if kind == "RSA":
        modulus, exponent = _octets(entry, "n"), _octets(entry, "e")
        if modulus[0] == 0 or exponent[0] == 0:
            raise ValueError("an RSA key's number is not in its shortest form")
        n, e = int.from_bytes(modulus, "big"), int.from_bytes(exponent, "big")
        check_rsa_numbers(n, e)  # here, since the library refuses some of them as malformed
        return rsa.RSAPublicNumbers(e, n).public_key()
    curve_name = entry.get("crv")
    if kind == "OKP":
        if curve_name != "Ed25519":
            raise UnsupportedAlgorithm("curve")
        return ed25519.Ed25519PublicKey.from_public_bytes(_octets(entry, "x"))
    curve = _CURVES.get(curve_name) if isinstance(curve_name, str) else None
    if curve is None:
        raise UnsupportedAlgorithm("curve")
    x, y = _octets(entry, "x"), _octets(entry, "y")
    if {len(x), len(y)} != {(curve.key_size + 7) // 8}:
        raise ValueError("a coordinate does not have the curve's length")
    return ec.EllipticCurvePublicKey.from_encoded_point(curve, b"\x04" + x + y)


def _octets(entry: dict[str, JsonValue], member: str) -> bytes:
    value = entry.get(member)
    if not isinstance(value, str) or not value:
        raise ValueError(f"a key lacks its member {member!r}")
    return base64url.decode(value)


def _thumbprints(entry: dict[str, JsonValue], public_key: PublicKey) -> Mapping[str, str]:
    """RFC 7517 sections 4.7 to 4.9: what the entry says of its certificate must be true of it and of the key.

    The certificate is not trusted for anything, and nothing is fetched from an `x5u`. Where the set gives thumbprints
    alone, they are as the set says.
    """
    stated: dict[str, str] = {}
    for member, length in (("x5t", 20), ("x5t#S256", 32)):
        if member in entry:
            if len(_octets(entry, member)) != length:
                raise ValueError(f"an {member} does not have the length of one")
            stated[member] = str(entry[member])
    if "x5c" not in entry:
        return MappingProxyType(stated)
    encoded = _certificate(entry["x5c"], public_key)
    found = {
        "x5t": base64url.encode(hashlib.sha1(encoded, usedforsecurity=False).digest()),
        "x5t#S256": base64url.encode(hashlib.sha256(encoded).digest()),
    }
    if wrong := [member for member, value in stated.items() if value != found[member]]:
        raise ValueError(f"an {wrong[0]} is not that of its certificate")
    return MappingProxyType(found)


def _certificate(chain: JsonValue, public_key: PublicKey) -> bytes:
    """The first certificate of an `x5c`, DER. ValueError unless it holds this very key."""
    if not isinstance(chain, list) or not chain:
        raise ValueError("an x5c is not a list of certificates")
    certificates = [load_certificate(_standard_base64(each)) for each in chain]
    if subject_public_key_info(certified_key(certificates[0])) != subject_public_key_info(public_key):
        raise ValueError("an x5c certifies another key than its own")
    return certificates[0].public_bytes(Encoding.DER)


def _standard_base64(text: JsonValue) -> bytes:
    """RFC 7517 section 4.7: base64 with padding, unlike everything else in a key."""
    value = base64.b64decode(text, validate=True) if isinstance(text, str) else b""
    if not value or base64.b64encode(value).decode("ascii") != text:
        raise ValueError("an x5c is not a list of certificates in standard base64")
    return value
