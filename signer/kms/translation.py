"""Between AWS's request and ours: the body is read as AWS's structure and handed on as the native one.

So the pipeline sees a native call: the same operation, the same body for approvers to look at, the same record. What
AWS asks for besides (its limits, its dry runs) is checked before the native operation plans anything.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from keystore.algorithms import key_algorithms
from signer.kms.decoding import decode
from signer.kms.errors import INVALID_USAGE, Refusal
from signer.kms.grant_tokens import require_grant_tokens
from signer.kms.shapes import UseRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from keystore.algorithms import Purpose
    from keystore.api import Key, KeyVersion
    from signer.access import Action
    from signer.access.model import ConditionValues
    from signer.audit.logged import Steps
    from signer.call import Answer, Call
    from signer.operations.base import Operation, Plan, Subject
    from signer.services import Services

_Request = TypeVar("_Request", bound=msgspec.Struct)
_Use = TypeVar("_Use", bound=UseRequest)
_Native = TypeVar("_Native", bound=msgspec.Struct)
_Body = TypeVar("_Body", bound=msgspec.Struct)


@dataclass(slots=True)
class Translated(Generic[_Request, _Native]):
    """One request on its way. `native` makes the native body of it, or refuses it."""

    request_type: type[_Request]
    native: Callable[[_Request], _Native]
    _request: _Request | None = field(default=None, repr=False)

    def of(self, call: Call) -> Call:
        """The call whose body is read so."""
        return replace(call, decode=self.decode)

    def decode(self, body: bytes, body_type: type[_Body]) -> _Body:
        """The native body of AWS's. Raises `Refusal`."""
        self._request = decode(body, self.request_type)
        native = self.native(self._request)
        if not isinstance(native, body_type):
            msg = f"{self.request_type.__name__} is not translated to {body_type.__name__}"
            raise TypeError(msg)
        return native

    @property
    def request(self) -> _Request:
        """The request as AWS has it, once it is read."""
        if self._request is None:
            msg = "the request was asked for before it was read"
            raise TypeError(msg)
        return self._request


@dataclass(frozen=True, slots=True)
class AsAws(Generic[_Native]):
    """A native operation as AWS runs it: `check` raises what AWS refuses, of a key of the right purpose and state and
    once the caller is permitted; `dry_run` tells whether the caller asks only whether it might."""

    native: Operation[_Native]
    check: Callable[[Key], None]
    dry_run: Callable[[], bool]

    @property
    def action(self) -> Action:
        return self.native.action

    @property
    def purpose(self) -> Purpose:
        return self.native.purpose

    @property
    def body_type(self) -> type[_Native]:
        return self.native.body_type

    def details(self, key: Key, body: _Native) -> Sequence[ConditionValues]:
        return self.native.details(key, body)

    def version(self, key: Key, body: _Native | None, now: datetime) -> KeyVersion:
        self.check(key)
        return self.native.version(key, body, now)

    def plan(self, subject: Subject, body: _Native) -> Plan:
        plan = self.native.plan(subject, body)
        return replace(plan, dry_run=plan.dry_run or self.dry_run())


def use_key(
    services: Services,
    call: Call,
    asked: Translated[_Use, _Native],
    native: Operation[_Native],
    *,
    reference: Callable[[_Use], str],
    check: Callable[[_Use, Key], None] = lambda _request, _key: None,
) -> Steps[dict[str, Any]]:
    """The result of the native operation in steps, asked for in AWS's words. `reference` tells the key from the
    request, as `Keystore.get_key` takes it; `check` raises what AWS refuses besides. Raises what the pipeline raises.
    """

    def checks(key: Key) -> None:
        require_grant_tokens(asked.request.grant_tokens, services.keystore)
        check(asked.request, key)

    operation = AsAws(native, checks, lambda: bool(asked.request.dry_run))
    answer = yield from services.pipeline.signing(asked.of(call), lambda _body: reference(asked.request), operation)
    return only_result(answer)


def require_algorithm(key: Key, name: str, member: str) -> None:
    """Raises `InvalidKeyUsageException` for an algorithm that the key does not have."""
    if name not in key_algorithms(key.purpose, key.spec, key.algorithm, key.protection):
        msg = f"Algorithm {name} is incompatible with key spec {key.spec}."
        raise Refusal(INVALID_USAGE, msg, code="wrong_purpose", field=member)


def only_result(answer: Answer) -> dict[str, Any]:
    """The one result of a call that makes one thing. What was kept under an `Idempotency-Key` is JSON by then."""
    content: Any = answer.content
    if isinstance(content, msgspec.Raw):
        content = msgspec.json.decode(content)
    (result,) = content["results"]
    return dict(result)
