"""The claims of a JWT (RFC 7519 section 4): what a caller may set, what the service sets, and the bounds of both.

Pure. The service alone says where a token comes from and how long it lives; a caller picks the audience out of the
key's list and adds its own claims. Names that a lenient reader would take for one of the service's are refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import msgspec

from signer.errors import Unprocessable
from signer.formats.json_values import require_text, require_value

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from keystore.api import TokenSettings

MAXIMUM_CLAIMS_BYTES: Final = 16 * 1024  # of the encoded payload
MAXIMUM_DEPTH: Final = 16  # of objects and arrays inside each other, the claims themselves being the first
DEFAULT_TTL: Final = 300  # seconds, or the key's longest lifetime where that is shorter
MAXIMUM_SUBJECT: Final = 1024  # characters

_SET_BY_THE_SERVICE: Final[Mapping[str, str]] = MappingProxyType(
    {
        "iss": "it is the key's issuer",
        "iat": "it is the time of signing",
        "nbf": "it is the time of signing",
        "exp": "ask for a lifetime with `ttl` (seconds) instead",
        "jti": "the service makes a unique one for each token",
    }
)
_CHOSEN_BY_THE_CALLER: Final = frozenset({"aud", "sub"})
_MEANINGFUL: Final = _CHOSEN_BY_THE_CALLER | frozenset(_SET_BY_THE_SERVICE)


@dataclass(frozen=True, slots=True)
class Lifetime:
    """When a token begins and ends, as NumericDate (seconds since 1970, RFC 7519 section 2)."""

    issued_at: int
    expires_at: int


def lifetime(settings: TokenSettings, ttl: int | None, now: datetime) -> Lifetime:
    """`ttl` seconds from `now` on. Raises: `Unprocessable` for a lifetime below one second or over the key's."""
    seconds = chosen_lifetime(settings, ttl)
    if not 1 <= seconds <= settings.max_ttl:
        message = f"tokens of this key live from 1 to {settings.max_ttl} seconds, not {seconds}"
        raise Unprocessable(message, field="ttl")
    issued_at = int(now.timestamp())
    return Lifetime(issued_at, issued_at + seconds)


def chosen_lifetime(settings: TokenSettings, ttl: int | None) -> int:
    """The seconds that are asked for, allowed or not: what policies judge is what the token would say."""
    return min(DEFAULT_TTL, settings.max_ttl) if ttl is None else ttl


def chosen_audiences(settings: TokenSettings, claims: Mapping[str, object] | None) -> tuple[str, ...]:
    """The audiences that are asked for, allowed or not. What is no text is left out: no token is made with it."""
    if not claims or "aud" not in claims:
        return settings.audiences[:1]
    asked = claims["aud"]
    return tuple(audience for audience in (asked if isinstance(asked, list) else [asked]) if isinstance(audience, str))


def encode(
    settings: TokenSettings,
    *,
    issuer_url: str,
    claims: Mapping[str, object] | None,
    life: Lifetime,
    token_id: str,
) -> bytes:
    """The payload: UTF-8 JSON without white space, the service's claims first.

    Raises: `Unprocessable` naming the claim for what a caller may not say, what JSON cannot carry,
    and what is too large.
    """
    asked = claims or {}
    _check_names(asked)
    payload: dict[str, object] = {
        "iss": issuer_url,
        "aud": _audience(settings, asked),
        "iat": life.issued_at,
        "nbf": life.issued_at,
        "exp": life.expires_at,
        "jti": token_id,
    }
    for name, value in asked.items():
        if name == "sub":
            _check_subject(value)
        elif name != "aud":
            require_value(value, f"claims.{name}", depth=2, deepest=MAXIMUM_DEPTH)
        payload.setdefault(name, value)
    try:
        encoded = msgspec.json.encode(payload)
    except (TypeError, ValueError, OverflowError) as exc:
        message = "the claims hold a value that JSON cannot carry"
        raise Unprocessable(message, field="claims") from exc
    if len(encoded) > MAXIMUM_CLAIMS_BYTES:
        message = f"the claims take {len(encoded)} bytes; {MAXIMUM_CLAIMS_BYTES} are allowed"
        raise Unprocessable(message, field="claims")
    return encoded


def _check_names(claims: Mapping[str, object]) -> None:
    for name in claims:
        if not name:
            message = "claims have names that are not empty"
            raise Unprocessable(message, field="claims")
        require_text(name, "claims")
        if name in _SET_BY_THE_SERVICE:
            message = f"the service sets `{name}`: {_SET_BY_THE_SERVICE[name]}"
            raise Unprocessable(message, field=f"claims.{name}")
        # Some readers match names without case (Go's encoding/json) or trim them: `Exp` must not stand beside `exp`.
        plain = name.strip().casefold()
        if name not in _CHOSEN_BY_THE_CALLER and plain in _MEANINGFUL:
            message = f"the claim's name can be taken for `{plain}`"
            raise Unprocessable(message, field=f"claims.{name}")


def _audience(settings: TokenSettings, claims: Mapping[str, object]) -> str | list[str]:
    """What the caller picked out of the key's audiences; the first of them if nothing was picked."""
    if not settings.audiences:
        message = "the key names no audience"
        raise Unprocessable(message, field="claims.aud")
    if "aud" not in claims:
        return settings.audiences[0]
    asked = claims["aud"]
    picked = asked if isinstance(asked, list) else [asked]
    allowed = [audience for audience in chosen_audiences(settings, claims) if audience in settings.audiences]
    if not picked or len(allowed) != len(picked) or len(set(allowed)) != len(picked):
        message = "`aud` is one of the key's audiences, or a list of different ones"
        raise Unprocessable(message, field="claims.aud")
    return allowed if isinstance(asked, list) else allowed[0]


def _check_subject(value: object) -> None:
    if not isinstance(value, str) or not 1 <= len(value) <= MAXIMUM_SUBJECT:
        message = f"`sub` is a string of 1 to {MAXIMUM_SUBJECT} characters"
        raise Unprocessable(message, field="claims.sub")
    require_text(value, "claims.sub")
