"""Requests signed by Signature Version 4 against the whole service: what is taken, what is recorded, and every way in
which it is not."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest
from structlog.testing import capture_logs

from keystore.clock import system_clock
from signer.authn.authenticator import REFUSAL
from signer.authn.refused import WORDS, Kind
from signer.authn.sigv4_keys import SigningKeys
from signer.authn.sigv4_request import read
from signer.authn.throttle import MOST, Throttle
from signer.errors import Replayed, TooManyRequests, Unauthenticated
from tests.signer.authn.sigv4_by_hand import AccessKey, Signed, call_of, made, send
from tests.signer.service import MovedClock, ServiceInProcess, running_service
from tests.signer.web.refusal import assert_refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from keystore.hsm import Token
    from signer.authn.principal import Principal
    from signer.call import Call

NOTHING: Final = hashlib.sha256(b"").hexdigest()
BODY: Final = b'{"message": "aGVsbG8K", "algorithm": "ECDSA_SHA_256"}'
NEW_TOKEN: Final = "/v1/principals/role/ci/tokens"


@pytest.fixture(scope="module")
def clock() -> MovedClock:
    return MovedClock(system_clock().replace(microsecond=0))


@pytest.fixture(scope="module")
def moved(token: Token, tmp_path_factory: pytest.TempPathFactory, clock: MovedClock) -> Iterator[ServiceInProcess]:
    """A service whose clock stands still until a test moves it."""
    with running_service(token, tmp_path_factory.mktemp("sigv4"), clock=clock) as service:
        service.make_key("aws", purpose="general")
        yield service


@pytest.fixture(scope="module")
def key(moved: ServiceInProcess) -> AccessKey:
    return made(moved, "role/ci")


@pytest.fixture(scope="module")
def temporary(moved: ServiceInProcess) -> AccessKey:
    return made(moved, "role/ci", temporary=True, duration_seconds=43200)


@pytest.fixture
def at(clock: MovedClock) -> Callable[..., Signed]:
    """A request signed now, by the service's clock."""

    def signed(key: AccessKey, **members: Any) -> Signed:
        return Signed(key, **{"moment": clock(), **members})

    return signed


def authenticate(service: ServiceInProcess, call: Call) -> Principal:
    return service.services.pipeline.authenticate(call)


def refused(service: ServiceInProcess, call: Call) -> Unauthenticated:
    """The refusal, which must say nothing of why but to AWS's own clients."""
    with capture_logs() as logged, pytest.raises(Unauthenticated) as raised:
        authenticate(service, call)
    assert raised.value.message == REFUSAL
    (entry,) = [entry for entry in logged if entry["event"] == "credential_refused"]
    assert entry["reason"]
    return raised.value


@pytest.mark.parametrize("temporarily", [False, True])
def test_it_is_its_principal(
    moved: ServiceInProcess, key: AccessKey, temporary: AccessKey, at: Any, temporarily: bool
) -> None:
    used = temporary if temporarily else key
    me = send(moved, at(used)).get_json()
    assert (me["name"], me["credential"], me["kind"]) == ("role/ci", f"access-key:{used.id}", "access-key")
    assert used.id.startswith("ASIA" if temporarily else "AKIA")
    made_one = send(moved, at(used, method="POST", target="/v1/keys/aws/signatures", body=BODY))
    assert made_one.status_code == 200, made_one.get_data()
    presigned = send(moved, at(used, target="/v1/keys?limit=1", expires=60))
    assert presigned.status_code == 200, presigned.get_json()


def test_whoever_has_the_secret_can_check_what_was_asked_by_the_record(
    moved: ServiceInProcess, key: AccessKey, temporary: AccessKey, at: Any
) -> None:
    for used in (key, temporary):
        answer = send(moved, at(used, method="POST", target="/v1/keys/aws/signatures", body=BODY + b" "))
        request_id = answer.headers["X-Request-Id"]
        rows = [*moved.intents(request_id), *moved.outcomes(request_id)]
        assert len(rows) == 2
        for row in rows:
            assert row["credential"] == f"access-key:{used.id}"
            proof = json.loads(row["proof"])
            derived = f"AWS4{used.secret}".encode()
            for part in proof["scope"].split("/"):
                derived = hmac.new(derived, part.encode(), "sha256").digest()
            assert hmac.new(derived, proof["string_to_sign"].encode(), "sha256").hexdigest() == proof["signature"]
            assert proof["payload"] == hashlib.sha256(BODY + b" ").hexdigest()
            assert used.secret not in row["proof"]
            assert used.token is None or used.token not in row["proof"]
            assert ("canonical_request" in proof) is (used is key)  # a session token's value is not to be kept
            if used is key:
                hashed = hashlib.sha256(proof["canonical_request"].encode("latin-1")).hexdigest()
                assert proof["string_to_sign"].endswith(hashed)
                assert proof["canonical_request"].startswith("POST\n/v1/keys/aws/signatures\n")


