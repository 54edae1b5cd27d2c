"""An HSM that lies while the certificate authority signs: no key is made, none is rotated, and nothing stays behind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import func, select

from keystore.db.schema import CERTIFICATES, KEY_VERSIONS, KEYS
from keystore.errors import HsmFault
from keystore.hsm.mechanisms import KEY_TYPES, key_spec
from keystore.hsm.templates import private_key_labelled
from tests.faults.faulty_token import LIES, FaultyToken, garbage
from tests.faults.requests import AUDIENCE, EDWARDS, TYPICAL
from tests.faults.test_lying_hsm import Log, assert_nothing_but_a_fault
from tests.signer.service import running_service

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from keystore.hsm import Token
    from tests.faults.conftest import FaultyService
    from tests.signer.service import ServiceInProcess

NEW_KEYS: dict[str, dict[str, Any]] = {
    "artifact-RSA": {"spec": "RSA_2048", "purpose": "artifact"},
    "artifact-EC": {"spec": "ECC_NIST_P256", "purpose": "artifact"},
    "jwt-Edwards": {"spec": EDWARDS, "purpose": "jwt", "audiences": [AUDIENCE], "max_ttl": 60},
    "general-published": {"spec": EDWARDS, "purpose": "general", "published": True},
}


def _rows(service: ServiceInProcess) -> list[int]:
    with service.services.keystore.database.read() as connection:
        return [
            connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in (KEYS, KEY_VERSIONS, CERTIFICATES)
        ]


def _objects(token: Token, label: str) -> int:
    """How many private keys of this label the token holds."""
    kind = KEY_TYPES[key_spec(EDWARDS).kind]
    return token._generating(lambda _connection, session: len(list(session.find(private_key_labelled(label, kind)))))


def _assert_no_orphan(faulty: FaultyService, token: Token, spec: str) -> None:
    labels = [made.token_label for made in faulty.token.generated]
    assert len(labels) == 1
    assert (labels[0] is not None) == (spec == EDWARDS)
    assert all(_objects(token, label) == 0 for label in labels if label is not None)


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__)
@pytest.mark.parametrize("name", NEW_KEYS)
def test_no_key_is_half_made(
    faulty: FaultyService, token: Token, log: Log, name: str, lie: Callable[..., bytes]
) -> None:
    service = faulty.running
    before = _rows(service)
    body = {**NEW_KEYS[name], "alias": f"unmade-{name}-{lie.__name__}", "users": ["role/ci"]}
    faulty.token.lie = lie
    answer = service.call("user/key-admin", "POST", "/v1/keys", body)
    request_id = assert_nothing_but_a_fault(faulty, answer, log)
    assert faulty.token.asked == 1
    assert _rows(service) == before
    _assert_no_orphan(faulty, token, body["spec"])
    assert service.call("user/key-admin", "GET", f"/v1/keys/{body['alias']}").status_code == 404
    _assert_both_recorded_as_failed(service, request_id, "CreateKey")
    # The alias is free: the same call works when the HSM is honest again.
    faulty.token.honest()
    made = service.made("user/key-admin", "POST", "/v1/keys", body)
    assert made["alias"] == body["alias"]
    assert service.call(None, "GET", f"/v1/keys/{body['alias']}/certificate").status_code == 200


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__)
@pytest.mark.parametrize("name", NEW_KEYS)
def test_no_key_is_half_rotated(
    faulty: FaultyService, token: Token, log: Log, name: str, lie: Callable[..., bytes]
) -> None:
    service = faulty.running
    alias = f"unrotated-{name}"
    if service.call("user/key-admin", "GET", f"/v1/keys/{alias}").status_code == 404:
        service.make_key(alias, **NEW_KEYS[name])
    before = _rows(service)
    described = service.made("user/key-admin", "GET", f"/v1/keys/{alias}")
    certificate = service.call(None, "GET", f"/v1/keys/{alias}/certificate").data
    faulty.token.honest()
    faulty.token.lie = lie
    answer = service.call("user/key-admin", "POST", f"/v1/keys/{alias}/rotate", {"now": True})
    request_id = assert_nothing_but_a_fault(faulty, answer, log)
    assert _rows(service) == before
    _assert_no_orphan(faulty, token, NEW_KEYS[name]["spec"])
    _assert_both_recorded_as_failed(service, request_id, "RotateKey")
    faulty.token.honest()
    assert service.made("user/key-admin", "GET", f"/v1/keys/{alias}") == described
    assert service.call(None, "GET", f"/v1/keys/{alias}/certificate").data == certificate


def _assert_both_recorded_as_failed(service: ServiceInProcess, request_id: str, action: str) -> None:
    """The administrator's change and the authority's signature each have an intent and one outcome."""
    intents = {row["action"]: row for row in service.intents(request_id)}
    outcomes = {row["action"]: row for row in service.outcomes(request_id)}
    assert set(intents) == set(outcomes) == {action, "IssueCertificate"}
    assert len(service.outcomes(request_id)) == 2
    for name, row in outcomes.items():
        assert (row["outcome"], row["code"], row["intent_id"]) == ("failed", "hsm_fault", intents[name]["id"])
        assert row["time"] >= intents[name]["time"]
    assert outcomes["IssueCertificate"]["signature_sha256"] is None


def test_no_authority_is_founded_on_a_lie(token: Token, tmp_path: Path) -> None:
    liar = FaultyToken(token)
    liar.lie = garbage
    with pytest.raises(HsmFault), running_service(liar, tmp_path):
        pass


def test_a_key_made_before_still_signs_after_the_authority_failed(faulty: FaultyService) -> None:
    request = TYPICAL[3]
    url = request.url(faulty.running)
    faulty.token.lie = garbage
    body = {"alias": "never", "spec": "ECC_NIST_P256", "purpose": "artifact"}
    assert faulty.running.call("user/key-admin", "POST", "/v1/keys", body).status_code == 503
    faulty.token.honest()
    assert faulty.running.call("role/ci", "POST", url, request.body).status_code == 200
