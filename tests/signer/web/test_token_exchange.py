"""A workload's own token for a session: what is exchanged, what is refused, and how a session ends.

The issuer is a real one on this machine; the names of the tests are those of the known defects of such exchanges.
"""

from __future__ import annotations

import base64
import hmac
import json
import logging
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import jwt as pyjwt
import pytest
from joserfc import jws
from structlog.testing import capture_logs

from keystore.api import CredentialRecord
from keystore.clock import system_clock
from keystore.errors import Conflict
from keystore.trust import UsedAssertion
from tests.oidc import AUDIENCE, DISCOVERY, LocalIssuer, claims, key_set, new_key, signed
from tests.signer.service import MovedClock, ServiceInProcess, running_service

if TYPE_CHECKING:
    from collections.abc import Iterator

    from werkzeug.test import TestResponse

    from keystore.hsm import Token

EXCHANGE: Final = "/v1/token-exchange"
TRUSTED: Final = "/v1/trusted-issuers"
CONDITIONS: Final = {"repository": ["octo/app"], "ref": ["refs/heads/main", "refs/tags/*"]}


def trust(service: ServiceInProcess, url: str, name: str | None = None, **members: Any) -> str:
    """Makes a trusted issuer; returns its name."""
    mappings = [{"role": "role/ci", "conditions": CONDITIONS}]
    name = name or f"x{uuid.uuid4().hex[:12]}"
    body = {"name": name, "url": url, "audiences": [AUDIENCE], "mappings": mappings, **members}
    service.made("user/admin", "POST", TRUSTED, body)
    return name


@pytest.fixture(scope="module")
def issuer(own_service: ServiceInProcess) -> Iterator[LocalIssuer]:
    with LocalIssuer() as running:
        trust(own_service, running.url, "local")
        yield running


def exchange(service: ServiceInProcess, token: str, **members: object) -> TestResponse:
    return service.call(None, "POST", EXCHANGE, {"subject_token": token, **members})


def reason_of_refusal(service: ServiceInProcess, token: str, **members: object) -> str:
    """The one answer, and the reason in the log, where the token is not."""
    with capture_logs() as logged:
        answer = exchange(service, token, **members)
    assert answer.status_code == 401, answer.get_data(as_text=True)
    problem = answer.get_json()
    assert problem["code"] == "unauthenticated"
    assert problem["detail"].startswith("the token was not exchanged: ")
    assert {name for name in problem if name not in ("request_id",)} == {"type", "title", "status", "code", "detail"}
    (entry,) = [entry for entry in logged if entry["event"] == "token_not_exchanged"]
    assert entry["request_id"] == problem["request_id"]
    assert not any(len(part) > 20 and part in str(logged) for part in token.split("."))
    return str(entry["code"])


def session(service: ServiceInProcess, token: str, **members: object) -> Any:
    answer = exchange(service, token, **members)
    assert answer.status_code == 200, answer.get_data(as_text=True)
    return answer.get_json()


def test_a_session_speaks_for_the_role_and_signs(own_service: ServiceInProcess, issuer: LocalIssuer) -> None:
    own_service.make_key("by-workload", purpose="general")
    got = session(own_service, issuer.token(jti="job-1"))
    assert got == {
        "access_token": got["access_token"],
        "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
        "token_type": "Bearer",
        "expires_in": 900,
        "name": "role/ci",
    }
    me = own_service.made(got["access_token"], "GET", "/v1/whoami")
    assert (me["name"], me["duty"], me["kind"]) == ("role/ci", "key-user", "session")
    answer = own_service.call(got["access_token"], "POST", "/v1/keys/by-workload/signatures", {"message": "AAAA"})
    assert answer.status_code == 200
    (intent,) = own_service.intents(answer.headers["X-Request-Id"])
    (outcome,) = own_service.outcomes(answer.headers["X-Request-Id"])
    proof = json.loads(intent["proof"])
    assert outcome["proof"] == intent["proof"]
    assert (proof["issuer"], proof["subject"], proof["jti"]) == (
        *(issuer.url, "repo:octo/app:ref:refs/heads/main", "job-1"),
    )
    assert proof["claims"] == {"repository": "octo/app", "ref": "refs/heads/main"}  # what decided, and nothing more
    assert (proof["trusted_issuer"], proof["trusted_issuer_revision"]) == ("local", 1)


