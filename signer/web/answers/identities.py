"""Answers about identities and their credentials."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from signer.request import Duty
from signer.web.answers.common import PolicyVersionSummary


class Me(msgspec.Struct):
    """Who the credential speaks for."""

    name: str
    duty: Duty | Literal["root"]
    credential: Annotated[str, Meta(description="as records name it")]
    kind: Literal["token", "session", "certificate", "signed-request", "access-key"]
    expires_at: datetime | None


class MadePrincipal(msgspec.Struct):
    """A new identity, with the code that enrols it: shown this once."""

    name: str
    duty: Duty
    enrolment_code: str
    expires_at: datetime


class Principal(msgspec.Struct):
    """An identity."""

    name: str
    duty: Duty | Literal["root"]
    state: Literal["enabled", "disabled", "deleted"]
    enabled_until: Annotated[datetime | None, Meta(description="of the break-glass principal, in an emergency")]
    created_at: datetime
    created_by: str


class Principals(msgspec.Struct):
    """A page of identities."""

    principals: list[Principal]
    next_cursor: str | None


class DeletedPrincipal(msgspec.Struct):
    """An identity that is no more."""

    name: str
    state: Literal["deleted"]


class MadeEnrolment(msgspec.Struct):
    """A new code for an identity that is there: shown this once."""

    name: str
    enrolment_code: str
    expires_at: datetime
    revoked_tokens: int


class MadeApiToken(msgspec.Struct):
    """A token, shown this once; `id` is its name from now on."""

    id: str
    token: str
    label: str
    expires_at: datetime


class ApiToken(msgspec.Struct):
    """A token without its secret. `created_by` is whoever made it, or the code that it was exchanged for."""

    id: str
    kind: Literal["token", "session"]
    label: str
    state: Literal["enabled", "expired", "revoked"]
    created_at: datetime
    created_by: str
    expires_at: datetime | None


class ApiTokens(msgspec.Struct):
    """A page of an identity's tokens."""

    tokens: list[ApiToken]
    next_cursor: str | None


class RevokedApiToken(msgspec.Struct):
    """A token that is no more."""

    id: str
    state: Literal["revoked"]


class MadeAccessKey(msgspec.Struct):
    """An access key in the manner of AWS, whose secret is shown this once; `session_token` of temporary credentials."""

    access_key_id: str
    secret_access_key: str
    session_token: str | None
    label: str
    expires_at: datetime


class AccessKey(msgspec.Struct):
    """An access key without its secret."""

    access_key_id: str
    principal: str
    temporary: bool
    label: str
    state: Literal["enabled", "disabled", "expired", "revoked"]
    created_at: datetime
    created_by: str
    expires_at: datetime


class AccessKeys(msgspec.Struct):
    """A page of an identity's access keys, ended ones too."""

    access_keys: list[AccessKey]
    next_cursor: str | None


class Enrolled(msgspec.Struct):
    """The token, shown this once."""

    name: str
    token: str
    expires_at: datetime


class TrustedIssuerMapping(msgspec.Struct):
    """Which tokens become which role."""

    role: str
    conditions: dict[str, list[str | int | bool]]


class TrustedIssuer(msgspec.Struct):
    """An OIDC issuer whose tokens are exchanged for sessions."""

    name: str
    url: str
    audiences: list[str]
    mappings: list[TrustedIssuerMapping]
    jwks_url: str | None
    jwks: dict[str, Any] | None
    algorithms: list[str]
    max_token_age: int
    session_lifetime: int
    revision: int
    created_at: datetime
    created_by: str
    updated_at: datetime
    updated_by: str


class TrustedIssuers(msgspec.Struct):
    """A page of trusted issuers."""

    trusted_issuers: list[TrustedIssuer]
    next_cursor: str | None


class DeletedTrustedIssuer(msgspec.Struct):
    """An issuer that is trusted no more."""

    name: str
    state: Literal["deleted"]


class Exchanged(msgspec.Struct):
    """A session's token (RFC 8693 section 2.2.1), shown this once; `name` is the role, `expires_in` seconds."""

    access_token: str
    issued_token_type: str
    token_type: Literal["Bearer"]
    expires_in: int
    name: str


class PublicCredential(msgspec.Struct):
    """A client certificate's binding, or a request key. `value` is hex SHA-256, or the name."""

    id: Annotated[str, Meta(description="a UUID; of a request key: the keyid of its signatures")]
    principal: str
    match: Literal["public-key", "certificate", "uri", "dns", "request-key"]
    value: str
    algorithm: Annotated[str, Meta(description="RFC 9421 section 6.2.2")] | None
    public_key: Annotated[str, Meta(description="PEM")] | None
    label: str
    state: Literal["enabled", "revoked"]
    created_at: datetime
    created_by: str
    expires_at: datetime | None


class PublicCredentials(msgspec.Struct):
    """A page of a principal's public credentials, revoked ones too."""

    public_credentials: list[PublicCredential]
    next_cursor: str | None


class DutyPolicy(msgspec.Struct):
    """The ready-made policy of a duty: every action that a principal of it can ever have."""

    name: Duty | Literal["root"]
    actions: list[str]


class IdentityPolicySummary(msgspec.Struct):
    """A policy that is attached to a principal. `revision`: its number in the principal's history."""

    name: str
    revision: int
    changed_at: datetime
    changed_by: str
    reason: str


class IdentityPolicy(IdentityPolicySummary):
    """A policy that is attached to a principal, with its document."""

    policy: dict[str, Any]


class IdentityPolicies(msgspec.Struct):
    """What decides about a principal beside the policies of keys, and grants."""

    duty: DutyPolicy
    policies: list[IdentityPolicySummary]


class DeletedPolicy(msgspec.Struct):
    """A policy that is attached no more."""

    name: str
    state: Literal["deleted"]


class IdentityPolicyVersion(PolicyVersionSummary):
    """A change to a principal's policies. `policy` is null where the policy of this name was taken away."""

    name: str
    policy: dict[str, Any] | None


class IdentityPolicyVersions(msgspec.Struct):
    """A page of the history of a principal's policies, oldest first."""

    versions: list[IdentityPolicyVersion]
    next_cursor: str | None