def test_what_might_be_a_secret_is_signed_and_not_recorded(moved: ServiceInProcess, key: AccessKey, at: Any) -> None:
    for signed in (
        at(key, headers={"x-amz-meta": "precious"}),
        at(key, target="/v1/whoami?pasted=smk_precious0123456789abcdef"),
        at(key, target=f"/v1/whoami?much={'precious' * 600}"),
    ):
        (outcome,) = moved.outcomes(send(moved, signed).headers["X-Request-Id"])
        assert "precious" not in outcome["proof"]
        assert json.loads(outcome["proof"])["string_to_sign"]


TAMPERED: Final[dict[str, dict[str, Any]]] = {
    "method": {"method": "GET"},
    "method's case": {"method": "post"},
    "path": {"target": "/v1/keys/aws/artifacts?b=2&a=1&a=2"},
    "query's value": {"target": "/v1/keys/aws/signatures?b=2&a=1&a=3"},
    "query, more": {"target": "/v1/keys/aws/signatures?b=2&a=1&a=2&c="},
    "query, less": {"target": "/v1/keys/aws/signatures"},
    "body": {"body": b'{"message": "aGVsbG9L"}'},
    "no body": {"body": b""},
    "content type": {"headers": {"content-type": "application/x-amz-json-1.1"}},
    "host": {"headers": {"host": "localhost:8200"}},
    "target": {"headers": {"x-amz-target": "TrentService.Decrypt"}},
    "key of idempotency": {"headers": {"idempotency-key": "another"}},
    "unsigned x-amz": {"headers": {"x-amz-more": "1"}},
    "unsigned approval": {"headers": {"sealmark-approval": "01953f5a"}},
    "no target": {"headers": {"x-amz-target": None}},
}


@pytest.mark.parametrize("what", TAMPERED)
def test_one_change_is_refused(moved: ServiceInProcess, key: AccessKey, at: Any, what: str) -> None:
    headers = {"x-amz-target": "TrentService.Sign", "idempotency-key": "once", "x-amz-id": what}
    signed = at(key, method="POST", target="/v1/keys/aws/signatures?b=2&a=1&a=2", body=BODY, headers=headers)
    assert refused(moved, call_of(signed, **TAMPERED[what])).kind == Kind.WRONG
    assert authenticate(moved, call_of(signed)).name == "role/ci"


@pytest.mark.parametrize("what", ["date", "scope", "signed headers", "signature", "another's id", "token"])
def test_one_change_of_what_the_signature_says_is_refused(
    moved: ServiceInProcess, key: AccessKey, temporary: AccessKey, at: Any, what: str
) -> None:
    used = temporary if what == "token" else key
    other = made(moved, "role/other", "role/other")
    signed = at(used, headers={"accept": "*/*"})
    sent = signed.sent_headers()
    authorization = sent["authorization"]
    last, token = "0" if authorization[-1] != "0" else "1", used.token or ""
    changes: dict[str, dict[str, str]] = {
        "date": {"x-amz-date": f"{signed.date[:-3]}{(int(signed.date[-3:-1]) + 1) % 60:02}Z"},
        "scope": {"authorization": authorization.replace("/kms/", "/sts/")},
        "signed headers": {"authorization": authorization.replace("accept;", "")},
        "signature": {"authorization": authorization[:-1] + last},
        "another's id": {"authorization": authorization.replace(key.id, other.id)},
        "token": {"x-amz-security-token": token[:-1] + ("0" if token[-1:] != "0" else "1")},
    }
    assert refused(moved, call_of(signed, headers=changes[what])).kind == Kind.WRONG
    moved.services.keystore.set_access_key_state("role/other", other.id, "revoked")


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"region": "eu-west-1"}, "Credential should be scoped to a valid region, here 'us-east-1'."),
        ({"service": "sts"}, "Credential should be scoped to correct service: 'kms'."),
        ({"terminator": "aws5_request"}, "Credential should be scoped with a valid terminator: 'aws4_request'."),
        ({"scope_date": "20200101"}, "Date in Credential scope does not match YYYYMMDD"),
    ],
)
@pytest.mark.parametrize("expires", [None, 60])
def test_a_signature_for_elsewhere_is_refused_though_it_is_right(
    moved: ServiceInProcess, key: AccessKey, at: Any, members: Any, words: str, expires: int | None
) -> None:
    refusal = refused(moved, call_of(at(key, expires=expires, **members)))
    assert refusal.kind == Kind.WRONG
    assert refusal.words.startswith(words)