def test_a_session_makes_nothing_that_outlives_it(own_service: ServiceInProcess, issuer: LocalIssuer) -> None:
    got = session(own_service, issuer.token())
    answer = own_service.call(got["access_token"], "POST", "/v1/principals/role/ci/tokens", {"label": "for ever"})
    assert (answer.status_code, answer.get_json()["code"]) == (403, "duty_forbids")


def test_the_exchange_is_recorded_before_and_after(own_service: ServiceInProcess, issuer: LocalIssuer) -> None:
    answer = exchange(own_service, issuer.token())
    (intent,) = own_service.intents(answer.headers["X-Request-Id"])
    (outcome,) = own_service.outcomes(answer.headers["X-Request-Id"])
    assert (intent["principal"], intent["action"], intent["credential"][:11]) == (
        "role/ci",
        "ExchangeToken",
        "oidc:local:",
    )
    assert (outcome["outcome"], outcome["principal"]) == ("succeeded", "role/ci")
    assert json.loads(outcome["detail"])["credential"].startswith("bearer:")
    assert answer.get_json()["access_token"] not in str(intent) + str(outcome)


def changed(token: str, part: int, text: str) -> str:
    parts = token.split(".")
    parts[part] = text
    return ".".join(parts)


def encoded(value: object) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


# The claims that a genuine token of the trusted issuer has, and why it proves nothing all the same.
WRONG_CLAIMS: Final[dict[str, tuple[dict[str, Any], str]]] = {
    "another audience": ({"aud": "https://other.example"}, "wrong_audience"),
    "an audience that begins alike": ({"aud": f"{AUDIENCE}.evil.example"}, "wrong_audience"),
    "an audience with a slash more": ({"aud": f"{AUDIENCE}/"}, "wrong_audience"),
    "two audiences, one of them another": ({"aud": [AUDIENCE, "https://other.example"]}, "wrong_audience"),
    "no audience": ({"aud": None}, "malformed"),
    "an empty list of audiences": ({"aud": []}, "malformed"),
    "an audience of another type": ({"aud": {AUDIENCE: 1}}, "wrong_audience"),
    "no subject": ({"sub": None}, "malformed"),
    "a subject of another type": ({"sub": ["repo:octo/app"]}, "malformed"),
    "a subject that steers a terminal": ({"sub": "repo:octo/app\x1b[2J"}, "malformed"),
    "an endless subject": ({"sub": "x" * 513}, "malformed"),
    "no expiry": ({"exp": None}, "malformed"),
    "an expiry in text": ({"exp": "9999999999"}, "malformed"),
    "an expiry that is true": ({"exp": True}, "malformed"),
    "an expiry beyond all dates": ({"exp": 2**52}, "malformed"),
    "a negative expiry": ({"exp": -1}, "malformed"),
    "a fraction as expiry": ({"exp": 9999999999.5}, "malformed"),
    "no time of issue": ({"iat": None}, "malformed"),
    "a time of issue in text": ({"iat": "now"}, "malformed"),
    "a time of issue far in the future": ({"iat": 9999999999, "exp": 9999999999}, "not_yet_valid"),
    "a jti of another type": ({"jti": 7}, "malformed"),
    "an empty jti": ({"jti": ""}, "malformed"),
    "another repository": ({"repository": "octo/app-evil"}, "no_mapping"),
    "another owner's repository": ({"repository": "evil/app"}, "no_mapping"),
    "no repository": ({"repository": None}, "no_mapping"),
    "a repository of another type": ({"repository": {"octo/app": True}}, "no_mapping"),
    "a pull request": ({"ref": "refs/pull/7/merge", "sub": "repo:octo/app:pull_request"}, "no_mapping"),
    "another branch": ({"ref": "refs/heads/main-evil"}, "no_mapping"),
    "a pattern as a claim": ({"ref": "*"}, "no_mapping"),
    "a tag with a slash": ({"ref": "refs/tags/v1/../../heads/x"}, "no_mapping"),
}


