"""JSON Web Tokens (RFC 7519): a token, one issuer's key set, and what the caller expects, in; verified claims out."""

from __future__ import annotations

from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from verifier.errors import Rejected
from verifier.keys import describe_key, fingerprint
from verifier.log_leaves import made_over_message
from verifier.log_proofs import judged_time, open_proof, position_in
from verifier.results import KeyFacts, VerifiedToken
from verifier.times import format_time
from verifier.tokens.jwks import KeySet, TokenKey
from verifier.tokens.jws import check_signature, parse_token
from verifier.tokens.trusted import describe_trusted_key, trusted_key_set

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from verifier.strict_json import JsonValue
    from verifier.trust import Trust
    from verifier.trusted_logs import TrustedLog

MAXIMUM_LEEWAY: Final = 60  # seconds
_LATEST: Final = 253402300799  # 9999-12-31T23:59:59Z, the last second that datetime knows

NOT_REPLAY: Final = "whether the token was used before"
NOT_REVOKED: Final = "whether the issuer has withdrawn the token or its key since the keys were fetched"


def verify_jwt(
    token: str,
    jwks: KeySet | Trust,
    *,
    issuer: str,
    audience: str,
    now: datetime | None = None,
    leeway: float = 0,
    types: Collection[str] = ("JWT",),
    max_age: float | None = None,
    proof: bytes | str | None = None,
    logs: Sequence[TrustedLog] = (),
) -> VerifiedToken:
    """Verifies a JWT in compact form and returns its claims.

    `jwks` is the key set of this one issuer, from `parse_jwks`: never mix two issuers' keys in one set. It may be trust
    from `parse_trust` too: its keys for tokens of `issuer` count then, and what is revoked by now is refused at an
    earlier `now` too. The token must be from `issuer`, for `audience` (which may be one of several), of one of `types`
    (`typ` header, compared without case and without "application/"), unexpired, and with `max_age` (seconds) issued no
    longer ago. `leeway` is 0 to 60 seconds. `proof` (C2SP tlog-proof) must show that one of `logs`, by default those in
    trust, has this very signature; where its log needs cosignatures, the window of a trusted key is judged at the
    moment at which its witnesses had seen it, unless `now` is given. A token expires now, whenever it was logged.
    Raises `Rejected`, `Indeterminate` (a `kid` that the set does not have), and `ValueError` for arguments that make no
    sense.
    """
    if not issuer or not audience or isinstance(types, str) or not all(types) or not types:
        raise ValueError("issuer, audience and types must not be empty")
    if not 0 <= leeway <= MAXIMUM_LEEWAY:
        raise ValueError(f"leeway must be 0 to {MAXIMUM_LEEWAY} seconds")
    if max_age is not None and max_age < 0:
        raise ValueError("max_age must not be negative")
    clock = datetime.now(UTC)
    entry = open_proof(proof, logs, () if isinstance(jwks, KeySet) else jwks.logs, clock)
    # The keys of a set have no window that a proven time could be held against.
    time = judged_time(now, clock, None if isinstance(jwks, KeySet) else entry, name="now")

    parsed = parse_token(token)
    keys = jwks
    if not isinstance(keys, KeySet):
        keys = trusted_key_set(keys, issuer, at=time.judged_at, latest=max(time.as_of, clock))
    key = keys.find(parsed.key_id)
    signature = check_signature(parsed, key)
    position = None
    if entry is not None:
        position = position_in(entry, made_over_message(key.algorithm, key.public_key, signature, parsed.signing_input))

    # From here on the payload is what the key's holder said.
    claims = parsed.payload
    _check_type(parsed.token_type, types)
    _check_issuer(claims, issuer)
    audiences = _check_audience(claims, audience)
    expires_at, not_before, issued_at = _check_times(claims, time.as_of.timestamp(), leeway, max_age)
    return VerifiedToken(
        issuer=issuer,
        subject=_optional_text(claims, "sub"),
        audiences=audiences,
        token_type=parsed.token_type,
        token_id=_optional_text(claims, "jti"),
        expires_at=_moment(expires_at),
        not_before=None if not_before is None else _moment(not_before),
        issued_at=None if issued_at is None else _moment(issued_at),
        claims=MappingProxyType(claims),
        key=_describe_key(key) if isinstance(jwks, KeySet) else describe_trusted_key(jwks, issuer, key),
        time=time,
        not_covered=(NOT_REPLAY, NOT_REVOKED, *(() if entry is None else entry.limits)),
        log_position=position,
    )


