"""Break glass: alive by the officer's word alone, for some hours; administers, never signs; every use stands out."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest
from structlog.testing import capture_logs

from keystore.api import CredentialRecord, PrincipalRecord
from signer.authn.tokens import new_token, stored_form
from signer.root_watch import report_enabled_root
from signer.web.routes import ENDPOINTS
from tests.signer.service import MovedClock, ServiceInProcess, running_service
from tests.signer.web.refusal import assert_refused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keystore.hsm import Token

FIRST: Final = datetime(2027, 5, 1, 12, tzinfo=UTC)
TOKEN: Final = new_token()


@pytest.fixture(scope="module")
def clock() -> MovedClock:
    return MovedClock(FIRST)


@pytest.fixture(scope="module")
def service(token: Token, tmp_path_factory: pytest.TempPathFactory, clock: MovedClock) -> Iterator[ServiceInProcess]:
    with running_service(token, tmp_path_factory.mktemp("glass"), clock=clock) as running:
        stored = stored_form(TOKEN)
        running.services.keystore.create_principal(
            PrincipalRecord("user/root", "root", "disabled", FIRST, "service/sealmark"),
            credential=CredentialRecord(stored.id, "user/root", stored.digest, "enabled", FIRST, None),
        )
        yield running


@pytest.fixture
def broken(service: ServiceInProcess) -> Iterator[ServiceInProcess]:
    """The glass is broken, for an hour."""
    keystore = service.services.keystore
    keystore.set_principal_state("user/root", "enabled", until=keystore.clock() + timedelta(hours=1))
    yield service
    keystore.set_principal_state("user/root", "disabled")


def test_it_is_refused_until_a_ceremony_and_again_after_its_hours(service: ServiceInProcess, clock: MovedClock) -> None:
    keystore = service.services.keystore
    assert_refused(service.call(TOKEN, "GET", "/v1/whoami"), 401, "unauthenticated")
    until = clock() + timedelta(hours=1)
    keystore.set_principal_state("user/root", "enabled", until=until)
    me = service.made(TOKEN, "GET", "/v1/whoami")
    assert (me["name"], me["duty"]) == ("user/root", "root")
    shown = service.made("user/admin", "GET", "/v1/principals/user/root")
    assert (shown["state"], datetime.fromisoformat(shown["enabled_until"])) == ("enabled", until)
    clock.move(timedelta(minutes=59, seconds=59))
    assert service.call(TOKEN, "GET", "/v1/whoami").status_code == 200
    clock.move(timedelta(seconds=1))
    assert_refused(service.call(TOKEN, "GET", "/v1/whoami"), 401, "unauthenticated")
    shown = service.made("user/admin", "GET", "/v1/principals/user/root")
    assert (shown["state"], shown["enabled_until"]) == ("disabled", None)
    keystore.set_principal_state("user/root", "disabled")


def test_enabled_without_an_end_it_is_refused(service: ServiceInProcess) -> None:
    """Whatever wrote that: no ceremony does."""
    service.services.keystore.set_principal_state("user/root", "enabled")
    assert service.call(TOKEN, "GET", "/v1/whoami").status_code == 401
    service.services.keystore.set_principal_state("user/root", "disabled")


def test_every_use_is_an_alarm_in_the_log_and_marked_in_the_record(broken: ServiceInProcess) -> None:
    key = broken.make_key("seen", purpose="general")["id"]
    credential = f"break-glass:{stored_form(TOKEN).id[:12]}"
    made = {"name": "role/by-root", "duty": "key-user"}
    uses: list[tuple[str, str, Any, int, str, str]] = [
        ("GET", "/v1/whoami", None, 200, "WhoAmI", "succeeded"),
        ("GET", f"/v1/keys/{key}", None, 200, "DescribeKey", "succeeded"),
        ("GET", "/v1/principals/role/ci", None, 200, "ListPrincipals", "succeeded"),
        ("POST", "/v1/principals", made, 201, "CreatePrincipal", "succeeded"),
        ("POST", f"/v1/keys/{key}/disable", None, 200, "DisableKey", "succeeded"),
        ("POST", f"/v1/keys/{key}/signatures", {"message": "AAAA"}, 403, "Sign", "denied"),
        ("GET", "/v1/keys/nothing", None, 404, "DescribeKey", "denied"),
    ]
    for method, path, body, status, action, outcome in uses:
        with capture_logs() as log:
            answer = broken.call(TOKEN, method, path, body)
        assert answer.status_code == status, answer.get_data(as_text=True)
        (line,) = [line for line in log if line["event"] == "break_glass_used"]
        assert (line["alarm"], line["credential"], line["source"]) == (True, credential, "127.0.0.1")
        assert line["request_id"] == answer.headers["X-Request-Id"]
        (recorded,) = broken.outcomes(answer.headers["X-Request-Id"])
        assert (recorded["principal"], recorded["credential"]) == ("user/root", credential)
        assert (recorded["action"], recorded["outcome"]) == (action, outcome)
        assert TOKEN not in str(log) + str(recorded)


def test_it_never_signs_and_makes_no_further_token(broken: ServiceInProcess) -> None:
    for purpose, call, body in (
        ("general", "signatures", {"message": "AAAA"}),
        ("artifact", "artifacts", {"artifacts": [], "formats": ["cms"]}),
        ("jwt", "jwts", {}),
        ("saml", "assertions", {}),
    ):
        answer = broken.call(TOKEN, "POST", f"/v1/keys/the-{purpose}/{call}", body)
        assert_refused(answer, 403, "duty_forbids")
    answer = broken.call(TOKEN, "POST", "/v1/principals/user/root/tokens", {"label": "for later"})
    assert_refused(answer, 403, "duty_forbids")
    assert_refused(broken.call(TOKEN, "POST", "/v1/principals/user/root/enrolments", {}), 409, "wrong_state")


def test_it_repairs_what_it_is_for(broken: ServiceInProcess) -> None:
    """The only administrator has lost the token; a key's administrators are all gone."""
    made = broken.made(TOKEN, "POST", "/v1/principals/user/admin/enrolments", {"revoke_tokens": True})
    token = broken.made(None, "POST", "/v1/enrolments", {"code": made["enrolment_code"]})["token"]
    assert broken.made(token, "GET", "/v1/whoami")["name"] == "user/admin"
    broken.tokens["user/admin"] = token