@pytest.mark.parametrize("what", WRONG_CLAIMS)
def test_claims_of_a_genuine_token_that_prove_nothing(
    what: str, own_service: ServiceInProcess, issuer: LocalIssuer
) -> None:
    change, reason = WRONG_CLAIMS[what]
    assert reason_of_refusal(own_service, issuer.token(**change)) == reason


def test_a_token_counts_between_its_times_and_not_beyond(token: Token, tmp_path: Any) -> None:
    clock = MovedClock(system_clock().replace(microsecond=0))
    start, key = int(clock().timestamp()), new_key("k")
    with running_service(token, tmp_path, clock=clock) as service:
        trust(service, "https://pinned.example", jwks=key_set(key), max_token_age=120)

        def reason(**times: int) -> str:
            payload = claims("https://pinned.example", **{"iat": start, "nbf": None, "exp": start + 300, **times})
            answer = exchange(service, signed(key, payload))
            return "" if answer.status_code == 200 else reason_of_refusal(service, signed(key, payload))

        assert reason(exp=start - 29) == ""
        assert reason(exp=start - 30) == "expired"
        assert reason(iat=start + 30) == ""
        assert reason(iat=start + 31) == "not_yet_valid"
        assert reason(nbf=start + 30) == ""
        assert reason(nbf=start + 31) == "not_yet_valid"
        assert reason(iat=start - 150) == ""
        assert reason(iat=start - 151) == "too_old"
        live = session(service, signed(key, claims("https://pinned.example", iat=start, nbf=None, exp=start + 300)))
        clock.move(timedelta(seconds=899))
        assert service.call(live["access_token"], "GET", "/v1/whoami").status_code == 200
        clock.move(timedelta(seconds=1))
        assert service.call(live["access_token"], "GET", "/v1/whoami").status_code == 401


WRONG_HEADERS: Final[dict[str, tuple[dict[str, Any], str]]] = {
    "jku": ({"jku": "https://evil.example/jwks"}, "malformed"),
    "jwk": ({"jwk": key_set(new_key("own"))["keys"][0]}, "malformed"),
    "x5u": ({"x5u": "https://evil.example/chain.pem"}, "malformed"),
    "x5c": ({"x5c": ["MIIB"]}, "malformed"),
    "zip": ({"zip": "DEF"}, "malformed"),
    "another kid": ({"kid": "key-9"}, "unknown_kid"),
    "a kid that is a path": ({"kid": "../../../../dev/null"}, "unknown_kid"),
    "no kid": ({"kid": None}, "malformed"),
    "an access token's type": ({"typ": "at+jwt"}, "wrong_type"),
    "a logout token's type": ({"typ": "logout+jwt"}, "wrong_type"),
}


@pytest.mark.parametrize("what", WRONG_HEADERS)
def test_a_header_decides_nothing(what: str, own_service: ServiceInProcess, issuer: LocalIssuer) -> None:
    change, reason = WRONG_HEADERS[what]
    header = {"alg": "ES256", "kid": "key-1", "typ": "JWT", **change}
    members = {name: value for name, value in header.items() if value is not None}
    payload = json.dumps(claims(issuer.url)).encode()
    registry = jws.JWSRegistry(algorithms=["ES256"], strict_check_header=False)
    token = jws.serialize_compact(members, payload, issuer.keys[0], registry=registry)
    assert reason_of_refusal(own_service, token) == reason


@pytest.mark.parametrize("extension", [{"crit": ["exp"], "exp": 1}, {"crit": ["b64"], "b64": False}, {"crit": []}])
def test_critical_extensions_are_refused(
    extension: dict[str, Any], own_service: ServiceInProcess, issuer: LocalIssuer
) -> None:
    token = changed(issuer.token(), 0, encoded({"alg": "ES256", "kid": "key-1", **extension}))
    assert reason_of_refusal(own_service, token) == "malformed"


