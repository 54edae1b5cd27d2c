"""What made temporary credentials, and whether that still stands: they end with it, from the next request on.

Written as `credential:ID` (a token or a session), `public:ID` (a certificate's binding or a request key) or
`access-key:ID`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from signer.authn.certificate import is_usable
from signer.authn.principal import CredentialKind
from signer.authn.sessions import still_stands

if TYPE_CHECKING:
    from datetime import datetime

    from keystore.api import AccessKeyRecord, CredentialRecord, PublicCredentialRecord
    from signer.authn.principal import Principal

_BEARERS = (CredentialKind.TOKEN, CredentialKind.SESSION)


class Makers(Protocol):
    """The look-ups that are needed."""

    def find_credential(self, credential_id: str) -> CredentialRecord | None: ...
    def list_credentials(self, principal: str, after: str | None, limit: int) -> list[CredentialRecord]: ...
    def find_public_credential(self, credential_id: str) -> PublicCredentialRecord | None: ...
    def find_access_key(self, access_key_id: str) -> AccessKeyRecord | None: ...
    def trusted_issuer_revision(self, name: str) -> int | None: ...


def maker_of(principal: Principal, makers: Makers) -> str | None:
    """How the credential of this call is written as a maker; None where it ended since."""
    named = principal.credential.partition(":")[2]
    if principal.kind in _BEARERS:
        found = makers.list_credentials(principal.name, named, 1)
        return f"credential:{found[0].id}" if found and found[0].id.startswith(named) else None
    return f"{'access-key' if principal.kind is CredentialKind.ACCESS_KEY else 'public'}:{named}"


def maker_stands(record: AccessKeyRecord, makers: Makers, now: datetime) -> bool:
    """Whether what made these credentials is in use still; always of those that nobody's credential made."""
    if record.made_with is None:
        return True
    sort, _, found_by = record.made_with.partition(":")
    if sort == "credential":
        credential = makers.find_credential(found_by)
        if credential is None or not _in_use(credential, now):
            return False
        return CredentialKind(credential.kind) is not CredentialKind.SESSION or still_stands(record.facts, makers)
    if sort == "public":
        public = makers.find_public_credential(found_by)
        return public is not None and is_usable(public, now)
    access_key = makers.find_access_key(found_by)
    return access_key is not None and _in_use(access_key, now)


def _in_use(record: CredentialRecord | AccessKeyRecord, now: datetime) -> bool:
    return record.state == "enabled" and (record.expires_at is None or record.expires_at > now)