def test_it_does_not_leave_nobody_who_administers(broken: ServiceInProcess) -> None:
    for method, end in (("DELETE", ""), ("POST", "/disable")):
        answer = broken.call(TOKEN, method, f"/v1/principals/user/admin{end}")
        assert "last enabled administrator" in assert_refused(answer, 409, "wrong_state")
    answer = broken.call(TOKEN, "PUT", "/v1/principals/user/admin/duty", {"duty": "auditor"})
    assert "last enabled administrator" in assert_refused(answer, 409, "wrong_state")


def test_no_call_enables_it(service: ServiceInProcess) -> None:
    """Every route that takes a principal, by whoever may call it, aimed at break glass."""
    before = service.services.keystore.find_principal("user/root")
    for endpoint in ENDPOINTS:
        if "<kind>/<name>" not in endpoint.path or endpoint.method == "GET":
            continue
        path = endpoint.path.replace("<kind>/<name>", "user/root").replace("<credential>", stored_form(TOKEN).id[:12])
        for body in ({}, {"duty": "administrator"}, {"label": "x"}, {"revoke_tokens": True}):
            for who in service.tokens:
                answer = service.call(who, endpoint.method, path, body)
                of_one = "<binding>" in endpoint.path or "<access_key>" in endpoint.path
                nothing_there = of_one and answer.status_code == 404  # nor can there be
                assert nothing_there or answer.status_code in (403, 409, 422), (
                    endpoint.path,
                    answer.get_data(as_text=True),
                )
    assert service.services.keystore.find_principal("user/root") == before
    assert (
        service.call("user/admin", "POST", "/v1/principals", {"name": "user/root", "duty": "administrator"}).status_code
        == 409
    )
    assert service.call(TOKEN, "GET", "/v1/whoami").status_code == 401


def test_the_service_says_so_for_as_long_as_it_is_enabled(broken: ServiceInProcess, clock: MovedClock) -> None:
    keystore = broken.services.keystore
    with capture_logs() as log:
        broken.services.upkeep.once(clock())
    (line,) = [line for line in log if line["event"] == "break_glass_enabled"]
    assert line["alarm"] is True
    assert datetime.fromisoformat(line["until"]) == clock() + timedelta(hours=1)
    assert report_enabled_root(keystore, clock() + timedelta(minutes=59))
    with capture_logs() as log:
        assert not report_enabled_root(keystore, clock() + timedelta(hours=1))
    assert log == []


def test_its_refusals_name_no_subject_that_was_not_asked_for(broken: ServiceInProcess) -> None:
    answer = broken.call(TOKEN, "DELETE", "/v1/principals/role/nobody")
    (intent,), (outcome,) = (
        broken.intents(answer.headers["X-Request-Id"]),
        broken.outcomes(answer.headers["X-Request-Id"]),
    )
    assert intent["subject"] == outcome["subject"] == "role/nobody"
    assert outcome["detail"] is None or json.loads(outcome["detail"])