def test_tricks_with_the_algorithm(own_service: ServiceInProcess, issuer: LocalIssuer) -> None:
    payload = claims(issuer.url)
    key = issuer.keys[0]
    public = {"as JWK": json.dumps(key.as_dict(private=False)).encode(), "as PEM": key.as_pem(private=False)}
    for secret in public.values():  # HMAC, keyed with what everybody knows
        signing_input = f"{encoded({'alg': 'HS256', 'kid': 'key-1'})}.{encoded(payload)}"
        forged = f"{signing_input}.{encoded(hmac.digest(secret, signing_input.encode(), 'sha256'))}"
        assert reason_of_refusal(own_service, forged) == "algorithm_not_allowed"
    for alg in ("none", "None", "nOnE", "", None, ["ES256"], "es256", "ES256K", "HS256", "RSA-OAEP"):
        token = changed(issuer.token(), 0, encoded({"alg": alg, "kid": "key-1"}))
        assert reason_of_refusal(own_service, token) == "algorithm_not_allowed"
    for unsigned in (changed(issuer.token(), 2, ""), issuer.token().rpartition(".")[0]):
        assert reason_of_refusal(own_service, unsigned) == "malformed"
    # another algorithm of the table: not allowed for this issuer, or not this key's
    for alg, reason in (
        ("PS256", "algorithm_not_allowed"),
        ("RS256", "unknown_kid"),
        ("EdDSA", "algorithm_not_allowed"),
    ):
        token = changed(issuer.token(), 0, encoded({"alg": alg, "kid": "key-1"}))
        assert reason_of_refusal(own_service, token) == reason


def test_a_token_that_was_touched(own_service: ServiceInProcess, issuer: LocalIssuer) -> None:
    token = issuer.token()
    other = claims(issuer.url, repository="octo/app", environment="production")
    assert reason_of_refusal(own_service, changed(token, 1, encoded(other))) == "signature_invalid"
    signature = token.rpartition(".")[2]
    flipped = ("B" if signature[0] != "B" else "C") + signature[1:]
    assert reason_of_refusal(own_service, changed(token, 2, flipped)) == "signature_invalid"
    for text in (
        f"{token}.",
        f".{token}",
        f"{token}=",
        f" {token}",
        token.replace(".", ". ", 1),
        f"{token}\n",
        "..",
        "x",
    ):
        assert reason_of_refusal(own_service, text) == "malformed"
    last = signature[-1]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    again = changed(token, 2, signature[:-1] + alphabet[alphabet.index(last) ^ 1])  # the same octets, another text
    assert reason_of_refusal(own_service, again) in ("malformed", "signature_invalid")
    assert exchange(own_service, token).status_code == 200  # none of that used it up


def test_members_twice_in_a_token(own_service: ServiceInProcess, issuer: LocalIssuer) -> None:
    key = issuer.keys[0]
    text = json.dumps(claims(issuer.url))
    for payload in (
        f'{text[:-1]},"repository":"octo/app"}}',
        f'{{"sub":"x",{text[1:]}',
        f'{text[:-1]},"x":{{"a":1,"a":2}}}}',
    ):
        token = jws.serialize_compact({"alg": "ES256", "kid": "key-1"}, payload.encode(), key)
        assert reason_of_refusal(own_service, token) == "malformed"
    header = b'{"alg":"ES256","kid":"key-1","kid":"key-2"}'
    assert reason_of_refusal(own_service, changed(issuer.token(), 0, encoded(header))) == "malformed"


def test_confused_deputy_through_a_foreign_issuer(own_service: ServiceInProcess, issuer: LocalIssuer) -> None:
    foreign = new_key("key-1")
    for url in (f"{issuer.url}/", issuer.url.upper(), "https://foreign.example", f"{issuer.url}.evil.example", ""):
        assert reason_of_refusal(own_service, signed(foreign, claims(url))) == "unknown_issuer"
    for value in ([issuer.url], {"url": issuer.url}, 7, True):
        assert reason_of_refusal(own_service, signed(issuer.keys[0], claims("x", iss=value))) == "unknown_issuer"
    assert reason_of_refusal(own_service, signed(foreign, claims(issuer.url))) == "signature_invalid"


