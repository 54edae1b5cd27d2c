"""Principals over HTTP: made by an administrator, enrolled once by whoever holds the code, ended at once."""

from __future__ import annotations

import threading
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from keystore.api import EnrolmentRecord
from keystore.secrets import NOBODY
from signer.authn.tokens import new_enrolment_code, stored_form
from tests.signer.web.refusal import assert_refused

if TYPE_CHECKING:
    from werkzeug.test import TestResponse

    from tests.signer.service import ServiceInProcess

DUTIES = ("administrator", "key-administrator", "key-user", "auditor")


def new_name(kind: str = "role") -> str:
    return f"{kind}/{uuid.uuid4().hex[:12]}"


def make(service: ServiceInProcess, name: str, duty: str = "key-user") -> dict[str, Any]:
    made: dict[str, Any] = service.made("user/admin", "POST", "/v1/principals", {"name": name, "duty": duty})
    return made


def enrol(service: ServiceInProcess, code: str) -> TestResponse:
    return service.call(None, "POST", "/v1/enrolments", {"code": code})


def enrolled(service: ServiceInProcess, name: str, duty: str = "key-user") -> str:
    return str(enrol(service, make(service, name, duty)["enrolment_code"]).get_json()["token"])


@pytest.mark.parametrize("duty", DUTIES)
@pytest.mark.parametrize("kind", ["user", "role"])
def test_an_identity_is_made_enrolled_and_knows_itself(service: ServiceInProcess, kind: str, duty: str) -> None:
    name = new_name(kind)
    before = datetime.now(UTC)
    made = make(service, name, duty)
    assert set(made) == {"name", "duty", "enrolment_code", "expires_at"}
    assert (made["name"], made["duty"]) == (name, duty)
    life = datetime.fromisoformat(made["expires_at"]) - before
    assert timedelta(hours=24) <= life < timedelta(hours=24, seconds=60)
    answer = enrol(service, made["enrolment_code"])
    assert answer.status_code == 201
    assert set(answer.get_json()) == {"name", "token", "expires_at"}
    token = answer.get_json()["token"]
    assert answer.get_json()["name"] == name
    assert service.made(token, "GET", "/v1/whoami") == {
        "name": name,
        "duty": duty,
        "credential": f"bearer:{stored_form(token).id[:12]}",
        "kind": "token",
        "expires_at": answer.get_json()["expires_at"],
    }
    life = datetime.fromisoformat(answer.get_json()["expires_at"]) - before
    assert timedelta(days=365) <= life < timedelta(days=365, seconds=60)
    (noted,) = service.outcomes(answer.headers["X-Request-Id"])
    assert (noted["principal"], noted["action"], noted["outcome"]) == (name, "Enrol", "succeeded")


def test_nobody_but_the_holder_ever_sees_the_token(service: ServiceInProcess) -> None:
    name = new_name()
    made = make(service, name)
    assert "smk_" not in str(made)
    token = enrol(service, made["enrolment_code"]).get_json()["token"]
    shown = service.made("user/admin", "GET", f"/v1/principals/{name}")
    assert set(shown) == {"name", "duty", "state", "enabled_until", "created_at", "created_by"}
    assert (shown["name"], shown["duty"], shown["state"], shown["created_by"]) == (
        name,
        "key-user",
        "enabled",
        "user/admin",
    )
    everything = service.call("user/admin", "GET", "/v1/principals?limit=1000").get_data(as_text=True)
    assert token not in everything
    assert made["enrolment_code"] not in everything


def test_a_code_is_spent_once(service: ServiceInProcess) -> None:
    code = make(service, new_name())["enrolment_code"]
    assert enrol(service, code).status_code == 201
    assert_refused(enrol(service, code), 401, "unauthenticated", "code")


