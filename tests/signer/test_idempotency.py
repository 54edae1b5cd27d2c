"""`Idempotency-Key`: one answer for one request, however often and however simultaneously it is sent."""

from __future__ import annotations

import threading
import uuid
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest
from sqlalchemy import func, select

from keystore.api import SigningKey
from keystore.db.schema import LOG_ENTRIES
from keystore.errors import HsmUnavailable
from signer.formats import raw
from signer.upkeep import IDEMPOTENCY_LIFE

if TYPE_CHECKING:
    from werkzeug.test import TestResponse

    from tests.signer.service import ServiceInProcess

BODY: Final = {"message": "AAAA"}
ALIAS: Final = "repeated"


@pytest.fixture(scope="module", autouse=True)
def key(service: ServiceInProcess) -> str:
    return str(service.make_key(ALIAS, "ECC_NIST_P256", "general", users=["role/ci", "role/other"])["id"])


def send(
    service: ServiceInProcess,
    key: str | None,
    body: object = None,
    *,
    who: str = "role/ci",
    path: str = f"/v1/keys/{ALIAS}/signatures",
) -> TestResponse:
    headers = {} if key is None else {"Idempotency-Key": key}
    return service.call(who, "POST", path, BODY if body is None else body, headers)


def new_key() -> str:
    return uuid.uuid4().hex


def signatures_recorded(service: ServiceInProcess, key_id: str) -> int:
    with service.services.keystore.database.read() as connection:
        query = select(func.count()).where(LOG_ENTRIES.c.key_id == key_id, LOG_ENTRIES.c.outcome == "succeeded")
        return int(connection.execute(query.where(LOG_ENTRIES.c.signature_sha256.is_not(None))).scalar_one())


def test_the_same_request_gets_the_same_answer_and_signs_once(service: ServiceInProcess, key: str) -> None:
    name, before = new_key(), signatures_recorded(service, key)
    answers = [send(service, name) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200] * 3
    assert len({answer.data for answer in answers}) == 1
    assert len({answer.headers["X-Request-Id"] for answer in answers}) == 3
    assert signatures_recorded(service, key) == before + 1


def test_the_key_may_be_named_by_id_or_alias(service: ServiceInProcess, key: str) -> None:
    name = new_key()
    assert send(service, name).data == send(service, name, path=f"/v1/keys/{key}/signatures").data


def test_without_a_key_each_request_signs(service: ServiceInProcess, key: str) -> None:
    before = signatures_recorded(service, key)
    assert send(service, None).data != send(service, None).data
    assert signatures_recorded(service, key) == before + 2


def test_another_body_is_a_conflict_and_is_recorded(service: ServiceInProcess, key: str) -> None:
    name = new_key()
    assert send(service, name).status_code == 200
    before = signatures_recorded(service, key)
    answer = send(service, name, {"message": "BBBB"})
    assert answer.status_code == 409
    assert (answer.get_json()["code"], answer.get_json()["field"]) == ("conflict", "Idempotency-Key")
    assert signatures_recorded(service, key) == before
    outcomes = service.outcomes(answer.headers["X-Request-Id"])
    assert [(row["outcome"], row["code"]) for row in outcomes] == [("denied", "conflict")]


def test_another_principal_another_key_and_another_call_are_independent(service: ServiceInProcess, key: str) -> None:
    service.make_key("repeated-too", "ECC_NIST_P256", "general")
    members = {"audiences": ["https://reader.example"], "max_ttl": 60}
    service.make_key("repeated-jwt", "ECC_NIST_P256", "jwt", **members)
    name = new_key()
    answers = [
        send(service, name),
        send(service, name, who="role/other"),
        send(service, name, path="/v1/keys/repeated-too/signatures"),
        send(service, name, {"claims": {"sub": "somebody"}}, path="/v1/keys/repeated-jwt/jwts"),
    ]
    assert [answer.status_code for answer in answers] == [200] * 4
    assert len({answer.data for answer in answers}) == 4


@pytest.mark.parametrize("name", ["", "a b", "x" * 256, "\u00e4", "tab\t"])
def test_a_key_that_is_none_is_refused(service: ServiceInProcess, name: str) -> None:
    answer = send(service, name)
    assert answer.status_code == 422
    assert answer.get_json()["field"] == "Idempotency-Key"


def test_the_longest_key_is_taken(service: ServiceInProcess) -> None:
    assert send(service, (new_key() * 8)[:255]).status_code == 200


