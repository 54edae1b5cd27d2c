"""Defect class: secrets in error texts. Tokens, codes and PINs stand in no answer, no log line and no record, whatever
fails, and wherever a tired person has pasted them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

import pytest
import structlog
from sqlalchemy import select

from keystore.db.schema import AUDIT_INTENTS, LOG_ENTRIES
from keystore.errors import HsmFault, IntegrityFailure, StoreUnavailable
from signer.authn.tokens import blanked, new_enrolment_code, new_token
from signer.logs import blank_secrets, json_formatter
from tests.signer.service import ServiceInProcess, running_service
from tests.signer.web.test_people import make, new_name

if TYPE_CHECKING:
    from collections.abc import Iterator, MutableMapping

    from keystore.hsm import Token

UNKNOWN: Final = new_token()
UNKNOWN_CODE: Final = new_enrolment_code()


@pytest.fixture(scope="module")
def service(token: Token, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceInProcess]:
    with running_service(token, tmp_path_factory.mktemp("texts")) as running:
        yield running


@pytest.fixture
def log() -> Iterator[list[str]]:
    """Every line that the service logs meanwhile, as it is written."""
    lines: list[str] = []

    def keep(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        lines.append(repr(dict(event)))
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(processors=[blank_secrets, keep], cache_logger_on_first_use=False)
    yield lines
    structlog.configure(**before)


def secrets_of(service: ServiceInProcess, *more: str) -> list[str]:
    return [*service.tokens.values(), UNKNOWN, UNKNOWN_CODE, *more]


def assert_none_told(service: ServiceInProcess, log: list[str], answers: list[Any], *more: str) -> None:
    with service.services.keystore.database.read() as connection:
        records = [str(row) for table in (AUDIT_INTENTS, LOG_ENTRIES) for row in connection.execute(select(table))]
    told = [f"{answer.get_data(as_text=True)} {answer.headers}" for answer in answers]
    for secret in secrets_of(service, *more):
        bare = secret.partition("_")[2]
        for text in [*told, *log, *records]:
            assert bare not in text


@pytest.mark.parametrize("who", [UNKNOWN, UNKNOWN_CODE, UNKNOWN + "x" * 300, "Bearer " + UNKNOWN, ""], ids=range(5))
def test_a_refused_credential(service: ServiceInProcess, log: list[str], who: str) -> None:
    answers = [
        service.call(who, method, path, body)
        for method, path, body in (
            ("GET", "/v1/whoami", None),
            ("POST", "/v1/keys/release/signatures", {"message": "AAAA"}),
            ("DELETE", "/v1/principals/role/ci", None),
            ("GET", "/v1/keys/release/public-key", None),
        )
    ]
    answers.append(service.call(None, "POST", "/v1/enrolments", {"code": (who or "x")[:256]}))
    assert {answer.status_code for answer in answers} <= {401, 404}
    assert_none_told(service, log, answers)


@pytest.mark.parametrize("secret", [UNKNOWN, UNKNOWN_CODE], ids=["token", "code"])
@pytest.mark.parametrize("who", ["user/admin", "user/key-admin", "role/ci"])
def test_a_secret_pasted_where_it_does_not_belong(
    service: ServiceInProcess, log: list[str], who: str, secret: str
) -> None:
    tries: list[tuple[str, str, Any]] = [
        ("GET", f"/v1/principals/role/{secret}", None),
        ("DELETE", f"/v1/principals/role/{secret}", None),
        ("POST", f"/v1/principals/role/{secret}/disable", {}),
        ("PUT", f"/v1/principals/role/{secret}/duty", {"duty": "auditor"}),
        ("POST", f"/v1/principals/role/{secret}/enrolments", {}),
        ("GET", f"/v1/principals/role/{secret}/tokens", None),
        ("DELETE", f"/v1/principals/{who}/tokens/{secret}", None),
        ("GET", f"/v1/keys/{secret}", None),
        ("POST", f"/v1/keys/{secret}/signatures", {"message": "AAAA"}),
        ("GET", f"/v1/keys?{secret}=1", None),
        ("GET", f"/v1/whoami?token={secret}", None),
        ("GET", f"/{secret}", None),
        ("POST", "/v1/principals", {"name": secret, "duty": "auditor"}),
        ("POST", "/v1/principals", {"name": "role/x", "duty": secret}),
        ("POST", "/v1/principals", {secret: "role/x"}),
        ("POST", "/v1/keys", {"spec": secret, "purpose": "general"}),
        ("POST", "/v1/keys", {"spec": "ECC_NIST_P256", "purpose": "general", "users": [f"role/{secret}"]}),
        ("POST", "/v1/keys", {"spec": "ECC_NIST_P256", "purpose": "general", "domain": secret[:3]}),
        ("POST", f"/v1/principals/{who}/tokens", {"label": "x", "days": secret}),
        ("POST", "/v1/enrolments", {"code": secret, "more": secret}),
        ("POST", "/v1/enrolments", secret),
    ]
    answers = [service.call(who, *each) for each in tries]
    assert [answer.status_code for answer in answers if answer.status_code < 400 and answer.status_code != 200] == []
    assert_none_told(service, log, answers)


def test_a_code_used_twice_and_a_token_made_and_ended(service: ServiceInProcess, log: list[str]) -> None:
    name = new_name()
    code = make(service, name)["enrolment_code"]
    first = service.call(None, "POST", "/v1/enrolments", {"code": code})
    token = first.get_json()["token"]
    answers = [service.call(None, "POST", "/v1/enrolments", {"code": code})]
    further = service.made(token, "POST", f"/v1/principals/{name}/tokens", {"label": "laptop"})["token"]
    again = service.made("user/admin", "POST", f"/v1/principals/{name}/enrolments", {"revoke_tokens": True})
    answers += [service.call(each, "GET", "/v1/whoami") for each in (token, further, code, again["enrolment_code"])]
    assert {answer.status_code for answer in answers} == {401}
    assert log  # the code in another's name is an alarm
    assert_none_told(service, log, answers, code, token, further, again["enrolment_code"])


@pytest.mark.parametrize(
    "fault", [StoreUnavailable("locked"), IntegrityFailure("credentials/x"), HsmFault("no"), RuntimeError(UNKNOWN)]
)
def test_a_fault_during_authentication(
    service: ServiceInProcess, log: list[str], monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    def fail(*_: object) -> None:
        raise fault

    monkeypatch.setattr(service.services.keystore, "find_credential", fail)
    monkeypatch.setattr(service.services.keystore, "find_enrolment", fail)
    answers = [
        service.call("role/ci", "GET", "/v1/whoami"),
        service.call("role/ci", "POST", "/v1/keys/release/signatures", {"message": "AAAA"}),
        service.call(None, "POST", "/v1/enrolments", {"code": UNKNOWN_CODE}),
    ]
    assert {answer.status_code for answer in answers} <= {500, 503}
    assert log
    assert_none_told(service, log, answers)


def test_what_others_log_is_blanked_too() -> None:
    formatter = json_formatter()
    for message, exception in ((f"request Bearer {UNKNOWN} refused", None), ("failed", ValueError(UNKNOWN))):
        record = logging.LogRecord(
            "gunicorn.error", logging.ERROR, "", 0, message, (), (ValueError, exception, None) if exception else None
        )
        assert UNKNOWN not in formatter.format(record)


def test_the_pin_stands_in_no_answer(service: ServiceInProcess, log: list[str], token: Token) -> None:
    """Also not where the HSM refuses it: see the ceremonies' own tests for the officer's."""
    assert service.call(None, "GET", "/readyz").status_code == 200
    assert "pin" not in repr(token.info).lower()
    assert log == []


@pytest.mark.parametrize("text", ["smk_x", "a small sm thing", "sme_short", "role/ci", ""])
def test_what_is_no_secret_stays_as_it_is(text: str) -> None:
    assert blanked(text) == text


def test_a_secret_in_the_middle_of_a_text_is_blanked() -> None:
    assert blanked(f"no role/{UNKNOWN}, {UNKNOWN_CODE}!") == "no role/smk_[blanked], sme_[blanked]!"