def test_one_kid_at_two_issuers(own_service: ServiceInProcess) -> None:
    """Each is verified with its own issuer's key; the mapping of the one is nothing to the other."""
    with LocalIssuer(new_key("same")) as one, LocalIssuer(new_key("same")) as other:
        trust(own_service, one.url)
        mapping = {"role": "role/other", "conditions": {"repository": ["octo/app"]}}
        trust(own_service, other.url, mappings=[mapping])
        assert session(own_service, one.token())["name"] == "role/ci"
        assert session(own_service, other.token())["name"] == "role/other"
        for key, url in ((one.keys[0], other.url), (other.keys[0], one.url)):
            assert reason_of_refusal(own_service, signed(key, claims(url))) == "signature_invalid"


def test_a_replayed_token(own_service: ServiceInProcess, issuer: LocalIssuer) -> None:
    token = issuer.token(jti="once")
    session(own_service, token)
    assert reason_of_refusal(own_service, token) == "replayed"
    assert reason_of_refusal(own_service, issuer.token(jti="once", environment="other")) == "replayed"
    with LocalIssuer() as other:  # the name of a token is its own issuer's
        trust(own_service, other.url)
        session(own_service, other.token(jti="once"))


def test_a_token_without_jti_is_used_once_whatever_its_signature(own_service: ServiceInProcess) -> None:
    with LocalIssuer() as local:
        trust(own_service, local.url)
        token = local.token(jti=None)
        session(own_service, token)
        assert reason_of_refusal(own_service, token) == "replayed"
        # The other signature that anybody can make of an ECDSA signature: r, n - s.
        head, _, signature = token.rpartition(".")
        raw = base64.urlsafe_b64decode(signature + "==")
        order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
        twin = encoded(raw[:32] + (order - int.from_bytes(raw[32:])).to_bytes(32))
        twin_token = f"{head}.{twin}"
        assert pyjwt.decode(  # a stock reader takes it for genuine
            twin_token, local.keys[0].as_pem(private=False), algorithms=["ES256"], audience=AUDIENCE
        )
        assert reason_of_refusal(own_service, twin_token) == "replayed"
        session(own_service, local.token(jti=None, iat=int(time.time()) - 1))  # another token is another one


def test_a_token_on_many_threads_at_once_is_exchanged_once(own_service: ServiceInProcess, issuer: LocalIssuer) -> None:
    session(own_service, issuer.token())  # the key set is there: what is raced for is the token
    for _ in range(3):
        token = issuer.token()
        with ThreadPoolExecutor(4) as pool:
            tries = [pool.submit(_status_elsewhere, own_service, token) for _ in range(4)]
            assert sorted(each.result() for each in tries) == [200, 401, 401, 401]


def _status_elsewhere(service: ServiceInProcess, token: str) -> int:
    client = service.client.application.test_client()
    return client.post(EXCHANGE, json={"subject_token": token}).status_code


def test_of_two_workers_that_both_found_it_unused_one_begins_a_session(own_service: ServiceInProcess) -> None:
    keystore = own_service.services.keystore
    name = trust(own_service, "https://two-workers.example", jwks=key_set(new_key("k")))
    now = system_clock()
    used = UsedAssertion("ab" * 32, name, now, now + timedelta(minutes=5))

    def begin(credential: str, revision: int = 1) -> None:
        row = CredentialRecord(credential, "role/ci", b"h" * 32, "enabled", now, now, "session")
        keystore.begin_session(used, row, revision=revision)

    with pytest.raises(Conflict, match="changed"):
        begin("session-0", revision=2)
    begin("session-1")
    with pytest.raises(Conflict, match="already"):
        begin("session-2")
    assert keystore.find_credential("session-0") is None
    assert keystore.find_credential("session-2") is None


