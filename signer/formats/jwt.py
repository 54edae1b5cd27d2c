"""JSON Web Tokens (RFC 7519) as signed compact JWS (RFC 7515): header and claims are the service's, never a caller's.

PyJWT lets a header override the algorithm and emits `alg: none` when asked for none. So each algorithm has a private
PyJWS that knows this one alone, and the header is made here: exactly `alg`, `kid` and `typ`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final, NoReturn

from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from jwt.algorithms import Algorithm
from jwt.api_jws import PyJWS

from keystore.algorithms import KEY_SPECS, Scheme
from keystore.errors import HsmFault
from signer.errors import Unprocessable
from signer.formats import claims as claim_rules
from signer.formats.hsmkey import private_key_for

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from keystore.api import SigningKey, TokenSettings
    from signer.formats.hsmkey import HsmKey

# RFC 7518 section 3.4 ties each ECDSA algorithm to one curve; ES512 is P-521.
_CURVE_OF: Final = {"ES256": "secp256r1", "ES384": "secp384r1", "ES512": "secp521r1"}


class _HsmAlgorithm(Algorithm):
    """One JWS algorithm, signed in the HSM by the key that comes along. It signs and does nothing else."""

    def __init__(self, *, fixed_width: int | None) -> None:
        self._fixed_width = fixed_width

    def prepare_key(self, key: HsmKey) -> HsmKey:
        return key

    def sign(self, msg: bytes, key: HsmKey) -> bytes:
        signature = key.signing_key.sign(msg)
        return signature if self._fixed_width is None else joined_integers(signature, self._fixed_width)

    def verify(self, msg: bytes, key: object, sig: bytes) -> NoReturn:
        raise _only_signs()

    @staticmethod
    def to_jwk(key_obj: object, as_dict: bool = False) -> NoReturn:
        raise _only_signs()

    @staticmethod
    def from_jwk(jwk: object) -> NoReturn:
        raise _only_signs()


def _only_signs() -> Unprocessable:
    message = "tokens are signed here, nothing else"
    return Unprocessable(message)


def joined_integers(signature: bytes, width: int) -> bytes:
    """DER `ECDSA-Sig-Value` to r and s of `width` octets each (RFC 7518 section 3.4).

    Raises: `HsmFault` where the bytes are no such value.
    """
    try:
        r, s = decode_dss_signature(signature)
        return r.to_bytes(width, "big") + s.to_bytes(width, "big")
    except (ValueError, OverflowError) as exc:
        message = "the HSM returned something that is not an ECDSA signature"
        raise HsmFault(message) from exc


@lru_cache(maxsize=64)
def _signer_of(name: str, spec: str, scheme: Scheme) -> PyJWS:
    """A PyJWS that knows the algorithm `name` and no other."""
    curve_bits = KEY_SPECS[spec].bits if scheme is Scheme.ECDSA else None
    if curve_bits is not None and _CURVE_OF.get(name) != KEY_SPECS[spec].curve:
        message = f"{name} tokens are not signed with {spec} keys"
        raise Unprocessable(message, field="algorithm")
    signer = PyJWS(algorithms=[])
    signer.register_algorithm(name, _HsmAlgorithm(fixed_width=None if curve_bits is None else (curve_bits + 7) // 8))
    return signer


def issue(
    key: SigningKey,
    *,
    kid: str,
    settings: TokenSettings,
    issuer_url: str,
    claims: Mapping[str, object] | None,
    ttl: int | None,
    typ: str | None,
    now: datetime,
    jti: str,
) -> str:
    """A signed token. `ttl` is seconds; `jti` is unique to the token; `now` is timezone-aware.

    The service sets iss, iat, nbf, exp and jti; `aud` and `typ` are picked out of the key's lists,
    the first by default.
    Raises: `Unprocessable` naming the member for whatever the key's settings do not allow; what `SigningKey.sign`
    raises.
    """
    algorithm = key.info.algorithm
    if algorithm.jws is None:
        message = f"{algorithm.name} has no JWS name"
        raise Unprocessable(message, field="algorithm")
    payload = claim_rules.encode(
        settings,
        issuer_url=issuer_url,
        claims=claims,
        life=claim_rules.lifetime(settings, ttl, now),
        token_id=jti,
    )
    signer = _signer_of(algorithm.jws, key.info.spec, algorithm.scheme)
    header = {"alg": algorithm.jws, "kid": kid, "typ": _type(settings, typ)}
    return signer.encode(payload, private_key_for(key), algorithm=algorithm.jws, headers=header)


def chosen_type(settings: TokenSettings, asked: str | None) -> str:
    """The type that is asked for, allowed or not."""
    return settings.types[0] if asked is None else asked


def _type(settings: TokenSettings, asked: str | None) -> str:
    """RFC 8725 section 3.11: explicit typing; the type is one that the key may make."""
    if asked is None:
        return chosen_type(settings, asked)
    if asked not in settings.types:
        message = f"tokens of this key are of type {' or '.join(settings.types)}"
        raise Unprocessable(message, field="typ")
    return asked
