"""Signed requests against the whole service: what is taken, what is kept as proof, and every way in which it is not."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from sqlalchemy import select
from structlog.testing import capture_logs

from keystore.db.schema import REQUEST_NONCES
from signer.authn import signed_request
from signer.authn.authenticator import REFUSAL
from signer.authn.possession import prove
from tests.signer.authn.by_hand import USUAL, FromNow, Signed, digest_of, is_signature, public_pem
from tests.signer.web.refusal import assert_refused

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from werkzeug.test import TestResponse

    from tests.signer.authn.by_hand import PrivateKey
    from tests.signer.service import ServiceInProcess

KEYS: Final[dict[str, PrivateKey]] = {
    "ecdsa-p256-sha256": ec.generate_private_key(ec.SECP256R1()),
    "ecdsa-p384-sha384": ec.generate_private_key(ec.SECP384R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate(),
    "rsa-pss-sha512": rsa.generate_private_key(65537, 2048),
}
BODY: Final = b'{"message": "aGVsbG8K"}'


def add_key(service: ServiceInProcess, principal: str, key: PrivateKey, **members: object) -> str:
    body = {"match": "request-key", "public_key": public_pem(key), **members}
    return str(service.made("user/admin", "POST", f"/v1/principals/{principal}/public-credentials", body)["id"])


def send(
    service: ServiceInProcess, signed: Signed, headers: Mapping[str, str | None] | None = None, **sent: Any
) -> TestResponse:
    """As it was signed, but for what `headers` (added, or with None taken away) and `sent` say."""
    found: dict[str, str | None] = {**signed.all_headers(), **(headers or {})}
    return service.client.open(
        sent.get("target", signed.target),
        method=sent.get("method", signed.method),
        data=sent.get("body", signed.body) or None,
        headers=sent.get("pairs") or {name: value for name, value in found.items() if value is not None},
        base_url=f"{sent.get('scheme', signed.scheme)}://{sent.get('authority', signed.authority)}",
    )


@dataclass(frozen=True)
class Caller:
    """role/ci with a key to sign requests with, and a key in the HSM that it may use."""

    service: ServiceInProcess
    key: PrivateKey
    keyid: str
    path: str

    def signed(self, **members: Any) -> Signed:
        usual = {"key": self.key, "keyid": self.keyid, "method": "POST", "target": self.path, "body": BODY}
        return Signed(**{**usual, **members})


@pytest.fixture(scope="module")
def caller(service: ServiceInProcess) -> Caller:
    service.make_key("signed-requests", purpose="general")
    key = ec.generate_private_key(ec.SECP256R1())
    return Caller(service, key, add_key(service, "role/ci", key), "/v1/keys/signed-requests/signatures")


@pytest.fixture(scope="module")
def registered(service: ServiceInProcess) -> dict[str, str]:
    return {algorithm: add_key(service, "role/ci", key) for algorithm, key in KEYS.items()}


@pytest.mark.parametrize("algorithm", KEYS)
@pytest.mark.parametrize(
    "covered", [USUAL, ("@query", "@path", "@authority", "@method"), (*USUAL, "@scheme", "@request-target", "host")]
)
@pytest.mark.parametrize("parameters", [{}, {"tag": "sealmark", "expires": FromNow(300)}, {"alg": None}])
def test_a_signed_request_is_its_principal(
    service: ServiceInProcess,
    registered: dict[str, str],
    algorithm: str,
    covered: tuple[str, ...],
    parameters: dict[str, object],
) -> None:
    headers = {"Host": "localhost"} if "host" in covered else {}
    given = {"alg": algorithm, **parameters}
    signed = Signed(KEYS[algorithm], registered[algorithm], headers=headers, covered=covered, parameters=given)
    answer = send(service, signed)
    assert (answer.status_code, answer.get_json()["name"]) == (200, "role/ci"), answer.get_json()


def proofs(service: ServiceInProcess, answer: TestResponse) -> list[dict[str, str]]:
    request_id = answer.headers["X-Request-Id"]
    rows = [*service.intents(request_id), *service.outcomes(request_id)]
    assert len(rows) >= 1
    assert {row["principal"] for row in rows} == {"role/ci"}
    return [json.loads(row["proof"]) for row in rows]


@pytest.mark.parametrize("algorithm", KEYS)
def test_a_third_party_can_check_what_was_asked_by_the_record_alone(
    service: ServiceInProcess, registered: dict[str, str], caller: Caller, algorithm: str
) -> None:
    """Plain cryptography over the stored record: no part of the service, no library for signed messages."""
    key, keyid = KEYS[algorithm], registered[algorithm]
    headers = {"Idempotency-Key": f"once-{algorithm}", "X-Request-Id": "build-17"}
    answer = send(service, Signed(key, keyid, "POST", caller.path, BODY, headers=headers))
    assert answer.status_code == 200, answer.get_json()
    intent, outcome = proofs(service, answer)
    assert intent == outcome
    base, signature = intent["signature_base"].encode(), base64.b64decode(intent["signature"], validate=True)
    assert is_signature(key, signature, base)
    assert not is_signature(key, signature, base.replace(b"POST", b"post"))
    lines = dict(line.split(": ", 1) for line in intent["signature_base"].split("\n"))
    assert lines['"@method"'] == "POST"
    assert lines['"@target-uri"'] == f"http://localhost{caller.path}"
    assert lines['"content-digest"'] == digest_of(BODY)
    assert lines['"idempotency-key"'] == f"once-{algorithm}"
    assert (intent["algorithm"], intent["keyid"]) == (algorithm, keyid)
    listed = service.made("user/admin", "GET", "/v1/principals/role/ci/public-credentials")["public_credentials"]
    (record,) = [one for one in listed if one["id"] == keyid]  # says whose key it was, also when it is revoked
    assert record["value"] == intent["public_key_sha256"]
    assert record["public_key"] == public_pem(key)
    assert service.intents(answer.headers["X-Request-Id"])[0]["credential"] == f"signed-request:{keyid}"


def test_a_refusal_of_a_signed_request_is_recorded_with_its_proof(service: ServiceInProcess, caller: Caller) -> None:
    answer = send(service, caller.signed(target="/v1/keys", body=b'{"spec": "ECC_NIST_P256", "purpose": "general"}'))
    assert_refused(answer, 403, "duty_forbids")
    (proof,) = proofs(service, answer)
    assert is_signature(caller.key, base64.b64decode(proof["signature"]), proof["signature_base"].encode())


def refused(answer: TestResponse) -> None:
    assert assert_refused(answer, 401, "unauthenticated") == REFUSAL


SENT_OTHERWISE: Final[dict[str, dict[str, Any]]] = {
    "method": {"method": "PUT"},
    "method in lower case": {"method": "post"},
    "path": {"target": "/v1/keys/signed-request/signatures"},
    "path in capitals": {"target": "/v1/keys/Signed-Requests/signatures"},
    "percent-encoded path": {"target": "/v1/keys/signed%2Drequests/signatures"},
    "query": {"target": "/v1/keys/signed-requests/signatures?limit=1"},
    "empty query": {"target": "/v1/keys/signed-requests/signatures?"},
    "authority": {"authority": "other.example"},
    "port": {"authority": "localhost:8200"},
    "scheme": {"scheme": "https"},
    "body": {"body": BODY.replace(b"aGVs", b"aGVt")},
    "one more octet": {"body": BODY + b" "},
    "no body": {"body": b""},
}


@pytest.mark.parametrize("what", SENT_OTHERWISE)
def test_a_request_sent_otherwise_than_signed_is_refused(caller: Caller, what: str) -> None:
    answer = send(caller.service, caller.signed(), **SENT_OTHERWISE[what])
    if what == "method":
        assert answer.status_code == 405  # no such call; nothing was asked of anybody
        return
    refused(answer)


ADDED: Final[dict[str, dict[str, str]]] = {
    "an idempotency key": {"Idempotency-Key": "added"},
    "an approval": {"Sealmark-Approval": "0b7e5b4e-6b0e-4f0e-9a55-3f7d9a2f6c11"},
    "a request id": {"X-Request-Id": "added"},
    "a token": {"Authorization": "Bearer smk_wrong"},
    "another digest": {"Content-Digest": digest_of(b"{}")},
    "a further digest": {"Content-Digest": f"{digest_of(BODY)}, {digest_of(BODY)}"},
    "a digest of another kind": {"Content-Digest": "md5=:XUFAKrxLKna5cZ2REBfFkg==:"},
    "an empty digest": {"Content-Digest": ""},
    "a further signature input": {"Signature-Input": 'a=("@method");keyid="x", b=("@method");keyid="y"'},
    "no signature input at all": {"Signature-Input": ""},
    "a signature of nothing": {"Signature": "sig1=::"},
    "a signature under another label": {"Signature": "sig2=:AAAA:"},
    "a signature that is text": {"Signature": 'sig1="AAAA"'},
    "two signatures of one label": {"Signature": "sig1=:AAAA:, sig1=:AAAA:"},
    "octets beyond ASCII": {"Signature": "sig1=:AAAA:\u00e9"},
}


@pytest.mark.parametrize("what", ADDED)
def test_what_is_added_or_replaced_on_the_way_is_refused(caller: Caller, what: str) -> None:
    refused(send(caller.service, caller.signed(), ADDED[what]))


@pytest.mark.parametrize("lost", ["Signature", "Signature-Input", "Content-Digest"])
def test_what_is_lost_on_the_way_is_refused(caller: Caller, lost: str) -> None:
    refused(send(caller.service, caller.signed(), {lost: None}))


def test_a_valid_token_does_not_stand_in_for_a_signature_that_is_spoilt(caller: Caller) -> None:
    """Two kinds of credentials in one call are refused, whichever of them is valid; half a signature is one too."""
    token = {"Authorization": f"Bearer {caller.service.tokens['role/ci']}"}
    spoilt_ones: tuple[dict[str, str | None], ...] = (
        {},
        {"Signature": None},
        {"Signature-Input": None},
        {"Signature": "sig1=:AAAA:"},
    )
    for spoilt in spoilt_ones:
        refused(send(caller.service, caller.signed(), {**token, **spoilt}))


def test_every_octet_of_the_signature_counts(caller: Caller) -> None:
    signed = caller.signed()
    headers = signed.all_headers()
    signature = base64.b64decode(headers["Signature"][6:-1])
    for position in (0, 31, 32, 63):
        flipped = bytes([*signature[:position], signature[position] ^ 1, *signature[position + 1 :]])
        spoilt = {**headers, "Signature": f"sig1=:{base64.b64encode(flipped).decode()}:"}
        refused(send(caller.service, signed, spoilt))
    for other in (signature[:-1], signature + b"\0", b"", bytes(64)):
        refused(send(caller.service, signed, {**headers, "Signature": f"sig1=:{base64.b64encode(other).decode()}:"}))
    assert send(caller.service, signed, headers).status_code == 200  # a nonce is used up by what verifies alone


PARAMETERS: Final[dict[str, dict[str, object]]] = {
    "no created": {"created": None},
    "created too long ago": {"created": FromNow(-331)},
    "created to come": {"created": FromNow(600)},
    "created as text": {"created": "1795600000"},
    "created beyond all time": {"created": 10**14},
    "expired": {"expires": FromNow(-31)},
    "expired before it was made": {"created": FromNow(0), "expires": FromNow(-10)},
    "expires as text": {"expires": "never"},
    "no nonce": {"nonce": None},
    "a short nonce": {"nonce": "x" * 15},
    "a long nonce": {"nonce": "x" * 129},
    "a nonce that is a number": {"nonce": 1234567890123456},
    "no key": {"keyid": None},
    "a key that is a number": {"keyid": 7},
    "a key that is not there": {"keyid": "7c1d2a5e-93b4-4d0f-8a6b-2f1e0c9d8b7a"},
    "a key of another form": {"keyid": "role/ci"},
    "another algorithm": {"alg": "ed25519"},
    "an algorithm with a shared secret": {"alg": "hmac-sha256"},
    "the algorithm in capitals": {"alg": "ECDSA-P256-SHA256"},
    "another tag": {"tag": "another-application"},
    "the tag in capitals": {"tag": "Sealmark"},
    "an unknown parameter": {"more": "x"},
}


@pytest.mark.parametrize("what", PARAMETERS)
def test_other_parameters_are_refused_though_they_are_signed(caller: Caller, what: str) -> None:
    refused(send(caller.service, caller.signed().with_parameters(**PARAMETERS[what])))


COVERED: Final[dict[str, tuple[str, ...]]] = {
    "nothing": (),
    "no method": ("@authority", "@target-uri", "content-digest"),
    "no authority": ("@method", "@target-uri", "content-digest"),
    "no target": ("@method", "@authority", "content-digest"),
    "the path without the query": ("@method", "@authority", "@path", "content-digest"),
    "the query without the path": ("@method", "@authority", "@query", "content-digest"),
    "no digest": USUAL,
    "the method twice": ("@method", *USUAL, "content-digest"),
    "a name in capitals": ("@method", "@authority", "@target-uri", "Content-Digest"),
    "a header that may hold a secret": (*USUAL, "content-digest", "x-api-key"),
    "a header that is not there": (*USUAL, "content-digest", "date"),
    "an unknown derived component": (*USUAL, "content-digest", "@status"),
    "the parameters themselves": (*USUAL, "content-digest", "@signature-params"),
}


@pytest.mark.parametrize("what", COVERED)
def test_other_coverage_is_refused_though_it_is_signed(caller: Caller, what: str) -> None:
    refused(send(caller.service, caller.signed(covered=COVERED[what], headers={"X-Api-Key": "k"})))


@pytest.mark.parametrize("header", ["Idempotency-Key", "Sealmark-Approval", "X-Request-Id"])
def test_headers_that_decide_are_covered_where_they_are_sent(caller: Caller, header: str) -> None:
    headers = {header: "7c1d2a5e-93b4-4d0f-8a6b-2f1e0c9d8b7a"}
    bare = (*USUAL, "content-digest")
    refused(send(caller.service, caller.signed(headers=headers, covered=bare)))
    signed = caller.signed(headers=headers, covered=(*bare, header.lower()))
    refused(send(caller.service, signed, {header: "7c1d2a5e-93b4-4d0f-8a6b-2f1e0c9d8b7b"}))
    refused(send(caller.service, signed, {header: None}))
    answer = send(caller.service, signed)
    if header == "Sealmark-Approval":  # the signature is right; nothing here asks for approval
        assert (answer.status_code, answer.get_json()["code"]) == (403, "approval_invalid")
    else:
        assert answer.status_code == 200


def test_the_same_header_twice_is_refused(caller: Caller) -> None:
    signed = caller.signed(headers={"Idempotency-Key": "first"})
    headers = signed.all_headers()
    for name in ("Idempotency-Key", "Content-Digest", "Signature", "Signature-Input"):
        for second in (headers[name], "second"):
            refused(send(caller.service, signed, pairs=[*headers.items(), (name, second)]))


@pytest.mark.parametrize("parameters", [";sf", ";bs", ";req", ';key="sha-256"', ";tr"])
def test_a_component_with_parameters_is_refused_though_it_is_signed(caller: Caller, parameters: str) -> None:
    with capture_logs() as logged:
        refused(send(caller.service, caller.signed(covered=(*USUAL, f"content-digest{parameters}"))))
    assert [one["reason"] for one in logged] == ["a covered component is repeated, has parameters or is no text"]


def test_what_is_not_covered_is_refused_before_anything_is_verified(caller: Caller) -> None:
    """The service's own checks, also where the library would notice."""
    for covered, said in ((USUAL, "content-digest"), (USUAL[1:], "@method, content-digest"), (USUAL[:2], "digest")):
        with capture_logs() as logged:
            refused(send(caller.service, caller.signed(covered=covered)))
        (reason,) = [one["reason"] for one in logged]
        assert reason.startswith("the signature does not cover")
        assert reason.endswith(said)


