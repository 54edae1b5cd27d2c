"""`Limits and refusals` of the interface, one by one: the status, the code, the field, and that it is recorded."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Final

import pytest

from signer.request import MAXIMUM_BATCH
from signer.web.http import MAXIMUM_BODY
from signer.web.routes import ENDPOINTS
from tests.signer.web.refusal import assert_refused

if TYPE_CHECKING:
    from werkzeug.test import TestResponse

    from tests.signer.service import ServiceInProcess

DIGEST: Final = "ab" * 32
ARTIFACT: Final = {"name": "a.bin", "size": 3, "digests": {"sha256": DIGEST}}
METHODS: Final = ("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE")


@pytest.fixture(scope="module")
def keys(service: ServiceInProcess) -> dict[str, str]:
    """One key of each purpose: purpose → id."""
    audiences = ["https://api.example"]
    recipients = ["https://sp.example/acs"]
    made = {
        "artifact": service.make_key("refusals-artifact"),
        "general": service.make_key("refusals-general", purpose="general"),
        "jwt": service.make_key("refusals-jwt", purpose="jwt", max_ttl=600, audiences=audiences),
        "saml": service.make_key("refusals-saml", purpose="saml", recipients=recipients, audiences=audiences),
    }
    return {purpose: key["id"] for purpose, key in made.items()}


def send(service: ServiceInProcess, path: str, body: bytes, content_type: str = "application/json") -> TestResponse:
    """The octets as they are, from the administrator of identities."""
    headers = {"Authorization": f"Bearer {service.tokens['user/admin']}", "Content-Type": content_type}
    return service.client.post(path, data=body, headers=headers)


@pytest.mark.parametrize("who", ["user/admin", None])
def test_a_body_over_one_mebibyte_is_413(service: ServiceInProcess, who: str | None) -> None:
    headers = {"Content-Type": "application/json"}
    if who:
        headers["Authorization"] = f"Bearer {service.tokens[who]}"
    answer = service.client.post("/v1/principals", data=b" " * (MAXIMUM_BODY + 1), headers=headers)
    assert_refused(answer, 413, "request_too_large")


def test_a_body_of_exactly_one_mebibyte_is_read(service: ServiceInProcess) -> None:
    body = json.dumps({"name": "role/large", "duty": "nothing"}).encode()
    assert_refused(send(service, "/v1/principals", body.ljust(MAXIMUM_BODY)), 422, "malformed_request", "duty")


def test_a_body_of_unknown_length_is_counted_while_it_is_read(service: ServiceInProcess) -> None:
    answer = service.client.post(
        "/v1/principals",
        input_stream=io.BytesIO(b" " * (MAXIMUM_BODY + 1)),
        headers={"Content-Type": "application/json", "Transfer-Encoding": "chunked"},
        environ_overrides={"wsgi.input_terminated": True},
    )
    assert_refused(answer, 413, "request_too_large")


@pytest.mark.parametrize(
    ("purpose", "call", "body", "field"),
    [
        ("artifact", "artifacts", {"artifacts": [ARTIFACT] * (MAXIMUM_BATCH + 1), "formats": ["cms"]}, "artifacts"),
        ("general", "signatures", {"items": [{"message": "AAAA"}] * (MAXIMUM_BATCH + 1)}, "items"),
        ("jwt", "jwts", {"items": [{}] * (MAXIMUM_BATCH + 1)}, "items"),
        ("artifact", "artifacts", {"artifacts": [], "formats": ["cms"]}, "artifacts"),
        ("general", "signatures", {"items": []}, "items"),
        ("jwt", "jwts", {"items": []}, "items"),
    ],
)
def test_a_batch_is_1_to_1000_items(
    service: ServiceInProcess, keys: dict[str, str], purpose: str, call: str, body: dict[str, object], field: str
) -> None:
    answer = service.call("role/ci", "POST", f"/v1/keys/{keys[purpose]}/{call}", body)
    assert_refused(answer, 422, "malformed_request", field)
    assert service.intents(answer.headers["X-Request-Id"]) == []


def test_a_batch_of_1000_is_signed(service: ServiceInProcess, keys: dict[str, str]) -> None:
    body = {"items": [{"message": "AAAA"}] * MAXIMUM_BATCH}
    made = service.made("role/ci", "POST", f"/v1/keys/{keys['general']}/signatures", body)
    assert len(made["results"]) == MAXIMUM_BATCH
    assert all(result["signature"] for result in made["results"])


SAML: Final = {"subject": "x", "audience": "https://api.example", "recipient": "https://sp.example/acs"}
NEW_KEY: Final = {"spec": "ECC_NIST_P256", "purpose": "general"}


@pytest.mark.parametrize(
    ("who", "method", "path", "body", "field"),
    [
        ("user/admin", "POST", "/v1/principals", {"name": "role/x", "duty": "auditor", "x": 1}, "x"),
        ("user/admin", "DELETE", "/v1/principals/role/other", {"really": True}, "really"),
        (None, "POST", "/v1/enrolments", {"code": "c", "name": "role/ci"}, "name"),
        ("user/key-admin", "POST", "/v1/keys", {**NEW_KEY, "sepc": "RSA_2048"}, "sepc"),
        ("user/key-admin", "POST", "/v1/keys", {**NEW_KEY, "policy": {"user": []}}, "policy.user"),
        ("user/key-admin", "POST", "/v1/issuers", {"name": "n", "url": "https://x.example", "a": 1}, "a"),
        ("user/key-admin", "POST", "/v1/keys/{general}/rotate", {"Now": True}, "Now"),
        ("user/key-admin", "POST", "/v1/keys/{general}/disable", {"x": 1}, "x"),
        ("user/key-admin", "POST", "/v1/keys/{general}/enable", {"x": 1}, "x"),
        ("user/key-admin", "POST", "/v1/keys/{general}/cancel-deletion", {"x": 1}, "x"),
        ("user/key-admin", "POST", "/v1/keys/{general}/schedule-deletion", {"day": 7}, "day"),
        ("user/key-admin", "PUT", "/v1/keys/{general}/policy", {"administrators": [], "users": [], "x": 1}, "x"),
        ("role/ci", "POST", "/v1/keys/{general}/signatures", {"message": "AAAA", "hash": "x"}, "hash"),
        ("role/ci", "POST", "/v1/keys/{general}/signatures", {"items": [{}, {"mesage": ""}]}, "items[1].mesage"),
        (
            "role/ci",
            "POST",
            "/v1/keys/{artifact}/artifacts",
            {"artifacts": [{**ARTIFACT, "digests": {"md5": "00"}}], "formats": ["cms"]},
            "artifacts[0].digests.md5",
        ),
        ("role/ci", "POST", "/v1/keys/{jwt}/jwts", {"claims": {}, "alg": "none"}, "alg"),
        ("role/ci", "POST", "/v1/keys/{saml}/assertions", {**SAML, "issuer": "https://evil.example"}, "issuer"),
        ("role/ci", "POST", "/v1/keys/{saml}/assertions", {**SAML, "subject": {"name_id": "x", "q": 1}}, "subject.q"),
    ],
)
def test_unknown_members_are_refused_by_their_path(
    service: ServiceInProcess, keys: dict[str, str], who: str | None, method: str, path: str, body: object, field: str
) -> None:
    assert_refused(service.call(who, method, path.format(**keys), body), 422, "malformed_request", field)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"duty": "auditor"}, "name"),
        ({"name": "role/x"}, "duty"),
        ({"name": "role/x", "duty": "root"}, "duty"),
        ({"name": "role/x", "duty": 7}, "duty"),
        ({"name": "root", "duty": "auditor"}, "name"),
        ({"name": "role/", "duty": "auditor"}, "name"),
        ({"name": "group/x", "duty": "auditor"}, "name"),
        ({"name": "role/x/y", "duty": "auditor"}, "name"),
        ({"name": "role/.x", "duty": "auditor"}, "name"),
        ({"name": "role/ü", "duty": "auditor"}, "name"),
        ({"name": "role/" + "x" * 129, "duty": "auditor"}, "name"),
        ([], None),
        ("text", None),
        (None, None),
    ],
)
def test_members_of_the_wrong_form_are_refused_by_their_path(
    service: ServiceInProcess, body: object, field: str | None
) -> None:
    assert_refused(send(service, "/v1/principals", json.dumps(body).encode()), 422, "malformed_request", field)


@pytest.mark.parametrize(
    ("context", "field"),
    [
        ({"x" * 129: "v"}, "context"),
        ({"": "v"}, "context"),
        ({"k": "v" * 1025}, "context[...]"),
        ({"k": 1}, "context[...]"),
        ({"k": {"nested": "v"}}, "context[...]"),
        ({f"k{number}": "v" for number in range(33)}, "context"),
        (["k"], "context"),
    ],
)
def test_contexts_are_flat_and_bounded(
    service: ServiceInProcess, keys: dict[str, str], context: object, field: str
) -> None:
    body = {"message": "AAAA", "context": context}
    answer = service.call("role/ci", "POST", f"/v1/keys/{keys['general']}/signatures", body)
    assert_refused(answer, 422, "malformed_request", field)


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"{}{}",
        b"\xff\xfe{\x00}\x00",
        b'{"name": "role/\xff", "duty": "auditor"}',
        b"name=role/x",
        b"{'name': 1}",
        b'{"name": NaN}',
        b"[" * 100_000,
        b'{"x": ' * 100_000,
        b"\0",
    ],
)
def test_what_is_not_json_is_refused(service: ServiceInProcess, body: bytes) -> None:
    answer = send(service, "/v1/principals", body)
    assert answer.get_json()["code"] == "malformed_request"
    assert answer.status_code == 422


def test_deeply_nested_claims_are_refused(service: ServiceInProcess, keys: dict[str, str]) -> None:
    body = b'{"claims": {"x": ' + b"[" * 200_000 + b"]" * 200_000 + b"}}"
    headers = {"Authorization": f"Bearer {service.tokens['role/ci']}", "Content-Type": "application/json"}
    answer = service.client.post(f"/v1/keys/{keys['jwt']}/jwts", data=body, headers=headers)
    assert_refused(answer, 422, "malformed_request")


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "", "text"]
)
def test_another_content_type_is_415(service: ServiceInProcess, content_type: str) -> None:
    body = json.dumps({"name": "role/typed", "duty": "auditor"}).encode()
    detail = assert_refused(send(service, "/v1/principals", body, content_type), 415, "unsupported_media_type")
    assert "application/json" in detail


def test_a_content_type_with_parameters_is_fine(service: ServiceInProcess) -> None:
    body = json.dumps({"name": "role/parameters", "duty": "auditor"}).encode()
    assert send(service, "/v1/principals", body, "application/json; charset=utf-8").status_code == 201


@pytest.mark.parametrize(
    "path",
    [
        "/v1%2Fwhoami",
        "/v1/keys/a%2fb",
        "/v1/keys/..%2fwhoami",
        "/v1/keys/../whoami",
        "/v1/../v1/whoami",
        "/v1/keys/%2e%2e/whoami",
        "/v1/keys/.%2E/whoami",
        "/v1//whoami",
        "//v1/whoami",
        "/v1/whoami//",
        "/v1/keys/a%5cb",
    ],
)
def test_paths_that_others_might_split_differently_are_404_before_routing(service: ServiceInProcess, path: str) -> None:
    """The first by Flask's client, the second as gunicorn hands over what stood on the wire."""
    token = {"Authorization": f"Bearer {service.tokens['user/key-admin']}"}
    as_sent = service.client.get("/v1/whoami", headers=token, environ_overrides={"RAW_URI": path})
    assert assert_refused(as_sent, 404, "not_found") == "there is no such path"
    if not path.startswith("//"):
        assert_refused(service.client.get(path, headers=token), 404, "not_found")


