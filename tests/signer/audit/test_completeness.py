"""What the trail holds after a call: one outcome an item, one a refusal, and never anything secret."""

from __future__ import annotations

import json
import logging
import re
import uuid
from typing import TYPE_CHECKING, Any, Final

import pytest
from sqlalchemy import func, select
from structlog.testing import capture_logs

from keystore.db.schema import AUDIT_INTENTS, LOG_ENTRIES, METADATA
from tests.databases import hand, path_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.hsm_support import TestToken
    from tests.signer.service import ServiceInProcess

MESSAGE: Final = {"message": "AAAA"}
ALIAS: Final = "watched"


@pytest.fixture(scope="module", autouse=True)
def keys(service: ServiceInProcess) -> None:
    service.make_key(ALIAS, "ECC_NIST_P256", "general")
    service.make_key("watched-asleep", "ECC_NIST_P256", "general")
    service.made("user/key-admin", "POST", "/v1/keys/watched-asleep/disable")


def rows(service: ServiceInProcess) -> tuple[int, int]:
    with service.services.keystore.database.read() as connection:
        intents = connection.execute(select(func.count()).select_from(AUDIT_INTENTS)).scalar_one()
        decisions = select(func.count()).select_from(LOG_ENTRIES).where(LOG_ENTRIES.c.kind == "decision")
        return intents, connection.execute(decisions).scalar_one()


def counted(service: ServiceInProcess) -> int:
    return sum(sum(counter.values()) for counter in service.services.audit._counts.values())


REFUSED: Final[list[tuple[str, str, str, str, object, int, str]]] = [
    ("duty", "role/ci", "POST", "/v1/keys", {}, 403, "duty_forbids"),
    ("duty-before-the-key", "user/admin", "POST", "/v1/keys/none/signatures", MESSAGE, 403, "duty_forbids"),
    ("auditor-signs", "user/auditor", "POST", f"/v1/keys/{ALIAS}/signatures", MESSAGE, 403, "duty_forbids"),
    ("malformed-signing", "role/ci", "POST", f"/v1/keys/{ALIAS}/signatures", {"items": []}, 422, "malformed_request"),
    ("malformed-change", "user/key-admin", "POST", "/v1/keys", {"spec": 1}, 422, "malformed_request"),
    ("no-such-key", "role/ci", "POST", "/v1/keys/none/signatures", MESSAGE, 404, "not_found"),
    ("not-its-key", "role/other", "POST", f"/v1/keys/{ALIAS}/signatures", MESSAGE, 404, "not_found"),
    ("not-its-key-to-read", "role/other", "GET", f"/v1/keys/{ALIAS}", None, 404, "not_found"),
    ("not-its-key-to-change", "user/other-key-admin", "POST", f"/v1/keys/{ALIAS}/disable", None, 404, "not_found"),
    ("purpose", "role/ci", "POST", f"/v1/keys/{ALIAS}/jwts", {}, 409, "wrong_purpose"),
    ("state", "role/ci", "POST", "/v1/keys/watched-asleep/signatures", MESSAGE, 409, "wrong_state"),
    ("cannot-be-made", "role/ci", "POST", f"/v1/keys/{ALIAS}/signatures", {"digest": "AAAA"}, 422, "unprocessable"),
    (
        "cannot-be-made-as-a-whole",
        "role/ci",
        "POST",
        f"/v1/keys/{ALIAS}/signatures",
        {"items": [MESSAGE], **MESSAGE},
        422,
        "unprocessable",
    ),
    (
        "alias-taken",
        "user/key-admin",
        "POST",
        "/v1/keys",
        {"alias": ALIAS, "spec": "ECC_NIST_P256", "purpose": "general"},
        409,
        "conflict",
    ),
    (
        "spec-and-purpose",
        "user/key-admin",
        "POST",
        "/v1/keys",
        {"spec": "ECC_SECG_P256K1", "purpose": "jwt"},
        422,
        "unprocessable",
    ),
    ("own-principal", "user/admin", "DELETE", "/v1/principals/user/admin", None, 409, "wrong_state"),
    ("no-such-principal", "user/admin", "DELETE", "/v1/principals/user/nobody", None, 404, "not_found"),
    ("state-of-a-change", "user/key-admin", "POST", f"/v1/keys/{ALIAS}/enable", None, 409, "wrong_state"),
]


