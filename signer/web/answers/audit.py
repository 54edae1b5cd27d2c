"""Answers about the audit trail."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

Kind = Literal["decision", "count", "rows", "former"]


class AuditedSignature(msgspec.Struct):
    """One signature that the HSM made. `digest`: the hash of what was signed, by the algorithm's own hash (SHA-512 for
    Ed25519); `sha256`: of the signature as the key gave it (ECDSA: DER)."""

    digest: str
    sha256: str


class AuditRecord(msgspec.Struct):
    """All that is known of one decision (schema version 1; docs/audit.md tells of each member). What does not apply is
    left out."""

    v: Literal[1]
    time: datetime
    kind: Kind
    epoch: str
    outcome: Literal["succeeded", "denied", "failed", "unknown", "counted"]
    code: str | UnsetType = UNSET
    request_id: str | UnsetType = UNSET
    caller_request_id: str | UnsetType = UNSET
    principal: str | UnsetType = UNSET
    credential: str | UnsetType = UNSET
    proof: dict[str, Any] | UnsetType = UNSET
    source: str | UnsetType = UNSET
    action: str | UnsetType = UNSET
    subject: str | UnsetType = UNSET
    key_id: str | UnsetType = UNSET
    key_version: int | UnsetType = UNSET
    version_id: str | UnsetType = UNSET
    domain: str | UnsetType = UNSET
    algorithm: str | UnsetType = UNSET
    purpose: str | UnsetType = UNSET
    signatures: list[AuditedSignature] | UnsetType = UNSET
    about: dict[str, Any] | UnsetType = UNSET
    context: dict[str, str] | UnsetType = UNSET
    policy_revision: int | UnsetType = UNSET
    decided_by: str | UnsetType = UNSET
    approval: str | UnsetType = UNSET
    detail: dict[str, Any] | UnsetType = UNSET
    intent: str | UnsetType = UNSET
    intent_time: datetime | UnsetType = UNSET
    item: int | UnsetType = UNSET
    items: int | UnsetType = UNSET


class JournalRow(msgspec.Struct):
    """An entry of the sealed rows' journal: which row got which revision. `seal` and `link` are hex."""

    table: str
    id: str
    revision: int
    seal: str
    previous: int
    link: str


class AuditEntry(msgspec.Struct):
    """An entry of the log. `record` is null for entries about rows, which have `row`."""

    log: int
    origin: Annotated[str, Meta(description="the log's name: sealmark/ACCOUNT/REGION/ID")]
    index: Annotated[int, Meta(description="the leaf's index in its log, from 0")]
    kind: Kind
    key_alias: Annotated[str | None, Meta(description="the alias that the record's key has now")]
    record: AuditRecord | None
    row: JournalRow | UnsetType = UNSET


class AuditEntries(msgspec.Struct):
    """A page of entries. It may be short, or empty, and yet have a next one: each page looks at so many entries and no
    more. In the order `log` there is always a next one, which is empty until something happens."""

    entries: list[AuditEntry]
    next_cursor: str | None
    log_cursor: Annotated[str, Meta(description="with `order=log`: goes on behind all that is in the log now")]


class AuditProof(msgspec.Struct):
    """That the entry is in the log: `text` (`c2sp.org/tlog-proof@v1`) under a checkpoint of `size` entries."""

    text: str
    size: int
    cosigned: Annotated[bool, Meta(description="whether witnesses have cosigned the checkpoint")]


class AuditEntryInFull(AuditEntry, kw_only=True):
    """An entry with its leaf (base64), nonce and proof; `proof` is null where no checkpoint covers the entry yet."""

    leaf: str
    leaf_hash: str
    nonce: str | None
    proof: AuditProof | None


class CountedCalls(msgspec.Struct):
    """Calls of one action with one outcome (and code of refusal)."""

    action: str
    outcome: str
    code: str | None
    count: int
    first: datetime
    last: datetime


class KeysPrincipal(msgspec.Struct):
    """What a principal did with the key."""

    principal: str
    actions: list[CountedCalls]


