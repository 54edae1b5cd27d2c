"""`/openapi.json`, made from the endpoints and the typed bodies themselves (OpenAPI 3.1)."""

from __future__ import annotations

import re
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from signer.web.endpoints import Endpoint

_PARAMETER: Final = re.compile(r"<(?P<name>[a-z]+)>")
_PROBLEM: Final = {
    "type": "object",
    "description": "RFC 9457 problem details",
    "required": ["type", "title", "status", "code", "detail", "request_id"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string", "description": "stable; decide by this"},
        "detail": {"type": "string"},
        "field": {"type": "string", "description": "path of the member at fault"},
        "request_id": {"type": "string"},
    },
}


@cache
def document() -> dict[str, object]:
    """The whole contract."""
    from signer.web.routes import ENDPOINTS

    bodies = sorted({endpoint.body for endpoint in ENDPOINTS if endpoint.body}, key=lambda body: body.__name__)
    schemas, components = msgspec.json.schema_components(bodies, ref_template="#/components/schemas/{name}")
    reference = dict(zip(bodies, schemas, strict=True))
    paths: dict[str, dict[str, object]] = {}
    for endpoint in ENDPOINTS:
        path = _PARAMETER.sub(r"{\g<name>}", endpoint.path)
        paths.setdefault(path, {})[endpoint.method.lower()] = _operation(endpoint, reference)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Sealmark", "version": _version(), "summary": "A signing service with its keys in an HSM"},
        "paths": paths,
        "components": {
            "schemas": {**components, "Problem": _PROBLEM},
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(endpoint: Endpoint, reference: dict[Any, dict[str, Any]]) -> dict[str, object]:
    problem = {"content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}}
    operation: dict[str, object] = {
        "summary": endpoint.summary,
        "tags": [endpoint.tag],
        "security": _security(endpoint),
        "parameters": [
            *(_parameter(name, "path", None) for name in _PARAMETER.findall(endpoint.path)),
            *(_parameter(name, "query", text) for name, text in endpoint.query.items()),
            *(_parameter(name, "header", text) for name, text in _headers(endpoint).items()),
        ],
        "responses": {
            str(endpoint.status): {"description": "done", "content": {endpoint.media_type: {}}},
            "default": {"description": "refused or failed; `code` says why", **problem},
        },
    }
    if endpoint.body is not None:
        operation["requestBody"] = {"content": {"application/json": {"schema": reference[endpoint.body]}}}
    return operation


def _security(endpoint: Endpoint) -> list[dict[str, list[str]]]:
    if endpoint.action:
        return [{"bearer": []}]
    return [{}, {"bearer": []}] if endpoint.credential_helps else []


def _headers(endpoint: Endpoint) -> dict[str, str]:
    recorded = {"X-Request-Id": "an id of the caller's own, recorded with the call; 1 to 128 visible ASCII characters"}
    if endpoint.tag != "signing":
        return recorded
    return recorded | {"Idempotency-Key": "the same key and body give the same answer; 1 to 255 visible characters"}


def _parameter(name: str, where: str, description: str | None) -> dict[str, object]:
    parameter: dict[str, object] = {"name": name, "in": where, "schema": {"type": "string"}}
    if where == "path":
        parameter["required"] = True
    if description is not None:
        parameter["description"] = description
    return parameter


def _version() -> str:
    try:
        return version("sealmark")
    except PackageNotFoundError:
        return "0"
