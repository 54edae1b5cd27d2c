"""A multi-region key on its way from its primary region to another: what the two deployments say of it to each other.

What is in a `CarriedKey` is the same in every region: AWS calls it the key's shared properties. Blobs are wrapped by
the domain key that both have; nothing here opens one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from keystore.api import (
    ApprovalRequirement,
    KeyPolicy,
    MultiRegion,
    RevocationReason,
    RotationSchedule,
    VersionCause,
)

if TYPE_CHECKING:
    from keystore.algorithms import Origin, Protection, Purpose
    from keystore.api import AssertionSettings, TokenSettings


@dataclass(frozen=True, slots=True)
class CarriedVersion:
    """One version of it. `check` is the key's own answer to a known question, where nothing public tells its material
    (HMAC keys); `wrapped` is AES-KWP by the shared domain key."""

    id: str
    number: int
    created_at: datetime
    activate_at: datetime
    public_key: bytes
    wrapped: bytes = field(repr=False)
    cause: VersionCause
    material_id: str | None = None
    check: bytes | None = None
    revoked_at: datetime | None = None
    revocation_reason: RevocationReason | None = None


@dataclass(frozen=True, slots=True)
class CarriedKey:
    """The shared properties of a key, and all its versions, oldest first."""

    id: str
    spec: str
    purpose: Purpose
    algorithm: str
    formats: tuple[str, ...]
    settings: TokenSettings | AssertionSettings | None
    published: bool
    protection: Protection
    origin: Origin
    domain: str
    domain_version: int
    rotation: RotationSchedule | None
    multi_region: MultiRegion
    versions: tuple[CarriedVersion, ...]


@dataclass(frozen=True, slots=True)
class FirstReplica:
    """What a replica begins with and is its own from then on. `approvals` are the primary key's: whoever replicates a
    key rids nobody of a quorum."""

    policy: KeyPolicy
    created_by: str
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    approvals: Mapping[str, ApprovalRequirement] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Replication:
    """What is under way about a key. `sent`: region to (serial, digest) of what it was told last."""

    key_id: str
    serial: int
    making: tuple[str, ...]
    moving_to: str | None
    deletion_days: int | None
    sent: Mapping[str, tuple[int, str]]
    owes_notice: bool
