"""The table of problems is complete, and a fault inside shows nothing of the inside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
import structlog

from keystore import errors as keystore_errors
from signer import errors as signer_errors
from signer.problems import PROBLEMS, SERVER_FAULTS, code_of, problem_for
from tests.signer.web.refusal import assert_refused

if TYPE_CHECKING:
    from tests.signer.service import ServiceInProcess

SECRET: Final = "smk_never-to-be-seen"
# Raised before anything is served, or abstract: no caller can meet them.
NEVER_SERVED: Final = {"error", "keystore_error", "configuration", "ceremony"}
ERRORS: Final = [
    error
    for module in (signer_errors, keystore_errors)
    for error in vars(module).values()
    if isinstance(error, type) and issubclass(error, signer_errors.SealmarkError | keystore_errors.KeystoreError)
]


def test_every_error_that_a_caller_can_meet_has_its_row() -> None:
    assert {error.code for error in ERRORS} - NEVER_SERVED <= set(PROBLEMS)
    assert not NEVER_SERVED & set(PROBLEMS)


def test_every_row_is_a_refusal_with_a_title() -> None:
    for code, kind in PROBLEMS.items():
        assert 400 <= kind.status < 600, code
        assert kind.title
        assert (kind.status >= 500) == (code in SERVER_FAULTS)
    assert {kind.status for kind in PROBLEMS.values()} == {401, 403, 404, 405, 409, 412, 413, 415, 422, 429, 500, 503}


@pytest.mark.parametrize("error", [error for error in ERRORS if error.code not in NEVER_SERVED])
def test_words_of_a_fault_stay_inside(error: type[Exception]) -> None:
    raised = error(SECRET)
    described = problem_for(raised, request_id="r")
    if code_of(raised) in SERVER_FAULTS - {"service_unavailable"}:
        assert SECRET not in str(described)
    else:
        assert described["detail"] == SECRET


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        (keystore_errors.HsmUnavailable(SECRET), 503, "hsm_unavailable"),
        (keystore_errors.HsmFault(SECRET), 503, "hsm_fault"),
        (keystore_errors.IntegrityFailure(SECRET), 503, "integrity_failure"),
        (keystore_errors.StoreUnavailable(SECRET), 503, "store_unavailable"),
        (signer_errors.AuditUnavailable(SECRET), 503, "audit_unavailable"),
        (keystore_errors.CeremonyError(SECRET), 500, "internal_error"),
        (RuntimeError(SECRET), 500, "internal_error"),
        (KeyError(SECRET), 500, "internal_error"),
        (RecursionError(SECRET), 500, "internal_error"),
    ],
)
def test_a_fault_inside_is_answered_and_logged(
    service: ServiceInProcess, monkeypatch: pytest.MonkeyPatch, fault: Exception, status: int, code: str
) -> None:
    def fail() -> None:
        raise fault

    monkeypatch.setattr(service.services.keystore, "list_domains", fail)
    with structlog.testing.capture_logs() as lines:
        answer = service.call("user/key-admin", "GET", "/v1/domains")
    assert_refused(answer, status, code)
    assert SECRET not in answer.get_data(as_text=True)
    (line,) = [line for line in lines if line["event"] == "call_failed"]
    assert (line["alarm"], line["code"], line["kind"]) == (True, code, type(fault).__name__)
    # Our own words name the row or the part at fault; those of a stranger may hold anything.
    assert (SECRET in str(line)) == (status == 503)


def test_a_fault_while_a_change_is_made_is_recorded_as_failed(
    service: ServiceInProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = service.make_key("problems-fault", purpose="general")["id"]

    def fail(_key_id: str) -> None:
        raise RuntimeError(SECRET)

    monkeypatch.setattr(service.services.keystore, "disable", fail)
    answer = service.call("user/key-admin", "POST", f"/v1/keys/{key}/disable")
    assert_refused(answer, 500, "internal_error")
    (outcome,) = service.outcomes(answer.headers["X-Request-Id"])
    assert (outcome["outcome"], outcome["code"]) == ("failed", "internal_error")


def test_readiness_names_the_part_and_not_the_reason(
    service: ServiceInProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise keystore_errors.HsmUnavailable(SECRET)

    answer = service.client.get("/readyz").get_json()
    assert (answer["status"], {part["status"] for part in answer["parts"].values()}) == ("ready", {"ready"})
    monkeypatch.setattr(service.services.keystore, "ready", fail)
    answer = service.client.get("/readyz")
    assert assert_refused(answer, 503, "service_unavailable") == "not usable: hsm"
    parts = answer.get_json()["parts"]
    words = "the HSM cannot be used just now"
    assert parts.pop("hsm") == {"status": "not_ready", "code": "hsm_unavailable", "words": words}
    assert {part["status"] for part in parts.values()} == {"ready"}
    assert service.client.get("/healthz").get_json() == {"status": "alive"}
