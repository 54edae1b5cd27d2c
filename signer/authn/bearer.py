"""`Authorization: Bearer` (RFC 6750 section 2.1) → `Principal`.

Unknown, wrong, expired and revoked tokens get the same answer after the same work.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Final, Protocol

from signer.access.duties import Duty
from signer.authn.principal import CredentialKind, Principal
from signer.authn.tokens import stored_form
from signer.errors import Unauthenticated

if TYPE_CHECKING:
    from datetime import datetime

    from keystore.api import CredentialRecord, PrincipalRecord

_NO_DIGEST: Final = bytes(32)
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
    owner = identities.find_principal(record.principal if record else "user/nobody")
    if record is None or owner is None or not digest_matches:
        raise Unauthenticated(REFUSAL)
    expired = record.expires_at is not None and record.expires_at <= now
    if record.state != "enabled" or owner.state != "enabled" or expired:
        raise Unauthenticated(REFUSAL)
    kind = CredentialKind(record.kind)
    return Principal(owner.name, Duty(owner.duty), f"bearer:{record.id[:12]}", kind, record.facts, owner.policies)


def _token(header: str | None) -> str:
    scheme, _, token = (header or "").partition(" ")
    if scheme.lower() != "bearer" or not token or len(token) > _LONGEST or not token.isascii():
        raise Unauthenticated(REFUSAL)
    return token.strip()
