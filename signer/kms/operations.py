"""The table of every operation, and the way of one call through it."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from signer.kms import (
    agreement,
    aliases,
    creation,
    data_key_pairs,
    data_keys,
    encryption,
    grants,
    importing,
    key_stores,
    keys,
    macs,
    policies,
    re_encryption,
    replicas,
    rotation,
    signing,
    tags,
)
from signer.kms.decoding import decode
from signer.kms.errors import UNKNOWN_OPERATION, Refusal
from signer.problems import code_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from signer.call import Answer, Call
    from signer.kms.operation import KmsOperation
    from signer.services import Services

MEDIA_TYPE: Final = "application/x-amz-json-1.1"
TARGET: Final = "x-amz-target"
_PREFIX: Final = "TrentService."
UNKNOWN_ACTION: Final = "UnknownCall"  # as of every other call that there is not

_MODULES: Final = (
    creation,
    keys,
    aliases,
    tags,
    policies,
    grants,
    rotation,
    replicas,
    signing,
    encryption,
    re_encryption,
    data_keys,
    data_key_pairs,
    macs,
    agreement,
    importing,
    key_stores,
)
OPERATIONS: Final[Mapping[str, KmsOperation]] = MappingProxyType(
    {operation.name: operation for module in _MODULES for operation in module.OPERATIONS}
)


def answer(services: Services, call: Call) -> Answer:
    """What the operation answers that the call names; its content is AWS's members.

    Raises what the pipeline raises; `Refusal`, which is recorded if the caller is somebody known.
    """
    try:
        operation = _named(call.headers)
    except Refusal as refusal:
        services.pipeline.turned_away(call, UNKNOWN_ACTION, code_of(refusal), None, None)
        raise
    return operation.view(services, replace(call, decode=decode))


def action_of(headers: Mapping[str, str]) -> str:
    """The action under which a call is recorded that was refused before it was looked at."""
    name = headers.get(TARGET, "").removeprefix(_PREFIX)
    operation = OPERATIONS.get(name)
    if operation is None:
        return UNKNOWN_ACTION
    return operation.actions[0].value if operation.actions else operation.name


def operation_called(target: str) -> KmsOperation | None:
    """The operation that a value of `X-Amz-Target` names."""
    return OPERATIONS.get(target.removeprefix(_PREFIX)) if target.startswith(_PREFIX) else None


def _named(headers: Mapping[str, str]) -> KmsOperation:
    target, media_type = headers.get(TARGET, ""), headers.get("content-type", "")
    if media_type.partition(";")[0].strip().lower() != MEDIA_TYPE:
        raise Refusal(UNKNOWN_OPERATION, f"send the body as {MEDIA_TYPE}", code="unsupported_media_type")
    operation = operation_called(target)
    if operation is None:
        msg = "X-Amz-Target names no operation of AWS KMS that there is: send TrentService.OPERATION"
        raise Refusal(UNKNOWN_OPERATION, msg, code="unprocessable", field="X-Amz-Target")
    return operation
