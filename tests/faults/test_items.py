"""Items that cannot be made, and formats with a bug: each item has one outcome, and the answer the right status."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from keystore.api import SigningKey
from keystore.errors import HsmUnavailable, WrongState
from signer.errors import Unprocessable
from signer.formats import cms, jwt, raw, saml
from signer.problems import problem
from tests.faults.requests import TYPICAL, assertion

if TYPE_CHECKING:
    from collections.abc import Callable

    from keystore.api import Intent
    from tests.faults.conftest import FaultyService
    from tests.faults.test_lying_hsm import Log

RAW, _, _, FILES, TOKENS, RESPONSES = TYPICAL[:6]
WORDS = "hunter2 and other words that nobody should read"


def _outcomes(faulty: FaultyService, answer: Any) -> list[tuple[int, str, str | None, bool]]:
    return [
        (row["item"], row["outcome"], row["code"], row["signature_sha256"] is not None)
        for row in faulty.running.outcomes(answer.headers["X-Request-Id"])
    ]


@pytest.mark.parametrize(
    "body",
    [
        assertion(subject="bell \x07"),
        assertion(attributes={"name": "\x00"}),
        assertion(attributes={"name\x0b": "value"}),
        assertion(audience="https://another.example"),
        assertion(recipient="https://another.example"),
        assertion(in_response_to="not an id"),
    ],
    ids=lambda body: next(name for name in body if name != "sign"),
)
def test_an_assertion_that_cannot_be_made_is_refused_once(faulty: FaultyService, body: dict[str, Any]) -> None:
    url = RESPONSES.url(faulty.running)
    faulty.token.honest()
    answer = faulty.running.call("role/ci", "POST", url, body)
    assert (answer.status_code, answer.get_json()["code"]) == (422, "unprocessable")
    assert answer.get_json()["field"]
    assert _outcomes(faulty, answer) == [(0, "denied", "unprocessable", False)]
    assert len(faulty.running.intents(answer.headers["X-Request-Id"])) == 1
    assert faulty.token.asked == 0


REFUSED_CLAIMS: list[dict[str, Any]] = [
    {"claims": {"exp": 1}},
    {"claims": {"iss": "https://me.example"}},
    {"claims": {"aud": "https://another.example"}},
    {"claims": {"Exp": 1}},
    {"claims": {"sub": 1}},
    {"ttl": 100_000},
    {"typ": "unknown"},
]


@pytest.mark.parametrize("item", REFUSED_CLAIMS, ids=str)
def test_a_token_that_cannot_be_made_is_refused_once(faulty: FaultyService, item: dict[str, Any]) -> None:
    url = TOKENS.url(faulty.running)
    faulty.token.honest()
    answer = faulty.running.call("role/ci", "POST", url, item)
    assert (answer.status_code, answer.get_json()["code"]) == (422, "unprocessable")
    assert _outcomes(faulty, answer) == [(0, "denied", "unprocessable", False)]
    assert faulty.token.asked == 0


def test_in_a_batch_each_fails_alone_and_is_recorded_once(faulty: FaultyService) -> None:
    url = TOKENS.url(faulty.running)
    items = [item for refused in REFUSED_CLAIMS for item in ({"claims": {"sub": "somebody"}}, refused)]
    faulty.token.honest()
    answer = faulty.running.call("role/ci", "POST", url, {"items": items})
    assert answer.status_code == 200
    results = answer.get_json()["results"]
    assert [sorted(result) == ["error"] for result in results] == [False, True] * len(REFUSED_CLAIMS)
    assert {result["error"]["status"] for result in results[1::2]} == {422}
    assert _outcomes(faulty, answer) == [
        (at, "denied", "unprocessable", False) if at % 2 else (at, "succeeded", None, True) for at in range(len(items))
    ]


def test_refused_when_planned_and_refused_when_made_are_both_recorded_once(
    faulty: FaultyService, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, sign_message = RAW.url(faulty.running), raw.sign_message

    def refuse_some(key: SigningKey, message: bytes) -> bytes:
        if message == b"\x04\x10\x41":  # "BBBB"
            msg = "not this one"
            raise Unprocessable(msg)
        return sign_message(key, message)

    monkeypatch.setattr(raw, "sign_message", refuse_some)
    items = [{"message": "AAAA"}, {"message": "BBBB"}, {"digest": "AAAA"}, {"message": "AAAA"}]
    answer = faulty.running.call("role/ci", "POST", url, {"items": items})
    assert answer.status_code == 200
    assert sorted(_outcomes(faulty, answer)) == [
        (0, "succeeded", None, True),
        (1, "denied", "unprocessable", False),
        (2, "denied", "unprocessable", False),
        (3, "succeeded", None, True),
    ]


def test_a_batch_of_nothing_but_refusals_opens_no_key(faulty: FaultyService) -> None:
    url = RAW.url(faulty.running)
    faulty.token.honest()
    answer = faulty.running.call("role/ci", "POST", url, {"items": [{"digest": "AAAA"}] * 3})
    assert answer.status_code == 200
    assert _outcomes(faulty, answer) == [(at, "denied", "unprocessable", False) for at in range(3)]
    assert faulty.running.intents(answer.headers["X-Request-Id"]) == []


def test_a_signature_made_before_its_item_was_refused_is_named_in_the_trail(
    faulty: FaultyService, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object) -> str:
        raise Unprocessable(WORDS)

    monkeypatch.setattr(cms, "detached", refuse)
    answer = faulty.running.call("role/ci", "POST", FILES.url(faulty.running), FILES.body)
    assert answer.status_code == 422
    assert "signatures" not in answer.get_json()
    assert _outcomes(faulty, answer) == [(0, "denied", "unprocessable", True)]


def test_an_item_of_two_signatures_has_one_outcome_that_names_both(faulty: FaultyService) -> None:
    answer = faulty.running.call("role/ci", "POST", RESPONSES.url(faulty.running), RESPONSES.body)
    (row,) = faulty.running.outcomes(answer.headers["X-Request-Id"])
    first, further = json.loads(row["record"])["signatures"]
    assert first == {"digest": row["digest"].hex(), "sha256": row["signature_sha256"].hex()}
    assert len(bytes.fromhex(further["sha256"])) == 32
    assert further["sha256"] != first["sha256"]
    assert further["digest"] != first["digest"]


@pytest.mark.parametrize(
    ("request_", "module", "function"),
    [
        (RAW, raw, "sign_message"),
        (FILES, cms, "detached"),
        (TOKENS, jwt, "issue"),
        (RESPONSES, saml, "respond"),
    ],
    ids=["raw", "cms", "jwt", "saml"],
)
@pytest.mark.parametrize("kind", [RuntimeError, ValueError, TypeError, KeyError, OSError, ZeroDivisionError])
def test_a_bug_in_a_format_says_nothing_of_itself(
    faulty: FaultyService,
    log: Log,
    monkeypatch: pytest.MonkeyPatch,
    request_: Any,
    module: Any,
    function: str,
    kind: Callable[[str], Exception],
) -> None:
    url = request_.url(faulty.running)

    def fail(*_arguments: object, **_options: object) -> str:
        raise kind(WORDS)

    monkeypatch.setattr(module, function, fail)
    answer = faulty.running.call("role/ci", "POST", url, request_.body)
    assert answer.status_code == 500
    assert answer.get_json() == problem("internal_error", "", request_id=answer.headers["X-Request-Id"])
    (outcome,) = faulty.running.outcomes(answer.headers["X-Request-Id"])
    assert (outcome["outcome"], outcome["code"]) == ("failed", "internal_error")
    assert len(faulty.running.intents(answer.headers["X-Request-Id"])) == 1
    written = repr(log)
    assert "hunter2" not in written
    assert "Traceback" not in written
    assert [line for line in log if line["event"] == "call_failed" and line["kind"] and line["reason"]]
    assert all("exc_info" not in line for line in log)


def test_a_bug_at_the_tenth_item_fails_all_of_them(faulty: FaultyService, monkeypatch: pytest.MonkeyPatch) -> None:
    url, sign_message, calls = RAW.url(faulty.running), raw.sign_message, []

    def fail_late(key: SigningKey, message: bytes) -> bytes:
        calls.append(message)
        if len(calls) == 10:
            raise RuntimeError(WORDS)
        return sign_message(key, message)

    monkeypatch.setattr(raw, "sign_message", fail_late)
    answer = faulty.running.call("role/ci", "POST", url, {"items": [{"message": "AAAA"}] * 20})
    assert answer.status_code == 500
    assert _outcomes(faulty, answer) == [(at, "failed", "internal_error", at < 9) for at in range(20)]


@pytest.mark.parametrize(
    ("error", "status", "outcome"),
    [(HsmUnavailable("gone"), 503, "failed"), (WrongState("the key is disabled"), 409, "denied")],
    ids=["unavailable", "disabled-meanwhile"],
)
def test_a_key_that_cannot_be_opened_is_recorded_as_what_it_is(
    faulty: FaultyService,
    log: Log,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    status: int,
    outcome: str,
) -> None:
    url = RAW.url(faulty.running)

    def refuse(_intent: Intent) -> SigningKey:
        raise error

    monkeypatch.setattr(faulty.running.services.keystore, "open_key", refuse)
    answer = faulty.running.call("role/ci", "POST", url, {"items": [{"message": "AAAA"}] * 3})
    assert answer.status_code == status
    assert [(item, kind) for item, kind, _, _ in _outcomes(faulty, answer)] == [(at, outcome) for at in range(3)]
    assert bool([line for line in log if line.get("alarm")]) == (outcome == "failed")