def test_a_nonce_is_used_once_for_each_key(service: ServiceInProcess, caller: Caller) -> None:
    signed = caller.signed().with_parameters(nonce="0123456789abcdef")
    headers = signed.all_headers()
    assert send(service, signed, headers).status_code == 200
    refused(send(service, signed, headers))  # the very same request again
    refused(send(service, signed.but(target="/v1/whoami", method="GET", body=b"")))  # another one
    other = ec.generate_private_key(ec.SECP256R1())
    another = Signed(other, add_key(service, "role/other", other), parameters={"nonce": "0123456789abcdef"})
    assert send(service, another).get_json()["name"] == "role/other"


def test_nonces_are_forgotten_when_their_signatures_are_too_old(service: ServiceInProcess, caller: Caller) -> None:
    created = int(time.time())
    assert send(service, caller.signed().with_parameters(created=created)).status_code == 200

    def kept() -> set[int]:
        with service.services.keystore.database.read() as connection:
            return {int(row[0]) // 1_000_000 for row in connection.execute(select(REQUEST_NONCES.c.kept_until))}

    until = created + int(signed_request.NONCE_LIFE.total_seconds())
    assert until in kept()
    service.services.upkeep.once(service.services.keystore.clock())
    assert until in kept()
    service.services.upkeep.once(service.services.keystore.clock() + signed_request.NONCE_LIFE)
    assert until not in kept()
    longest = signed_request.MAXIMUM_AGE + 2 * signed_request.LEEWAY
    assert longest < signed_request.NONCE_LIFE


def test_a_key_signs_for_its_own_principal_alone(service: ServiceInProcess, caller: Caller) -> None:
    stranger = ec.generate_private_key(ec.SECP256R1())
    refused(send(service, caller.signed(key=stranger)))  # another key under this one's name
    other = add_key(service, "role/other", stranger)
    refused(send(service, caller.signed(keyid=other)))  # this key under another's name
    assert_refused(send(service, caller.signed(key=stranger, keyid=other)), 404, "not_found", "key")


def test_a_key_of_another_kind_is_not_tried_with_the_signature(
    service: ServiceInProcess, registered: dict[str, str], caller: Caller
) -> None:
    for keyid in registered.values():
        for key in KEYS.values():
            if keyid != registered[next(name for name, one in KEYS.items() if one is key)]:
                refused(send(service, caller.signed(key=key, keyid=keyid)))


def test_a_client_certificates_binding_is_no_request_key(service: ServiceInProcess, caller: Caller) -> None:
    name = {"match": "dns", "name": "build.example"}
    bound = service.made("user/admin", "POST", "/v1/principals/role/ci/public-credentials", name)
    refused(send(service, caller.signed(keyid=bound["id"])))


def test_a_revoked_key_a_key_that_is_over_and_a_principal_that_is_gone(service: ServiceInProcess) -> None:
    service.made("user/admin", "POST", "/v1/principals", {"name": "role/short-lived", "duty": "key-user"})
    first, second = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    signed = Signed(first, add_key(service, "role/short-lived", first))
    assert send(service, signed).status_code == 200
    gone = f"/v1/principals/role/short-lived/public-credentials/{signed.keyid}"
    assert service.made("user/admin", "DELETE", gone)["state"] == "revoked"
    refused(send(service, signed))
    again = Signed(second, add_key(service, "role/short-lived", second))
    assert send(service, again).status_code == 200
    service.made("user/admin", "DELETE", "/v1/principals/role/short-lived")
    refused(send(service, again))
    assert {one.state for one in service.services.keystore.list_public_credentials("role/short-lived")} == {"revoked"}


def test_a_policy_that_is_attached_to_a_principal_holds_for_signed_requests_too(service: ServiceInProcess) -> None:
    service.made("user/admin", "POST", "/v1/principals", {"name": "role/denied", "duty": "key-user"})
    key = ec.generate_private_key(ec.SECP256R1())
    signed = Signed(key, add_key(service, "role/denied", key))
    assert send(service, signed).status_code == 200
    denied = {"Effect": "Deny", "Action": "sealmark:WhoAmI", "Resource": "*"}
    document = {"Version": "2012-10-17", "Statement": [denied]}
    service.made("user/admin", "PUT", "/v1/principals/role/denied/policies/silent", {"policy": document})
    assert_refused(send(service, signed), 403, "policy_forbids")


def test_several_signatures_are_taken_if_one_is_meant_for_this_service(caller: Caller) -> None:
    signed = caller.signed().with_parameters(tag="sealmark")
    headers = signed.all_headers()
    others = {name: f"{headers[name]}, proxy={value}" for name, value in PROXYS.items()}
    assert send(caller.service, signed, {**headers, **others}).status_code == 200
    untagged = caller.signed()
    headers = untagged.all_headers()
    others = {name: f"{headers[name]}, proxy={value}" for name, value in PROXYS.items()}
    refused(send(caller.service, untagged, {**headers, **others}))
    both = caller.signed(label="sig2").with_parameters(tag="sealmark").all_headers()
    mine = caller.signed().with_parameters(tag="sealmark").all_headers()
    doubled = {name: f"{both[name]}, {mine[name]}" for name in ("Signature", "Signature-Input")}
    refused(send(caller.service, signed, {**mine, **doubled}))


PROXYS: Final = {"Signature-Input": '("@method");keyid="proxy";tag="proxy"', "Signature": ":AAAA:"}


def test_unknown_and_wrong_keys_get_one_answer_after_the_same_work(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def noted(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any) -> Any:
            done.append(name)
            return original(*given)

        return call

    keystore = caller.service.services.keystore
    for name in ("find_public_credential", "find_principal"):
        monkeypatch.setattr(keystore, name, noted(name, getattr(keystore, name)))
    monkeypatch.setattr(signed_request, "_verify", noted("verify", signed_request._verify))
    answers = []
    for keyid in (caller.keyid, "7c1d2a5e-93b4-4d0f-8a6b-2f1e0c9d8b7a"):
        answer = send(caller.service, caller.signed(keyid=keyid), {"Signature": f"sig1=:{'A' * 86}==:"})
        answers.append({**answer.get_json(), "request_id": ""})
        assert done == ["find_public_credential", "find_principal", "verify"]
        done.clear()
    assert answers[0] == answers[1]


def test_the_reason_stands_in_the_log_alone(caller: Caller) -> None:
    with capture_logs() as logged:
        answer = send(caller.service, caller.signed().with_parameters(nonce=None))
    refused(answer)
    assert "nonce" not in answer.get_data(as_text=True)
    (line,) = [one for one in logged if one["event"] == "credential_refused"]
    assert line["reason"] == "nonce is missing or not of 16 to 128 characters"
    assert line["request_id"] == answer.headers["X-Request-Id"]


def test_a_principal_adds_a_key_by_a_signed_request(service: ServiceInProcess, caller: Caller) -> None:
    """The present credential may be a signature, too."""
    new = ed25519.Ed25519PrivateKey.generate()
    proof = base64.b64encode(prove("role/ci", new)).decode()
    body = json.dumps({"match": "request-key", "public_key": public_pem(new), "proof": proof}).encode()
    answer = send(service, caller.signed(target="/v1/principals/role/ci/public-credentials", body=body))
    assert answer.status_code == 201, answer.get_json()
    assert send(service, Signed(new, answer.get_json()["id"])).get_json()["name"] == "role/ci"
    (outcome,) = service.outcomes(answer.headers["X-Request-Id"])
    detail = json.loads(outcome["detail"])
    fingerprint = hashlib.sha256(base64.b64decode("".join(public_pem(new).splitlines()[1:-1]))).hexdigest()
    assert detail == {
        "credential": answer.get_json()["id"],
        "match": "request-key",
        "principal": "role/ci",
        "value": fingerprint,
    }
