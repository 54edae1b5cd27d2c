"""Access keys and temporary credentials: who makes, sees, disables and ends which, and what ends with what."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from sqlalchemy import select

from keystore.access import Change
from keystore.clock import system_clock
from keystore.db.schema import ACCESS_KEYS
from keystore.errors import Conflict, IntegrityFailure
from signer.administration import access_keys
from tests.oidc import AUDIENCE, claims, key_set, new_key, signed
from tests.signer.authn.by_hand import Signed as SignedMessage
from tests.signer.authn.by_hand import public_pem
from tests.signer.authn.sigv4_by_hand import AccessKey, Signed, made, send
from tests.signer.service import MovedClock, ServiceInProcess, running_service
from tests.signer.web.refusal import assert_refused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from werkzeug.test import TestResponse

    from keystore.hsm import Token

CI: Final = "/v1/principals/role/ci/access-keys"
WORKLOADS: Final = new_key("workloads-1")
WORKLOADS_URL: Final = "https://workloads.example"


@pytest.fixture(scope="module")
def clock() -> MovedClock:
    return MovedClock(system_clock().replace(microsecond=0))


@pytest.fixture(scope="module")
def kept(token: Token, tmp_path_factory: pytest.TempPathFactory, clock: MovedClock) -> Iterator[ServiceInProcess]:
    with running_service(token, tmp_path_factory.mktemp("access-keys"), clock=clock) as service:
        mapping = {"role": "role/ci", "conditions": {"repository": ["octo/app"]}}
        body = {"name": "workloads", "url": WORKLOADS_URL, "audiences": [AUDIENCE], "mappings": [mapping]}
        service.made("user/admin", "POST", "/v1/trusted-issuers", {**body, "jwks": key_set(WORKLOADS)})
        yield service


@pytest.fixture(autouse=True)
def _none_left(kept: ServiceInProcess) -> Iterator[None]:
    yield
    with kept.services.keystore.store.transaction() as transaction:
        access_keys_of = select(ACCESS_KEYS.c.id).where(ACCESS_KEYS.c.state != "revoked")
        for (found,) in transaction.connection.execute(access_keys_of).all():
            row = transaction.get("access_keys", found)
            assert row is not None
            transaction.update(row, {"state": "revoked"})


def status_of(service: ServiceInProcess, key: AccessKey, clock: MovedClock) -> int:
    return send(service, Signed(key, moment=clock())).status_code


def session(service: ServiceInProcess) -> str:
    answer = service.call(
        None, "POST", "/v1/token-exchange", {"subject_token": signed(WORKLOADS, claims(WORKLOADS_URL))}
    )
    return str(answer.get_json()["access_token"])


def create(service: ServiceInProcess, who: str, path: str = CI, **body: object) -> TestResponse:
    return service.call(who, "POST", path, body)


def test_a_principal_makes_its_own_and_sees_the_secret_once(kept: ServiceInProcess, clock: MovedClock) -> None:
    answer = create(kept, "role/ci", label="laptop", days=30)
    assert answer.status_code == 201
    shown = answer.get_json()
    assert re.fullmatch(r"AKIA[A-Z2-7]{16}", shown["access_key_id"])
    assert re.fullmatch(r"[A-Za-z0-9+/]{40}", shown["secret_access_key"])
    assert (shown["session_token"], shown["label"]) == (None, "laptop")
    assert datetime.fromisoformat(shown["expires_at"]) == clock() + timedelta(days=30)
    (listed,) = [one for one in kept.made("role/ci", "GET", CI)["access_keys"] if one["state"] == "enabled"]
    assert (listed["access_key_id"], listed["temporary"]) == (shown["access_key_id"], False)
    assert shown["secret_access_key"] not in json.dumps(kept.made("user/admin", "GET", CI))
    (outcome,) = kept.outcomes(answer.headers["X-Request-Id"])
    assert (outcome["action"], outcome["subject"]) == ("CreateCredential", "role/ci")
    recorded = json.loads(outcome["detail"])
    assert recorded["credential"] == f"access-key:{shown['access_key_id']}"
    assert shown["secret_access_key"] not in json.dumps(outcome, default=str)


def test_no_secret_stands_in_the_database(kept: ServiceInProcess) -> None:
    keys = [made(kept, "role/ci"), made(kept, "role/ci", temporary=True)]
    with kept.services.keystore.database.read() as connection:
        stored = b"".join(
            part if isinstance(part, bytes) else str(part).encode()
            for row in connection.execute(select(ACCESS_KEYS)).all()
            for part in row
        )
    for key in keys:
        assert key.secret.encode() not in stored
        assert key.token is None or key.token.encode() not in stored
        assert key.secret not in repr(kept.services.keystore.find_access_key(key.id))


def test_a_secret_moved_to_another_row_does_not_open(kept: ServiceInProcess) -> None:
    """Whoever could seal rows, and has no domain key, could otherwise give a principal another's secret."""
    keystore = kept.services.keystore
    mine, other = made(kept, "role/ci"), made(kept, "role/other", "role/other")
    found, foreign = keystore.find_access_key(mine.id), keystore.find_access_key(other.id)
    assert found is not None
    assert foreign is not None
    assert keystore.secret_of(found) == mine.secret.encode()
    with pytest.raises(IntegrityFailure):
        keystore.secret_of(type(found)(**{**_members(found), "secret": foreign.secret}))


