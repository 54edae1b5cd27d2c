"""Every operation by everybody: duties decide by the operation's action, before the request is so much as read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from signer.access.duties import DUTIES_OF, Duty
from signer.kms.operations import OPERATIONS
from tests.signer.service import PEOPLE

if TYPE_CHECKING:
    from tests.signer.service import ServiceInProcess

BROKEN = b"[]"  # whoever may make the call at all is told that this is no request


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_each_duty_gets_as_far_as_it_may(service: ServiceInProcess, name: str) -> None:
    actions = OPERATIONS[name].actions
    for who, duty in PEOPLE.items():
        answer = service.kms(who, name, BROKEN)
        allowed = all(duty in DUTIES_OF[action] for action in actions)
        expected = "SerializationException" if allowed else "AccessDeniedException"
        assert (answer.status_code, answer.get_json(force=True)["__type"]) == (400, expected), who
        (leaf,) = service.outcomes(answer.headers["x-amzn-RequestId"])
        recorded = {action.value for action in actions} or {name}
        assert (leaf["principal"], leaf["outcome"], leaf["action"] in recorded) == (who, "denied", True)


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_nobody_gets_anywhere(service: ServiceInProcess, name: str) -> None:
    for who in (None, "smt_none"):
        answer = service.kms(who, name, BROKEN)
        told = answer.get_json(force=True)["__type"]
        assert told in ("UnrecognizedClientException", "MissingAuthenticationTokenException")
        assert service.outcomes(answer.headers["x-amzn-RequestId"]) == []


def test_every_duty_has_somebody_here() -> None:
    assert {*PEOPLE.values(), Duty.ROOT} == set(Duty)
