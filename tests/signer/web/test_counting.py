"""No request goes by untold: what is nobody's own record is counted once, and one leaf a minute says how often."""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select

from keystore.db.schema import LOG_ENTRIES
from keystore.errors import HsmUnavailable, StoreUnavailable
from signer.app import application
from signer.authn.throttle import Throttle
from signer.authn.tokens import new_token
from signer.config import ServerConfiguration
from tests.signer.service import ServiceInProcess, running_service

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flask.testing import FlaskClient

    from keystore.hsm import Token

MESSAGE = {"message": "AAAA"}
TOO_LARGE = b"x" * (1024 * 1024 + 1)


@pytest.fixture(scope="module")
def world(token: Token, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceInProcess]:
    with running_service(token, tmp_path_factory.mktemp("counting")) as service:
        service.make_key("device", "ECC_NIST_P256", "general")
        yield service


@pytest.fixture
def client(world: ServiceInProcess) -> FlaskClient:
    """Nothing is counted yet, and nothing is written down for a minute."""
    world.services.audit._counted_at = time.monotonic()
    world.services.audit._counts.clear()
    return world.client


def counted(world: ServiceInProcess) -> dict[str, dict[str, int]]:
    return {what: dict(counter) for what, counter in world.services.audit._counts.items()}


def entries(world: ServiceInProcess) -> list[dict[str, Any]]:
    with world.services.keystore.database.read() as connection:
        rows = connection.execute(select(LOG_ENTRIES).order_by(LOG_ENTRIES.c.seq)).mappings()
        return [dict(row) for row in rows]


PUBLIC = [
    ("/v1/trust", "GET /v1/trust"),
    ("/v1/ca", "GET /v1/ca"),
    ("/v1/ca/crl", "GET /v1/ca/crl"),
    ("/.well-known/jwks.json", "GET /.well-known/jwks.json"),
    ("/issuers/default/jwks.json", "GET /issuers/<issuer>/jwks.json"),
    ("/docs", "GET /docs"),
    ("/openapi.json", "GET /openapi.json"),
    ("/v1/access/actions", "GET /v1/access/actions"),
    ("/log/checkpoint", "GET /log/checkpoint"),
    ("/log/tile/0/000.p/1", "GET /log/tile/<level>/<path:tile>"),
]


@pytest.mark.parametrize(("path", "name"), PUBLIC)
def test_reads_of_public_documents(world: ServiceInProcess, client: FlaskClient, path: str, name: str) -> None:
    first = client.get(path)
    assert first.status_code == 200
    client.head(path)
    client.get(path, headers={"If-None-Match": first.headers.get("ETag", "")})
    assert counted(world) == {"public": {name: 3}}


def test_a_published_key_is_public_and_another_one_is_a_record(world: ServiceInProcess, client: FlaskClient) -> None:
    published = world.make_key("shown", purpose="artifact")["id"]
    hidden = world.make_key("hidden", purpose="general")["id"]
    client.get(f"/v1/keys/{published}/public-key")
    assert counted(world) == {"public": {"GET /v1/keys/<key>/public-key": 1}}
    answer = world.call("role/ci", "GET", f"/v1/keys/{hidden}/public-key")
    assert len(world.outcomes(answer.headers["X-Request-Id"])) == 1
    client.get(f"/v1/keys/{hidden}/public-key")
    assert counted(world) == {"public": {"GET /v1/keys/<key>/public-key": 1}, "unauthenticated": {"not_found": 1}}


def test_health(world: ServiceInProcess, client: FlaskClient) -> None:
    client.get("/healthz")
    client.get("/readyz")
    client.get("/healthz")
    assert counted(world) == {"health": {"GET /healthz": 2, "GET /readyz": 1}}