def _describe_key(key: TokenKey) -> KeyFacts:
    return KeyFacts(
        algorithm=key.algorithm.name,
        kind=describe_key(key.public_key),
        sha256=fingerprint(key.public_key),
        trusted_by="key-set",
        key_id=key.key_id,
    )


def _check_type(token_type: str, types: Collection[str]) -> None:
    """RFC 7515 section 4.1.9: a media type without case, "application/" left away; RFC 8725 section 3.11."""
    # Beyond ASCII, two different letters can become one without their case: the Kelvin sign is a small k.
    if not token_type.isascii() or _media_type(token_type) not in {_media_type(each) for each in types}:
        raise Rejected("type_mismatch", f"The token is of type {token_type!r}, not {' or '.join(sorted(types))}.")


def _media_type(text: str) -> str:
    return text.lower().removeprefix("application/")


def _check_issuer(claims: dict[str, JsonValue], issuer: str) -> None:
    found = _optional_text(claims, "iss")
    if found is None:
        raise Rejected("missing_claim", "The token does not say who issued it (iss).")
    if found != issuer:
        raise Rejected("issuer_mismatch", f"The token is from {found!r}, not from {issuer!r}.")


def _check_audience(claims: dict[str, JsonValue], audience: str) -> tuple[str, ...]:
    """RFC 7519 section 4.1.3: one text or a list of texts, ours among them. Who else is named is in the results."""
    found = claims.get("aud")
    if found is None:
        raise Rejected("missing_claim", "The token does not say whom it is for (aud).")
    listed = found if isinstance(found, list) else [found]
    audiences = tuple(each for each in listed if isinstance(each, str) and each)
    if len(audiences) != len(listed) or len(set(audiences)) != len(audiences):
        raise Rejected("malformed", "The token's audience is neither a text nor a list of distinct texts.")
    if audience not in audiences:
        raise Rejected("audience_mismatch", f"The token is not for {audience!r}.")
    return audiences


def _check_times(
    claims: dict[str, JsonValue], now: float, leeway: float, max_age: float | None
) -> tuple[float, float | None, float | None]:
    """RFC 7519 sections 4.1.4 to 4.1.6. Returns exp, nbf and iat."""
    expires_at, not_before, issued_at = (_numeric_date(claims, name) for name in ("exp", "nbf", "iat"))
    if expires_at is None:
        raise Rejected("missing_claim", "The token does not say when it expires (exp).")
    if now >= expires_at + leeway:
        raise Rejected("expired", f"The token expired at {format_time(_moment(expires_at))}.")
    if not_before is not None and now < not_before - leeway:
        raise Rejected("not_yet_valid", f"The token is valid from {format_time(_moment(not_before))} only.")
    if issued_at is not None and now < issued_at - leeway:
        raise Rejected("not_yet_valid", f"The token says that it was issued at {format_time(_moment(issued_at))}.")
    if max(not_before or 0, issued_at or 0) >= expires_at:
        raise Rejected("malformed", "The token expires (exp) before it begins (nbf, iat).")
    if max_age is not None and issued_at is None:
        raise Rejected("missing_claim", "The token does not say when it was issued (iat), and its age is limited.")
    if max_age is not None and issued_at is not None and now > issued_at + max_age + leeway:
        raise Rejected("expired", f"The token is older than {max_age:g} seconds.")
    return expires_at, not_before, issued_at


def _numeric_date(claims: dict[str, JsonValue], name: str) -> float | None:
    """RFC 7519 section 2, NumericDate: a JSON number of seconds, neither a text nor true."""
    if name not in claims:
        return None
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LATEST:
        raise Rejected("malformed", f"The token's {name} is not a time.")
    return value


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _optional_text(claims: dict[str, JsonValue], name: str) -> str | None:
    if name not in claims:
        return None
    value = claims[name]
    if not isinstance(value, str):
        raise Rejected("malformed", f"The token's {name} is not a text.")
    return value
