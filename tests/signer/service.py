"""The whole service in this process, over a real SoftHSM token and a database of its own: as HTTP callers see it."""

from __future__ import annotations

import re
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import msgspec
from sqlalchemy import select
from werkzeug.exceptions import HTTPException

from keystore.api import CredentialRecord, Issuer, PrincipalRecord
from keystore.clock import system_clock
from keystore.db.schema import AUDIT_INTENTS, LOG_ENTRIES
from keystore.keystore import Keystore
from signer.access import Duty
from signer.app import application, assemble
from signer.authn.principal import SERVICE, Principal
from signer.authn.throttle import Throttle
from signer.authn.tokens import new_token, stored_form
from signer.call import Call
from signer.config import ServerConfiguration
from signer.kms.operations import MEDIA_TYPE
from signer.people import found_authority
from signer.web.openapi import document
from tests.keystore.support import make_database, own_texts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from flask import Flask
    from flask.testing import FlaskClient
    from werkzeug.test import TestResponse

    from keystore.api import HardwareToken
    from keystore.clock import Clock
    from signer.services import Services

PEOPLE: Final = {
    "user/admin": Duty.ADMINISTRATOR,
    "user/key-admin": Duty.KEY_ADMINISTRATOR,
    "user/other-key-admin": Duty.KEY_ADMINISTRATOR,
    "role/ci": Duty.KEY_USER,
    "role/other": Duty.KEY_USER,
    "user/auditor": Duty.AUDITOR,
}
ISSUER_URL: Final = "https://issuer.example/issuers/default"


@dataclass(frozen=True)
class ServiceInProcess:
    """A running application, the token of each person, and a look at what was recorded."""

    services: Services
    client: FlaskClient
    tokens: dict[str, str]

    def call(
        self,
        who: str | None,
        method: str,
        path: str,
        body: object = None,
        headers: dict[str, str] | None = None,
    ) -> TestResponse:
        sent = dict(headers or {})
        if who is not None:
            sent["Authorization"] = f"Bearer {self.tokens.get(who, who)}"
        answer = self.client.open(path, method=method, json=body, headers=sent)
        assert_documented(self.client.application, method, path, answer)
        return answer

    def made(self, who: str | None, method: str, path: str, body: object = None) -> Any:
        answer = self.call(who, method, path, body)
        assert answer.status_code in (200, 201), answer.get_data(as_text=True)
        return answer.get_json()

    def kms(
        self, who: str | None, operation: str, body: object = None, headers: dict[str, str] | None = None
    ) -> TestResponse:
        """One operation of AWS's wire protocol. `body`: octets as they are, or what is sent as JSON."""
        sent = {"X-Amz-Target": f"TrentService.{operation}", "Content-Type": MEDIA_TYPE, **(headers or {})}
        if who is not None:
            sent["Authorization"] = f"Bearer {self.tokens.get(who, who)}"
        octets = body if isinstance(body, bytes) else msgspec.json.encode({} if body is None else body)
        answer = self.client.post("/", data=octets, headers=sent)
        assert_documented(self.client.application, "POST", "/", answer)
        return answer

    def make_key(self, alias: str, spec: str = "ECC_NIST_P256", purpose: str = "artifact", **members: object) -> Any:
        body = {"alias": alias, "spec": spec, "purpose": purpose, "users": ["role/ci"], **members}
        return self.made("user/key-admin", "POST", "/v1/keys", body)

    def outcomes(self, request_id: str) -> list[dict[str, Any]]:
        with self.services.keystore.database.read() as connection:
            found = select(LOG_ENTRIES).where(LOG_ENTRIES.c.request_id == request_id)
            return [dict(row) for row in connection.execute(found.order_by(LOG_ENTRIES.c.seq)).mappings()]

    def intents(self, request_id: str) -> list[dict[str, Any]]:
        with self.services.keystore.database.read() as connection:
            found = select(AUDIT_INTENTS).where(AUDIT_INTENTS.c.request_id == request_id)
            return [dict(row) for row in connection.execute(found).mappings()]


def assert_documented(application: Flask, method: str, path: str, answer: TestResponse) -> None:
    """Whatever the service answers in the tests is in its contract: the status, and the problem's code."""
    try:
        rule, _ = application.url_map.bind("").match(path.partition("?")[0], method, return_rule=True)
    except HTTPException:
        return
    operation = document()["paths"][re.sub(r"<(?:path:)?([a-z_]+)>", r"{\1}", rule.rule)][method.lower()]
    status = str(answer.status_code)
    if answer.mimetype != "application/problem+json":
        assert status in operation["responses"], f"{method} {rule.rule} is not documented to answer {status}"
        return
    code = answer.get_json()["code"]
    documented = operation["responses"].get(status, {}).get("content", {}).get(answer.mimetype, {}).get("examples", {})
    assert code in documented, f"{method} {rule.rule} is not documented to answer {status} {code}"


class MovedClock:
    """A clock that stands still until a test moves it."""

    def __init__(self, present: datetime) -> None:
        self._present = present

    def __call__(self) -> datetime:
        return self._present

    def move(self, by: timedelta) -> None:
        self._present += by


@contextmanager
def running_service(
    token: HardwareToken,
    directory: Path,
    *,
    clock: Clock = system_clock,
    issuer_url: str = ISSUER_URL,
    throttle: Throttle | None = None,
    configuration: ServerConfiguration | None = None,
    software_specs: Sequence[str] = (),
) -> Iterator[ServiceInProcess]:
    """The service, its people and its authority, as `sealmark init` leaves them."""
    with own_texts(token) as own:
        keystore = Keystore(
            own, make_database(directory / "sealmark.db", own), clock=clock, software_specs=software_specs
        )
        # One address and a thousand failures: no test of anything else is to wait for its caller's.
        throttle = throttle or Throttle(most=1_000_000)
        yield from _assembled(keystore, directory, issuer_url, throttle, configuration or ServerConfiguration())


@contextmanager
def running_over(keystore: Keystore, directory: Path, configuration: ServerConfiguration) -> Iterator[ServiceInProcess]:
    """The same over a keystore that a ceremony has founded; it is closed in the end."""
    yield from _assembled(keystore, directory, ISSUER_URL, Throttle(most=1_000_000), configuration)


def _assembled(
    keystore: Keystore, directory: Path, issuer_url: str, throttle: Throttle, configuration: ServerConfiguration
) -> Iterator[ServiceInProcess]:
    services = assemble(keystore, directory, configuration, throttle=throttle)
    tokens = {name: _enrolled(keystore, name, duty) for name, duty in PEOPLE.items()}
    moment = datetime.now(UTC)
    keystore.create_issuer(Issuer(str(uuid.uuid4()), "default", issuer_url, issuer_url, moment))
    call = Call(uuid.uuid4().hex, None, "test", None, None, b"")
    found_authority(services, Principal(SERVICE, Duty.ROOT, "ceremony"), call)
    try:
        yield ServiceInProcess(services, application(services).test_client(), tokens)
    finally:
        services.upkeep.stop()
        services.audit.stop()
        keystore.database.close()


def _enrolled(keystore: Keystore, name: str, duty: Duty) -> str:
    moment = datetime.now(UTC)
    token = new_token()
    stored = stored_form(token)
    keystore.create_principal(
        PrincipalRecord(name, duty.value, "enabled", moment, SERVICE),
        credential=CredentialRecord(stored.id, name, stored.digest, "enabled", moment, None),
    )
    return token