def test_an_encoded_slash_in_the_query_is_no_path(service: ServiceInProcess) -> None:
    token = {"Authorization": f"Bearer {service.tokens['user/key-admin']}"}
    address = "/v1/whoami?from=a%2Fb//../c"
    assert service.client.get(address, headers=token, environ_overrides={"RAW_URI": address}).status_code == 200


@pytest.mark.parametrize("path", ["/v1", "/v1/keys/", "/v1/whoami/", "/V1/whoami", "/v1/keys/x/y/z", "/admin"])
def test_no_other_path_is_there_and_none_redirects(service: ServiceInProcess, path: str) -> None:
    assert_refused(service.call("user/key-admin", "GET", path), 404, "not_found")


PATHS: Final = sorted({endpoint.path for endpoint in ENDPOINTS if not endpoint.wire})


@pytest.mark.parametrize("path", PATHS)
def test_every_other_method_is_405_and_the_answer_names_those_there_are(service: ServiceInProcess, path: str) -> None:
    allowed = {endpoint.method for endpoint in ENDPOINTS if endpoint.path == path}
    filled = path.replace("<kind>/<name>", "role/ci").replace("<key>", "k").replace("<issuer>", "default")
    for method in METHODS:
        if method not in allowed:
            answer = service.call("user/key-admin", method, filled)
            assert_refused(answer, 405, "method_not_allowed")
            assert set(answer.headers["Allow"].split(", ")) == allowed | ({"HEAD"} if "GET" in allowed else set())


