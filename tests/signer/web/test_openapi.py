"""`/openapi.json` is valid OpenAPI 3.1, holds every route, takes what the service takes and answers what it answers.

That every refusal and every status that any test meets is in it is asked where tests call: tests/signer/service.py.
"""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING, Any, Final

import pytest
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from signer.access.duties import DUTIES_OF, Duty
from signer.problems import PROBLEMS, SERVER_FAULTS
from signer.web.contract import CONTRACTS, EXCHANGE, INSTALLATION, PARAMETERS
from signer.web.routes import ENDPOINTS
from tests.oidc import claims, key_set, new_key, signed
from tests.signer.certificates.outside import outside_chain

if TYPE_CHECKING:
    from tests.signer.service import ServiceInProcess


PLACE: Final = r"<(?:path:)?([a-z_]+)>"
OF_THE_LOG: Final = {"tile": "000.p/1", "index": "0"}  # a young log has these


def template(path: str) -> str:
    return re.sub(PLACE, r"{\1}", path)


@pytest.fixture(scope="module")
def document(service: ServiceInProcess) -> dict[str, Any]:
    answer = service.client.get("/openapi.json")
    assert (answer.status_code, answer.mimetype) == (200, "application/json")
    read: dict[str, Any] = answer.get_json()
    return read


def test_it_is_valid_openapi(document: dict[str, Any]) -> None:
    assert document["openapi"] == "3.1.0"
    assert [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()] == []


def test_the_validator_would_tell(document: dict[str, Any]) -> None:
    broken = {**document, "info": {"title": "Sealmark"}}  # without a version
    assert next(iter(OpenAPIV31SpecValidator(broken).iter_errors()), None) is not None


def test_it_holds_every_route_and_no_other(document: dict[str, Any]) -> None:
    described = {f"{method.upper()} {path}" for path, operations in document["paths"].items() for method in operations}
    assert described == {f"{endpoint.method} {template(endpoint.path)}" for endpoint in ENDPOINTS}
    assert not [path for path in described if "<" in path]  # a parameter's name that was not taken for one


def test_each_route_says_what_it_takes_and_gives(document: dict[str, Any]) -> None:
    for endpoint in ENDPOINTS:
        path = template(endpoint.path)
        operation = document["paths"][path][endpoint.method.lower()]
        assert operation["summary"]
        credential_asked = endpoint.action is not None or endpoint.wire
        assert (operation["security"] == [{"bearer": []}]) == credential_asked, path
        assert ("requestBody" in operation) == (endpoint.body is not None or endpoint.wire), path
        assert {str(endpoint.status), "default"} <= set(operation["responses"])
        assert ("401" in operation["responses"]) >= (endpoint.action is not None)
        names = {(parameter["in"], parameter["name"]) for parameter in operation["parameters"]}
        assert {name for place, name in names if place == "path"} == set(re.findall(PLACE, endpoint.path))
        assert {name for place, name in names if place == "query"} == set(endpoint.query)
        assert ("header", "X-Request-Id") in names
        assert (("header", "Idempotency-Key") in names) == (endpoint.tag in ("signing", "aws"))
    public_key = document["paths"]["/v1/keys/{key}/public-key"]["get"]
    assert public_key["security"] == [{}, {"bearer": []}]  # asked of nobody, of use to who has one


@pytest.mark.parametrize(
    ("name", "body", "fits"),
    [
        ("NewPrincipal", {"name": "role/ci", "duty": "key-user"}, True),
        ("NewPrincipal", {"name": "role/ci", "duty": "root"}, False),
        ("NewPrincipal", {"name": "role/ci", "duty": "auditor", "x": 1}, False),
        ("NewPrincipal", {"name": "ci", "duty": "auditor"}, False),
        ("Deletion", {"days": 6}, False),
        ("Deletion", {"days": 7}, True),
        ("Deletion", {}, True),
        ("Empty", {}, True),
        ("Empty", {"x": 1}, False),
        ("PolicyBody", {"administrators": ["user/a"], "users": []}, True),
        ("PolicyBody", {"users": "role/ci"}, False),
        ("Artifacts", {"artifacts": [], "formats": ["cms"]}, False),
    ],
)
def test_the_schemas_take_what_the_service_takes(document: dict[str, Any], name: str, body: object, fits: bool) -> None:
    schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    assert OAS31Validator(schema).is_valid(body) is fits