@pytest.mark.parametrize(
    ("who", "method", "path", "body", "status", "code"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
def test_each_authenticated_refusal_is_one_outcome(
    service: ServiceInProcess, who: str, method: str, path: str, body: object, status: int, code: str
) -> None:
    before = rows(service)
    answer = service.call(who, method, path, body, {"X-Request-Id": "theirs"})
    assert (answer.status_code, answer.get_json()["code"]) == (status, code)
    (outcome,) = service.outcomes(answer.headers["X-Request-Id"])
    assert (outcome["outcome"], outcome["code"], outcome["principal"]) == ("denied", code, who)
    assert (outcome["caller_request_id"], outcome["source"]) == ("theirs", "127.0.0.1")
    assert outcome["action"]
    assert outcome["signature_sha256"] is None
    assert rows(service)[1] == before[1] + 1


@pytest.mark.parametrize("who", [None, "smk_" + "x" * 43, "nonsense", "smk_" + "y" * 300])
@pytest.mark.parametrize("path", ["/v1/whoami", f"/v1/keys/{ALIAS}", "/v1/keys/none"])
def test_strangers_leave_no_row(service: ServiceInProcess, who: str | None, path: str) -> None:
    before, strangers = rows(service), counted(service)
    assert service.call(who, "GET", path).status_code == 401
    assert rows(service) == before
    assert counted(service) == strangers + 1


NOT_JSON: Final = {"Content-Type": "text/plain"}
UNREAD: Final[list[tuple[str, str, str, bytes, dict[str, str], int, str, str]]] = [
    ("no-route", "GET", "/v1/nothing", b"", {}, 404, "not_found", "UnknownCall"),
    ("no-method", "PATCH", "/v1/whoami", b"", {}, 405, "method_not_allowed", "UnknownCall"),
    ("options", "OPTIONS", "/v1/keys", b"", {}, 405, "method_not_allowed", "UnknownCall"),
    ("not-json", "POST", f"/v1/keys/{ALIAS}/signatures", b"{}", NOT_JSON, 415, "unsupported_media_type", "Sign"),
    ("not-json-either", "POST", "/v1/keys", b"{}", NOT_JSON, 415, "unsupported_media_type", "CreateKey"),
    ("too-large", "POST", "/v1/keys", b" " * (1024 * 1024 + 1), {}, 413, "request_too_large", "CreateKey"),
    ("bad-id", "GET", "/v1/whoami", b"", {"X-Request-Id": "no spaces"}, 422, "malformed_request", "WhoAmI"),
]


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status", "code", "action"),
    [row[1:] for row in UNREAD],
    ids=[row[0] for row in UNREAD],
)
def test_what_no_view_has_looked_at_is_one_outcome_of_who_is_known_and_counted_of_who_is_not(
    service: ServiceInProcess,
    method: str,
    path: str,
    body: bytes,
    headers: dict[str, str],
    status: int,
    code: str,
    action: str,
) -> None:
    sent = {"Content-Type": "application/json", **headers}
    before, strangers = rows(service), counted(service)
    answer = service.client.open(path, method=method, data=body, headers=sent)
    assert (answer.status_code, answer.get_json()["code"]) == (status, code)
    assert (rows(service), counted(service)) == (before, strangers + 1)
    bearer = {**sent, "Authorization": f"Bearer {service.tokens['role/ci']}"}
    answer = service.client.open(path, method=method, data=body, headers=bearer)
    assert (answer.status_code, answer.get_json()["code"]) == (status, code)
    (outcome,) = service.outcomes(answer.headers["X-Request-Id"])
    assert (outcome["outcome"], outcome["code"], outcome["principal"]) == ("denied", code, "role/ci")
    assert outcome["action"] == action
    assert (rows(service)[1], counted(service)) == (before[1] + 1, strangers + 1)


@pytest.mark.parametrize("path", ["/healthz", "/v1/ca", "/openapi.json", "/.well-known/jwks.json"])
@pytest.mark.parametrize("who", [None, "role/ci", "smk_" + "x" * 43])
def test_what_is_given_to_anybody_is_counted(service: ServiceInProcess, path: str, who: str | None) -> None:
    before, others = rows(service), counted(service)
    assert service.call(who, "GET", path).status_code == 200
    assert (rows(service), counted(service)) == (before, others + 1)


@pytest.mark.parametrize(
    ("path", "body", "status"), [("/v1/enrolments", {"code": 1}, 422), ("/v1/keys/none/certificate", None, 404)]
)
def test_a_stranger_who_is_refused_is_counted_whatever_he_did_wrong(
    service: ServiceInProcess, path: str, body: object, status: int
) -> None:
    before, others = rows(service), counted(service)
    assert service.call(None, "GET" if body is None else "POST", path, body).status_code == status
    assert (rows(service), counted(service)) == (before, others + 1)


def test_an_unpublished_key_is_recorded_for_who_may_see_it(service: ServiceInProcess) -> None:
    others = counted(service)
    answer = service.call("role/ci", "GET", f"/v1/keys/{ALIAS}/public-key")
    assert answer.status_code == 200
    assert [row["action"] for row in service.outcomes(answer.headers["X-Request-Id"])] == ["GetPublicKey"]
    assert counted(service) == others


def test_a_wrong_enrolment_code_leaves_no_row(service: ServiceInProcess) -> None:
    before = rows(service)
    assert service.call(None, "POST", "/v1/enrolments", {"code": "sme_" + "z" * 43}).status_code == 401
    assert rows(service) == before


@pytest.mark.parametrize("count", [1, 2, 100])
def test_each_item_signed_is_one_outcome(service: ServiceInProcess, count: int) -> None:
    before = rows(service)
    answer = service.call("role/ci", "POST", f"/v1/keys/{ALIAS}/signatures", {"items": [MESSAGE] * count})
    request_id = answer.headers["X-Request-Id"]
    assert [row["item"] for row in service.outcomes(request_id)] == list(range(count))
    assert rows(service) == (before[0] + 1, before[1] + count)
    hashes = {row["signature_sha256"] for row in service.outcomes(request_id)}
    assert len(hashes) == count  # ECDSA draws a new nonce each time


def test_a_context_is_recorded_with_the_intent(service: ServiceInProcess) -> None:
    body = {**MESSAGE, "context": {"repository": "sealmark", "commit": "6b9c115"}}
    answer = service.call("role/ci", "POST", f"/v1/keys/{ALIAS}/signatures", body)
    (intent,) = service.intents(answer.headers["X-Request-Id"])
    assert intent["context"] == '{"commit":"6b9c115","repository":"sealmark"}'


@pytest.mark.parametrize("path", ["/v1/whoami", f"/v1/keys/{ALIAS}", "/v1/keys"])
def test_a_look_is_one_outcome_without_an_intent(service: ServiceInProcess, path: str) -> None:
    before = rows(service)
    answer = service.call("role/ci", "GET", path)
    (outcome,) = service.outcomes(answer.headers["X-Request-Id"])
    assert (outcome["outcome"], outcome["principal"], outcome["intent_id"]) == ("succeeded", "role/ci", None)
    assert rows(service) == (before[0], before[1] + 1)


@pytest.fixture
def everything_logged(caplog: pytest.LogCaptureFixture) -> Iterator[list[Any]]:
    caplog.set_level(logging.DEBUG)
    with capture_logs() as lines:
        yield lines


def test_nothing_secret_is_written(
    service: ServiceInProcess, founded: TestToken, everything_logged: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    """A day in the life, refusals and faults too; then every log line and every row is searched."""
    made = service.made(
        "user/admin", "POST", "/v1/principals", {"name": f"role/{uuid.uuid4().hex}", "duty": "key-user"}
    )
    code = made["enrolment_code"]
    enrolled = service.made(None, "POST", "/v1/enrolments", {"code": code})
    assert service.call(None, "POST", "/v1/enrolments", {"code": code}).status_code == 401
    assert service.call(enrolled["token"], "GET", "/v1/whoami").status_code == 200
    assert service.call(enrolled["token"], "POST", f"/v1/keys/{ALIAS}/signatures", MESSAGE).status_code == 404
    wrong = "smk_" + uuid.uuid4().hex
    assert service.call(wrong, "POST", f"/v1/keys/{ALIAS}/signatures", MESSAGE).status_code == 401
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(service.services.keystore, "open_key", _bug(enrolled["token"]))
        assert service.call("role/ci", "POST", f"/v1/keys/{ALIAS}/signatures", MESSAGE).status_code == 500
    name = made["name"].partition("/")[2]
    assert service.call("user/admin", "DELETE", f"/v1/principals/role/{name}").status_code == 200
    service.services.audit._counted_at -= 60.0
    service.services.audit._sweep()
    secrets = [code, enrolled["token"], wrong, *service.tokens.values()]
    secrets += [founded.user_pin.decode(), founded.officer_pin.decode()]
    written = "\n".join((repr(everything_logged), caplog.text, _whole_database(service)))
    assert "signing_failed" in written
    assert [secret for secret in secrets if secret in written] == []
    assert not re.search(r"sm[ke]_[A-Za-z0-9_-]{20}", written)


def _bug(secret: str) -> Any:
    def fail(_intent: object) -> None:
        raise RuntimeError(secret)

    return fail


def _whole_database(service: ServiceInProcess) -> str:
    """Every value of every table, text and octets."""
    with hand(path_of(service.services.keystore.database)) as connection:
        return "\n".join(repr(connection.rows(f"SELECT * FROM {table}")) for table in METADATA.tables)  # noqa: S608


def test_the_record_says_what_decided(service: ServiceInProcess) -> None:
    """Of what was allowed, of what no policy allows, and of a key that the caller may not even see."""
    key = service.made("user/key-admin", "GET", f"/v1/keys/{ALIAS}")["id"]
    seen = service.call("role/ci", "GET", f"/v1/keys/{ALIAS}")
    hidden = service.call("role/other", "POST", f"/v1/keys/{ALIAS}/signatures", MESSAGE)
    for answer, status, words in ((seen, 200, "key policy"), (hidden, 404, "denied by nothing")):
        assert answer.status_code == status
        (outcome,) = service.outcomes(answer.headers["X-Request-Id"])
        record = json.loads(outcome["record"])
        assert (record["key_id"], outcome["key_id"], record["policy_revision"]) == (key, key, 1)
        assert words in record["decided_by"]
    assert "decided" not in hidden.get_data(as_text=True)
