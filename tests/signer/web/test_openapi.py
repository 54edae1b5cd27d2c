"""`/openapi.json` is valid OpenAPI 3.1, holds every route, and its schemas take what the service takes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from signer.web.routes import ENDPOINTS

if TYPE_CHECKING:
    from tests.signer.service import ServiceInProcess


def template(path: str) -> str:
    return re.sub("<([a-z]+)>", r"{\1}", path)


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
    assert list(OpenAPIV31SpecValidator(broken).iter_errors())


def test_it_holds_every_route_and_no_other(document: dict[str, Any]) -> None:
    described = {f"{method.upper()} {path}" for path, operations in document["paths"].items() for method in operations}
    assert described == {f"{endpoint.method} {template(endpoint.path)}" for endpoint in ENDPOINTS}


def test_each_route_says_what_it_takes_and_gives(document: dict[str, Any]) -> None:
    for endpoint in ENDPOINTS:
        path = template(endpoint.path)
        operation = document["paths"][path][endpoint.method.lower()]
        assert operation["summary"]
        assert (operation["security"] == [{"bearer": []}]) == (endpoint.action is not None), path
        assert ("requestBody" in operation) == (endpoint.body is not None), path
        assert set(operation["responses"]) == {str(endpoint.status), "default"}
        names = {(parameter["in"], parameter["name"]) for parameter in operation["parameters"]}
        assert {name for place, name in names if place == "path"} == set(re.findall(r"<([a-z]+)>", endpoint.path))
        assert {name for place, name in names if place == "query"} == set(endpoint.query)
        assert ("header", "X-Request-Id") in names
        assert (("header", "Idempotency-Key") in names) == (endpoint.tag == "signing")
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
        ("PolicyBody", {"users": []}, False),
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