def test_problems_are_as_described(document: dict[str, Any], service: ServiceInProcess) -> None:
    schema = {"$ref": "#/components/schemas/Problem", "components": document["components"]}
    for answer in (service.client.get("/none"), service.call("user/admin", "POST", "/v1/principals", {"x": 1})):
        OAS31Validator(schema).validate(answer.get_json())


def routes() -> dict[str, Any]:
    return {f"{endpoint.method} {endpoint.path}": endpoint for endpoint in ENDPOINTS}


def operation_of(document: dict[str, Any], route: str) -> dict[str, Any]:
    method, _, path = route.partition(" ")
    operation: dict[str, Any] = document["paths"][template(path)][method.lower()]
    return operation


def test_every_call_has_a_contract_and_no_other() -> None:
    assert set(CONTRACTS) <= set(routes())
    # What is JSON of no fixed shape: the contract itself, and a trust bundle, which docs/formats describes.
    without = {route for route, endpoint in routes().items() if endpoint.media_type == "application/json"}
    assert without - set(CONTRACTS) == {"GET /openapi.json", "GET /v1/trust"}
    parameters = {name for route in routes() for name in re.findall(PLACE, route)}
    assert parameters <= set(PARAMETERS)


def test_tags_are_described_and_operations_have_names_of_their_own(document: dict[str, Any]) -> None:
    operations = [operation_of(document, route) for route in routes()]
    assert {tag for operation in operations for tag in operation["tags"]} <= {tag["name"] for tag in document["tags"]}
    names = [operation["operationId"] for operation in operations]
    assert len(set(names)) == len(names)
    assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"


def test_each_call_names_the_duties_that_may_make_it(document: dict[str, Any]) -> None:
    for route, endpoint in routes().items():
        text = operation_of(document, route)["description"]
        duties = set(DUTIES_OF[endpoint.action]) - {Duty.ROOT} if endpoint.action else set()
        if duties | {Duty.ROOT} == set(Duty) or endpoint.action is None:
            assert text.startswith("Anyone"), route
        else:
            assert set(re.findall("`([a-z-]+)`", text)) == duties, route


def test_each_refusal_stands_with_its_status_and_an_example(document: dict[str, Any]) -> None:
    schema = {"$ref": "#/components/schemas/Problem", "components": document["components"]}
    examples = document["components"]["examples"]
    assert set(examples) == set(PROBLEMS)
    for example in examples.values():
        OAS31Validator(schema).validate(example["value"])
    for route in routes():
        for status, answer in operation_of(document, route)["responses"].items():
            content = answer.get("content", {}).get("application/problem+json")
            if content is None or status == "default":
                continue
            codes = set(content["examples"])
            assert {PROBLEMS[code].status for code in codes} == {int(status)}, route
            assert set(content["schema"]["allOf"][1]["properties"]["code"]["enum"]) == codes
            assert ("Retry-After" in answer.get("headers", {})) == (status in ("429", "503"))
    signing = operation_of(document, "POST /v1/keys/<key>/artifacts")["responses"]["503"]["content"]
    assert set(signing["application/problem+json"]["examples"]) == SERVER_FAULTS - {
        "internal_error",
        "service_unavailable",
    }