def test_used_tokens_are_forgotten_when_they_have_expired(own_service: ServiceInProcess) -> None:
    keystore, key = own_service.services.keystore, new_key("k")
    trust(own_service, "https://forgotten.example", jwks=key_set(key))
    now = int(time.time())
    token = signed(key, claims("https://forgotten.example", exp=now + 10))
    session(own_service, token)
    keystore.forget_assertions(system_clock() + timedelta(seconds=30))
    assert reason_of_refusal(own_service, token) == "replayed"
    keystore.forget_assertions(system_clock() + timedelta(seconds=45))
    late = MovedClock(system_clock() + timedelta(seconds=41))
    keystore.clock, before = late, keystore.clock
    try:
        assert reason_of_refusal(own_service, token) == "expired"
    finally:
        keystore.clock = before


def test_keys_rotate_and_an_outage_opens_no_door(own_service: ServiceInProcess) -> None:
    with LocalIssuer() as local:
        trust(own_service, local.url)
        session(own_service, local.token())
        withdrawn = local.token()
        local.rotate("key-2")
        session(own_service, local.token())
        assert reason_of_refusal(own_service, withdrawn) == "unknown_kid"
    with LocalIssuer() as away:
        trust(own_service, away.url)
        away.answers[DISCOVERY] = lambda handler: handler.send_error(503)
        with capture_logs() as logged:
            assert exchange(own_service, away.token()).status_code == 401
        assert [entry["event"] for entry in logged] == ["key_set_not_fetched", "token_not_exchanged"]
        assert (logged[0]["alarm"], logged[1]["code"]) == (True, "no_key_set")


def test_the_role_is_named_where_there_are_several(own_service: ServiceInProcess) -> None:
    key, url = new_key("k"), "https://several.example"
    mappings = [
        {"role": "role/ci", "conditions": {"repository": ["octo/*"]}},
        {"role": "role/ci", "conditions": {"repository_id": [74]}},
        {"role": "role/other", "conditions": {"repository": ["octo/app"]}},
    ]
    trust(own_service, url, mappings=mappings, jwks=key_set(key))

    def token(**changes: Any) -> str:
        return signed(key, claims(url, **changes))

    assert reason_of_refusal(own_service, token()) == "several_roles"
    assert session(own_service, token(), role="role/other")["name"] == "role/other"
    assert session(own_service, token(), role="role/ci")["name"] == "role/ci"
    assert session(own_service, token(repository="octo/lib"))["name"] == "role/ci"
    for role in ("role/nobody", "user/admin", "user/key-admin"):
        assert reason_of_refusal(own_service, token(), role=role) == "no_mapping"
    assert reason_of_refusal(own_service, token(repository="octo/lib"), role="role/other") == "no_mapping"


def whoami(service: ServiceInProcess, got: Any) -> int:
    return service.call(got["access_token"], "GET", "/v1/whoami").status_code


def test_a_session_ends_with_its_trusted_issuer(own_service: ServiceInProcess) -> None:
    key, url = new_key("k"), "https://ending.example"
    name = trust(own_service, url, jwks=key_set(key))
    others = session(own_service, _of_another(own_service))
    first = session(own_service, signed(key, claims(url)))
    shown = own_service.made("user/admin", "GET", f"{TRUSTED}/{name}")
    body = {member: shown[member] for member in ("url", "audiences", "mappings", "jwks", "revision")}
    changed_now = own_service.made("user/admin", "PUT", f"{TRUSTED}/{name}", body)
    assert changed_now["revision"] == 2
    assert whoami(own_service, first) == 401
    second = session(own_service, signed(key, claims(url)))
    own_service.made("user/admin", "DELETE", f"{TRUSTED}/{name}")
    assert whoami(own_service, second) == 401
    assert reason_of_refusal(own_service, signed(key, claims(url))) == "unknown_issuer"
    assert own_service.call("user/admin", "GET", f"{TRUSTED}/{name}").status_code == 404
    trust(own_service, url, name, jwks=key_set(key))  # the same again is another trust
    assert whoami(own_service, first) == whoami(own_service, second) == 401
    third = session(own_service, signed(key, claims(url)))
    assert whoami(own_service, third) == whoami(own_service, others) == 200
    rows = own_service.services.keystore.store.select("credentials", {"created_by": f"trusted-issuer/{name}"})
    assert sorted(row.text("state") for row in rows) == ["enabled", "revoked", "revoked"]


