"""Answers about keys and their certificates."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from signer.web.answers.common import KeyId


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
    kid: Annotated[str | None, Meta(description="RFC 7638 thumbprint; null: a secret key")]
    revoked_at: datetime | None
    revocation_reason: str | None
    certificate: CertificateSummary | None


class KeyRegion(msgspec.Struct):
    """A key in one region."""

    region: str
    arn: str


class KeyRegions(msgspec.Struct):
    """Where a multi-region key is, seen from here. `making`: where a replica is being made; `moving_to`: the region
    that is becoming the primary one."""

    type: Literal["primary", "replica"]
    primary: KeyRegion
    replicas: list[KeyRegion]
    making: list[str]
    moving_to: str | None


class ReplicaTaken(msgspec.Struct):
    """How the key is in the region that was told."""

    key_id: KeyId
    region: str
    state: str


class KeyRotation(msgspec.Struct):
    """A key that is rotated by itself, every so many days."""

    days: int
    next_at: datetime


class KeyDescription(msgspec.Struct):
    """A key. `issuer` to `recipients` are there for jwt and saml keys."""

    id: KeyId
    arn: str
    alias: str | None
    aliases: list[str]
    tags: dict[str, str]
    spec: str
    purpose: str
    algorithm: str
    algorithms: list[str]
    required_digest: Annotated[str | None, Meta(description="the digest that a signing call must bring; null: none")]
    formats: list[str]
    domain: str
    multi_region: KeyRegions | None
    protection: str
    origin: Annotated[str, Meta(description="AWS_KMS: made here; EXTERNAL: imported")]
    storage: str
    token: HsmToken
    state: str
    description: str
    published: bool
    created_at: datetime
    created_by: str
    deletion_at: datetime | None
    rotation: KeyRotation | None
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
