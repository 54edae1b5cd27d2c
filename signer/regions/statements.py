"""What one region says to another of a multi-region key, and its two forms: as JSON, and as the keystore has it.

A statement is sealed by the link key of the key's domain over its canonical JSON, with the names of who says it to whom
and a number that grows: it means nothing elsewhere, and nothing once a later one was taken.
"""

from __future__ import annotations

from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta

from keystore.algorithms import Origin, Protection, Purpose
from keystore.api import (
    ApprovalRequirement,
    AssertionSettings,
    MultiRegion,
    RevocationReason,
    RotationSchedule,
    TokenSettings,
    VersionCause,
)
from keystore.carried import CarriedKey, CarriedVersion
from keystore.values import stored_json
from signer.decoding import decode, within
from signer.request import Body, LongText, RegionName, ShortPolicy, ShortText, Slug, TagName, TagValue, Url

if TYPE_CHECKING:
    from collections.abc import Mapping

    from keystore.api import Issuer

_KeyId = Annotated[str, Meta(pattern="^mrk-[0-9a-f]{32}$(?!\\n)", description="a multi-region key's id")]
_Moment = Annotated[datetime, Meta(tz=True)]
_Octets = Annotated[bytes, Meta(max_length=8192, description="base64")]
_MOST_VERSIONS = 1000
About = Literal["making", "state", "gone"]


class StatedSettings(Body):
    """What a jwt or saml key says of its origin; its issuer has to be the same in both regions."""

    issuer: Slug
    issuer_url: Url
    issuer_entity_id: Url
    audiences: list[ShortText]
    max_ttl: int | None
    types: list[ShortText]
    recipients: list[Url]


class StatedVersion(Body):
    """One version: its public half, and its private or secret half as wrapped by the shared domain key."""

    id: ShortText
    number: Annotated[int, Meta(ge=1)]
    created_at: _Moment
    activate_at: _Moment
    public_key: _Octets
    wrapped: _Octets
    cause: Literal["created", "automatic", "on_demand", "imported"]
    material_id: ShortText | None = None
    check: _Octets | None = None
    revoked_at: _Moment | None = None
    revocation_reason: ShortText | None = None


class StatedKey(Body):
    """What of a key is the same in all its regions."""

    spec: ShortText
    purpose: Literal["artifact", "jwt", "saml", "general", "encrypt", "mac", "agree", "encapsulate"]
    algorithm: ShortText
    formats: list[ShortText]
    settings: StatedSettings | None
    published: bool
    protection: Literal["hsm", "software"]
    origin: Literal["AWS_KMS", "EXTERNAL"]
    domain_version: Annotated[int, Meta(ge=1)]
    rotation_days: int | None
    rotation_at: _Moment | None
    primary_region: RegionName
    replicas: Annotated[list[RegionName], Meta(max_length=32)]
    versions: Annotated[list[StatedVersion], Meta(min_length=1, max_length=_MOST_VERSIONS)]


class StatedApproval(Body):
    """What the primary key's approval rule asks for, in one class of operations."""

    approvers: list[ShortText]
    needed: int
    window_seconds: int
    signed: bool


class StatedBeginning(Body):
    """What a replica begins with; from then on it is its own."""

    asked_by: ShortText
    policy: dict[str, Any]
    description: LongText
    tags: dict[TagName, TagValue]
    approvals: dict[ShortText, StatedApproval]
    bypass_policy_lockout_safety_check: bool


class ReplicaStatement(Body):
    """`POST /v1/replicas`: one region says to another that it is to have a replica (`making`), how a key is now
    (`state`), or that the sender's replica is deleted (`gone`). `seal` is HMAC-SHA-256 by the link key of the domain
    over all the rest as canonical JSON."""

    about: About
    account: Annotated[str, Meta(pattern="^[0-9]{12}$(?!\\n)")]
    sender: RegionName
    receiver: RegionName
    serial: Annotated[int, Meta(ge=1)]
    key_id: _KeyId
    domain: Slug
    key: StatedKey | None = None
    beginning: StatedBeginning | None = None
    seal: Annotated[bytes, Meta(max_length=32, description="base64")] = b""


def to_be_sealed(statement: ReplicaStatement) -> bytes:
    """All of a statement but its seal, as canonical JSON."""
    members = msgspec.to_builtins(statement)
    members.pop("seal", None)
    return stored_json(members).encode()


def digest_of(stated: StatedKey) -> str:
    """What changes when a region has to be told again: not the blobs, which each region wraps as its domain is."""
    members = msgspec.to_builtins(stated)
    members.pop("domain_version")
    for version in members["versions"]:
        version.pop("wrapped")
    return sha256(stored_json(members).encode()).hexdigest()


