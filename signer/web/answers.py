"""What the service answers, as typed structs: for `/openapi.json` alone. The tests hold real answers against them.

An answer may gain members in a later version; callers ignore those that they do not know.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from signer.request import Duty

KeyId = Annotated[str, Meta(description="a UUID")]


class Status(msgspec.Struct):
    """Of the process or the service."""

    status: str


class Me(msgspec.Struct):
    """Who the credential speaks for."""

    name: str
    duty: Duty | Literal["root"]
    credential: Annotated[str, Meta(description="as records name it")]
    kind: Literal["token", "session", "certificate", "signed-request"]
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


class Enrolled(msgspec.Struct):
    """The token, shown this once."""

    name: str
    token: str
    expires_at: datetime


class HsmToken(msgspec.Struct):
    """The HSM's token that holds the key's hierarchy."""

    manufacturer: str
    model: str
    serial: str


class CertificateSummary(msgspec.Struct):
    """What there is to say of a certificate beside its bytes. `serial` is hex; `origin` is whose CA issued it."""

    serial: str
    origin: Literal["built-in", "installed"]
    not_before: datetime
    not_after: datetime
    revoked_at: datetime | None
    revocation_reason: str | None


class VersionCertificate(CertificateSummary):
    """The certificate that a key version has now."""

    key_id: KeyId
    key_version: int


class CertificateRequested(msgspec.Struct):
    """A certificate request (PKCS #10), PEM."""

    csr: str


class RevokedCertificate(msgspec.Struct):
    """One of the certificates that were revoked."""

    serial: str
    origin: Literal["built-in", "installed"]


class Revoked(msgspec.Struct):
    """What was revoked. An installed certificate is for its own CA to list."""

    key_id: KeyId
    key_version: int
    reason: str
    revoked_at: datetime
    version_revoked: bool
    certificates: list[RevokedCertificate]


class Version(msgspec.Struct):
    """One version of a key: old ones stay verifiable, a pending one is published and signs from `activate_at`."""

    version: int
    state: str
    created_at: datetime
    activate_at: datetime
    kid: Annotated[str, Meta(description="RFC 7638 thumbprint")]
    revoked_at: datetime | None
    revocation_reason: str | None
    certificate: CertificateSummary | None


class KeyDescription(msgspec.Struct):
    """A key. `issuer` to `recipients` are there for jwt and saml keys."""

    id: KeyId
    arn: str
    alias: str | None
    spec: str
    purpose: str
    algorithm: str
    algorithms: list[str]
    required_digest: Annotated[str | None, Meta(description="the digest that a signing call must bring; null: none")]
    formats: list[str]
    domain: str
    protection: str
    storage: str
    token: HsmToken
    state: str
    description: str
    published: bool
    created_at: datetime
    created_by: str
    deletion_at: datetime | None
    policy_revision: int
    versions: list[Version]
    issuer: str | msgspec.UnsetType = msgspec.UNSET
    audiences: list[str] | msgspec.UnsetType = msgspec.UNSET
    max_ttl: int | msgspec.UnsetType = msgspec.UNSET
    types: list[str] | msgspec.UnsetType = msgspec.UNSET
    recipients: list[str] | msgspec.UnsetType = msgspec.UNSET


class Keys(msgspec.Struct):
    """A page of keys."""

    keys: list[KeyDescription]
    next_cursor: str | None


class Policy(msgspec.Struct):
    """A key's policy: the document, and whom its Allow statements name for which part, conditions left aside."""

    policy: dict[str, Any]
    administrators: list[str]
    users: list[str]
    short_form: Annotated[bool, Meta(description="whether the two lists say all that the document says")]
    revision: int


class Issuer(msgspec.Struct):
    """Who tokens speak for."""

    name: str
    url: str
    entity_id: str
    jwks_uri: str | None
    authorization_endpoint: str | None
    token_endpoint: str | None
    sign_on_url: str | None
    created_at: datetime


class Issuers(msgspec.Struct):
    """Every issuer."""

    issuers: list[Issuer]


class Domain(msgspec.Struct):
    """A wrapping key in the HSM that holds keys together."""

    name: str
    version: int
    created_at: datetime


class Domains(msgspec.Struct):
    """Every domain."""

    domains: list[Domain]


class Problem(msgspec.Struct):
    """RFC 9457 problem details. Decide by `code`, which is stable."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    request_id: str
    field: Annotated[str, Meta(description="path of the member at fault")] | msgspec.UnsetType = msgspec.UNSET


class Made(msgspec.Struct):
    """What every result has, unless it is an `error`."""

    key_id: KeyId | msgspec.UnsetType = msgspec.UNSET
    key_version: int | msgspec.UnsetType = msgspec.UNSET
    algorithm: str | msgspec.UnsetType = msgspec.UNSET
    request_id: str | msgspec.UnsetType = msgspec.UNSET
    error: Problem | msgspec.UnsetType = msgspec.UNSET


class MadeSignature(Made):
    """One raw signature, base64: DER for ECDSA."""

    signature: bytes | msgspec.UnsetType = msgspec.UNSET


class MadeSignatures(msgspec.Struct):
    """In the order asked."""

    results: list[MadeSignature]


class MadeArtifact(Made):
    """One file's signatures: base64, or a JSON object, by format."""

    name: str | msgspec.UnsetType = msgspec.UNSET
    names: Annotated[list[str], Meta(description="of one statement over all files")] | msgspec.UnsetType = msgspec.UNSET
    signatures: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET


class MadeArtifacts(msgspec.Struct):
    """In the order asked."""

    results: list[MadeArtifact]


class MadeToken(Made):
    """One JWT, compact."""

    token: str | msgspec.UnsetType = msgspec.UNSET


class MadeTokens(msgspec.Struct):
    """In the order asked."""

    results: list[MadeToken]


class MadeResponse(Made):
    """One SAML response, base64 of its XML."""

    response: bytes | msgspec.UnsetType = msgspec.UNSET


class MadeResponses(msgspec.Struct):
    """One."""

    results: list[MadeResponse]


class Discovery(msgspec.Struct):
    """An OpenID provider's configuration (OpenID Connect Discovery 1.0 section 3)."""

    issuer: str
    jwks_uri: str
    response_types_supported: list[str]
    subject_types_supported: list[str]
    id_token_signing_alg_values_supported: list[str]
    authorization_endpoint: str | msgspec.UnsetType = msgspec.UNSET
    token_endpoint: str | msgspec.UnsetType = msgspec.UNSET


class KeySet(msgspec.Struct):
    """A JWK Set (RFC 7517)."""

    keys: list[dict[str, Any]]
