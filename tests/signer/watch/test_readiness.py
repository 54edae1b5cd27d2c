"""Which part is not ready, whatever the others do."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from keystore import errors
from keystore.api import RevocationReason
from signer import readiness
from signer.errors import AuditUnavailable
from tests.signer.web.refusal import assert_refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.signer.service import ServiceInProcess

SECRET = "smk_never-to-be-seen"


def failing(error: Exception) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise error

    return fail


def behind() -> Exception:
    error = AuditUnavailable(SECRET)
    error.__cause__ = errors.IntegrityFailure(SECRET)
    return error


@pytest.mark.parametrize(
    ("part", "place", "error", "code"),
    [
        ("hsm", "keystore.ready", errors.HsmUnavailable(SECRET), "hsm_unavailable"),
        ("hsm", "keystore.ready", errors.HsmFault(SECRET), "hsm_fault"),
        ("hsm", "keystore.ready", errors.IntegrityFailure(SECRET), "integrity_failure"),
        ("database", "keystore.require_deployment", errors.StoreUnavailable(SECRET), "store_unavailable"),
        ("database", "keystore.require_deployment", errors.NotFound(SECRET), "not_found"),
        ("audit", "audit.probe", AuditUnavailable(SECRET), "audit_unavailable"),
        ("audit", "audit.probe", behind(), "integrity_failure"),
        ("audit", "audit.probe", RuntimeError(SECRET), "internal_error"),
    ],
)
def test_the_part_is_named_with_a_code_and_words_and_nothing_of_the_reason(
    service: ServiceInProcess, monkeypatch: pytest.MonkeyPatch, part: str, place: str, error: Exception, code: str
) -> None:
    owner, _, name = place.partition(".")
    monkeypatch.setattr(getattr(service.services, owner), name, failing(error))
    answer = service.client.get("/readyz")
    assert assert_refused(answer, 503, "service_unavailable") == f"not usable: {part}"
    parts = answer.get_json()["parts"]
    assert list(parts) == list(readiness.PARTS)
    said = parts.pop(part)
    assert (said["status"], said["code"], said["words"]) == ("not_ready", code, readiness._WORDS[code])
    assert {one["status"] for one in parts.values()} == {"ready"}
    assert SECRET not in answer.get_data(as_text=True)


def test_a_part_that_hangs_says_nothing_of_the_others_and_is_asked_once(
    service: ServiceInProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "ANSWER_SECONDS", 0.3)
    back, asked = threading.Event(), []

    def hang() -> None:
        asked.append(1)
        back.wait(30)

    monkeypatch.setattr(service.services.keystore, "ready", hang)
    for _ in range(3):
        parts = service.client.get("/readyz").get_json()["parts"]
        assert parts.pop("hsm")["code"] == "no_answer"
        assert {one["status"] for one in parts.values()} == {"ready"}
    assert len(asked) == 1
    back.set()
    while service.services.readiness._parts["hsm"]._looking:
        time.sleep(0.01)
    monkeypatch.undo()
    assert service.client.get("/readyz").status_code == 200


def test_what_is_a_warning_keeps_nobody_away(service: ServiceInProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    look = service.services.readiness
    file = look._state / "sealmark.toml"
    try:
        for text, code in (("[server]\nworkers = 3\n", "changed"), ("[server]\nworkers = 0\n", "unusable")):
            file.write_text(text)
            answer = service.client.get("/readyz")
            part = answer.get_json()["parts"]["configuration"]
            assert (answer.status_code, part["status"], part["code"]) == (200, "warning", f"configuration_{code}")
        file.write_text("")
        assert look.look()["configuration"].status == "ready"
    finally:
        file.unlink()
    key = service.make_key("watch-certificate")
    now = service.services.keystore.clock()
    monkeypatch.setattr(readiness, "SOON", readiness.SOON * 30)
    assert look.look()["certificates"] == readiness.Part("warning", "certificates_end")
    version = service.services.keystore.get_key(key["id"]).versions[-1]
    service.services.keystore.revoke_certificates(version.id, RevocationReason.SUPERSEDED, now)


def test_an_authority_that_has_ended_is_not_ready(service: ServiceInProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    now = service.services.keystore.clock()
    for years in (-1, 11):
        monkeypatch.setattr(
            service.services.readiness._keystore, "clock", lambda years=years: now.replace(year=now.year + years)
        )
        part = service.services.readiness._certificates()
        assert (part.status, part.code) == ("not_ready", "authority_ended")
