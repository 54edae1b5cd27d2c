"""Token keys from a trust file: those that it lists for the purpose `jwt` and for this one issuer, by `kid`.

A trust file tells no `kid`: the one that counts is the key's thumbprint (RFC 7638), as Sealmark's tokens have it.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.asymmetric import ec

from verifier.errors import Indeterminate, Rejected
from verifier.thumbprint import thumbprint
from verifier.tokens.jwks import KeySet, TokenKey

if TYPE_CHECKING:
    from datetime import datetime

    from verifier.algorithms import SignatureAlgorithm
    from verifier.results import KeyFacts
    from verifier.trust import Trust, TrustedKey

PURPOSE: Final = "jwt"


def trusted_key_set(trust: Trust, issuer: str, *, at: datetime, latest: datetime) -> KeySet:
    """The keys that may sign this issuer's tokens. One that may not now stays in it with the reason.

    `latest` is the last moment whose revocations count (`TrustedKey.check_usable`). `Indeterminate` (no_trust) if the
    trust lists no token key of the issuer.
    """
    keys: dict[str, TokenKey] = {}
    unusable: dict[str, Rejected | Indeterminate] = {}
    for listed in trust.keys_of(PURPOSE, issuer):
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
    (listed,) = (each for each in trust.keys_of(PURPOSE, issuer) if thumbprint(each.public_key) == key.key_id)
    return listed.key_facts(key.algorithm.name)


def _only_algorithm(listed: TrustedKey) -> SignatureAlgorithm:
    """RFC 8725 section 3.1: each key makes one algorithm, the one that its curve leaves (RFC 7518 section 3.4)."""
    curve = listed.public_key.curve.name if isinstance(listed.public_key, ec.EllipticCurvePublicKey) else None
    fitting = [each for each in listed.algorithms if each.jws is not None and each.jws_curve == curve]
    if len(fitting) != 1 or len(listed.algorithms) != 1:
        message = f"The token's key {listed.label} is not listed for exactly one algorithm of tokens."
        raise Indeterminate("unsupported_key", message)
    return fitting[0]
