"""An HSM that lies: whatever it returns in place of a signature, nobody gets it, and the log and the trail say so."""

from __future__ import annotations

import base64
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any

import pytest

from signer.problems import problem
from tests.faults.faulty_token import LIES, another_keys, garbage
from tests.faults.requests import MESSAGE, REQUESTS, SigningRequest, artifact

if TYPE_CHECKING:
    from collections.abc import Callable

    from werkzeug.test import TestResponse

    from tests.faults.conftest import FaultyService

Log = list[MutableMapping[str, Any]]


def assert_nothing_but_a_fault(faulty: FaultyService, answer: TestResponse, log: Log) -> str:
    """503 with the fixed words of an HSM fault, and an alarm. Returns the request's id."""
    request_id = answer.headers["X-Request-Id"]
    assert answer.status_code == 503
    assert answer.mimetype == "application/problem+json"
    assert answer.headers["Retry-After"]
    assert answer.get_json() == problem("hsm_fault", "", request_id=request_id)
    alarms = [line for line in log if line["event"] == "hsm_fault"]
    assert [(line["log_level"], line["alarm"]) for line in alarms] == [("critical", True)]
    return request_id


def assert_recorded_as_failed(faulty: FaultyService, request_id: str, items: int = 1) -> None:
    """One intent, and after it one outcome an item: failed."""
    intents, outcomes = faulty.running.intents(request_id), faulty.running.outcomes(request_id)
    assert [intent["items"] for intent in intents] == [items]
    assert [row["item"] for row in outcomes] == list(range(items))
    assert {(row["outcome"], row["code"]) for row in outcomes} == {("failed", "hsm_fault")}
    assert {row["intent_id"] for row in outcomes} == {intents[0]["id"]}
    assert all(row["time"] >= intents[0]["time"] for row in outcomes)


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__)
@pytest.mark.parametrize("request_", REQUESTS, ids=str)
def test_no_format_lets_a_lie_through(
    faulty: FaultyService, log: Log, request_: SigningRequest, lie: Callable[..., bytes]
) -> None:
    url = request_.url(faulty.running)
    faulty.token.honest()
    faulty.token.lie = lie
    answer = faulty.running.call("role/ci", "POST", url, request_.body)
    assert faulty.token.asked == 1
    request_id = assert_nothing_but_a_fault(faulty, answer, log)
    assert_recorded_as_failed(faulty, request_id)


@pytest.mark.parametrize("request_", REQUESTS, ids=str)
def test_an_honest_hsm_is_believed(faulty: FaultyService, log: Log, request_: SigningRequest) -> None:
    url = request_.url(faulty.running)
    faulty.token.honest()
    answer = faulty.running.call("role/ci", "POST", url, request_.body)
    assert answer.status_code == 200
    assert faulty.token.asked == request_.signatures
    assert [row["outcome"] for row in faulty.running.outcomes(answer.headers["X-Request-Id"])] == ["succeeded"]
    assert not [line for line in log if line.get("alarm")]


@pytest.mark.parametrize("request_", [request for request in REQUESTS if request.signatures == 2], ids=str)
def test_a_lie_about_the_second_signature_of_an_item_withholds_the_first(
    faulty: FaultyService, log: Log, request_: SigningRequest
) -> None:
    url = request_.url(faulty.running)
    faulty.token.honest()
    faulty.token.lie, faulty.token.lies_from = garbage, 1
    answer = faulty.running.call("role/ci", "POST", url, request_.body)
    assert faulty.token.asked == 2
    request_id = assert_nothing_but_a_fault(faulty, answer, log)
    assert_recorded_as_failed(faulty, request_id)
    # The first one was made, though nobody got it: the trail says so.
    assert faulty.running.outcomes(request_id)[0]["signature_sha256"] is not None


def _batch(count: int) -> list[tuple[str, str, str, dict[str, Any]]]:
    message = base64.b64encode(MESSAGE).decode()
    return [
        ("general", "ECC_NIST_P256", "signatures", {"items": [{"message": message}] * count}),
        (
            "artifact",
            "ECC_NIST_P256",
            "artifacts",
            {"artifacts": artifact()["artifacts"] * count, "formats": ["raw"]},
        ),
        ("jwt", "ECC_NIST_P256", "jwts", {"items": [{"claims": {"sub": str(number)}} for number in range(count)]}),
    ]


@pytest.mark.parametrize("lies_from", [0, 7, 19])
@pytest.mark.parametrize(("purpose", "spec", "path", "body"), _batch(20), ids=["signatures", "artifacts", "jwts"])
def test_one_lie_among_twenty_fails_the_whole_batch(
    faulty: FaultyService, log: Log, purpose: str, spec: str, path: str, body: dict[str, Any], lies_from: int
) -> None:
    url = SigningRequest(path, purpose, spec, path, body).url(faulty.running)
    faulty.token.honest()
    faulty.token.lie, faulty.token.lies_from = another_keys, lies_from
    answer = faulty.running.call("role/ci", "POST", url, body)
    assert faulty.token.asked == lies_from + 1  # nothing more is asked of an HSM that lied
    request_id = assert_nothing_but_a_fault(faulty, answer, log)
    assert_recorded_as_failed(faulty, request_id, items=20)
    made = [row for row in faulty.running.outcomes(request_id) if row["signature_sha256"] is not None]
    assert [row["item"] for row in made] == list(range(lies_from))


def test_the_key_signs_again_when_the_hsm_is_honest_again(faulty: FaultyService) -> None:
    request = REQUESTS[0]
    url = request.url(faulty.running)
    faulty.token.lie = garbage
    assert faulty.running.call("role/ci", "POST", url, request.body).status_code == 503
    faulty.token.lie = None
    assert faulty.running.call("role/ci", "POST", url, request.body).status_code == 200