@pytest.mark.parametrize(("seconds", "taken"), [(-301, False), (-300, True), (300, True), (301, False)])
@pytest.mark.parametrize("body", [b"", BODY])
def test_five_minutes_either_way(
    moved: ServiceInProcess, key: AccessKey, clock: MovedClock, seconds: int, taken: bool, body: bytes
) -> None:
    signed = Signed(key, method="POST" if body else "GET", body=body, moment=clock() + timedelta(seconds=seconds))
    if taken:
        assert authenticate(moved, call_of(signed)).name == "role/ci"
        return
    refusal = refused(moved, call_of(signed))
    assert refusal.kind == Kind.WRONG
    assert refusal.words.startswith("Signature expired: " if seconds < 0 else "Signature not yet current: ")


@pytest.mark.parametrize(
    ("method", "body", "expires", "age", "taken"),
    [
        ("GET", b"", 604800, 604800, True),
        ("GET", b"", 604800, 604801, False),
        ("GET", b"", 60, 60, True),
        ("GET", b"", 60, 61, False),
        ("GET", b"", 60, -300, True),
        ("GET", b"", 60, -301, False),
        ("POST", BODY, 604800, 300, True),  # whatever changes something lives no longer than any signature
        ("POST", BODY, 604800, 301, False),
        ("DELETE", b"", 604800, 301, False),
        ("POST", BODY, 60, 61, False),
        ("GET", BODY, 604800, 301, False),
    ],
)
def test_how_long_a_presigned_request_lives(
    moved: ServiceInProcess, key: AccessKey, clock: MovedClock, method: str, body: bytes, expires: int, age: int,
    taken: bool,
) -> None:  # fmt: skip
    moment = clock() - timedelta(seconds=age)
    call = call_of(Signed(key, method=method, body=body, moment=moment, expires=expires))
    if taken:
        assert authenticate(moved, call).name == "role/ci"
    else:
        assert refused(moved, call).kind == Kind.WRONG


@pytest.mark.parametrize("expires", ["0", "604801", "-1", "6e1", "", "\uff19"])
def test_another_life_than_one_second_to_a_week_is_refused(
    moved: ServiceInProcess, key: AccessKey, at: Any, expires: str
) -> None:
    signed = at(key, expires=60)
    target = signed.sent_target().replace("X-Amz-Expires=60", f"X-Amz-Expires={expires}")
    assert refused(moved, call_of(signed, target=target)).kind == Kind.INCOMPLETE


@pytest.mark.parametrize(
    ("payload", "body", "expires", "taken"),
    [
        ("UNSIGNED-PAYLOAD", b"", None, False),
        ("UNSIGNED-PAYLOAD", BODY, None, False),
        ("STREAMING-AWS4-HMAC-SHA256-PAYLOAD", BODY, None, False),
        ("0" * 64, BODY, None, False),
        (hashlib.sha256(BODY).hexdigest(), BODY, None, True),
        (NOTHING, b"", None, True),
        ("UNSIGNED-PAYLOAD", b"", 60, True),  # there is nothing that is not signed
        (NOTHING, b"", 60, True),
        ("UNSIGNED-PAYLOAD", BODY, 60, False),
        (hashlib.sha256(BODY).hexdigest(), BODY, 60, True),
    ],
)
@pytest.mark.parametrize("said", [False, True])
def test_the_body_is_signed(
    moved: ServiceInProcess, key: AccessKey, at: Any, payload: str, body: bytes, expires: int | None, taken: bool,
    said: bool,
) -> None:  # fmt: skip
    headers = {"x-amz-content-sha256": payload, "x-amz-id": str(said)} if said else {"x-amz-id": str(said)}
    method = "POST" if body else "GET"
    call = call_of(at(key, method=method, body=body, payload=payload, expires=expires, headers=headers))
    if taken:
        assert authenticate(moved, call).name == "role/ci"
    else:
        assert refused(moved, call).kind == Kind.WRONG


