"""One HTTP call as the pipeline sees it: nothing of Flask, nothing decided yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import Protocol, TypeVar

import msgspec

from signer.decoding import decode

_Body = TypeVar("_Body", bound=msgspec.Struct)


class Decoder(Protocol):
    """What turns a call's body into its struct, and refuses in the words of the protocol that the caller speaks."""

    def __call__(self, body: bytes, body_type: type[_Body]) -> _Body: ...


@dataclass(slots=True)
class Trace:
    """Whether the audit trail knows of a call: it has a record of it (or owes one), or has counted it. Every call that
    came to an answer and is not told of is counted in the end (`signer.web.counting`).

    Besides, what was found out of a refused call, for protocols whose refusals say so: the caller's name, the action as
    policies write it, and the ARN of a key that the caller may see. `nonce` is what its credential can be used for once
    and was used for by this very call, which may be authenticated more than once.

    For figures and traces alone (`signer.measuring`): when the call `began` (`time.perf_counter`), the `operation` by
    its action's name, the id of the `key` that was found, and when each stage of it was over, where traces are on.
    """

    told: bool = False
    caller: str | None = None
    action: str | None = None
    resource: str | None = None
    nonce: str | None = None
    began: float = field(default_factory=perf_counter)
    operation: str | None = None
    key: str | None = None
    parent: str | None = None  # the caller's `traceparent`
    laps: list[tuple[str, float]] | None = None

    def lap(self, stage: str) -> None:
        """A stage of the call is over."""
        if self.laps is not None:
            self.laps.append((stage, perf_counter()))


@dataclass(frozen=True, slots=True)
class Call:
    """What came in. `source` is the caller's address; `body` is raw; `authorization` never reaches a log.

    `method`, `target` (path and query, as sent) and `headers` (lower-case names) are what a signed request covers;
    they are empty for the service's own calls.
    """

    request_id: str
    caller_request_id: str | None
    source: str
    authorization: str | None = field(repr=False)
    idempotency_key: str | None
    body: bytes = field(repr=False)
    method: str = ""
    target: str = ""
    secure: bool = False  # over TLS, here or at a proxy that the configuration names
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    trace: Trace = field(default_factory=Trace, repr=False, compare=False)
    client_certificate: bytes | None = None  # DER, verified by TLS here or by a proxy that the configuration names
    decode: Decoder = field(default=decode, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes out as JSON: `content` is anything msgspec can encode.

    `recorded` goes nowhere but into the call's record, beside its outcome: what was made, changed or asked for, by its
    name; so does `made_key`, the id of a key that the call has made.
    """

    content: object
    status: int = 200
    recorded: Mapping[str, object] | None = field(default=None, repr=False)
    made_key: str | None = None