CALLS: Final = {
    "artifact": ("artifacts", {"artifacts": [ARTIFACT], "formats": ["cms"]}),
    "general": ("signatures", {"message": "AAAA"}),
    "jwt": ("jwts", {"claims": {}}),
    "saml": ("assertions", SAML),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("purpose", CALLS)
def test_a_key_of_another_purpose_is_409(
    service: ServiceInProcess, keys: dict[str, str], purpose: str, call: str
) -> None:
    name, body = CALLS[call]
    answer = service.call("role/ci", "POST", f"/v1/keys/{keys[purpose]}/{name}", body)
    if purpose == call:
        assert answer.status_code == 200
        return
    detail = assert_refused(answer, 409, "wrong_purpose")
    assert purpose in detail
    (denied,) = service.outcomes(answer.headers["X-Request-Id"])
    assert (denied["outcome"], denied["code"]) == ("denied", "wrong_purpose")


def test_the_callers_request_id_is_recorded_and_ours_is_answered(
    service: ServiceInProcess, keys: dict[str, str]
) -> None:
    path, body = f"/v1/keys/{keys['general']}/signatures", {"message": "AAAA"}
    for who, outcome in (("role/ci", "succeeded"), ("role/other", "denied")):
        answer = service.call(who, "POST", path, body, headers={"X-Request-Id": f"build-17/{outcome}"})
        identifier = answer.headers["X-Request-Id"]
        assert len(bytes.fromhex(identifier)) == 16
        (row,) = service.outcomes(identifier)
        assert (row["caller_request_id"], row["outcome"], row["principal"]) == (f"build-17/{outcome}", outcome, who)
    (intent,) = service.intents(service.call("role/ci", "POST", path, body).headers["X-Request-Id"])
    assert intent["caller_request_id"] is None


def test_request_ids_are_never_the_same(service: ServiceInProcess) -> None:
    assert len({service.client.get("/healthz").headers["X-Request-Id"] for _ in range(50)}) == 50


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, "a\tb", "ü"])
@pytest.mark.parametrize("path", ["/v1/whoami", "/healthz", "/v1/ca"])
def test_a_request_id_that_could_forge_a_line_is_refused(service: ServiceInProcess, path: str, given: str) -> None:
    answer = service.call("user/admin", "GET", path, headers={"X-Request-Id": given})
    assert_refused(answer, 422, "malformed_request", "X-Request-Id")