def test_health_that_is_not_well(world: ServiceInProcess, client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise HsmUnavailable("gone")

    monkeypatch.setattr(type(world.services.keystore), "ready", lambda _self: fail())
    assert client.get("/readyz").status_code == 503
    assert counted(world) == {"health": {"GET /readyz service_unavailable": 1}}


REFUSED: list[tuple[str, str, str, dict[str, Any], int, str]] = [
    ("no such route", "GET", "/v1/nothing", {}, 404, "not_found"),
    ("another method", "PATCH", "/v1/keys", {}, 405, "method_not_allowed"),
    ("options", "OPTIONS", "/v1/trust", {}, 405, "method_not_allowed"),
    ("strange path", "GET", "/v1//keys", {}, 404, "not_found"),
    ("no credential", "GET", "/v1/keys", {}, 401, "unauthenticated"),
    ("no credential, the short way", "POST", "/v1/keys/device/signatures", {"json": MESSAGE}, 401, "unauthenticated"),
    ("too large", "POST", "/v1/enrolments", {"data": TOO_LARGE}, 413, "request_too_large"),
    ("too large to sign", "POST", "/v1/keys/device/signatures", {"data": TOO_LARGE}, 413, "request_too_large"),
    ("no JSON", "POST", "/v1/keys", {"data": b"a=b"}, 415, "unsupported_media_type"),
    ("body of a read", "GET", "/healthz2", {"data": b"a"}, 404, "not_found"),
    ("wrong id", "GET", "/v1/trust", {"headers": {"X-Request-Id": "a b"}}, 422, "malformed_request"),
    ("no such document", "GET", "/issuers/none/jwks.json", {}, 404, "not_found"),
    ("wrong parameter", "GET", "/v1/trust?a=b", {}, 422, "malformed_request"),
    ("no such tile", "GET", "/log/tile/9/000", {}, 404, "not_found"),
    ("malformed code", "POST", "/v1/enrolments", {"json": {"code": 1}}, 422, "malformed_request"),
    ("malformed exchange", "POST", "/v1/token-exchange", {"json": {}}, 422, "malformed_request"),
]


@pytest.mark.parametrize(
    ("method", "path", "sent", "status", "code"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
@pytest.mark.parametrize("credential", [None, "wrong"])
def test_refusals_of_strangers(
    world: ServiceInProcess,
    client: FlaskClient,
    method: str,
    path: str,
    sent: dict[str, Any],
    status: int,
    code: str,
    credential: str | None,
) -> None:
    before = len(entries(world))
    headers = dict(sent.get("headers", {}))
    if credential is not None:
        headers["Authorization"] = f"Bearer {new_token()}"
    answer = client.open(path, method=method, **{**sent, "headers": headers})
    assert (answer.status_code, answer.get_json()["code"]) == (status, code)
    assert counted(world) == {"unauthenticated": {code: 1}}
    assert len(entries(world)) == before


def test_wrong_codes_and_tokens_to_exchange_say_what_they_were(world: ServiceInProcess, client: FlaskClient) -> None:
    client.post("/v1/enrolments", json={"code": "sme_" + "z" * 43})
    client.post("/v1/token-exchange", json={"subject_token": "a.b.c"})
    (what,) = counted(world).items()
    assert what[0] == "unauthenticated"
    assert sorted(name.partition("_")[0] for name in what[1]) == ["enrolment", "exchange"]


def test_an_insecure_connection_is_counted_and_its_credential_not_looked_at(
    world: ServiceInProcess, client: FlaskClient
) -> None:
    headers = {"Authorization": f"Bearer {world.tokens['role/ci']}"}
    before = len(entries(world))
    answer = client.get("/v1/whoami", headers=headers, environ_base={"REMOTE_ADDR": "192.0.2.7"})
    assert (answer.status_code, answer.get_json()["code"]) == (403, "insecure_transport")
    assert counted(world) == {"unauthenticated": {"insecure_transport": 1}}
    assert len(entries(world)) == before


def test_who_is_too_fast(token: Token, tmp_path_factory: pytest.TempPathFactory) -> None:
    with running_service(token, tmp_path_factory.mktemp("fast"), throttle=Throttle(most=2)) as service:
        service.services.audit._counts.clear()
        for _ in range(4):
            service.call("wrong", "GET", "/v1/whoami")
            service.call(None, "POST", "/v1/enrolments", {"code": "sme_" + "z" * 43})
            service.call("wrong", "GET", "/v1/trust?a=b")
        found = counted(service)
        assert set(found) == {"too_many_requests", "unauthenticated"}
        assert sum(found["too_many_requests"].values()) + sum(found["unauthenticated"].values()) == 12


TURNED_AWAY: list[tuple[str, str, str, dict[str, Any], str, str]] = [
    ("no such route", "GET", "/v1/nothing", {}, "not_found", "UnknownCall"),
    ("another method", "PATCH", "/v1/keys", {}, "method_not_allowed", "UnknownCall"),
    ("too large", "POST", "/v1/keys/device/signatures", {"data": TOO_LARGE}, "request_too_large", "Sign"),
    ("no JSON", "POST", "/v1/keys/device/signatures", {"data": b"a=b"}, "unsupported_media_type", "Sign"),
    ("wrong id", "GET", "/v1/keys", {"headers": {"X-Request-Id": "a b"}}, "malformed_request", "ListKeys"),
]


@pytest.mark.parametrize(
    ("method", "path", "sent", "code", "action"), [row[1:] for row in TURNED_AWAY], ids=[row[0] for row in TURNED_AWAY]
)
def test_what_is_refused_before_the_pipeline_is_a_record_of_whoever_is_known(
    world: ServiceInProcess, client: FlaskClient, method: str, path: str, sent: dict[str, Any], code: str, action: str
) -> None:
    usual = {"Authorization": f"Bearer {world.tokens['role/ci']}", "X-Request-Id": "theirs"}
    headers = {**usual, **sent.get("headers", {})}
    answer = client.open(path, method=method, **{**sent, "headers": headers})
    assert answer.get_json()["code"] == code
    (found,) = world.outcomes(answer.headers["X-Request-Id"])
    assert (found["outcome"], found["code"], found["principal"]) == ("denied", code, "role/ci")
    assert found["action"] == action
    assert found["caller_request_id"] == (None if "headers" in sent else "theirs")
    assert found["key_id"] == ("device" if "device" in path else None)
    assert counted(world) == {}


def test_such_a_refusal_that_cannot_be_recorded_is_answered_503(
    world: ServiceInProcess, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object, **_named: object) -> None:
        raise StoreUnavailable("nothing can be written")

    monkeypatch.setattr(world.services.audit.log, "write", fail)
    answer = client.get("/v1/nothing", headers={"Authorization": f"Bearer {world.tokens['role/ci']}"})
    assert (answer.status_code, answer.get_json()["code"]) == (503, "audit_unavailable")


def test_known_callers_are_recorded_and_not_counted(world: ServiceInProcess, client: FlaskClient) -> None:
    world.call("role/ci", "POST", "/v1/keys/device/signatures", MESSAGE)
    world.call("role/ci", "GET", "/v1/keys")
    world.call("role/ci", "POST", "/v1/keys", {"spec": "ECC_NIST_P256"})
    world.call("role/ci", "GET", "/v1/keys?limit=0")
    world.call("role/ci", "GET", "/v1/keys/none")
    assert counted(world) == {}


def test_a_leaf_a_minute_for_each_kind(world: ServiceInProcess, client: FlaskClient) -> None:
    for path in ("/healthz", "/healthz", "/v1/trust", "/v1/keys", "/v1/nothing"):
        client.get(path)
    before = len(entries(world))
    world.services.audit._counted_at -= 60
    world.services.audit._sweep()
    leaves = [row for row in entries(world)[before:] if row["kind"] == "count"]
    assert {row["code"]: json.loads(row["detail"]) for row in leaves} == {
        "health": {"GET /healthz": 2},
        "public": {"GET /v1/trust": 1},
        "unauthenticated": {"not_found": 1, "unauthenticated": 1},
    }
    assert Counter(row["outcome"] for row in leaves) == {"counted": 3}
    world.services.audit._sweep()
    assert counted(world) == {}


def test_a_header_for_proxies_is_counted_too(world: ServiceInProcess, client: FlaskClient) -> None:
    configuration = ServerConfiguration(client_certificate_header="Client-Cert")
    other = application(replace(world.services, configuration=configuration)).test_client()
    assert other.get("/healthz", headers={"Client-Cert": "x"}).status_code == 403
    assert counted(world) == {"health": {"GET /healthz insecure_transport": 1}}
