"""What is durable when the HSM is asked, and what is recorded when it was asked: seen from a second connection."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults.requests import EDWARDS, REQUESTS, TYPICAL, SigningRequest

if TYPE_CHECKING:
    from keystore.api import BackingKey
    from tests.faults.conftest import FaultyService


def _intents_seen_by_others(faulty: FaultyService) -> list[dict[str, Any]]:
    """What another process would read now: only what is committed."""
    path = faulty.running.services.keystore.database.path
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute("SELECT * FROM audit_intents")]
    finally:
        connection.close()


def _outcomes_seen_by_others(faulty: FaultyService, intent_id: str) -> int:
    connection = sqlite3.connect(f"file:{faulty.running.services.keystore.database.path}?mode=ro", uri=True)
    try:
        count = "SELECT count(*) FROM log_entries WHERE intent_id = ?"
        (found,) = connection.execute(count, (intent_id,)).fetchone()
        return int(found)
    finally:
        connection.close()


@pytest.mark.parametrize("request_", TYPICAL, ids=str)
def test_the_intent_is_durable_before_the_hsm_is_asked(faulty: FaultyService, request_: SigningRequest) -> None:
    url = request_.url(faulty.running)
    faulty.token.honest()
    known = {row["id"] for row in _intents_seen_by_others(faulty)}
    seen: list[dict[str, Any]] = []

    def look(backing: BackingKey) -> None:
        (intent,) = [row for row in _intents_seen_by_others(faulty) if row["id"] not in known]
        assert intent["version_id"] == backing.version_id
        assert _outcomes_seen_by_others(faulty, intent["id"]) == 0
        seen.append(intent)

    faulty.token.before_signing = look
    answer = faulty.running.call("role/ci", "POST", url, request_.body)
    assert answer.status_code == 200, answer.get_data(as_text=True)
    assert len(seen) == request_.signatures
    assert _outcomes_seen_by_others(faulty, seen[0]["id"]) == 1
    assert seen[0]["request_id"] == answer.headers["X-Request-Id"]
    assert (seen[0]["principal"], seen[0]["items"]) == ("role/ci", 1)


def test_a_certificates_intent_is_durable_before_the_hsm_is_asked(faulty: FaultyService) -> None:
    known = {row["id"] for row in _intents_seen_by_others(faulty)}
    seen: list[set[str]] = []

    def look(_backing: BackingKey) -> None:
        new = [row for row in _intents_seen_by_others(faulty) if row["id"] not in known]
        assert all(_outcomes_seen_by_others(faulty, row["id"]) == 0 for row in new)
        seen.append({row["action"] for row in new})

    faulty.token.before_signing = look
    faulty.running.make_key("watched", EDWARDS, "jwt", audiences=["https://reader.example"], max_ttl=60)
    assert seen == [{"CreateKey", "IssueCertificate"}]


def test_each_algorithm_of_a_batch_has_its_intent_before_its_first_signature(faulty: FaultyService) -> None:
    """Three algorithms in one call: three intents, each before the HSM is asked for that algorithm."""
    request = next(request for request in REQUESTS if request.name == "message-RSA_2048-RSASSA_PSS_SHA_256")
    url = request.url(faulty.running)
    names = ["RSASSA_PSS_SHA_256", "RSASSA_PKCS1_V1_5_SHA_256", "RSASSA_PSS_SHA_512"] * 3
    faulty.token.honest()
    known = {row["id"] for row in _intents_seen_by_others(faulty)}
    counts: list[int] = []
    faulty.token.before_signing = lambda _backing: counts.append(len(_intents_seen_by_others(faulty)) - len(known))
    answer = faulty.running.call(
        "role/ci", "POST", url, {"items": [{"message": "AAAA", "algorithm": name} for name in names]}
    )
    assert answer.status_code == 200
    assert counts == [1] * 3 + [2] * 3 + [3] * 3
    intents = faulty.running.intents(answer.headers["X-Request-Id"])
    assert sorted((row["algorithm"], row["items"]) for row in intents) == sorted((name, 3) for name in names[:3])
    algorithm_of = {row["id"]: row["algorithm"] for row in intents}
    outcomes = faulty.running.outcomes(answer.headers["X-Request-Id"])
    assert {row["item"]: algorithm_of[row["intent_id"]] for row in outcomes} == dict(enumerate(names))
    assert len(outcomes) == 9
