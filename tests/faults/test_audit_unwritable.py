"""An audit trail that cannot be written: no signature and no change, and all is well again as soon as it can be."""

from __future__ import annotations

import errno
import os
import threading
import time
import uuid
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from sqlalchemy import func, select

from keystore.api import Key
from keystore.db.schema import AUDIT_INTENTS, LOG_ENTRIES
from signer.audit import trail
from tests.faults import storage
from tests.faults.conftest import FaultyService
from tests.faults.faulty_token import FaultyToken
from tests.faults.requests import TYPICAL, SigningRequest, assertion
from tests.signer.service import running_service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from werkzeug.test import TestResponse

    from keystore.db import Database
    from keystore.hsm import Token
    from tests.faults.test_lying_hsm import Log
    from tests.signer.service import ServiceInProcess

    Way = Callable[[Database], AbstractContextManager[None]]

UNAVAILABLE = {"audit_unavailable", "store_unavailable"}


@pytest.fixture(scope="module")
def impatient(token: Token, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultyService]:
    """A service with a database of its own, which does not wait long for locks."""
    faulty = FaultyToken(token)
    with (
        pytest.MonkeyPatch.context() as patch,
        running_service(faulty, tmp_path_factory.mktemp("impatient")) as running,
    ):
        patch.setattr(trail, "SWEEP_SECONDS", 0.1)
        storage.make_impatient(running.services.keystore.database, patch)
        for request in TYPICAL:
            request.key(running)
        running.make_key("subject", "ECC_NIST_P256", "general")
        running.make_key("sleeping", "ECC_NIST_P256", "general")
        running.made("user/key-admin", "POST", "/v1/keys/sleeping/disable")
        running.made("user/admin", "POST", "/v1/principals", {"name": "role/leaving", "duty": "key-user"})
        yield FaultyService(running, faulty)


def database_of(faulty: FaultyService) -> Database:
    return faulty.running.services.keystore.database


@dataclass(frozen=True)
class Request:
    who: str
    method: str
    path: str
    body: object
    expected: int  # what it is answered when the trail can be written
    headers: dict[str, str] | None = None

    def send(self, service: ServiceInProcess) -> TestResponse:
        return service.call(self.who, self.method, self.path, self.body, self.headers)


def changes() -> list[Request]:
    """Every kind of call that writes to the trail and signs nothing, each once."""
    unique = uuid.uuid4().hex
    admin, keys, user = "user/admin", "user/key-admin", "role/ci"
    subject = "/v1/keys/subject"
    policy = {"administrators": [keys], "users": [user]}
    return [
        Request(keys, "POST", "/v1/keys", {"alias": unique, "spec": "ECC_NIST_P256", "purpose": "general"}, 201),
        Request(keys, "POST", f"{subject}/rotate", {"now": True}, 200),
        Request(keys, "PUT", f"{subject}/policy", policy, 200),
        Request(keys, "POST", f"{subject}/disable", None, 200),
        Request(keys, "POST", f"{subject}/enable", None, 200),
        Request(keys, "POST", f"{subject}/schedule-deletion", {"days": 7}, 200),
        Request(keys, "POST", f"{subject}/cancel-deletion", None, 200),
        Request(keys, "POST", f"{subject}/enable", None, 200),
        Request(admin, "POST", "/v1/principals", {"name": f"role/{unique}", "duty": "key-user"}, 201),
        Request(admin, "DELETE", f"/v1/principals/role/{unique}", None, 200),
        Request(keys, "POST", "/v1/issuers", {"name": f"i{unique[:20]}", "url": "https://issuer.example"}, 201),
    ]


def refusals() -> list[Request]:
    """Calls that are refused, for each kind of reason; a refusal that cannot be recorded is not given."""
    admin, keys, user = "user/admin", "user/key-admin", "role/ci"
    message = {"message": "AAAA"}
    return [
        Request(admin, "POST", "/v1/keys", {"spec": "ECC_NIST_P256", "purpose": "general"}, 403),
        Request(keys, "POST", "/v1/keys", {"spec": 1}, 422),
        Request("role/other", "POST", "/v1/keys/subject/signatures", message, 404),
        Request(user, "POST", "/v1/keys/absent/signatures", message, 404),
        Request(user, "POST", "/v1/keys/subject/signatures", {"digest": "AAAA"}, 422),
        Request(user, "POST", "/v1/keys/subject/jwts", {}, 409),
        Request(user, "POST", "/v1/keys/sleeping/signatures", message, 409),
        Request(user, "POST", "/v1/keys/subject/signatures", message, 422, {"Idempotency-Key": "not visible: \t"}),
        Request("role/other", "GET", "/v1/keys/subject", None, 404),
    ]


