"""Who is calling, and how that was proved."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from datetime import datetime

    from signer.access.duties import Duty


SERVICE: Final = "service/sealmark"  # nobody can call as this: it has no credential and is no principal
ROOT: Final = "user/root"  # the break-glass principal, made disabled by `init`
BEARER: Final = "bearer"  # what names of credentials begin with
BREAK_GLASS: Final = "break-glass"  # instead of the former, so that its every record stands out


class CredentialKind(StrEnum):
    """How a caller proves itself; a condition key of policies (`sealmark:CredentialKind`)."""

    TOKEN = "token"  # an API token, as bearer
    SESSION = "session"  # a short-lived token that a workload's own identity was exchanged for
    CERTIFICATE = "certificate"  # a client certificate
    SIGNED_REQUEST = "signed-request"  # an HTTP message signature (RFC 9421)
    ACCESS_KEY = "access-key"  # an AWS signature (Signature Version 4)
    SERVICE = "service"  # the service itself, and its ceremonies


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated identity. `credential` names (not: holds) what proved it, such as `bearer:1f3a…`.

    `proof` (canonical JSON) is what an auditor needs besides: a session's facts, a signed request's signature and what
    it covers. It goes into the record of everything that the caller does, and holds no secret. `policies` are the
    identity policies that are attached to the principal: (name, document).
    """

    name: str
    duty: Duty
    credential: str
    kind: CredentialKind = CredentialKind.TOKEN
    proof: str | None = field(default=None, repr=False)
    policies: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    credential_expires_at: datetime | None = None