# In an order in which each can be sent to a service as it is written.
MEMBERS: Final[dict[str, dict[str, object]]] = {
    "device": {"purpose": "general"},
    "guarded": {"purpose": "artifact"},
    "vault": {"spec": "SYMMETRIC_DEFAULT", "purpose": "encrypt"},
    "webhooks": {"spec": "HMAC_256", "purpose": "mac"},
    "meeting": {"purpose": "agree"},
    "quantum": {"spec": "ML_KEM_768", "purpose": "encapsulate"},
    "tokens": {"purpose": "jwt", "audiences": ["https://api.example"], "max_ttl": 600},
    "sso": {
        "purpose": "saml",
        "audiences": ["https://sp.example"],
        "recipients": ["https://sp.example/acs"],
    },
}
# There only where the default issuer's url has no path; else the same document as the issuer's own.
# What ends or changes who calls for the others, or is about a token that is made first.
ABOUT_A_PRINCIPAL: Final = (
    "DELETE /v1/principals/<kind>/<name>",
    "PUT /v1/principals/<kind>/<name>/duty",
    "POST /v1/principals/<kind>/<name>/enrolments",
    "DELETE /v1/principals/<kind>/<name>/tokens/<credential>",
)
AT_THE_ROOT: Final = "GET /.well-known/openid-configuration"
# Of an id that the service gives: tried in an order of their own.
CREDENTIALS: Final = tuple(route for route in CONTRACTS if "/public-credentials" in route)
# An auditor's, about what has been done by then: tests/signer/web/test_audit.py.
OF_THE_TRAIL: Final = tuple(route for route in CONTRACTS if "/v1/audit/" in route)
# About one grant, whose id is not known before it is made.
ENDS_GRANTS: Final = ("POST /v1/keys/<key>/grants/<grant>/retire", "DELETE /v1/keys/<key>/grants/<grant>")
# About what another call has made: ciphertexts, codes, signatures.
OF_THINGS_MADE: Final = (
    "POST /v1/keys/<key>/decrypt",
    "POST /v1/decrypt",
    "POST /v1/keys/<key>/re-encrypt",
    "POST /v1/keys/<key>/decapsulate",
    "POST /v1/keys/<key>/macs/verify",
    "POST /v1/keys/<key>/signatures/verify",
)
OF_ACCESS_KEYS: Final = tuple(route for route in CONTRACTS if "<access_key>" in route)
# Between two deployments: tests/signer/regions.
OF_REGIONS: Final = ("POST /v1/keys/<key>/replicas", "POST /v1/keys/<key>/primary-region", "POST /v1/replicas")
ELSEWHERE: Final = (
    *OF_REGIONS,
    *OF_ACCESS_KEYS,
    *OF_THINGS_MADE,
    *CREDENTIALS,
    *OF_THE_TRAIL,
    *ENDS_GRANTS,
    *ABOUT_A_PRINCIPAL,
    AT_THE_ROOT,
    INSTALLATION,
    EXCHANGE,
)
LAST: Final = (
    "POST /v1/keys/<key>/certificate/revoke",  # of a certificate without which nothing more is signed
    "POST /v1/keys/<key>/schedule-deletion",
    "POST /v1/keys/<key>/cancel-deletion",
)


# Of a key with approvers, in an order of their own.
APPROVALS: Final = tuple(route for route in CONTRACTS if "approval" in route)


def in_order() -> list[str]:
    elsewhere = (*LAST, *APPROVALS, *ENDS_GRANTS)
    first = [
        route for route in CONTRACTS if route.startswith("POST /v1/keys") and route not in (*elsewhere, *ELSEWHERE)
    ]
    disabled = "POST /v1/keys/<key>/disable"
    between = [route for route in CONTRACTS if route not in (*first, *elsewhere, *ELSEWHERE)]
    return [
        "POST /v1/keys",
        *(route for route in first if route not in ("POST /v1/keys", disabled, disabled.replace("dis", "en"))),
        *(route for route in between if route != "POST /v1/enrolments"),
        disabled,
        disabled.replace("dis", "en"),
        *LAST,
    ]


def caller_of(route: str) -> str | None:
    action = routes()[route].action
    if route.endswith(("/tokens", "/access-keys")):
        return "role/ci"  # of their own
    people = {Duty.ADMINISTRATOR: "user/admin", Duty.KEY_ADMINISTRATOR: "user/key-admin", Duty.KEY_USER: "role/ci"}
    return next((name for duty, name in people.items() if action and duty in DUTIES_OF[action]), None)