def test_a_request_that_fails_gives_its_key_back(service: ServiceInProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    name = new_key()
    with monkeypatch.context() as patch:
        patch.setattr(raw, "sign_message", _unavailable)
        assert send(service, name).status_code == 503
    assert send(service, name).status_code == 200


def _unavailable(_key: SigningKey, _message: bytes) -> bytes:
    raise HsmUnavailable("not now")


def test_a_request_that_is_refused_does_not_take_its_key(service: ServiceInProcess) -> None:
    name = new_key()
    assert send(service, name, {"digest": "AAAA"}).status_code == 422
    assert send(service, name, {"unknown": 1}).status_code == 422
    assert send(service, name).status_code == 200


def test_a_batch_with_a_bad_item_is_answered_alike_again(service: ServiceInProcess) -> None:
    name, body = new_key(), {"items": [BODY, {"digest": "AAAA"}, BODY]}
    first, second = send(service, name, body), send(service, name, body)
    assert first.status_code == second.status_code == 200
    assert first.data == second.data
    assert "error" in first.get_json()["results"][1]


def test_a_repetition_needs_the_right_still(service: ServiceInProcess) -> None:
    service.make_key("repeated-lost", "ECC_NIST_P256", "general")
    name, path = new_key(), "/v1/keys/repeated-lost/signatures"
    assert send(service, name, path=path).status_code == 200
    policy = {"administrators": ["user/key-admin"], "users": ["role/other"]}
    service.made("user/key-admin", "PUT", "/v1/keys/repeated-lost/policy", policy)
    assert send(service, name, path=path).status_code == 404


def test_of_simultaneous_repetitions_one_signs(
    service: ServiceInProcess, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that signs is held up until all others have been answered: in progress."""
    name, before, others_answered = new_key(), signatures_recorded(service, key), threading.Event()
    sign_message = raw.sign_message

    def slow(signing_key: SigningKey, message: bytes) -> bytes:
        assert others_answered.wait(timeout=20)
        return sign_message(signing_key, message)

    monkeypatch.setattr(raw, "sign_message", slow)
    answers, guard = _Answers(), threading.Lock()

    def send_one() -> None:
        client = service.client.application.test_client()
        headers = {"Authorization": f"Bearer {service.tokens['role/ci']}", "Idempotency-Key": name}
        answer = client.post(f"/v1/keys/{ALIAS}/signatures", json=BODY, headers=headers)
        with guard:
            answers.append((answer.status_code, answer.get_json().get("code")))
            if len(answers) == 7:
                others_answered.set()

    threads = [threading.Thread(target=send_one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert Counter(answers) == {(409, "request_in_progress"): 7, (200, None): 1}
    assert signatures_recorded(service, key) == before + 1
    assert send(service, name).status_code == 200
    assert signatures_recorded(service, key) == before + 1


_Answers = list[tuple[int, Any]]


@dataclass
class _Race:
    """Eight threads that send the same request at the same moment, and what they are answered."""

    service: ServiceInProcess
    name: str
    barrier: threading.Barrier = field(default_factory=lambda: threading.Barrier(8))
    answers: list[tuple[int, bytes]] = field(default_factory=list)

    def send_one(self) -> None:
        client = self.service.client.application.test_client()
        headers = {"Authorization": f"Bearer {self.service.tokens['role/ci']}", "Idempotency-Key": self.name}
        self.barrier.wait()
        answer = client.post(f"/v1/keys/{ALIAS}/signatures", json=BODY, headers=headers)
        self.answers.append((answer.status_code, answer.data))

    def run(self) -> None:
        threads = [threading.Thread(target=self.send_one) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=30)


def test_a_race_without_a_hold_up_signs_once_too(service: ServiceInProcess, key: str) -> None:
    for _ in range(5):
        before, race = signatures_recorded(service, key), _Race(service, new_key())
        race.run()
        assert len(race.answers) == 8
        assert {status for status, _ in race.answers} <= {200, 409}
        assert len({data for status, data in race.answers if status == 200}) == 1
        assert signatures_recorded(service, key) == before + 1


def test_a_place_whose_worker_died_is_never_signed_for_again(service: ServiceInProcess, key: str) -> None:
    """Nobody knows whether it was signed: the key answers so until it is forgotten."""
    name, keystore = new_key(), service.services.keystore
    reserve = keystore.reserve_idempotency
    taken: list[str] = []

    def reserve_and_note(record_id: str, principal: str, request_hash: bytes) -> None:
        taken.append(record_id)
        reserve(record_id, principal, request_hash)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keystore, "reserve_idempotency", reserve_and_note)
        patch.setattr(keystore, "complete_idempotency", lambda *_: None)  # as if the worker had died before
        assert send(service, name).status_code == 200
    before = signatures_recorded(service, key)
    answer = send(service, name)
    assert (answer.status_code, answer.get_json()["code"]) == (409, "request_in_progress")
    assert signatures_recorded(service, key) == before
    assert len(taken) == 1
    service.services.upkeep.once(datetime.now(UTC))
    assert send(service, name).status_code == 409
    service.services.upkeep.once(datetime.now(UTC) + IDEMPOTENCY_LIFE + timedelta(seconds=1))
    assert send(service, name).status_code == 200