def test_refusals_of_the_authenticated_are_recorded_one_by_one(service: ServiceInProcess) -> None:
    for who, method, path, body, code in (
        ("user/auditor", "GET", "/v1/domains", None, "duty_forbids"),
        ("role/other", "GET", "/v1/keys/no-such-key", None, "not_found"),
        ("user/admin", "POST", "/v1/principals", {"x": 1}, "malformed_request"),
    ):
        answer = service.call(who, method, path, body)
        (row,) = service.outcomes(answer.headers["X-Request-Id"])
        assert (row["principal"], row["outcome"], row["code"]) == (who, "denied", code)


def test_no_refusal_repeats_a_secret(service: ServiceInProcess) -> None:
    secret = "smk_" + "S" * 43
    headers = {"Authorization": f"Bearer {secret}", "Idempotency-Key": "i"}
    for method, path, body in (
        ("GET", "/v1/whoami", None),
        ("POST", "/v1/enrolments", {"code": secret}),
        ("POST", "/v1/enrolments", {"code": "sme_x", secret: 1}),
    ):
        answer = service.call(None, method, path, body, headers=headers)
        assert answer.status_code in (401, 422)
        if path != "/v1/enrolments" or answer.status_code == 401:
            assert secret not in answer.get_data(as_text=True)


def test_an_answer_is_not_stored_or_sniffed(service: ServiceInProcess) -> None:
    answer = service.call("user/admin", "GET", "/v1/whoami")
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