MALFORMED: Final[dict[str, Callable[[str], str]]] = {
    "nothing": lambda _: "AWS4-HMAC-SHA256",
    "another algorithm": lambda text: text.replace("HMAC-SHA256", "HMAC-SHA1"),
    "asymmetric": lambda text: text.replace("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"),
    "in small letters": lambda text: text.replace("AWS4-HMAC-SHA256", "aws4-hmac-sha256"),
    "no credential": lambda text: text.replace("Credential=", "Cred="),
    "no signed headers": lambda text: text.replace("SignedHeaders=host;x-amz-date, ", ""),
    "no signature": lambda text: text.partition(", Signature=")[0],
    "a part twice": lambda text: f"{text}, Signature={'0' * 64}",
    "one more part": lambda text: f"{text}, Other=1",
    "no commas": lambda text: text.replace(",", ""),
    "headers in another order": lambda text: text.replace("host;x-amz-date", "x-amz-date;host"),
    "a header twice": lambda text: text.replace("host;x-amz-date", "host;host;x-amz-date"),
    "a header in capitals": lambda text: text.replace("host;x-amz-date", "Host;x-amz-date"),
    "an empty header": lambda text: text.replace("host;x-amz-date", ";host;x-amz-date"),
    "four parts": lambda text: text.replace("/kms", ""),
    "six parts": lambda text: text.replace("/kms", "/kms/kms"),
    "signature in capitals": lambda text: text[:-64] + text[-64:].upper().replace("0", "A"),
    "signature too short": lambda text: text[:-1],
}


@pytest.mark.parametrize("how", MALFORMED)
def test_what_is_not_of_the_form_is_refused(moved: ServiceInProcess, key: AccessKey, at: Any, how: str) -> None:
    signed = at(key)
    authorization = MALFORMED[how](signed.sent_headers()["authorization"])
    refusal = refused(moved, call_of(signed, headers={"authorization": authorization}))
    assert refusal.kind == Kind.INCOMPLETE


def test_a_date_header_will_do(moved: ServiceInProcess, key: AccessKey, clock: MovedClock) -> None:
    """Where there is no X-Amz-Date (IAM User Guide, "Elements of an AWS API request signature")."""
    usual = Signed(key, moment=clock())
    for date in (f"{clock():%a, %d %b %Y %H:%M:%S GMT}", usual.date):
        signed = Signed(key, moment=clock(), headers={"date": date})
        headers = {name: value for name, value in signed._plain_headers().items() if name != "x-amz-date"}

        class Dated(Signed):
            def _plain_headers(self, headers: dict[str, str] = headers) -> dict[str, str]:
                return dict(headers)

        assert authenticate(moved, call_of(Dated(key, moment=clock()))).name == "role/ci"
        unsigned = Dated(key, moment=clock()).sent_headers()["authorization"].replace("date;", "")
        assert refused(moved, call_of(Dated(key, moment=clock()), headers={"authorization": unsigned}))


def test_nothing_of_the_time_is_incomplete(moved: ServiceInProcess, key: AccessKey, at: Any) -> None:
    for changed in ({"x-amz-date": "2026-11-26T00:00:00Z"}, {"x-amz-date": "20261399T000000Z"}):
        assert refused(moved, call_of(at(key), headers=changed)).kind == Kind.INCOMPLETE
    for date in (None, "yesterday"):
        changed_date: dict[str, str | None] = {"x-amz-date": None, "date": date}
        assert refused(moved, call_of(at(key), headers=changed_date)).kind == Kind.INCOMPLETE


def test_one_request_has_one_credential(moved: ServiceInProcess, key: AccessKey, at: Any) -> None:
    bearer = {"authorization": f"Bearer {moved.tokens['role/ci']}"}
    two = [
        call_of(at(key, expires=60), headers=bearer),
        call_of(at(key), headers={"signature": "sig=:AAAA:", "signature-input": "sig=()"}),
        call_of(at(key), target=at(key, expires=60).sent_target()),
    ]
    for call in two:
        refused(moved, call)
    with pytest.raises(Unauthenticated) as raised:
        authenticate(moved, call_of(at(key), headers={"authorization": None}))
    assert (raised.value.kind, raised.value.words) == (Kind.MISSING, WORDS[Kind.MISSING])