def assert_unavailable(answer: TestResponse) -> None:
    assert answer.status_code == 503, answer.get_data(as_text=True)
    body = answer.get_json()
    assert body["code"] in UNAVAILABLE
    assert set(body) == {"type", "title", "status", "code", "detail", "request_id"}
    assert answer.headers["Retry-After"]


def recorded(service: ServiceInProcess) -> tuple[int, int]:
    with service.services.keystore.database.read() as connection:
        count = select(func.count())
        intents = connection.execute(count.select_from(AUDIT_INTENTS)).scalar_one()
        return intents, connection.execute(count.select_from(LOG_ENTRIES)).scalar_one()


@pytest.mark.parametrize("way", storage.WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("keyed", [False, True], ids=["plain", "idempotent"])
def test_no_intent_no_signature(impatient: FaultyService, log: Log, way: Way, keyed: bool) -> None:
    service, headers = impatient.running, {"Idempotency-Key": uuid.uuid4().hex} if keyed else None
    urls = {request: request.url(service) for request in TYPICAL}
    before = recorded(service)
    impatient.token.honest()
    with way(database_of(impatient)):
        for request, url in urls.items():
            assert_unavailable(service.call("role/ci", "POST", url, request.body, headers))
    assert recorded(service) == before
    assert impatient.token.asked == 0
    assert [line for line in log if line["event"] == "audit_unavailable" and line["alarm"]]
    for request, url in urls.items():  # and again without a restart, with the same idempotency keys
        answer = service.call("role/ci", "POST", url, request.body, headers)
        assert answer.status_code == 200, answer.get_data(as_text=True)
    assert impatient.token.asked == sum(request.signatures for request in TYPICAL)


@pytest.mark.parametrize("way", storage.WAYS, ids=lambda way: way.__name__)
@pytest.mark.usefixtures("log")
def test_no_record_no_change_and_no_refusal(impatient: FaultyService, way: Way) -> None:
    service = impatient.running
    wanted = changes()
    for number, request in enumerate(wanted):
        if number % 3 == 0:  # the others are tried in between, each on what the one before it left
            with way(database_of(impatient)):
                for blocked in wanted[number : number + 3]:
                    assert_unavailable(blocked.send(service))
        answer = request.send(service)
        assert answer.status_code == request.expected, answer.get_data(as_text=True)
    with way(database_of(impatient)):
        for request in refusals():
            assert_unavailable(request.send(service))
    for request in refusals():
        assert request.send(service).status_code == request.expected


@pytest.mark.parametrize("way", storage.WAYS, ids=lambda way: way.__name__)
@pytest.mark.usefixtures("log")
def test_readiness_says_so_and_what_needs_no_record_still_works(impatient: FaultyService, way: Way) -> None:
    service = impatient.running
    with way(database_of(impatient)):
        assert service.call(None, "GET", "/readyz").status_code == 503
        assert service.call(None, "GET", "/healthz").status_code == 200
        assert_unavailable(service.call("user/key-admin", "GET", "/v1/keys/subject"))  # a look is recorded too
        assert service.call("smk_nobody", "GET", "/v1/whoami").status_code == 401
        assert service.call(None, "GET", "/.well-known/jwks.json").status_code == 200
    assert service.call(None, "GET", "/readyz").status_code == 200


def test_an_enrolment_code_outlives_the_fault(impatient: FaultyService) -> None:
    service = impatient.running
    made = service.made(
        "user/admin", "POST", "/v1/principals", {"name": f"role/{uuid.uuid4().hex}", "duty": "key-user"}
    )
    code = {"code": made["enrolment_code"]}
    with storage.read_only(database_of(impatient)):
        assert_unavailable(service.call(None, "POST", "/v1/enrolments", code))
    enrolled = service.made(None, "POST", "/v1/enrolments", code)
    assert service.call(enrolled["token"], "GET", "/v1/whoami").get_json()["name"] == made["name"]


@pytest.mark.sqlite_only("a full disk as SQLite meets it")
def test_a_full_database_signs_nothing(impatient: FaultyService) -> None:
    """A large context, so that the intent cannot be squeezed into the pages that are there."""
    service = impatient.running
    context = {f"member-{number}": "x" * 1000 for number in range(30)}
    urls = {request: request.url(service) for request in TYPICAL}
    impatient.token.honest()
    with storage.full(database_of(impatient)):
        for request, url in urls.items():
            body = {**request.body, "context": context}
            assert_unavailable(service.call("role/ci", "POST", url, body))
    assert impatient.token.asked == 0
    for request in TYPICAL:
        body = {**request.body, "context": context}
        assert service.call("role/ci", "POST", request.url(service), body).status_code == 200


def _outcomes_when_written(service: ServiceInProcess, request_id: str) -> list[dict[str, Any]]:
    """Waits for the sweeper, which writes what is overdue."""
    deadline = time.monotonic() + 10
    while not (outcomes := service.outcomes(request_id)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return outcomes


def _batch_of_twenty() -> SigningRequest:
    body = {"items": [{"message": "AAAA"}] * 19 + [{"digest": "AAAA"}]}
    return SigningRequest("batch", "general", "ECC_NIST_P256", "signatures", body, signatures=19)


@pytest.mark.parametrize("way", storage.WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("request_", [*TYPICAL, _batch_of_twenty()], ids=str)
def test_what_the_hsm_signed_is_not_released_when_its_outcome_cannot_be_written(
    impatient: FaultyService, log: Log, request_: SigningRequest, way: Way
) -> None:
    service = impatient.running
    url = request_.url(service)
    impatient.token.honest()
    with ExitStack() as broken:

        def break_once() -> None:
            impatient.token.after_signing = None
            broken.enter_context(way(database_of(impatient)))

        impatient.token.after_signing = break_once
        answer = service.call("role/ci", "POST", url, request_.body)
        assert_unavailable(answer)
        request_id = answer.headers["X-Request-Id"]
        assert impatient.token.asked == request_.signatures
        assert len(service.intents(request_id)) == 1
        assert service.outcomes(request_id) == []
    outcomes = _outcomes_when_written(service, request_id)
    signed = [row for row in outcomes if row["intent_id"] is not None]
    assert [row["item"] for row in signed] == list(range(service.intents(request_id)[0]["items"]))
    assert {(row["outcome"], row["code"]) for row in signed} == {("failed", "audit_unavailable")}
    assert all(row["signature_sha256"] for row in signed)
    refused = [row for row in outcomes if row["intent_id"] is None]
    assert [(row["item"], row["outcome"], row["code"]) for row in refused] == [
        (19, "denied", "unprocessable") for _ in range(request_.name == "batch")
    ]
    assert [line for line in log if line["event"] == "audit_unavailable"]


def test_the_same_idempotency_key_signs_after_an_outcome_was_lost(impatient: FaultyService) -> None:
    service, request = impatient.running, TYPICAL[0]
    headers = {"Idempotency-Key": uuid.uuid4().hex}
    with ExitStack() as broken:

        def break_once() -> None:
            impatient.token.after_signing = None
            broken.enter_context(storage.read_only(database_of(impatient)))

        impatient.token.after_signing = break_once
        assert_unavailable(service.call("role/ci", "POST", request.url(service), request.body, headers))
    answer = service.call("role/ci", "POST", request.url(service), request.body, headers)
    assert answer.status_code == 200, answer.get_data(as_text=True)


def test_a_certificate_whose_outcome_cannot_be_written_makes_no_key(impatient: FaultyService) -> None:
    service = impatient.running
    body = {"alias": uuid.uuid4().hex, "spec": "ECC_NIST_P256", "purpose": "artifact"}
    impatient.token.honest()
    with ExitStack() as broken:

        def break_once() -> None:
            impatient.token.after_signing = None
            broken.enter_context(storage.read_only(database_of(impatient)))

        impatient.token.after_signing = break_once
        answer = service.call("user/key-admin", "POST", "/v1/keys", body)
        assert_unavailable(answer)
    assert service.call("user/key-admin", "GET", f"/v1/keys/{body['alias']}").status_code == 404
    outcomes = _outcomes_when_written(service, answer.headers["X-Request-Id"])
    assert {(row["action"], row["outcome"], row["code"]) for row in outcomes} == {
        ("IssueCertificate", "failed", "audit_unavailable"),
        ("CreateKey", "failed", "audit_unavailable"),
    }
    assert service.call("user/key-admin", "POST", "/v1/keys", body).status_code == 201


def test_a_change_that_took_effect_is_recorded_as_that(
    impatient: FaultyService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It cannot be taken back: the trail must not say that it failed."""
    service, keystore = impatient.running, impatient.running.services.keystore
    create_key = keystore.create_key
    alias = uuid.uuid4().hex
    with ExitStack() as broken:

        def create_and_break(new: Any, **more: Any) -> Key:
            key = create_key(new, **more)
            broken.enter_context(storage.read_only(keystore.database))
            return key

        monkeypatch.setattr(keystore, "create_key", create_and_break)
        body = {"alias": alias, "spec": "ECC_NIST_P256", "purpose": "general"}
        answer = service.call("user/key-admin", "POST", "/v1/keys", body)
        assert_unavailable(answer)
    outcomes = _outcomes_when_written(service, answer.headers["X-Request-Id"])
    assert [(row["outcome"], row["code"]) for row in outcomes] == [("succeeded", "audit_unavailable")]
    assert service.call("user/key-admin", "GET", f"/v1/keys/{alias}").status_code == 200


def test_many_threads_are_all_refused_and_none_hangs(impatient: FaultyService) -> None:
    service, request = impatient.running, TYPICAL[0]
    url, statuses, guard = request.url(service), [], threading.Lock()

    def send() -> None:
        client = service.client.application.test_client()
        headers = {"Authorization": f"Bearer {service.tokens['role/ci']}"}
        answer = client.post(url, json=request.body, headers=headers)
        with guard:
            statuses.append(answer.status_code)

    def send_from_many() -> None:
        threads = [threading.Thread(target=send) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=30)
        assert not [thread for thread in threads if thread.is_alive()]

    impatient.token.honest()
    with storage.locked(database_of(impatient)):
        send_from_many()
    assert statuses == [503] * 12
    assert impatient.token.asked == 0
    statuses.clear()
    send_from_many()
    assert statuses == [200] * 12


@pytest.mark.sqlite_only("a full disk as SQLite meets it")
def test_a_log_on_the_same_full_disk_does_not_end_the_sweeper(
    impatient: FaultyService, monkeypatch: pytest.MonkeyPatch
) -> None:
    service, request = impatient.running, TYPICAL[0]
    logged: list[str] = []

    def fail(_log: object, method: str, _event: object) -> str:
        logged.append(method)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(trail, "_log", structlog.wrap_logger(None, processors=[fail]))
    with ExitStack() as broken:

        def break_once() -> None:
            impatient.token.after_signing = None
            broken.enter_context(storage.read_only(database_of(impatient)))

        impatient.token.after_signing = break_once
        answer = service.call("role/ci", "POST", request.url(service), request.body)
        assert_unavailable(answer)
        seen = len(logged)
        while len(logged) < seen + 4:  # the sweeper tries, and cannot even say that it fails
            time.sleep(0.02)
    outcomes = _outcomes_when_written(service, answer.headers["X-Request-Id"])
    assert [row["outcome"] for row in outcomes] == ["failed"]


def test_what_cannot_be_made_is_refused_once_the_trail_can_be_written(impatient: FaultyService) -> None:
    service, request = impatient.running, TYPICAL[-1]
    url, body = request.url(service), assertion(subject="\x07")
    with storage.read_only(database_of(impatient)):
        assert_unavailable(service.call("role/ci", "POST", url, body))
    answer = service.call("role/ci", "POST", url, body)
    assert answer.status_code == 422
    assert len(service.outcomes(answer.headers["X-Request-Id"])) == 1