def _members(record: Any) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__slots__}


def test_disabling_enabling_and_ending(kept: ServiceInProcess, clock: MovedClock) -> None:
    key = made(kept, "role/ci")
    path = f"{CI}/{key.id}"
    assert status_of(kept, key, clock) == 200
    for _ in range(2):
        assert kept.made("role/ci", "POST", f"{path}/disable")["state"] == "disabled"
    assert status_of(kept, key, clock) == 401
    assert kept.made("role/ci", "POST", f"{path}/enable")["state"] == "enabled"
    assert status_of(kept, key, clock) == 200
    for _ in range(2):
        assert kept.made("role/ci", "DELETE", path)["state"] == "revoked"
    assert status_of(kept, key, clock) == 401
    for change in ("enable", "disable"):
        assert_refused(kept.call("role/ci", "POST", f"{path}/{change}"), 409, "wrong_state")


def test_an_administrator_sees_and_ends_anothers_and_does_no_more(kept: ServiceInProcess, clock: MovedClock) -> None:
    key = made(kept, "role/ci")
    path = f"{CI}/{key.id}"
    for refused in ("POST", f"{path}/disable"), ("POST", f"{path}/enable"), ("POST", CI):
        assert_refused(kept.call("user/admin", *refused, {}), 403, "duty_forbids")
    for who in ("role/other", "user/key-admin", "user/auditor"):
        for method, there in (("GET", CI), ("DELETE", path), ("POST", f"{path}/disable")):
            assert_refused(kept.call(who, method, there), 403, "duty_forbids")
    assert kept.made("user/admin", "DELETE", path)["state"] == "revoked"
    assert status_of(kept, key, clock) == 401
    others = f"/v1/principals/role/other/access-keys/{key.id}"
    assert_refused(kept.call("role/other", "DELETE", others), 404, "not_found", "access_key")


def test_everybody_makes_their_own(kept: ServiceInProcess, clock: MovedClock) -> None:
    for who in ("user/admin", "user/key-admin", "user/auditor", "role/other"):
        key = made(kept, who, who)
        assert send(kept, Signed(key, moment=clock())).get_json()["name"] == who


def test_what_is_asked_for_must_fit_together(kept: ServiceInProcess) -> None:
    for body, status, code, member in (
        ({"duration_seconds": 900}, 422, "unprocessable", "duration_seconds"),
        ({"temporary": True, "days": 1}, 422, "unprocessable", "days"),
        ({"days": 366}, 422, "unprocessable", "days"),
        ({"label": "a\nb"}, 422, "unprocessable", "label"),
        ({"temporary": True, "duration_seconds": 899}, 422, "malformed_request", "duration_seconds"),
        ({"temporary": True, "duration_seconds": 43201}, 422, "malformed_request", "duration_seconds"),
        ({"user": "x"}, 422, "malformed_request", "user"),
    ):
        assert_refused(create(kept, "role/ci", **body), status, code, member)


