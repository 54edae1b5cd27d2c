"""Defect class: unauthenticated cancel. Whatever changes something asks who is calling, above all what stops or undoes:
every call but GET, on things that are there and in the very state that the call is for."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import pytest
from sqlalchemy import select

from keystore.api import CredentialRecord
from keystore.db.schema import METADATA
from signer.authn.tokens import new_enrolment_code, new_token, stored_form
from signer.kms.state_changing import CHANGING as AWS_CHANGING
from signer.web.contract import contract_of
from signer.web.routes import ENDPOINTS
from tests.signer.service import ServiceInProcess, running_service

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keystore.hsm import Token
    from signer.web.endpoints import Endpoint

CHANGING: Final = [endpoint for endpoint in ENDPOINTS if endpoint.method != "GET" and not endpoint.wire]
# Whoever holds a secret in the body needs no credential beside it. Anything more here wants a good reason.
CREDENTIAL_IN_THE_BODY: Final = {"POST /v1/enrolments", "POST /v1/token-exchange"}


@dataclass(frozen=True)
class Scene:
    """A service with something to cancel, and credentials that are none any more."""

    service: ServiceInProcess
    credentials: dict[str, str | None]
    token_id: str

    def rows(self) -> str:
        with self.service.services.keystore.database.read() as connection:
            tables = [table for table in METADATA.sorted_tables if not table.name.startswith(("audit_", "log_"))]
            found = [sorted(map(repr, connection.execute(select(table)))) for table in tables]
        return hashlib.sha256(repr(found).encode()).hexdigest()


@pytest.fixture(scope="module")
def scene(token: Token, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with running_service(token, tmp_path_factory.mktemp("cancel")) as service:
        keystore, moment = service.services.keystore, datetime.now(UTC)
        for alias in ("release", "pending", "stopped"):
            service.make_key(alias)
        service.made("user/key-admin", "POST", "/v1/keys/pending/schedule-deletion", {"days": 7})
        service.made("user/key-admin", "POST", "/v1/keys/stopped/disable")
        tokens = {name: new_token() for name in ("revoked", "expired", "of who is disabled", "of who is deleted")}
        for name, secret in tokens.items():
            holder = f"user/{name.replace(' ', '-')}"
            service.made("user/admin", "POST", "/v1/principals", {"name": holder, "duty": "key-administrator"})
            stored = stored_form(secret)
            end = moment - timedelta(seconds=1) if name == "expired" else None
            keystore.create_credential(CredentialRecord(stored.id, holder, stored.digest, "enabled", moment, end))
        keystore.revoke_credential(stored_form(tokens["revoked"]).id)
        service.made("user/admin", "POST", "/v1/principals/user/of-who-is-disabled/disable")
        service.made("user/admin", "DELETE", "/v1/principals/user/of-who-is-deleted")
        nobody: dict[str, str | None] = {"none": None, "unknown": new_token(), "a code": new_enrolment_code()}
        yield Scene(service, {**nobody, **tokens}, stored_form(service.tokens["role/ci"]).id[:12])


def test_only_a_secret_in_the_body_stands_for_a_credential() -> None:
    assert {f"{each.method} {each.path}" for each in CHANGING if each.action is None} == CREDENTIAL_IN_THE_BODY


def key_of(endpoint: Endpoint) -> str:
    last = endpoint.path.rpartition("/")[2]
    return {"cancel-deletion": "pending", "enable": "stopped"}.get(last, "release")


@pytest.mark.parametrize("endpoint", CHANGING, ids=lambda endpoint: f"{endpoint.method} {endpoint.path}")
def test_nobody_changes_anything_without_a_credential_that_is_one(scene: Scene, endpoint: Endpoint) -> None:
    path = endpoint.path.replace("<kind>/<name>", "role/ci").replace("<credential>", scene.token_id)
    path = path.replace("<key>", key_of(endpoint)).replace("<", "").replace(">", "")
    body = dict(contract_of(endpoint.method, endpoint.path).request or {})
    before = scene.rows()
    for name, credential in scene.credentials.items():
        if f"{endpoint.method} {endpoint.path}" in CREDENTIAL_IN_THE_BODY:
            member = "code" if "code" in body else "subject_token"
            body |= {member: credential or "sme_none"} if name != "a code" else {}
        answer = scene.service.call(credential, endpoint.method, path, body)
        assert (answer.status_code, answer.get_json()["code"]) == (401, "unauthenticated"), name
    assert scene.rows() == before


@pytest.mark.parametrize("operation", sorted(AWS_CHANGING))
def test_nobody_changes_anything_by_awss_operations_either(scene: Scene, operation: str) -> None:
    headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": f"TrentService.{operation}"}
    before = scene.rows()
    for name, credential in scene.credentials.items():
        shown = {} if credential is None else {"Authorization": f"Bearer {credential}"}
        answer = scene.service.client.post("/", data=b'{"KeyId": "alias/release"}', headers={**headers, **shown})
        kind = "MissingAuthenticationTokenException" if credential is None else "UnrecognizedClientException"
        assert (answer.status_code, answer.headers["x-amzn-ErrorType"]) == (400, kind), name
    assert scene.rows() == before
