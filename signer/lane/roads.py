"""What answers a plain call: the calls of our own API and AWS's operations that use a key."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import msgspec

from signer.audit.logged import Steps
from signer.call import Call
from signer.kms.decoding import decode
from signer.kms.encoding import encode
from signer.kms.operations import MEDIA_TYPE, operation_called

if TYPE_CHECKING:
    from collections.abc import Mapping

    from signer.kms.operation import StepsOfCall
    from signer.operations.base import Operation
    from signer.services import Services

WIRE_PATH: Final = "/"
_PATH: Final = re.compile(r"/v1/keys/(?P<key>[A-Za-z0-9_-]{1,250})/(?P<call>[a-z-]+(/[a-z-]+)?)")
# What takes long for one call alone (XML in Python) would keep all others of its worker waiting.
_SLOW: Final = frozenset({"assertions"})


@dataclass(frozen=True, slots=True)
class Road:
    """What answers a call with the octets of a 200, in steps; and what its body is declared as. `slow`: not to be
    stepped together with others."""

    steps: Callable[[Call], Steps[bytes]]
    media_type: str
    wire: bool = False
    slow: bool = False


class Roads:
    """One per application."""

    def __init__(self, services: Services, operations: Mapping[str, Operation[Any]]) -> None:
        self._services = services
        self._operations = operations

    def native(self, path: str) -> Road | None:
        """Of a call of our own API that uses a key."""
        matched = _PATH.fullmatch(path)
        operation = None if matched is None else self._operations.get(matched["call"])
        if matched is None or operation is None:
            return None
        reference, slow = matched["key"], matched["call"] in _SLOW

        def steps(call: Call) -> Steps[bytes]:
            answer = yield from self._services.pipeline.signing(call, reference, operation)
            return msgspec.json.encode(answer.content)

        return Road(steps, "application/json", slow=slow)

    def wire(self, target: str) -> Road | None:
        """Of the operation of AWS KMS that `X-Amz-Target` names, where it can be stepped."""
        operation = operation_called(target)
        view = None if operation is None else operation.steps
        return None if view is None else Road(self._wire_steps(view), MEDIA_TYPE, wire=True)

    def _wire_steps(self, view: StepsOfCall) -> Callable[[Call], Steps[bytes]]:
        def steps(call: Call) -> Steps[bytes]:
            answer = yield from view(self._services, replace(call, decode=decode))
            return encode(answer.content)

        return steps
