"""One HTTP call as the pipeline sees it: nothing of Flask, nothing decided yet."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Call:
    """What came in. `source` is the caller's address; `body` is raw; `authorization` never reaches a log."""

    request_id: str
    caller_request_id: str | None
    source: str
    authorization: str | None = field(repr=False)
    idempotency_key: str | None
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes out as JSON: `content` is anything msgspec can encode."""

    content: object
    status: int = 200
