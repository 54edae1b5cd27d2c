"""`Authorization: Bearer` (RFC 6750 section 2.1) → `Principal`.

Unknown, wrong, expired and revoked tokens get the same answer after the same work: one hash of each kind, one look-up
of a credential, one of a principal, one comparison in constant time.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Final, Protocol

from signer.access.duties import Duty
from signer.authn.owners import principal_of
from signer.authn.principal import BEARER, BREAK_GLASS, ROOT, CredentialKind
from signer.authn.refused import WORDS, Kind, Refused
from signer.authn.sessions import still_stands
from signer.authn.tokens import short_id, stored_form
from signer.errors import Unauthenticated

if TYPE_CHECKING:
    from datetime import datetime

    from keystore.api import CredentialRecord, PrincipalRecord
    from signer.authn.principal import Principal

_NO_DIGEST: Final = bytes(32)
NOBODY: Final = ROOT  # looked up where there is no credential: a row that is always there, so that it costs the same
_LONGEST: Final = 256
REFUSAL: Final = "send a valid token: Authorization: Bearer TOKEN"


class Identities(Protocol):
    """The look-ups that authentication needs; the last for sessions alone."""

    def find_credential(self, credential_id: str) -> CredentialRecord | None: ...
    def find_principal(self, name: str) -> PrincipalRecord | None: ...
    def trusted_issuer_revision(self, name: str) -> int | None: ...


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
    if record.state != "enabled" or expired:
        raise Unauthenticated(REFUSAL)
    prefix = BREAK_GLASS if owner.duty == Duty.ROOT else BEARER
    kind = CredentialKind(record.kind)
    if kind is CredentialKind.SESSION and not still_stands(record.facts, identities):
        raise Unauthenticated(REFUSAL)
    name = f"{prefix}:{short_id(record.id)}"
    try:
        return principal_of(owner, now, name, kind, record.facts, record.expires_at)
    except Refused as reason:
        raise Unauthenticated(REFUSAL) from reason


def _token(header: str | None) -> str:
    scheme, _, token = (header or "").partition(" ")
    if header is None:
        raise Unauthenticated(REFUSAL, kind=Kind.MISSING, words=WORDS[Kind.MISSING])
    if scheme.lower() != "bearer" or not token or len(token) > _LONGEST or not token.isascii():
        raise Unauthenticated(REFUSAL)
    return token.strip()
