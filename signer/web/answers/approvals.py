"""Answers about approvals."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from signer.web.answers.common import KeyId


class ApprovalRequirement(msgspec.Struct):
    """Who must approve, how many of them, within how many seconds; `signed`: by signed requests."""

    approvers: list[str]
    needed: int
    window_seconds: int
    signed: bool


class ApprovalRule(msgspec.Struct):
    """What must be approved before it is done with a key; null: nothing of that class."""

    key_id: KeyId
    revision: int
    sign: ApprovalRequirement | None
    policy: ApprovalRequirement | None
    rotation: ApprovalRequirement | None
    deletion: ApprovalRequirement | None


class ApprovalBinding(msgspec.Struct):
    """What the held call hangs on: it is released only while these are what they were."""

    rule_revision: int
    key_version: Annotated[int, Meta(description="the version that would sign")] | msgspec.UnsetType = msgspec.UNSET
    version_count: int | msgspec.UnsetType = msgspec.UNSET
    policy_revision: int | msgspec.UnsetType = msgspec.UNSET


class ApprovalKey(msgspec.Struct):
    """The key, as far as approvers need it."""

    alias: str | None
    arn: str
    purpose: str


class ApprovalProgress(msgspec.Struct):
    """One of the quorums that have to be met, and whose approval counts for it now."""

    approvers: list[str]
    needed: int
    signed: bool
    approved_by: list[str]


class ApprovalVote(msgspec.Struct):
    """What one approver said last."""

    approver: str
    vote: Literal["approve", "reject"]
    reason: str
    voted_at: datetime
    credential_kind: str


class ApprovalRequest(msgspec.Struct):
    """A held call. `request_sha256` is SHA-256 of canonical JSON of the members from `id` to `expires_at`."""

    id: str
    key_id: KeyId
    operation: str
    requester: str
    request: Annotated[dict[str, Any], Meta(description="the call's body; members left out have their defaults")]
    reason: str
    bound: ApprovalBinding
    created_at: datetime
    expires_at: datetime
    request_sha256: str
    key: ApprovalKey
    state: Literal["open", "released", "rejected", "withdrawn", "expired"]
    obstacle: Annotated[str | None, Meta(description="why it releases nothing now; null: its call is released")]
    needed: int
    requirements: list[ApprovalProgress]
    approved_by: list[str]
    rejected_by: list[str]
    votes: list[ApprovalVote]
    closed_at: datetime | None
    closed_by: str | None


class ApprovalRequests(msgspec.Struct):
    """A page of held calls, oldest first."""

    approval_requests: list[ApprovalRequest]
    next_cursor: str | None