def _of_another(service: ServiceInProcess) -> str:
    key, url = new_key("k"), f"https://{uuid.uuid4().hex}.example"
    trust(service, url, jwks=key_set(key))
    return signed(key, claims(url))


def test_a_session_ends_with_its_role(own_service: ServiceInProcess) -> None:
    key, url, keystore = new_key("k"), "https://roles.example", own_service.services.keystore
    own_service.made("user/admin", "POST", "/v1/principals", {"name": "role/passing", "duty": "auditor"})
    trust(own_service, url, jwks=key_set(key), mappings=[{"role": "role/passing", "conditions": CONDITIONS}])
    got = session(own_service, signed(key, claims(url)))
    assert whoami(own_service, got) == 200
    keystore.set_principal_state("role/passing", "disabled")
    assert whoami(own_service, got) == 401
    assert reason_of_refusal(own_service, signed(key, claims(url))) == "no_such_role"
    keystore.set_principal_state("role/passing", "enabled")
    own_service.made("user/admin", "DELETE", "/v1/principals/role/passing")
    assert whoami(own_service, got) == 401
    assert reason_of_refusal(own_service, signed(key, claims(url))) == "no_such_role"


def test_a_role_that_came_to_administer_gets_no_session(own_service: ServiceInProcess) -> None:
    """The duty is asked when the session begins, not only when the mapping is stored."""
    key, url, keystore = new_key("k"), "https://risen.example", own_service.services.keystore
    own_service.made("user/admin", "POST", "/v1/principals", {"name": "role/risen", "duty": "key-user"})
    trust(own_service, url, jwks=key_set(key), mappings=[{"role": "role/risen", "conditions": CONDITIONS}])
    with keystore.store.transaction() as transaction:
        row = transaction.get("principals", "role/risen")
        assert row is not None
        transaction.update(row, {"duty": "administrator"})
    assert reason_of_refusal(own_service, signed(key, claims(url))) == "duty_forbids"


GOOD: Final[dict[str, Any]] = {
    "url": "https://good.example",
    "audiences": [AUDIENCE],
    "mappings": [{"role": "role/ci", "conditions": {"repository": ["octo/app"]}}],
}
P256: Final = key_set(new_key("k"))["keys"][0]
UNSAFE: Final[dict[str, tuple[dict[str, Any], str]]] = {
    "plain http": ({"url": "http://issuer.example"}, "url"),
    "a query": ({"url": "https://issuer.example?x"}, "url"),
    "plain http keys": ({"jwks_url": "http://issuer.example/jwks"}, "jwks_url"),
    "another scheme": ({"jwks_url": "file:///etc/passwd"}, "jwks_url"),
    "two key sources": ({"jwks_url": "https://issuer.example/jwks", "jwks": {"keys": [P256]}}, "jwks"),
    "no key": ({"jwks": {"keys": []}}, "jwks"),
    "a shared secret": ({"jwks": {"keys": [{"kty": "oct", "kid": "a", "k": "AAAA"}]}}, "jwks"),
    "a private key": ({"jwks": {"keys": [new_key("p").as_dict(private=True)]}}, "jwks"),
    "one good key and one that is not": ({"jwks": {"keys": [P256, {"kty": "oct"}]}}, "jwks"),
    "an audience for all": ({"audiences": ["*"]}, "audiences"),
    "a role that is not there": ({"mappings": [{**GOOD["mappings"][0], "role": "role/nobody"}]}, "mappings[0].role"),
    "a user": ({"mappings": [{**GOOD["mappings"][0], "role": "user/auditor"}]}, "mappings[0].role"),
    "an administrator": ({"mappings": [{**GOOD["mappings"][0], "role": "user/admin"}]}, "mappings[0].role"),
    "everybody": ({"mappings": [{"role": "role/ci", "conditions": {"sub": ["**"]}}]}, "mappings[0].conditions"),
    "half a segment": (
        {"mappings": [{"role": "role/ci", "conditions": {"repository": ["octo/app*"]}}]},
        "mappings[0].conditions.repository",
    ),
    "no condition": (
        {"mappings": [{"role": "role/ci", "conditions": {"aud": [AUDIENCE]}}]},
        "mappings[0].conditions.aud",
    ),
    "the second mapping": (
        {"mappings": [*GOOD["mappings"], {"role": "role/ci", "conditions": {"ref": ["*"]}}]},
        "mappings[1].conditions",
    ),
}


