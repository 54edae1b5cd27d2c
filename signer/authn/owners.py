"""From a credential that was right to its owner: the one place in `signer.authn` where a `Principal` is made.

Whatever is to hold for every caller (that it is enabled, which policies are attached to it) holds here, for every kind
of credential alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from signer.access.duties import Duty
from signer.authn.principal import CredentialKind, Principal
from signer.authn.refused import Refused

if TYPE_CHECKING:
    from datetime import datetime

    from keystore.api import PrincipalRecord


def principal_of(
    owner: PrincipalRecord | None,
    now: datetime,
    credential: str,
    kind: CredentialKind,
    proof: str | None = None,
    expires_at: datetime | None = None,
) -> Principal:
    """The principal that a credential speaks for. Raises `Refused` for one that is not there or not enabled."""
    if owner is None or not may_call(owner, now):
        raise Refused(f"{'nobody' if owner is None else owner.name} is not enabled")
    return Principal(owner.name, Duty(owner.duty), credential, kind, proof, owner.policies, expires_at)


def may_call(owner: PrincipalRecord, now: datetime) -> bool:
    """Whether the principal could prove itself now. Break glass is never enabled without an end."""
    return owner.is_enabled(now) and (Duty(owner.duty) is not Duty.ROOT or owner.enabled_until is not None)
