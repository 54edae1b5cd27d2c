"""What auditors ask, as typed queries: the parameters of the calls below `/v1/audit`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from signer.request import Body, KeyReference

_DIGESTS: Final = (
    "^(?:[0-9a-f]{64}|[0-9a-f]{96}|[0-9a-f]{128})(?:,(?:[0-9a-f]{64}|[0-9a-f]{96}|[0-9a-f]{128})){0,31}$(?!\\n)"
)
_PAIR: Final = "^[^=]{1,128}=(?s:.{0,1024})$(?!\\n)"
# What a text of each pattern is, for who sent another one.
QUERY_FORMS: Final[Mapping[str, str]] = MappingProxyType(
    {
        _DIGESTS: "1 to 32 digests (SHA-256, SHA-384 or SHA-512) in lower-case hex, with commas between them",
        _PAIR: "NAME=VALUE, as the context of the call had it",
    }
)
Name = Annotated[str, Meta(min_length=1, max_length=256)]
Moment = Annotated[datetime, Meta(tz=True)]
Index = Annotated[int, Meta(ge=0, le=10**17)]
LONGEST_EXPORT: Final = 100_000


class Between(Body):
    """A time from `from` on and before `to`."""

    begin: Moment | None = msgspec.field(name="from", default=None)
    end: Moment | None = msgspec.field(name="to", default=None)


class EntriesQuery(Between):
    """`GET /v1/audit/entries`: entries that have all of this."""

    key: KeyReference | None = None
    principal: Name | None = None
    subject: Name | None = None
    action: Name | None = None
    outcome: Literal["succeeded", "denied", "failed", "unknown", "counted"] | None = None
    code: Name | None = None
    context: Annotated[str, Meta(pattern=_PAIR)] | None = None
    digest: Annotated[str, Meta(pattern=_DIGESTS)] | None = None
    request_id: Name | None = None
    caller_request_id: Name | None = None
    kind: Literal["decision", "count", "rows", "any"] | None = None
    order: Literal["newest", "oldest", "log"] = "newest"


class EntryQuery(Body):
    """`GET /v1/audit/entries/{index}`"""

    log: Annotated[int, Meta(ge=1, le=10**9)] | None = None


Lack = Literal["use", "policy-review", "certificate", "rotation"]


class ReportQuery(Between):
    """`GET /v1/audit/report`"""

    key: KeyReference | None = None
    without: Lack | None = None
    days: Annotated[int, Meta(ge=1, le=36_500)] = 90
    per: Literal["day", "week"] = "week"


class UsageQuery(Between):
    """`GET /v1/usage`"""

    key: KeyReference | None = None
    principal: Name | None = None
    action: Name | None = None


HistoryOf = Literal["policies", "grants", "principals", "credentials", "issuers", "keys", "certificates", "domains"]


class HistoryQuery(Between):
    """`GET /v1/audit/history`"""

    of: HistoryOf | None = None
    key: KeyReference | None = None
    principal: Name | None = None
    order: Literal["newest", "oldest"] = "newest"


class ExportQuery(Body):
    """`GET /v1/audit/export`"""

    log: Annotated[int, Meta(ge=1, le=10**9)] | None = None
    begin: Index = msgspec.field(name="from", default=0)
    limit: Annotated[int, Meta(ge=1, le=LONGEST_EXPORT)] = 10_000
    cosigned: bool = False


PARAMETERS_OF_ENTRIES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "key": "a key's id or alias",
        "principal": "who asked, such as role/ci",
        "subject": "the principal that it was about",
        "action": "such as SignArtifact, or kms:SignArtifact",
        "outcome": "succeeded, denied, failed, unknown or counted",
        "code": "the code of the refusal, such as policy_forbids",
        "context": "NAME=VALUE of the context that the call had",
        "digest": "hex, several with commas: of a file, of what was signed, or the SHA-256 of a signature",
        "request_id": "the request's id, as the answer's X-Request-Id had it",
        "caller_request_id": "the caller's own X-Request-Id",
        "from": "RFC 3339, this time or later",
        "to": "RFC 3339, before this time",
        "kind": "decision, count or rows; any: all of them (if absent: decision and count)",
        "order": "newest (if absent) or oldest first, by time; log: in the log's order, with a cursor that goes on",
    }
)
PARAMETERS_OF_ENTRY: Final[Mapping[str, str]] = MappingProxyType({"log": "the log's number; if absent, the newest"})
PARAMETERS_OF_REPORT: Final[Mapping[str, str]] = MappingProxyType(
    {
        "key": "one key, by id or alias, with its periods and those who may use it and do not",
        "without": "keys alone that lack this: use, policy-review, certificate or rotation",
        "days": "within how many days (1 to 36500, if absent 90)",
        "per": "day or week (if absent): the length of a key's periods",
        "from": "RFC 3339, counts from this time on",
        "to": "RFC 3339, counts before this time",
    }
)
PARAMETERS_OF_USAGE: Final[Mapping[str, str]] = MappingProxyType(
    {
        "key": "one key, by id or alias",
        "principal": "who asked, such as role/ci",
        "action": "such as SignArtifact, or kms:SignArtifact",
        "from": "RFC 3339, this time or later; if absent, the beginning of the month (UTC)",
        "to": "RFC 3339, before this time; at most 366 days after `from`",
    }
)
PARAMETERS_OF_HISTORY: Final[Mapping[str, str]] = MappingProxyType(
    {
        "of": "policies, grants, principals, credentials, issuers, keys, certificates or domains",
        "key": "changes to this key, by its id or alias",
        "principal": "changes that this principal made, or that were about it",
        "from": "RFC 3339, this time or later",
        "to": "RFC 3339, before this time",
        "order": "newest (if absent) or oldest first",
    }
)
PARAMETERS_OF_EXPORT: Final[Mapping[str, str]] = MappingProxyType(
    {
        "log": "the log's number; if absent, the newest",
        "from": "index of the first entry (if absent 0)",
        "cosigned": "true: up to the newest checkpoint that witnesses have cosigned, and with that one",
        "limit": f"entries at most, 1 to {LONGEST_EXPORT} (if absent 10000)",
    }
)