def test_of_many_who_try_a_code_at_once_one_gets_the_token(service: ServiceInProcess) -> None:
    code = make(service, new_name())["enrolment_code"]
    statuses: list[int] = []
    start = threading.Barrier(6)

    def attempt() -> None:
        client = service.client.application.test_client()
        start.wait()
        statuses.append(client.post("/v1/enrolments", json={"code": code}).status_code)

    threads = [threading.Thread(target=attempt) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [201, 401, 401, 401, 401, 401]


def test_unknown_used_expired_and_voided_codes_get_one_answer(service: ServiceInProcess) -> None:
    used = make(service, new_name())["enrolment_code"]
    enrol(service, used)
    gone = new_name()
    voided = make(service, gone)["enrolment_code"]
    service.made("user/admin", "DELETE", f"/v1/principals/{gone}")
    late = new_name()
    make(service, late)
    expired, moment = new_enrolment_code(), datetime.now(UTC)
    stored = stored_form(expired)
    service.services.keystore.create_enrolment(
        EnrolmentRecord(
            stored.id, late, stored.digest, "open", moment - timedelta(days=2), moment - timedelta(seconds=1)
        )
    )
    answers = [enrol(service, code) for code in (used, voided, expired, new_enrolment_code(), "x")]
    for answer in answers:
        assert_refused(answer, 401, "unauthenticated", "code")
    assert len({str({**answer.get_json(), "request_id": ""}) for answer in answers}) == 1


def test_a_code_is_no_token_and_a_token_no_code(service: ServiceInProcess) -> None:
    code = make(service, new_name())["enrolment_code"]
    assert service.call(code, "GET", "/v1/whoami").status_code == 401
    assert enrol(service, service.tokens["role/ci"]).status_code == 401
    assert enrol(service, code).status_code == 201


def test_deletion_ends_the_token_at_once_and_the_name_for_ever(service: ServiceInProcess) -> None:
    name = new_name()
    token = enrolled(service, name)
    assert service.call(token, "GET", "/v1/whoami").status_code == 200
    deleted = service.made("user/admin", "DELETE", f"/v1/principals/{name}")
    assert deleted == {"name": name, "state": "deleted"}
    assert_refused(service.call(token, "GET", "/v1/whoami"), 401, "unauthenticated")
    for method in ("GET", "DELETE"):
        answer = service.call("user/admin", method, f"/v1/principals/{name}")
        assert_refused(answer, 404, "not_found", "name")
    for duty in DUTIES:
        answer = service.call("user/admin", "POST", "/v1/principals", {"name": name, "duty": duty})
        assert_refused(answer, 409, "conflict", "name")
    assert service.call(token, "GET", "/v1/whoami").status_code == 401


def test_a_name_is_taken_while_it_is_used(service: ServiceInProcess) -> None:
    answer = service.call("user/admin", "POST", "/v1/principals", {"name": "role/ci", "duty": "auditor"})
    assert_refused(answer, 409, "conflict", "name")
    assert service.made("role/ci", "GET", "/v1/whoami")["duty"] == "key-user"


def test_nobody_ends_their_own_identity(service: ServiceInProcess) -> None:
    assert_refused(service.call("user/admin", "DELETE", "/v1/principals/user/admin"), 409, "wrong_state")
    assert service.call("user/admin", "GET", "/v1/whoami").status_code == 200
    other = enrolled(service, new_name("user"), "administrator")
    mine = service.made(other, "GET", "/v1/whoami")["name"]
    assert_refused(service.call(other, "DELETE", f"/v1/principals/{mine}"), 409, "wrong_state")
    assert service.call("user/admin", "DELETE", f"/v1/principals/{mine}").status_code == 200


@pytest.mark.parametrize("name", ["role/a..b", "role/..", "role/a..", "role/x\n", "user/x\n"])
def test_a_name_that_no_path_can_hold_is_refused(service: ServiceInProcess, name: str) -> None:
    answer = service.call("user/admin", "POST", "/v1/principals", {"name": name, "duty": "auditor"})
    assert (answer.status_code, answer.get_json()["field"]) == (422, "name")


@pytest.mark.parametrize("name", ["role/a", "role/9", "user/a.b-c_d@example.org", "role/" + "x" * 128])
def test_every_name_that_can_be_made_can_be_shown_and_deleted(service: ServiceInProcess, name: str) -> None:
    make(service, name)
    assert service.made("user/admin", "GET", f"/v1/principals/{name}")["name"] == name
    assert service.made("user/admin", "DELETE", f"/v1/principals/{name}")["state"] == "deleted"


@pytest.mark.parametrize("path", ["role/nobody", "group/ci", "role/CI", "x/y"])
def test_who_is_not_there_cannot_be_shown_or_deleted(service: ServiceInProcess, path: str) -> None:
    for method in ("GET", "DELETE"):
        assert_refused(service.call("user/admin", method, f"/v1/principals/{path}"), 404, "not_found", "name")


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", "Basic {token}", "{token}", "Bearer {token}x", "Bearer x{token}", "Bearer {token} x"],
)
def test_a_credential_has_one_form(service: ServiceInProcess, header: str) -> None:
    sent = {"Authorization": header.format(token=service.tokens["user/admin"])}
    answer = service.call(None, "GET", "/v1/whoami", headers=sent)
    assert_refused(answer, 401, "unauthenticated")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_the_service_itself_is_no_principal(service: ServiceInProcess) -> None:
    """The authority's administrator by policy: nobody can become it, or see its key."""
    answer = service.call("user/admin", "POST", "/v1/principals", {"name": "service/sealmark", "duty": "auditor"})
    assert_refused(answer, 422, "malformed_request", "name")
    (authority,) = [key for key in service.services.keystore.list_keys(None, 10_000) if key.policy.document == NOBODY]
    for who in ("user/key-admin", "role/ci"):
        assert service.call(who, "GET", f"/v1/keys/{authority.id}").status_code == 404
    assert (
        service.call("role/ci", "POST", f"/v1/keys/{authority.id}/signatures", {"message": "AAAA"}).status_code == 404
    )