class AuditEvent(msgspec.Struct):
    """What was done last: when, by whom."""

    at: datetime
    by: str
    action: str


class ReportedCertificate(msgspec.Struct):
    """The certificate of the version that signs, valid or not."""

    serial: str
    origin: Literal["built-in", "installed"]
    not_before: datetime
    not_after: datetime
    revoked_at: datetime | None
    revocation_reason: str | None


class LastRotation(msgspec.Struct):
    """The newest version, and when it was made."""

    version: int
    at: datetime


class PeriodOfUse(msgspec.Struct):
    """A day or a week (from Monday, UTC) that has a use or a denial."""

    begin: datetime = msgspec.field(name="from")
    uses: int
    denied: int


class PossibleUser(msgspec.Struct):
    """Who may use the key, and what lets them. `idle`: has not used it for as many days as are asked about."""

    principal: str
    by: str
    last_use: datetime | None
    idle: bool


class KeyReport(msgspec.Struct):
    """One key. Counts are of the time asked for, `last_…` of all time. From `per` on: where one key is asked for."""

    key_id: str
    alias: str | None
    purpose: str
    spec: str
    state: str
    created_at: datetime
    created_by: str
    uses: Annotated[int, Meta(description="items that were signed and given out")]
    denied: int
    failed: Annotated[int, Meta(description="failed, or of unknown outcome")]
    first_use: datetime | None
    last_use: datetime | None
    principals: list[KeysPrincipal]
    policy_revision: int
    last_policy_change: Annotated[AuditEvent | None, Meta(description="of the policy, a grant or the approval rule")]
    last_policy_review: Annotated[AuditEvent | None, Meta(description="the policy was read or set")]
    certificate: ReportedCertificate | None
    last_rotation: LastRotation | None
    lacks: list[Literal["use", "policy-review", "certificate", "rotation"]]
    per: Literal["day", "week"] | UnsetType = UNSET
    periods: list[PeriodOfUse] | UnsetType = UNSET
    periods_left_out: bool | UnsetType = UNSET
    may_use: list[PossibleUser] | UnsetType = UNSET


class AuditReport(msgspec.Struct, kw_only=True):
    """Reports of a page of keys, made at `at`. `days` is what `lacks` and `idle` look back."""

    begin: datetime | None = msgspec.field(name="from")
    to: datetime | None
    days: int
    at: datetime
    keys: list[KeyReport]
    next_cursor: str | None


class UsageRow(msgspec.Struct):
    """Requests and items of one day (UTC) that have all of this in common."""

    day: Annotated[str, Meta(description="YYYY-MM-DD")]
    principal: str
    key_id: Annotated[str | None, Meta(description="as the caller named it, where there is no such key (any more)")]
    key_alias: str | None
    action: str
    outcome: Literal["succeeded", "denied", "failed", "unknown", "repeated"]
    requests: int
    items: Annotated[int, Meta(description="entries of the audit trail: each item of each request is one")]


class UsageReport(msgspec.Struct, kw_only=True):
    """A page of usage, by day, principal, key, action and outcome."""

    begin: datetime = msgspec.field(name="from")
    to: datetime
    usage: list[UsageRow]
    next_cursor: str | None


class BegunPolicy(msgspec.Struct):
    """The version of a policy that a change began; `policy` is the document."""

    revision: int
    created_at: datetime
    created_by: str
    reason: str
    policy: dict[str, Any] | None


class AuditedChange(msgspec.Struct):
    """One change. `detail` is what its record says of it, `index` where the record is."""

    log: int
    index: int
    of: str
    time: datetime
    action: str
    principal: str | None
    outcome: Literal["succeeded", "unknown"]
    key_id: str | None
    key_alias: str | None
    subject: Annotated[str | None, Meta(description="the principal that it was about")]
    approval: str | None
    request_id: str | None
    detail: dict[str, Any] | None
    policy: BegunPolicy | None


class AuditHistory(msgspec.Struct):
    """A page of changes; it may be short and yet have a next one."""

    changes: list[AuditedChange]
    next_cursor: str | None
