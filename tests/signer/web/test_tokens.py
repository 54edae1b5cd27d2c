"""API tokens: further ones of one's own, with an end; listed without secrets; ended at once; and codes in another's
name, which leave a trail."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from keystore.api import CredentialRecord
from signer.administration.credentials import MOST_TOKENS
from signer.authn.tokens import new_token, stored_form
from tests.signer.service import MovedClock, ServiceInProcess, running_service
from tests.signer.web.refusal import assert_refused
from tests.signer.web.test_people import enrol, enrolled, make, new_name

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from keystore.hsm import Token


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock(datetime(2027, 5, 1, tzinfo=UTC))


@pytest.fixture
def timed(token: Token, tmp_path: Path, clock: MovedClock) -> Iterator[ServiceInProcess]:
    with running_service(token, tmp_path, clock=clock) as service:
        yield service


def tokens_of(service: ServiceInProcess, who: str, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = service.made(who, "GET", f"/v1/principals/{name}/tokens")["tokens"]
    return found


def works(service: ServiceInProcess, token: str) -> bool:
    return service.call(token, "GET", "/v1/whoami").status_code == 200


def test_a_principal_makes_a_further_token_for_itself(service: ServiceInProcess) -> None:
    name = new_name()
    first = enrolled(service, name)
    answer = service.call(first, "POST", f"/v1/principals/{name}/tokens", {"label": "laptop", "days": 30})
    made = answer.get_json()
    assert (answer.status_code, set(made)) == (201, {"id", "token", "label", "expires_at"})
    me = service.made(made["token"], "GET", "/v1/whoami")
    assert (me["name"], me["credential"], me["expires_at"]) == (name, f"bearer:{made['id']}", made["expires_at"])
    assert works(service, first)
    (intent,) = service.intents(answer.headers["X-Request-Id"])
    (outcome,) = service.outcomes(answer.headers["X-Request-Id"])
    assert (intent["action"], intent["subject"], outcome["subject"]) == ("CreateCredential", name, name)
    assert json.loads(outcome["detail"])["credential"] == f"bearer:{made['id']}"
    assert made["token"] not in str(intent) + str(outcome)


def test_what_is_listed_tells_no_secret(service: ServiceInProcess) -> None:
    name = new_name()
    first = enrolled(service, name)
    second = service.made(first, "POST", f"/v1/principals/{name}/tokens", {"label": "laptop"})
    for who in (first, "user/admin"):
        text = service.call(who, "GET", f"/v1/principals/{name}/tokens").get_data(as_text=True)
        assert first not in text
        assert second["token"] not in text
        assert stored_form(first).id not in text  # the look-up id itself stays inside too
        listed = {each["label"]: each for each in tokens_of(service, who, name)}
        assert set(listed) == {"enrolled", "laptop"}
        assert listed["laptop"]["id"] == second["id"]
        assert (listed["laptop"]["created_by"], listed["enrolled"]["created_by"]) == (name, "user/admin")
        assert {each["state"] for each in listed.values()} == {"enabled"}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "label"),
        ({"label": ""}, "label"),
        ({"label": "x" * 257}, "label"),
        ({"label": "two\nlines"}, "label"),
        ({"label": "x", "days": 0}, "days"),
        ({"label": "x", "days": 366}, "days"),
        ({"label": "x", "expires_in": 59}, "expires_in"),
        ({"label": "x", "expires_in": 365 * 86400 + 1}, "expires_in"),
        ({"label": "x", "expires_in": -1}, "expires_in"),
        ({"label": "x", "days": 1, "expires_in": 3600}, "expires_in"),
        ({"label": "x", "expires_at": "2100-01-01T00:00:00Z"}, "expires_at"),
    ],
)
def test_a_token_that_cannot_be_made(service: ServiceInProcess, body: dict[str, object], field: str) -> None:
    answer = service.call("role/ci", "POST", "/v1/principals/role/ci/tokens", body)
    assert (answer.status_code, answer.get_json()["field"]) == (422, field), answer.get_json()


def test_a_token_that_has_ended_is_refused_and_says_so_in_the_list(timed: ServiceInProcess, clock: MovedClock) -> None:
    name = new_name()
    first = enrolled(timed, name)
    short = timed.made(first, "POST", f"/v1/principals/{name}/tokens", {"label": "an hour", "expires_in": 3600})
    clock.move(timedelta(minutes=59, seconds=59))
    assert works(timed, short["token"])
    clock.move(timedelta(seconds=1))
    assert_refused(timed.call(short["token"], "GET", "/v1/whoami"), 401, "unauthenticated")
    states = {each["label"]: each["state"] for each in tokens_of(timed, first, name)}
    assert states == {"an hour": "expired", "enrolled": "enabled"}
    clock.move(timedelta(days=365))
    assert not works(timed, first)


def test_nobody_makes_a_token_for_another(service: ServiceInProcess) -> None:
    name = new_name()
    enrolled(service, name)
    for who in ("user/admin", "user/key-admin", "role/ci", "user/auditor"):
        for target in (name, "role/nobody", "user/root", "group/x"):
            answer = service.call(who, "POST", f"/v1/principals/{target}/tokens", {"label": "mine"})
            assert_refused(answer, 403, "duty_forbids")
    assert len(tokens_of(service, "user/admin", name)) == 1


def test_who_may_not_see_anothers_tokens_learns_not_whether_there_is_such_a_principal(
    service: ServiceInProcess,
) -> None:
    for who in ("role/ci", "user/key-admin", "user/auditor"):
        for method, end in (("GET", ""), ("DELETE", "/" + "0" * 12)):
            answers = [
                service.call(who, method, f"/v1/principals/{target}/tokens{end}")
                for target in ("user/admin", "role/nobody")
            ]
            for answer in answers:
                assert_refused(answer, 403, "duty_forbids")
            assert answers[0].get_json()["detail"] == answers[1].get_json()["detail"]


def test_a_token_is_ended_by_its_holder_and_by_an_administrator(service: ServiceInProcess) -> None:
    name = new_name()
    first = enrolled(service, name)
    path = f"/v1/principals/{name}/tokens"
    mine, theirs = (service.made(first, "POST", path, {"label": label}) for label in ("mine", "theirs"))
    assert service.made(first, "DELETE", f"{path}/{mine['id']}") == {"id": mine["id"], "state": "revoked"}
    assert not works(service, mine["token"])
    answer = service.call("user/admin", "DELETE", f"{path}/{theirs['id']}")
    assert not works(service, theirs["token"])
    assert works(service, first)
    (outcome,) = service.outcomes(answer.headers["X-Request-Id"])
    assert (outcome["action"], outcome["subject"], outcome["principal"]) == ("RevokeCredential", name, "user/admin")
    assert json.loads(outcome["detail"]) == {"credential": f"bearer:{theirs['id']}", "label": "theirs"}
    assert service.made(first, "DELETE", f"{path}/{mine['id']}")["state"] == "revoked"  # again: it stays so
    states = {each["label"]: each["state"] for each in tokens_of(service, first, name)}
    assert states == {"mine": "revoked", "theirs": "revoked", "enrolled": "enabled"}


def test_a_token_of_another_is_not_found_by_its_id(service: ServiceInProcess) -> None:
    one, other = new_name(), new_name()
    token, _ = enrolled(service, one), enrolled(service, other)
    (theirs,) = tokens_of(service, "user/admin", other)
    for who in (token, "user/admin"):
        for asked in (theirs["id"], "0" * 12, stored_form(token).id, stored_form(token).id[:11], "f" * 13, "%"):
            answer = service.call(who, "DELETE", f"/v1/principals/{one}/tokens/{asked}")
            assert_refused(answer, 404, "not_found", "credential")
    assert works(service, token)


def test_tokens_are_listed_in_pages(service: ServiceInProcess) -> None:
    name = new_name()
    token = enrolled(service, name)
    for number in range(4):
        service.made(token, "POST", f"/v1/principals/{name}/tokens", {"label": str(number)})
    found, cursor = [], ""
    while True:
        page = service.made(token, "GET", f"/v1/principals/{name}/tokens?limit=2{cursor}")
        found += [each["id"] for each in page["tokens"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert len(found) == len(set(found)) == 5
    assert found == sorted(found)


def test_a_principal_has_so_many_tokens_at_a_time(own_service: ServiceInProcess) -> None:
    keystore, moment = own_service.services.keystore, own_service.services.keystore.clock()
    path = "/v1/principals/role/other/tokens"
    for number in range(MOST_TOKENS - 2):
        stored = stored_form(new_token())
        end = moment - timedelta(seconds=1) if number == 0 else None  # one that has ended does not count
        keystore.create_credential(
            CredentialRecord(stored.id, "role/other", stored.digest, "enabled", moment, end, label=str(number))
        )
    for label in ("the last but one", "the last"):
        last = own_service.made("role/other", "POST", path, {"label": label})
    answer = own_service.call("role/other", "POST", path, {"label": "one more"})
    assert_refused(answer, 409, "limit_exceeded")
    own_service.made("role/other", "DELETE", f"{path}/{last['id']}")
    own_service.made("role/other", "POST", path, {"label": "one more"})


def test_a_code_in_anothers_name_leaves_a_trail(service: ServiceInProcess) -> None:
    """Who made it, for whom, who used it and from where: in the records, the log and the list of tokens."""
    name = new_name("user")
    first = enrolled(service, name)
    with capture_logs() as made_log:
        answer = service.call("user/admin", "POST", f"/v1/principals/{name}/enrolments", {})
    code = answer.get_json()
    assert (answer.status_code, code["name"], code["revoked_tokens"]) == (201, name, 0)
    (intent,) = service.intents(answer.headers["X-Request-Id"])
    (outcome,) = service.outcomes(answer.headers["X-Request-Id"])
    assert (intent["action"], intent["principal"], intent["subject"]) == ("CreateEnrolment", "user/admin", name)
    enrolment = json.loads(outcome["detail"])["enrolment"]
    with capture_logs() as used_log:
        used = service.call(None, "POST", "/v1/enrolments", {"code": code["enrolment_code"]})
    (noted,) = service.outcomes(used.headers["X-Request-Id"])
    assert (noted["action"], noted["principal"], noted["source"]) == ("Enrol", name, "127.0.0.1")
    assert json.loads(noted["detail"]) == {"enrolment": enrolment, "made_by": "user/admin", "again": True}
    assert [(line["event"], line["alarm"], line["made_by"]) for line in made_log + used_log] == [
        ("enrolment_in_anothers_name", True, "user/admin"),
        ("enrolled_again", True, "user/admin"),
    ]
    assert used_log[0]["source"] == "127.0.0.1"
    assert works(service, first)  # nothing was said of the old ones
    assert works(service, used.get_json()["token"])
    makers = [each["created_by"] for each in tokens_of(service, first, name)]
    assert makers == ["user/admin", "user/admin"]
    everything = str(made_log + used_log + [intent, outcome, noted])
    assert code["enrolment_code"] not in everything
    assert used.get_json()["token"] not in everything


def test_a_first_enrolment_is_no_alarm(service: ServiceInProcess) -> None:
    made = make(service, new_name())
    with capture_logs() as log:
        used = enrol(service, made["enrolment_code"])
    assert log == []
    (noted,) = service.outcomes(used.headers["X-Request-Id"])
    assert json.loads(noted["detail"])["again"] is False


def test_a_lost_token_ends_with_the_new_code(service: ServiceInProcess) -> None:
    name = new_name()
    first = enrolled(service, name)
    service.made(first, "POST", f"/v1/principals/{name}/tokens", {"label": "laptop"})
    path = f"/v1/principals/{name}/enrolments"
    made = service.made("user/admin", "POST", path, {"revoke_tokens": True})
    assert made["revoked_tokens"] == 2
    assert not works(service, first)
    token = str(enrol(service, made["enrolment_code"]).get_json()["token"])
    assert works(service, token)


def test_a_new_code_takes_the_place_of_an_open_one(service: ServiceInProcess) -> None:
    name = new_name()
    old = make(service, name)["enrolment_code"]
    new = service.made("user/admin", "POST", f"/v1/principals/{name}/enrolments", {})["enrolment_code"]
    assert_refused(enrol(service, old), 401, "unauthenticated", "code")
    assert enrol(service, new).status_code == 201


def test_who_cannot_be_enrolled_again(service: ServiceInProcess) -> None:
    def asked(name: str) -> Any:
        return service.call("user/admin", "POST", f"/v1/principals/{name}/enrolments", {})

    assert_refused(asked("user/admin"), 409, "wrong_state")  # oneself
    assert_refused(asked("user/root"), 409, "wrong_state")  # break glass, whether it is there or not
    assert_refused(asked("role/nobody"), 404, "not_found", "name")
    gone, away = new_name(), new_name()
    make(service, gone)
    service.made("user/admin", "DELETE", f"/v1/principals/{gone}")
    assert_refused(asked(gone), 404, "not_found", "name")
    make(service, away)
    service.made("user/admin", "POST", f"/v1/principals/{away}/disable")
    assert_refused(asked(away), 409, "wrong_state")


def test_of_many_tokens_made_at_once_each_is_one(service: ServiceInProcess) -> None:
    name = new_name()
    token = enrolled(service, name)
    made: list[Any] = []

    def create() -> None:
        client = service.client.application.test_client()
        headers = {"Authorization": f"Bearer {token}"}
        answer = client.post(f"/v1/principals/{name}/tokens", json={"label": "x"}, headers=headers)
        made.append(answer.get_json()["token"])

    threads = [threading.Thread(target=create) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 4
    assert all(works(service, each) for each in made)