def assert_shaped(document: dict[str, Any], answer: object, operation: dict[str, Any], status: int) -> None:
    """The answer fits the schema and has no member that the schema lacks; the example has the same members."""
    (content,) = operation["responses"][str(status)]["content"].values()
    schema = content["schema"] | {"components": document["components"]}
    OAS31Validator(schema).validate(answer)
    OAS31Validator(schema).validate(content["example"])
    assert members_of(answer) == members_of(content["example"])
    assert members_of(answer) - {"x5c", "x5t#S256", "n", "e"} <= properties_of(document, content["schema"]) | {
        *("cms", "raw", "kty", "crv", "x", "y", "kid", "use", "alg", "repository", "ref"),
        *(
            "artifacts",
            "name",
            "size",
            "digests",
            "sha256",
            "formats",
            "context",
            "commit",
        ),  # within members of no fixed shape
    }


def members_of(value: object) -> set[str]:
    if isinstance(value, list):
        return set().union(*(members_of(each) for each in value[:1]))
    if isinstance(value, dict):
        # A policy document's elements are AWS's, a context's names the caller's, condition keys a table of their own:
        # none is of a fixed shape.
        loose = ("policy", "constraints", "circumstances", "tags")
        return set(value).union(*(members_of(each) for name, each in value.items() if name not in loose))
    return set()


def properties_of(document: dict[str, Any], schema: dict[str, Any]) -> set[str]:
    name = schema.get("$ref", "").rpartition("/")[2]
    found = document["components"]["schemas"][name] if name else schema
    inner = [*found.get("properties", {}).values(), *([found["items"]] if "items" in found else [])]
    inner += list(found.get("anyOf", []))
    return set(found.get("properties", {})).union(*(properties_of(document, each) for each in inner))


def test_examples_are_answered_as_they_say(document: dict[str, Any], own_service: ServiceInProcess) -> None:
    """Each example is sent as it stands, and the service's answer has the shape and the members of the example."""
    tried = set()
    for alias, members in MEMBERS.items():
        body = {"alias": alias, "spec": "ECC_NIST_P256", "users": ["role/ci"], **members}
        own_service.made("user/key-admin", "POST", "/v1/keys", body)
    for route in in_order():
        endpoint, operation = routes()[route], operation_of(document, route)
        values = {each["name"]: each["example"] for each in operation["parameters"] if each["in"] == "path"}
        if endpoint.tag == "log":
            values |= {**OF_THE_LOG, "log": own_service.services.audit.log.signer.name.rpartition("/")[2]}
        path = template(endpoint.path).format(**values)
        sent = CONTRACTS[route].request
        if route == "POST /v1/principals":
            sent = {**(sent or {}), "name": f"role/{uuid.uuid4()}"}  # the service of the tests has the example's own
        answer = own_service.call(caller_of(route), endpoint.method, path, sent)
        assert answer.status_code == endpoint.status, (route, answer.get_data(as_text=True))
        if CONTRACTS[route].answer is not None and "jwks" not in route:
            shown = answer.get_json()
            if route == "GET /v1/keys":  # by id, which is random; the example is of this one
                shown["keys"].sort(key=lambda key: key["alias"] != "release")
            assert_shaped(document, shown, operation, endpoint.status)
        elif isinstance(CONTRACTS[route].example, str):
            assert first_line(answer.get_data(as_text=True)) == first_line(str(CONTRACTS[route].example))
        tried.add(route)
    assert set(CONTRACTS) - tried == {*ELSEWHERE, *APPROVALS, "POST /v1/enrolments"}


def first_line(text: str) -> str:
    """Without what follows the region in a log's origin: its key decides that."""
    return re.sub("(/us-east-1/).*", r"\1", text.splitlines()[0])


def test_an_installed_chain_is_answered_as_it_says(document: dict[str, Any], own_service: ServiceInProcess) -> None:
    key = own_service.make_key("theirs")["id"]
    (version,) = own_service.services.keystore.get_key(key).versions
    path, sent = f"/v1/keys/{key}/certificate", {"chain": outside_chain(version.public_key)}
    installed = own_service.made("user/key-admin", "PUT", path, sent)
    assert_shaped(document, installed, operation_of(document, INSTALLATION), 200)