def test_there_is_a_limit_of_each_sort(kept: ServiceInProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_keys, "MOST_TEMPORARY", 2)
    keys = [made(kept, "role/ci") for _ in range(10)]
    assert "at most 10 access keys" in assert_refused(create(kept, "role/ci"), 409, "limit_exceeded")
    kept.made("role/ci", "DELETE", f"{CI}/{keys[0].id}")
    kept.made("role/ci", "POST", f"{CI}/{keys[1].id}/disable")  # is still one: it can be enabled again
    made(kept, "role/ci")
    assert_refused(create(kept, "role/ci"), 409, "limit_exceeded")
    for _ in range(2):
        made(kept, "role/ci", temporary=True)
    refusal = assert_refused(create(kept, "role/ci", temporary=True), 409, "limit_exceeded")
    assert "at most 2 sets of temporary credentials" in refusal


def test_they_are_listed_in_pages(kept: ServiceInProcess) -> None:
    ids = {made(kept, "user/auditor", "user/auditor").id for _ in range(3)}
    found: list[str] = []
    path = "/v1/principals/user/auditor/access-keys"
    query = "?limit=2"
    while True:
        page = kept.made("user/auditor", "GET", f"{path}{query}")
        found += [one["access_key_id"] for one in page["access_keys"]]
        if page["next_cursor"] is None:
            break
        query = f"?limit=2&cursor={page['next_cursor']}"
    assert found == sorted(found)
    assert ids <= set(found)


def test_whoever_is_deleted_or_enrolled_again_has_none(kept: ServiceInProcess, clock: MovedClock) -> None:
    keys = [made(kept, "role/other", "role/other"), made(kept, "role/other", "role/other", temporary=True)]
    code = kept.made("user/admin", "POST", "/v1/principals/role/other/enrolments", {"revoke_tokens": True})
    assert code["revoked_tokens"] >= 2
    assert [status_of(kept, key, clock) for key in keys] == [401, 401]
    enrolled = kept.made(None, "POST", "/v1/enrolments", {"code": code["enrolment_code"]})
    kept.tokens["role/other"] = enrolled["token"]
    doomed = kept.made("user/admin", "POST", "/v1/principals", {"name": "role/doomed", "duty": "key-user"})
    token = kept.made(None, "POST", "/v1/enrolments", {"code": doomed["enrolment_code"]})["token"]
    key = made(kept, token, "role/doomed")
    assert status_of(kept, key, clock) == 200
    kept.services.keystore.delete_principal("role/doomed", Change("user/admin", clock()))
    assert status_of(kept, key, clock) == 401
    record = kept.services.keystore.find_access_key(key.id)
    assert record is not None
    assert record.state == "revoked"


def test_temporary_credentials(kept: ServiceInProcess, clock: MovedClock) -> None:
    answer = create(kept, "role/ci", temporary=True, duration_seconds=900, label="build 7").get_json()
    assert answer["access_key_id"].startswith("ASIA")
    assert answer["session_token"].startswith("smt_")
    assert datetime.fromisoformat(answer["expires_at"]) == clock() + timedelta(seconds=900)
    usual = create(kept, "role/ci", temporary=True).get_json()
    assert datetime.fromisoformat(usual["expires_at"]) == clock() + timedelta(hours=1)
    listed = {one["access_key_id"]: one for one in kept.made("role/ci", "GET", CI)["access_keys"]}
    assert listed[answer["access_key_id"]]["temporary"]


def end_of_a_token(service: ServiceInProcess) -> tuple[str, Any]:
    token = service.made("role/ci", "POST", "/v1/principals/role/ci/tokens", {"label": "x"})
    return token["token"], lambda: service.made("role/ci", "DELETE", f"/v1/principals/role/ci/tokens/{token['id']}")


def test_they_end_with_the_token_that_made_them(kept: ServiceInProcess, clock: MovedClock) -> None:
    token, end = end_of_a_token(kept)
    temporary, lasting = made(kept, token, temporary=True), made(kept, token)
    assert [status_of(kept, key, clock) for key in (temporary, lasting)] == [200, 200]
    end()
    assert [status_of(kept, key, clock) for key in (temporary, lasting)] == [401, 200]
    listed = {one["access_key_id"]: one["state"] for one in kept.made("role/ci", "GET", CI)["access_keys"]}
    assert (listed[temporary.id], listed[lasting.id]) == ("revoked", "enabled")


