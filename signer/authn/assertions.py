"""A workload's own token (a JWT of its CI or cluster) → what it proves, or one refusal with its reason for the log.

The token is read as text first, strictly, so that no two readers see two tokens in it; then its `iss` names the trusted
issuer, whose own keys, algorithms and audiences decide, never the token's header. RFC 8725 section 3 is the list of
what is checked; PyJWT verifies the signature.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, Protocol

import jwt

from signer import strict_json
from signer.authn.key_sets import NoKey
from signer.authn.token_keys import TOKEN_ALGORITHMS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keystore.trust import TrustedIssuer
    from signer.authn.key_sets import KeySets
    from signer.authn.token_keys import TokenAlgorithm, TokenKey

LONGEST_TOKEN: Final = 16 * 1024  # characters
LEEWAY: Final = timedelta(seconds=30)
_LONGEST_NAME: Final = 512
_LAST_SECOND: Final = 253402300799  # of the year 9999, beyond which there is no date
# Members by which a token would bring its own key, or be read in another way than it was signed.
_FORBIDDEN_HEADERS: Final = ("jku", "jwk", "x5u", "x5c", "crit", "b64", "zip", "enc", "cty")
_TYPES: Final = ("jwt", "application/jwt")


class Refused(Exception):
    """The token proves nothing. `code` and words are for the log; callers are told nothing of them."""

    def __init__(self, code: str, message: str, *, issuer: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.issuer = issuer  # the trusted issuer's name, where one was found


class TrustedIssuers(Protocol):
    """The one look-up that is needed."""

    def find_trusted_issuer_of(self, url: str) -> TrustedIssuer | None: ...


@dataclass(frozen=True, slots=True)
class Assertion:
    """A token that was verified. `id` is the same for every text of the same token."""

    id: str
    issuer: TrustedIssuer
    subject: str
    jti: str | None
    claims: Mapping[str, object] = field(repr=False)
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class _Parsed:
    algorithm: TokenAlgorithm
    kid: str
    claims: dict[str, object]
    signing_input: str


def verify(token: str, issuers: TrustedIssuers, key_sets: KeySets, now: datetime) -> Assertion:
    """What the token proves at `now`. Raises `Refused`, and what the look-up raises."""
    parsed = _parse(token)
    url = parsed.claims.get("iss")
    issuer = issuers.find_trusted_issuer_of(url) if isinstance(url, str) and len(url) <= 1024 else None
    if issuer is None:
        raise Refused("unknown_issuer", "no trusted issuer has this iss")
    try:
        if parsed.algorithm.name not in issuer.algorithms:
            raise Refused("algorithm_not_allowed", f"this issuer's tokens are not signed with {parsed.algorithm.name}")
        _check_signature(token, parsed, key_sets.find(issuer, parsed.kid, parsed.algorithm), issuer)
        expires_at = _check_times(parsed.claims, issuer, now)
        return Assertion(
            id=_identity(issuer, parsed),
            issuer=issuer,
            subject=_text(parsed.claims, "sub"),
            jti=None if "jti" not in parsed.claims else _text(parsed.claims, "jti"),
            claims=parsed.claims,
            expires_at=expires_at,
        )
    except NoKey as missing:
        raise Refused(missing.code, str(missing), issuer=issuer.name) from missing
    except Refused as refusal:
        raise Refused(refusal.code, str(refusal), issuer=issuer.name) from refusal


def _parse(token: str) -> _Parsed:
    """RFC 7515 section 7.1, and nothing that could be written in another way."""
    segments = token.split(".")
    if len(token) > LONGEST_TOKEN or len(segments) != 3 or not all(segments):
        raise Refused("malformed", "the token is not three segments, or too long")
    try:
        header, claims = (strict_json.parse_object(_octets(segment)) for segment in segments[:2])
        _octets(segments[2])
    except ValueError as reason:
        raise Refused("malformed", f"header, payload or signature: {reason}") from reason
    if forbidden := [name for name in _FORBIDDEN_HEADERS if name in header]:
        raise Refused("malformed", f"the header has the member {forbidden[0]}")
    token_type = header.get("typ", "JWT")
    if not isinstance(token_type, str) or token_type.lower() not in _TYPES:
        raise Refused("wrong_type", "the header says that it is another kind of token (typ)")
    algorithm, kid = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or algorithm not in TOKEN_ALGORITHMS:
        raise Refused("algorithm_not_allowed", "the header's algorithm is not one that is taken from anybody")
    if not isinstance(kid, str) or not 1 <= len(kid) <= _LONGEST_NAME:
        raise Refused("malformed", "the header names no key (kid)")
    return _Parsed(TOKEN_ALGORITHMS[algorithm], kid, claims, f"{segments[0]}.{segments[1]}")


def _octets(segment: str) -> bytes:
    """base64url without padding, in its one form (RFC 7515 section 2). Raises `ValueError`."""
    if not segment.isascii():
        raise ValueError("it is not base64url")
    try:
        decoded = base64.b64decode(segment + "=" * (-len(segment) % 4), altchars=b"-_", validate=True)
    except binascii.Error:
        raise ValueError("it is not base64url") from None
    if base64.urlsafe_b64encode(decoded).rstrip(b"=").decode() != segment:
        raise ValueError("it is not the one base64url form of what it holds")
    return decoded


def _check_signature(token: str, parsed: _Parsed, key: TokenKey, issuer: TrustedIssuer) -> None:
    try:
        jwt.decode(
            token,
            key.public_key,
            algorithms=[parsed.algorithm.name],
            audience=list(issuer.audiences),
            issuer=issuer.url,
            options={
                "require": ["iss", "sub", "aud", "exp", "iat"],
                # Judged here below, the times by the service's own clock.
                "verify_exp": False,
                "verify_nbf": False,
                "verify_iat": False,
                "verify_jti": False,
            },
        )
    except jwt.InvalidSignatureError as wrong:
        raise Refused("signature_invalid", "the signature is not that of the issuer's key") from wrong
    except jwt.InvalidAudienceError as wrong:
        raise Refused("wrong_audience", "the token is for somebody else (aud)") from wrong
    except jwt.PyJWTError as wrong:
        raise Refused("malformed", f"the token is not valid: {type(wrong).__name__}") from wrong
    # A token for two is in two hands: the other one could bring it here.
    audience = parsed.claims["aud"]
    named = audience if isinstance(audience, list) else [audience]
    if not all(each in issuer.audiences for each in named):
        raise Refused("wrong_audience", "the token is for somebody else too (aud)")


def _check_times(claims: Mapping[str, object], issuer: TrustedIssuer, now: datetime) -> datetime:
    expires_at, issued_at = _moment(claims, "exp"), _moment(claims, "iat")
    if expires_at + LEEWAY <= now:
        raise Refused("expired", "the token has expired (exp)")
    if issued_at - LEEWAY > now:
        raise Refused("not_yet_valid", "the token is from the future (iat)")
    if "nbf" in claims and _moment(claims, "nbf") - LEEWAY > now:
        raise Refused("not_yet_valid", "the token is not valid yet (nbf)")
    if now - issued_at > timedelta(seconds=issuer.max_token_age) + LEEWAY:
        raise Refused("too_old", f"the token was issued more than {issuer.max_token_age} s ago (iat)")
    return expires_at + LEEWAY


def _moment(claims: Mapping[str, object], name: str) -> datetime:
    value = claims.get(name)
    if type(value) is not int or not 0 <= value <= _LAST_SECOND - 86400:
        raise Refused("malformed", f"{name} is not a time in whole seconds")
    return datetime.fromtimestamp(value, UTC)


def _text(claims: Mapping[str, object], name: str) -> str:
    value = claims.get(name)
    if not isinstance(value, str) or not 1 <= len(value) <= _LONGEST_NAME or not value.isprintable():
        raise Refused("malformed", f"{name} is not a text of 1 to {_LONGEST_NAME} printable characters")
    return value


def _identity(issuer: TrustedIssuer, parsed: _Parsed) -> str:
    """By its `jti`; without one by what is signed, not by the whole text: of an ECDSA signature anybody can make a
    second one (r, s to r, n - s)."""
    named = "jti" in parsed.claims
    what = _text(parsed.claims, "jti") if named else parsed.signing_input
    parts = (issuer.url, "jti" if named else "signed", what)
    encoded = b"".join(len(part.encode()).to_bytes(4, "big") + part.encode() for part in parts)
    return hashlib.sha256(b"sealmark/assertion/v1\0" + encoded).hexdigest()
