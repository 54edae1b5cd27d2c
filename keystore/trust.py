"""What the signer sees of trusted OIDC issuers: value types, as in `keystore.api`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

ClaimValue = str | int | bool


@dataclass(frozen=True, slots=True)
class RoleMapping:
    """Which tokens of a trusted issuer become which role: every condition must hold. `conditions` maps a claim (its
    name, or a JSON Pointer that begins with a slash) to the values, or patterns, of which one must fit."""

    role: str  # role/NAME
    conditions: Mapping[str, tuple[ClaimValue, ...]]


@dataclass(frozen=True, slots=True)
class TrustedIssuer:
    """An OIDC issuer whose tokens are exchanged for sessions. `url` is compared with `iss`, character by character.

    Its keys are those of `jwks` (a JWKS, canonical JSON), else those fetched from `jwks_url`, else those that its
    discovery document names. `max_token_age` and `session_lifetime` are seconds.
    """

    name: str
    url: str
    audiences: tuple[str, ...]
    algorithms: tuple[str, ...]  # JWS names
    mappings: tuple[RoleMapping, ...]
    max_token_age: int
    session_lifetime: int
    created_at: datetime
    created_by: str
    updated_at: datetime
    updated_by: str
    jwks_url: str | None = None
    jwks: str | None = None
    state: str = "enabled"  # enabled, deleted
    revision: int = 0  # of the row; 0: not stored yet


@dataclass(frozen=True, slots=True)
class UsedAssertion:
    """A token that was exchanged, by a name that its holder cannot change. No token is exchanged twice."""

    id: str
    trusted_issuer: str
    used_at: datetime
    expires_at: datetime  # from then on the token itself is refused, and its name may be forgotten