def test_they_end_with_the_access_key_that_made_them(kept: ServiceInProcess, clock: MovedClock) -> None:
    key = made(kept, "role/ci")
    path = CI
    body = b'{"temporary": true}'
    answer = send(kept, Signed(key, method="POST", target=path, body=body, moment=clock())).get_json()
    temporary = AccessKey(answer["access_key_id"], answer["secret_access_key"], answer["session_token"])
    assert status_of(kept, temporary, clock) == 200
    kept.made("role/ci", "POST", f"{CI}/{key.id}/disable")
    assert status_of(kept, temporary, clock) == 401
    kept.made("role/ci", "POST", f"{CI}/{key.id}/enable")
    assert status_of(kept, temporary, clock) == 200
    for asked in (b'{"temporary": true}', b"{}"):
        signed_call = Signed(temporary, method="POST", target=path, body=asked, moment=clock())
        assert_refused(send(kept, signed_call), 403, "duty_forbids", None if b"temporary" in asked else "temporary")
    further = send(kept, Signed(key, method="POST", target=path, body=b"{}", moment=clock()))
    assert further.status_code == 201  # an access key that stays makes others, as a token does


def test_a_session_makes_temporary_ones_that_end_with_it(
    kept: ServiceInProcess, clock: MovedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = session(kept)
    assert_refused(create(kept, first), 403, "duty_forbids", "temporary")
    answer = create(kept, first, temporary=True, duration_seconds=43200).get_json()
    assert datetime.fromisoformat(answer["expires_at"]) == clock() + timedelta(seconds=900)  # the session's own
    key = AccessKey(answer["access_key_id"], answer["secret_access_key"], answer["session_token"])
    looked = send(kept, Signed(key, moment=clock()))
    (entry,) = kept.outcomes(looked.headers["X-Request-Id"])
    assert json.loads(entry["proof"])["session"]["trusted_issuer"] == "workloads"
    with monkeypatch.context() as patch:  # its issuer's row alone decides, whatever the session's own row says
        patch.setattr(kept.services.keystore, "trusted_issuer_revision", lambda _name: 2)
        assert status_of(kept, key, clock) == 401
    assert status_of(kept, key, clock) == 200
    issuer = kept.made("user/admin", "GET", "/v1/trusted-issuers/workloads")
    body = {name: issuer[name] for name in ("url", "audiences", "mappings", "jwks")}
    kept.made("user/admin", "PUT", "/v1/trusted-issuers/workloads", body)  # another revision: its sessions end
    assert status_of(kept, key, clock) == 401
    second = session(kept)
    key = made(kept, second, temporary=True)
    credential = kept.made(second, "GET", "/v1/whoami")["credential"].partition(":")[2]
    assert status_of(kept, key, clock) == 200
    kept.made("user/admin", "DELETE", f"/v1/principals/role/ci/tokens/{credential}")
    assert status_of(kept, key, clock) == 401


def test_they_end_with_the_request_key_that_made_them(kept: ServiceInProcess, clock: MovedClock) -> None:
    private = ed25519.Ed25519PrivateKey.generate()
    path = "/v1/principals/role/ci/public-credentials"
    keyid = kept.made("user/admin", "POST", path, {"match": "request-key", "public_key": public_pem(private)})["id"]
    body = b'{"temporary": true}'
    message = SignedMessage(private, keyid, "POST", CI, body)
    answer = kept.client.post(CI, data=body, headers=message.all_headers(), base_url="http://localhost").get_json()
    key = AccessKey(answer["access_key_id"], answer["secret_access_key"], answer["session_token"])
    assert status_of(kept, key, clock) == 200
    kept.made("user/admin", "DELETE", f"{path}/{keyid}")
    assert status_of(kept, key, clock) == 401


def test_an_id_is_never_free_again(kept: ServiceInProcess) -> None:
    keystore = kept.services.keystore
    record = keystore.find_access_key(made(kept, "role/ci").id)
    assert record is not None
    keystore.set_access_key_state("role/ci", record.id, "revoked")
    with pytest.raises(Conflict):
        keystore.create_access_key(record, most=100)
