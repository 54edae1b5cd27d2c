"""`Authorization: Bearer` (RFC 6750 section 2.1) → `Principal`.

Unknown, wrong, expired and revoked tokens get the same answer after the same work: one hash of each kind, one look-up
of a credential, one of a principal, one comparison in constant time.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Final, Protocol

from signer.access.duties import Duty
from signer.authn.principal import BEARER, BREAK_GLASS, ROOT, CredentialKind, Principal
from signer.authn.tokens import short_id, stored_form
from signer.errors import Unauthenticated

if TYPE_CHECKING:
    from datetime import datetime

    from keystore.api import CredentialRecord, PrincipalRecord

_NO_DIGEST: Final = bytes(32)
NOBODY: Final = ROOT  # looked up where there is no credential: a row that is always there, so that it costs the same
_LONGEST: Final = 256
REFUSAL: Final = "send a valid token: Authorization: Bearer TOKEN"


class Identities(Protocol):
    """The two look-ups that authentication needs."""

    def find_credential(self, credential_id: str) -> CredentialRecord | None: ...
    def find_principal(self, name: str) -> PrincipalRecord | None: ...


def authenticate(header: str | None, identities: Identities, now: datetime) -> Principal:
    """The principal whose token the header holds. Raises `Unauthenticated`, always with the same message."""
    token = _token(header)
    stored = stored_form(token)
    record = identities.find_credential(stored.id)
    digest_matches = hmac.compare_digest(record.token_hash if record else _NO_DIGEST, stored.digest)
    owner = identities.find_principal(record.principal if record else NOBODY)
    if record is None or owner is None or not digest_matches:
        raise Unauthenticated(REFUSAL)
    expired = record.expires_at is not None and record.expires_at <= now
    duty = Duty(owner.duty)
    # Break glass is never enabled without an end.
    enabled = owner.is_enabled(now) and (duty is not Duty.ROOT or owner.enabled_until is not None)
    if record.state != "enabled" or not enabled or expired:
        raise Unauthenticated(REFUSAL)
    prefix = BREAK_GLASS if duty is Duty.ROOT else BEARER
    kind = CredentialKind(record.kind)
    name = f"{prefix}:{short_id(record.id)}"
    return Principal(owner.name, duty, name, kind, record.facts, owner.policies, record.expires_at)


def _token(header: str | None) -> str:
    scheme, _, token = (header or "").partition(" ")
    if scheme.lower() != "bearer" or not token or len(token) > _LONGEST or not token.isascii():
        raise Unauthenticated(REFUSAL)
    return token.strip()
