"""What is written: the values of an intent and of an outcome. No plaintext, no secret."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from signer.access import Permit
    from signer.call import Call

OutcomeKind = Literal["succeeded", "failed", "denied", "unknown"]
_MADE_HERE: Final = object()


@dataclass(frozen=True, slots=True)
class AuditedKey:
    """The key, version and algorithm that an intent is about."""

    key_id: str
    version_id: str
    version: int
    algorithm: str
    purpose: str


@dataclass(frozen=True, slots=True)
class RecordedIntent:
    """An intent that is durable. Satisfies `keystore.api.Intent`: the only thing that opens a key for use.

    Only `AuditTrail` makes one, after the commit.
    """

    intent_id: str
    key_id: str
    version_id: str
    algorithm: str
    permit: Permit
    request_id: str
    caller_request_id: str | None
    source: str
    subject: str | None
    proof: object = field(repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.proof is not _MADE_HERE:
            msg = "only the audit trail makes intents, once they are durable"
            raise TypeError(msg)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one item: digest of what was signed and SHA-256 of the signature where there is one.

    An item of several signatures has the first one here and the others in `detail`.
    """

    item: int
    kind: OutcomeKind
    code: str | None = None
    digest: bytes | None = None
    signature_sha256: bytes | None = None
    detail: str | None = None  # canonical JSON


@dataclass(frozen=True, slots=True)
class ItemsRefused:
    """Items of a permitted call that were refused before there was an intent for them: (position, code)."""

    permit: Permit
    call: Call
    items: Sequence[tuple[int, str]]


def canonical(members: Mapping[str, object]) -> str:
    """Canonical JSON, as `detail` holds it."""
    return msgspec.json.encode(members, order="sorted").decode()


def recorded(intent_id: str, key: AuditedKey | None, permit: Permit, call: Call, subject: str | None) -> RecordedIntent:
    """For `AuditTrail` alone, after the commit."""
    return RecordedIntent(
        intent_id,
        key.key_id if key else "",
        key.version_id if key else "",
        key.algorithm if key else "",
        permit,
        call.request_id,
        call.caller_request_id,
        call.source,
        subject,
        _MADE_HERE,
    )
