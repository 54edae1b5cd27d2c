"""The native operations asked as a view asks them, by whoever it is, without a route."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pytest

from keystore.errors import KeystoreError
from signer.call import Call
from signer.errors import SealmarkError

if TYPE_CHECKING:
    from signer.operations.base import Operation
    from tests.signer.service import ServiceInProcess

CI: Final = "role/ci"
SAID_BY_THE_KEY: Final = ("undecipherable", "invalid_mac", "invalid_signature")


def call_of(service: ServiceInProcess, who: str, body: object, **members: Any) -> Call:
    return Call(
        request_id=str(uuid.uuid4()),
        caller_request_id=None,
        source="192.0.2.7",
        authorization=f"Bearer {service.tokens.get(who, who)}",
        idempotency_key=members.pop("idempotency_key", None),
        body=msgspec.json.encode(body),
        **members,
    )


def use(service: ServiceInProcess, key: str, operation: Operation[Any], body: msgspec.Struct, who: str = CI) -> Any:
    """The one result. Raises what the operation does."""
    answer: Any = service.services.pipeline.sign(call_of(service, who, body), key, operation).content
    (result,) = answer["results"]
    return result


def refused(
    service: ServiceInProcess, key: str, operation: Operation[Any], body: msgspec.Struct, who: str = CI
) -> SealmarkError | KeystoreError:
    """The error, whose record is the one that its code names; nothing was intended where the key did not say no."""
    call = call_of(service, who, body)
    with pytest.raises((SealmarkError, KeystoreError)) as refusal:
        service.services.pipeline.sign(call, key, operation)
    error = refusal.value
    assert isinstance(error, SealmarkError | KeystoreError)
    entries = service.outcomes(call.request_id)
    assert [(entry["outcome"], entry["code"]) for entry in entries] == [("denied", error.code)]
    if error.code not in SAID_BY_THE_KEY:
        assert service.intents(call.request_id) == []
    return error


def entry_of(service: ServiceInProcess, result: dict[str, Any]) -> dict[str, Any]:
    """The entry of the log that a result has, its record read."""
    (entry,) = service.outcomes(result["request_id"])
    return {**entry, "record": msgspec.json.decode(entry["record"])}