def stated(carried: CarriedKey, issuer: Issuer | None) -> StatedKey:
    """A key's shared properties as a statement has them. `issuer` is that of its settings."""
    rotation = carried.rotation
    return StatedKey(
        spec=carried.spec,
        purpose=carried.purpose.value,  # type: ignore[arg-type]
        algorithm=carried.algorithm,
        formats=list(carried.formats),
        settings=_stated_settings(carried.settings, issuer),
        published=carried.published,
        protection=carried.protection.value,
        origin=carried.origin.value,
        domain_version=carried.domain_version,
        rotation_days=None if rotation is None else rotation.period_days,
        rotation_at=None if rotation is None else rotation.next_at,
        primary_region=carried.multi_region.primary_region,
        replicas=list(carried.multi_region.replicas),
        versions=[_stated_version(version) for version in carried.versions],
    )


def carried(statement: ReplicaStatement, key: StatedKey) -> CarriedKey:
    """A statement's key as the keystore takes it."""
    rotation = None
    if key.rotation_days is not None and key.rotation_at is not None:
        rotation = RotationSchedule(key.rotation_days, key.rotation_at)
    return CarriedKey(
        id=statement.key_id,
        spec=key.spec,
        purpose=Purpose(key.purpose),
        algorithm=key.algorithm,
        formats=tuple(key.formats),
        settings=_settings(key),
        published=key.published,
        protection=Protection(key.protection),
        origin=Origin(key.origin),
        domain=statement.domain,
        domain_version=key.domain_version,
        rotation=rotation,
        multi_region=MultiRegion(key.primary_region, tuple(key.replicas)),
        versions=tuple(_version(version) for version in key.versions),
    )


def short_policy(policy: dict[str, Any]) -> ShortPolicy:
    """The short form of a policy. Raises `MalformedRequest`."""
    with within("policy"):
        return decode(msgspec.json.encode(policy), ShortPolicy)


def stated_approvals(requirements: Mapping[str, ApprovalRequirement]) -> dict[str, StatedApproval]:
    """An approval rule as a statement has it."""
    return {
        name: StatedApproval(
            approvers=list(each.approvers),
            needed=each.needed,
            window_seconds=each.window_seconds,
            signed=each.signed,
        )
        for name, each in requirements.items()
    }


def approvals(beginning: StatedBeginning) -> dict[str, ApprovalRequirement]:
    """An approval rule as the keystore has it."""
    return {
        name: ApprovalRequirement(tuple(each.approvers), each.needed, each.window_seconds, each.signed)
        for name, each in beginning.approvals.items()
    }


def _stated_settings(
    settings: TokenSettings | AssertionSettings | None, issuer: Issuer | None
) -> StatedSettings | None:
    if settings is None or issuer is None:
        return None
    tokens = settings if isinstance(settings, TokenSettings) else None
    return StatedSettings(
        issuer=settings.issuer,
        issuer_url=issuer.url,
        issuer_entity_id=issuer.entity_id,
        audiences=list(settings.audiences),
        max_ttl=None if tokens is None else tokens.max_ttl,
        types=[] if tokens is None else list(tokens.types),
        recipients=list(settings.recipients) if isinstance(settings, AssertionSettings) else [],
    )


def _settings(key: StatedKey) -> TokenSettings | AssertionSettings | None:
    said = key.settings
    if said is None:
        return None
    if said.max_ttl is not None:
        return TokenSettings(said.issuer, tuple(said.audiences), said.max_ttl, tuple(said.types))
    return AssertionSettings(said.issuer, tuple(said.audiences), tuple(said.recipients))


def _stated_version(version: CarriedVersion) -> StatedVersion:
    reason = version.revocation_reason
    return StatedVersion(
        id=version.id,
        number=version.number,
        created_at=version.created_at,
        activate_at=version.activate_at,
        public_key=version.public_key,
        wrapped=version.wrapped,
        cause=version.cause.value,
        material_id=version.material_id,
        check=version.check,
        revoked_at=version.revoked_at,
        revocation_reason=None if reason is None else reason.value,
    )


def _version(version: StatedVersion) -> CarriedVersion:
    reason = version.revocation_reason
    return CarriedVersion(
        id=version.id,
        number=version.number,
        created_at=version.created_at,
        activate_at=version.activate_at,
        public_key=version.public_key,
        wrapped=version.wrapped,
        cause=VersionCause(version.cause),
        material_id=version.material_id,
        check=version.check,
        revoked_at=version.revoked_at,
        revocation_reason=None if reason is None else RevocationReason(reason),
    )