@pytest.mark.parametrize("parameter", ["Algorithm", "Credential", "Date", "Expires", "SignedHeaders", "Signature"])
def test_a_presigned_request_has_every_parameter_once(
    moved: ServiceInProcess, key: AccessKey, at: Any, parameter: str
) -> None:
    signed = at(key, expires=60)
    path, _, query = signed.sent_target().partition("?")
    parts = query.split("&")
    (own,) = [part for part in parts if part.startswith(f"X-Amz-{parameter}=")]
    without = [part for part in parts if part is not own]
    for target in (f"{path}?{'&'.join(without)}", f"{path}?{query}&{own}"):
        assert refused(moved, call_of(signed, target=target)).kind == Kind.INCOMPLETE


def test_a_session_token_goes_with_temporary_credentials_alone(
    moved: ServiceInProcess, key: AccessKey, temporary: AccessKey, at: Any
) -> None:
    other = made(moved, "role/ci", temporary=True)
    for wrong in (
        AccessKey(key.id, key.secret, temporary.token),
        AccessKey(temporary.id, temporary.secret),
        AccessKey(temporary.id, temporary.secret, other.token),
        AccessKey(temporary.id, temporary.secret, ""),
    ):
        for expires in (None, 60):
            refusal = refused(moved, call_of(at(wrong, expires=expires)))
            assert (refusal.kind, refusal.words) == (Kind.UNKNOWN, WORDS[Kind.UNKNOWN])


def test_an_identical_request_that_changes_something_is_taken_once(
    moved: ServiceInProcess, key: AccessKey, at: Any
) -> None:
    signed = at(key, method="POST", target=NEW_TOKEN, body=b'{"label": "once"}')
    assert send(moved, signed).status_code == 201
    again = send(moved, signed)
    assert "sign it again" in assert_refused(again, 429, "too_many_requests")
    assert again.headers["Retry-After"] == "1"
    tokens = moved.made("role/ci", "GET", NEW_TOKEN)["tokens"]
    assert sum(token["label"] == "once" for token in tokens) == 1
    looked = at(key)
    assert [send(moved, looked).status_code for _ in range(2)] == [200, 200]


@pytest.mark.parametrize(
    ("operation", "once"), [("CreateKey", True), ("ScheduleKeyDeletion", True), ("Sign", False), ("ListKeys", False)]
)
@pytest.mark.parametrize("expires", [None, 300])
def test_of_awss_operations_those_that_change_something(
    moved: ServiceInProcess, key: AccessKey, at: Any, operation: str, once: bool, expires: int | None
) -> None:
    headers = {"x-amz-target": f"TrentService.{operation}"}
    signed = at(key, method="POST", target="/", body=b"{}", headers=headers, expires=expires)
    call = call_of(signed)
    assert authenticate(moved, call) == authenticate(moved, call)  # two steps of one call
    if once:
        with pytest.raises(Replayed):
            authenticate(moved, call_of(signed))
    else:
        assert authenticate(moved, call_of(signed)).name == "role/ci"