@pytest.mark.parametrize("what", UNSAFE)
@pytest.mark.parametrize("change", [False, True])
def test_what_would_be_unsafe_is_not_stored(what: str, change: bool, own_service: ServiceInProcess) -> None:
    members, field = UNSAFE[what]
    body = {**GOOD, **members}
    if change:
        name = trust(own_service, f"https://{uuid.uuid4().hex}.example")
        answer = own_service.call("user/admin", "PUT", f"{TRUSTED}/{name}", body)
        assert own_service.made("user/admin", "GET", f"{TRUSTED}/{name}")["revision"] == 1
    else:
        answer = own_service.call("user/admin", "POST", TRUSTED, {"name": "unsafe", **body})
        assert own_service.call("user/admin", "GET", f"{TRUSTED}/unsafe").status_code == 404
    assert (answer.status_code, answer.get_json()["field"]) == (422, field), answer.get_json()


@pytest.mark.parametrize(
    "members",
    [
        {"algorithms": ["HS256"]},
        {"algorithms": ["none"]},
        {"algorithms": []},
        {"session_lifetime": 3601},
        {"max_token_age": 0},
        {"audiences": []},
        {"mappings": []},
        {"mappings": [{"role": "role/ci", "conditions": {}}]},
        {"mappings": [{"role": "role/ci", "conditions": {"repository": []}}]},
        {"mappings": [{"role": "role/ci", "conditions": {"repository": [None]}}]},
        {"mappings": [{"role": "role/ci", "conditions": {"repository": [1.5]}}]},
        {"state": "enabled"},
    ],
)
def test_what_is_no_such_body_is_refused(members: dict[str, Any], own_service: ServiceInProcess) -> None:
    answer = own_service.call("user/admin", "POST", TRUSTED, {"name": "odd", **GOOD, **members})
    assert (answer.status_code, answer.get_json()["code"]) == (422, "malformed_request")


def test_names_and_urls_are_taken_once(own_service: ServiceInProcess) -> None:
    url = "https://taken.example"
    name = trust(own_service, url)
    for body, field in (({"name": "another", "url": url}, "url"), ({"name": name, "url": "https://n.example"}, "name")):
        answer = own_service.call("user/admin", "POST", TRUSTED, {**GOOD, **body})
        assert (answer.status_code, answer.get_json()["field"]) == (409, field)
    other = trust(own_service, "https://other-taken.example")
    answer = own_service.call("user/admin", "PUT", f"{TRUSTED}/{other}", {**GOOD, "url": url})
    assert (answer.status_code, answer.get_json()["field"]) == (409, "url")
    stale = own_service.call(
        "user/admin", "PUT", f"{TRUSTED}/{other}", {**GOOD, "url": "https://z.example", "revision": 7}
    )
    assert (stale.status_code, stale.get_json()["field"]) == (409, "revision")


def test_pages_of_trusted_issuers(own_service: ServiceInProcess) -> None:
    everything = own_service.made("user/admin", "GET", f"{TRUSTED}?limit=1000")
    names, cursor = [], ""
    while True:
        page = own_service.made("user/admin", "GET", f"{TRUSTED}?limit=3{cursor}")
        names += [each["name"] for each in page["trusted_issuers"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert names == sorted(each["name"] for each in everything["trusted_issuers"])
    assert "local" in names


def test_nothing_of_a_token_reaches_standard_logging(
    own_service: ServiceInProcess, issuer: LocalIssuer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    token = issuer.token()
    session(own_service, token)
    exchange(own_service, token)
    assert token.split(".")[2] not in caplog.text