def test_approvals_are_answered_as_they_say(document: dict[str, Any], own_service: ServiceInProcess) -> None:
    if "guarded" not in {key["alias"] for key in own_service.made("user/key-admin", "GET", "/v1/keys")["keys"]}:
        own_service.make_key("guarded")
    for name in ("user/alice", "user/bob", "user/carol"):
        made = own_service.made("user/admin", "POST", "/v1/principals", {"name": name, "duty": "auditor"})
        code = {"code": made["enrolment_code"]}
        own_service.tokens[name] = own_service.made(None, "POST", "/v1/enrolments", code)["token"]

    def answered(route: str, who: str, request: Any = None, **changes: object) -> Any:
        method, _, path = route.partition(" ")
        path = path.replace("<key>", "guarded").replace("<request>", str(request and request["id"]))
        sent = CONTRACTS[route].request
        answer = own_service.call(who, method, path, sent if sent is None else {**sent, **changes})
        assert answer.status_code == routes()[route].status, (route, answer.get_data(as_text=True))
        assert_shaped(document, answer.get_json(), operation_of(document, route), answer.status_code)
        return answer.get_json()

    answered("PUT /v1/keys/<key>/approval-rule", "user/key-admin")
    asked = [answered("POST /v1/keys/<key>/approval-requests", "role/ci") for _ in range(3)]
    one = "/v1/approval-requests/<request>"
    seen = {"request_sha256": asked[0]["request_sha256"]}
    answered(f"POST {one}/approve", "user/alice", asked[0], **seen)
    answered(f"GET {one}", "user/bob", asked[0])
    answered("GET /v1/approval-requests", "user/bob")
    answered(f"POST {one}/reject", "user/alice", asked[1])
    again = {"request_sha256": asked[2]["request_sha256"]}
    own_service.made("user/alice", "POST", one.replace("<request>", asked[2]["id"]) + "/approve", again)
    answered(f"POST {one}/withdraw", "role/ci", asked[2])
    answered("GET /v1/keys/<key>/approval-rule", "user/alice")
    removal = own_service.call("user/key-admin", "DELETE", "/v1/keys/guarded/approval-rule")
    assert removal.get_json()["code"] == "approval_required"
    other = own_service.make_key("unguarded")["id"]
    removed = own_service.made("user/key-admin", "DELETE", f"/v1/keys/{other}/approval-rule")
    assert (removed["revision"], removed["sign"]) == (0, None)


def test_enrolment_and_deletion_are_answered_as_they_say(
    document: dict[str, Any], own_service: ServiceInProcess
) -> None:
    made = own_service.made("user/admin", "POST", "/v1/principals", {"name": "role/passing", "duty": "key-user"})
    enrolled = own_service.made(None, "POST", "/v1/enrolments", {"code": made["enrolment_code"]})
    assert_shaped(document, enrolled, operation_of(document, "POST /v1/enrolments"), 201)
    path = "/v1/principals/role/passing"
    (token,) = own_service.made("user/admin", "GET", f"{path}/tokens")["tokens"]
    for method, of_path, end, status in (
        ("DELETE", "/tokens/<credential>", f"/tokens/{token['id']}", 200),
        ("PUT", "/duty", "/duty", 200),
        ("POST", "/enrolments", "/enrolments", 201),
    ):
        route = f"{method} /v1/principals/<kind>/<name>{of_path}"
        answered = own_service.made("user/admin", method, path + end, CONTRACTS[route].request)
        assert_shaped(document, answered, operation_of(document, route), status)
    gone = own_service.made("user/admin", "DELETE", "/v1/principals/role/passing")
    assert_shaped(document, gone, operation_of(document, "DELETE /v1/principals/<kind>/<name>"), 200)


