"""What the table of operations holds of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from signer.access import Action
    from signer.audit.logged import Steps
    from signer.call import Answer, Call
    from signer.kms.shapes import Request
    from signer.services import Services


StepsOfCall: TypeAlias = "Callable[[Services, Call], Steps[Answer]]"


@dataclass(frozen=True, slots=True)
class KmsOperation:
    """One operation: its name, what it takes, and the view that answers it.

    `view` gets the services and the call, whose `decode` reads bodies in AWS's words; what it returns is AWS's members
    (None: no output at all). `actions` are what policies call it, the first one for its record where it is refused
    before anything else is known of it; none for what is not supported.
    """

    name: str
    request: type[Request]
    view: Callable[[Services, Call], Answer]
    actions: tuple[Action, ...]
    steps: StepsOfCall | None = None


def in_steps(name: str, request: type[Request], steps: StepsOfCall, actions: tuple[Action, ...]) -> KmsOperation:
    """An operation whose view comes in steps."""

    def view(services: Services, call: Call) -> Answer:
        return services.audit.run(steps(services, call))

    return KmsOperation(name, request, view, actions, steps)