def test_of_many_equal_requests_at_once_one_is_taken(moved: ServiceInProcess, key: AccessKey, at: Any) -> None:
    signed = at(key, method="POST", target="/", body=b'{"n": 1}', headers={"x-amz-target": "TrentService.CreateKey"})
    found: Counter[str] = Counter()

    def attempt() -> None:
        try:
            found[authenticate(moved, call_of(signed)).name] += 1
        except Replayed:
            found["replayed"] += 1

    threads = [threading.Thread(target=attempt) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {"role/ci": 1, "replayed": 7}


def test_who_is_ended_is_refused_at_once(moved: ServiceInProcess, at: Any) -> None:
    keystore = moved.services.keystore
    own = made(moved, "role/other", "role/other")
    assert authenticate(moved, call_of(at(own))).name == "role/other"
    for state in ("disabled", "enabled", "revoked"):
        keystore.set_access_key_state("role/other", own.id, state)
        if state == "enabled":
            assert authenticate(moved, call_of(at(own))).name == "role/other"
        else:
            assert refused(moved, call_of(at(own))).kind == Kind.UNKNOWN
    own = made(moved, "role/other", "role/other")
    keystore.set_principal_state("role/other", "disabled")
    assert refused(moved, call_of(at(own))).kind == Kind.UNKNOWN
    keystore.set_principal_state("role/other", "enabled")
    assert authenticate(moved, call_of(at(own))).name == "role/other"


def test_an_end_comes_by_itself(token: Token, tmp_path_factory: pytest.TempPathFactory) -> None:
    clock = MovedClock(system_clock().replace(microsecond=0))
    with running_service(token, tmp_path_factory.mktemp("ends"), clock=clock) as service:
        lasting, short = made(service, "role/ci", days=1), made(service, "role/ci", temporary=True)
        clock.move(timedelta(hours=1))
        refusal = refused(service, call_of(Signed(short, moment=clock())))
        assert (refusal.kind, refusal.words) == (Kind.EXPIRED, WORDS[Kind.EXPIRED])
        assert authenticate(service, call_of(Signed(lasting, moment=clock()))).name == "role/ci"
        clock.move(timedelta(hours=23))
        assert refused(service, call_of(Signed(lasting, moment=clock()))).kind == Kind.UNKNOWN


def test_break_glass_has_none(moved: ServiceInProcess, at: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    own = made(moved, "role/ci")
    keystore = moved.services.keystore
    find = keystore.find_principal

    def as_root(name: str) -> Any:
        found = find(name)
        assert found is not None
        return type(found)(
            found.name, "root", "enabled", found.created_at, "x", (), found.created_at.replace(year=2999)
        )

    monkeypatch.setattr(keystore, "find_principal", as_root)
    assert refused(moved, call_of(at(own))).kind == Kind.UNKNOWN


def test_a_request_costs_no_hsm_operation_once_its_key_is_known(
    moved: ServiceInProcess, at: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    keystore = moved.services.keystore
    original = keystore.secret_of

    def counting(record: Any) -> bytes:
        opened.append(record.id)
        return original(record)

    monkeypatch.setattr(keystore, "secret_of", counting)
    own = made(moved, "role/ci")
    for _ in range(3):
        authenticate(moved, call_of(at(own)))
    assert opened == [own.id]
    keystore.set_access_key_state("role/ci", own.id, "disabled")
    keystore.set_access_key_state("role/ci", own.id, "enabled")
    authenticate(moved, call_of(at(own)))
    assert opened == [own.id, own.id]  # another revision of the row


def test_what_is_remembered_is_bounded(moved: ServiceInProcess, key: AccessKey, at: Any) -> None:
    record = moved.services.keystore.find_access_key(key.id)
    assert record is not None
    kept = SigningKeys(moved.services.keystore, places=3)
    scopes = [read(call_of(at(key, scope_date=f"2026010{day}"))).scope for day in (1, 2, 3, 4)]
    for scope in scopes:
        kept.of(record, scope)
    assert [kept.remembered(scope) is not None for scope in scopes] == [False, True, True, True]


def test_unknown_and_wrong_cost_the_same(
    moved: ServiceInProcess, key: AccessKey, at: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    unknown = AccessKey("AKIA" + "A" * 16, key.secret)
    revoked = made(moved, "role/ci")
    authenticate(moved, call_of(at(revoked)))
    moved.services.keystore.set_access_key_state("role/ci", revoked.id, "revoked")
    cases = {
        "unknown": unknown,
        "wrong": AccessKey(key.id, "x" * 40),
        "revoked": revoked,
        "revoked and wrong": AccessKey(revoked.id, "x" * 40),
    }
    calls = {name: call_of(at(used)) for name, used in cases.items()}
    for call in calls.values():
        refused(moved, call)  # whatever is remembered of a row that was read before is remembered now
    done: Counter[str] = Counter()

    def counted(owner: Any, name: str, label: str) -> None:
        original = getattr(owner, name)

        def counting(*arguments: Any, **named: Any) -> Any:
            if threading.current_thread() is threading.main_thread():
                done[label] += 1
            return original(*arguments, **named)

        monkeypatch.setattr(owner, name, counting)

    keystore = moved.services.keystore
    counted(keystore.database, "fetch", "statements")
    counted(keystore, "secret_of", "secrets opened")
    counted(keystore.store.sealer, "is_row", "HMACs in the HSM")
    work = {}
    for name, call in calls.items():
        done.clear()
        refused(moved, call)
        work[name] = dict(done)
    assert work == {name: {"statements": 2} for name in cases}


@pytest.fixture
def guarded(token: Token, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceInProcess]:
    with running_service(token, tmp_path_factory.mktemp("guarded"), throttle=Throttle(now=lambda: 1000.0)) as service:
        yield service


def test_nobody_is_locked_out_by_whoever_knows_their_id_or_saw_a_request(guarded: ServiceInProcess) -> None:
    key = made(guarded, "role/ci")
    seen = Signed(key, method="POST", target="/", body=b"{}", headers={"x-amz-target": "TrentService.CreateKey"})
    assert authenticate(guarded, call_of(seen)).name == "role/ci"
    forged = [
        call_of(Signed(AccessKey(key.id, "guess"))),
        call_of(seen, headers={"x-amz-more": "1"}),
        call_of(seen, body=b"[]"),
        call_of(Signed(key, moment=system_clock() - timedelta(seconds=400))),
    ]
    for attempt in range(MOST):
        refused(guarded, forged[attempt % len(forged)])
    for _ in range(2 * MOST):
        with pytest.raises(Replayed):
            authenticate(guarded, call_of(seen))
    # Guessing has ended for everybody new behind this address; who works there goes on.
    with pytest.raises(TooManyRequests):
        authenticate(guarded, forged[0])
    for number in range(3):
        assert authenticate(guarded, call_of(Signed(key, headers={"x-amz-n": str(number)}))).name == "role/ci"
    # When it is ended, its pass ends too.
    guarded.services.keystore.set_access_key_state("role/ci", key.id, "revoked")
    refused(guarded, call_of(Signed(key)))
    with pytest.raises(TooManyRequests):
        authenticate(guarded, call_of(Signed(key)))


def test_a_refusal_says_nothing_of_why(moved: ServiceInProcess, key: AccessKey, at: Any) -> None:
    answers = [
        send(moved, at(AccessKey(key.id, "wrong"))),
        send(moved, at(AccessKey("AKIA" + "B" * 16, "wrong"))),
        send(moved, at(key), headers={"authorization": "AWS4-HMAC-SHA256 x"}),
        send(moved, at(key, region="eu-west-1")),
    ]
    assert {assert_refused(answer, 401, "unauthenticated") for answer in answers} == {REFUSAL}


def aws(service: ServiceInProcess, signed: Signed) -> tuple[int, str, str, dict[str, str]]:
    answer = send(service, signed)
    found = json.loads(answer.get_data())
    assert answer.headers.get("x-amzn-ErrorType", "") == found.get("__type", "")
    return answer.status_code, found.get("__type", ""), found.get("message", ""), dict(answer.headers)


def test_awss_own_clients_are_told_in_awss_words(moved: ServiceInProcess, key: AccessKey, at: Any) -> None:
    def listing(used: AccessKey, **members: Any) -> Any:
        headers = {"content-type": "application/x-amz-json-1.1", "x-amz-target": "TrentService.ListKeys"}
        return at(used, **{"method": "POST", "target": "/", "body": b"{}", "headers": headers, **members})

    assert aws(moved, listing(key))[:2] == (200, "")
    assert aws(moved, listing(key, expires=60))[:2] == (200, "")
    for used, members, kind in (
        (AccessKey(key.id, "wrong"), {}, Kind.WRONG),
        (AccessKey("AKIA" + "C" * 16, "wrong"), {}, Kind.UNKNOWN),
        (AccessKey(key.id, key.secret, "smt_another"), {}, Kind.UNKNOWN),
        (key, {"expires": 0}, Kind.INCOMPLETE),
    ):
        assert aws(moved, listing(used, **members))[:3] == (
            400,
            kind.value,
            WORDS[kind] if kind != Kind.INCOMPLETE else ("X-Amz-Expires must be less than a week (in seconds)."),
        )
    status, kind_of_region, words, _ = aws(moved, listing(key, region="eu-west-1"))
    assert (status, kind_of_region) == (400, Kind.WRONG.value)
    assert words == "Credential should be scoped to a valid region, here 'us-east-1'."


def test_awss_own_clients_are_made_to_wait_for_another_second(moved: ServiceInProcess, key: AccessKey, at: Any) -> None:
    headers = {"content-type": "application/x-amz-json-1.1", "x-amz-target": "TrentService.CreateKey"}
    signed = at(key, method="POST", target="/", body=b'{"Description": "a key user makes none"}', headers=headers)
    assert aws(moved, signed)[:2] == (400, "AccessDeniedException")
    status, kind, words, answered = aws(moved, signed)
    assert (status, kind) == (400, "ThrottlingException")
    assert "sign it again" in words
    assert (answered["Retry-After"], answered["x-amz-retry-after"]) == ("1", "1000")