def test_public_credentials_are_answered_as_they_say(document: dict[str, Any], own_service: ServiceInProcess) -> None:
    added, listed, revoked = CREDENTIALS
    path = template(routes()[added].path).format(kind="role", name="ci")
    made = own_service.made("user/admin", "POST", path, dict(CONTRACTS[added].request or {}))
    assert_shaped(document, made, operation_of(document, added), 201)
    assert_shaped(document, own_service.made("role/ci", "GET", path), operation_of(document, listed), 200)
    gone = own_service.made("role/ci", "DELETE", f"{path}/{made['id']}")
    assert_shaped(document, gone, operation_of(document, revoked), 200)


def test_ciphertexts_codes_and_signatures_are_answered_as_they_say(
    document: dict[str, Any], own_service: ServiceInProcess
) -> None:
    made = {key["alias"] for key in own_service.made("user/key-admin", "GET", "/v1/keys")["keys"]}
    for alias in {"vault", "webhooks", "device", "quantum"} - made:
        body = {"alias": alias, "spec": "ECC_NIST_P256", "users": ["role/ci"], **MEMBERS[alias]}
        own_service.made("user/key-admin", "POST", "/v1/keys", body)

    def result(key: str, call: str) -> dict[str, Any]:
        sent = CONTRACTS[f"POST /v1/keys/<key>/{call}"].request
        answer = own_service.made("role/ci", "POST", f"/v1/keys/{key}/{call}", sent)
        return dict(answer["results"][0])

    of_ciphertext = {"ciphertext": result("vault", "encrypt")["ciphertext"]}
    changes = (
        of_ciphertext,
        of_ciphertext,
        of_ciphertext,
        {"ciphertext": result("quantum", "encapsulate")["ciphertext"]},
        {"mac": result("webhooks", "macs")["mac"]},
        {"signature": result("device", "signatures")["signature"]},
    )
    for route, changed in zip(OF_THINGS_MADE, changes, strict=True):
        path = route.partition(" ")[2].replace("<key>", CONTRACTS[route].key or "")
        answered = own_service.made("role/ci", "POST", path, {**(CONTRACTS[route].request or {}), **changed})
        assert_shaped(document, answered, operation_of(document, route), 200)


def test_access_keys_are_answered_as_they_say(document: dict[str, Any], own_service: ServiceInProcess) -> None:
    made = own_service.made("role/ci", "POST", "/v1/principals/role/ci/access-keys", {})
    for route in OF_ACCESS_KEYS:
        method, _, path = route.partition(" ")
        path = path.replace("<kind>/<name>", "role/ci").replace("<access_key>", made["access_key_id"])
        assert_shaped(document, own_service.made("role/ci", method, path), operation_of(document, route), 200)


@pytest.mark.parametrize("route", ENDS_GRANTS)
def test_a_grants_end_is_answered_as_it_says(
    document: dict[str, Any], own_service: ServiceInProcess, route: str
) -> None:
    key = own_service.make_key(f"g{uuid.uuid4().hex}")["id"]
    body = CONTRACTS["POST /v1/keys/<key>/grants"].request
    made = own_service.made("user/key-admin", "POST", f"/v1/keys/{key}/grants", body)
    method, _, path = route.partition(" ")
    path = path.replace("<key>", key).replace("<grant>", made["id"])
    assert_shaped(document, own_service.made("user/key-admin", method, path), operation_of(document, route), 200)


def test_an_exchange_is_answered_as_it_says(document: dict[str, Any], own_service: ServiceInProcess) -> None:
    key = new_key("shown-1")
    trust = CONTRACTS["POST /v1/trusted-issuers"].request or {}
    url = "https://shown.example"
    own_service.made(
        "user/admin",
        "POST",
        "/v1/trusted-issuers",
        {**trust, "name": "shown", "url": url, "jwks": key_set(key)},
    )
    sent = {**(CONTRACTS[EXCHANGE].request or {}), "subject_token": signed(key, claims(url))}
    answered = own_service.made(None, "POST", "/v1/token-exchange", sent)
    assert_shaped(document, answered, operation_of(document, EXCHANGE), 200)
