"""`/openapi.json`, made from the endpoints and the typed bodies and answers themselves (OpenAPI 3.1)."""

from __future__ import annotations

import re
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Final

import msgspec

from signer.access.approvals import CHANGES_THE_RULE, COVERED_BY
from signer.access.duties import (
    ADMINISTRATORS_ACTIONS,
    COMMON_ACTIONS,
    DUTIES_OF,
    OWN_ACTIONS,
    USERS_ACTIONS,
    Action,
    Duty,
)
from signer.problems import PROBLEMS, RETRY_AFTER_SECONDS, problem
from signer.web.answers.aws import AwsFault, AwsMembers
from signer.web.answers.signing import Problem
from signer.web.contract import PARAMETERS, contract_of
from signer.web.refusals import problem_codes
from signer.web.wire_contract import wire_operation

if TYPE_CHECKING:
    from signer.web.contract import Contract
    from signer.web.endpoints import Endpoint

_PARAMETER: Final = re.compile(r"<(?:path:)?(?P<name>[a-z_]+)>")
_PROBLEM_TYPE: Final = "application/problem+json"
_PROBLEM: Final = {"$ref": "#/components/schemas/Problem"}
_DESCRIPTION: Final = f"""\
Bodies are JSON of at most 1 MiB, in and out; unknown members are refused. File digests are hex, all other bytes
standard base64, times RFC 3339 in UTC. Refusals are RFC 9457 problems: decide by `code`. After a 503 wait for
`Retry-After` ({RETRY_AFTER_SECONDS} s) and try again, after a 429 for what its `Retry-After` says; signing calls take
an `Idempotency-Key`, so that a repeated call signs nothing twice."""
TAGS: Final = {
    "identities": "Who may call: people and machines with one duty each.",
    "keys": "Keys in the HSM and their life.",
    "access": "Who may use which key, and why: grants, the policies of identities, the history of policies.",
    "signing": "What keys are for. Every result is verified and recorded before it is answered.",
    "encryption": "Encryption, data keys, message authentication, verification. What is secret is kept nowhere.",
    "certificates": "Certificates of keys, and requests for them.",
    "approvals": "Calls that are held until a number of people has released them.",
    "audit": "The audit trail, for auditors: every decision, provable; reports, and the history of the configuration.",
    "issuers": "Who tokens and assertions speak for; and domains, which hold keys.",
    "aws": "The wire protocol of AWS KMS, for its clients: point one at this service by its endpoint URL.",
    "published": "What anyone may fetch, without a credential.",
    "log": "The transparency log, which anyone may read and check: https://c2sp.org/tlog-tiles.",
    "service": "The service itself, for its operators.",
}
_BEARER: Final = {
    "type": "http",
    "scheme": "bearer",
    "description": "The token that `sealmark enrol` (POST /v1/enrolments) gave, in the header `Authorization`.",
}


@cache
def document() -> dict[str, Any]:
    """The whole contract."""
    from signer.web.routes import ENDPOINTS

    bodies = {endpoint.body for endpoint in ENDPOINTS if endpoint.body}
    answers = {contract_of(endpoint.method, endpoint.path).answer for endpoint in ENDPOINTS} - {None}
    types: list[Any] = sorted({*bodies, *answers, Problem, AwsFault, AwsMembers}, key=lambda each: each.__name__)
    schemas, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    reference = dict(zip(types, schemas, strict=True))
    paths: dict[str, dict[str, object]] = {}
    for endpoint in ENDPOINTS:
        path = _PARAMETER.sub(r"{\g<name>}", endpoint.path)
        described = wire_operation(endpoint, reference) if endpoint.wire else _operation(endpoint, reference)
        paths.setdefault(path, {})[endpoint.method.lower()] = described
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Sealmark",
            "version": _version(),
            "summary": "A signing service with its keys in an HSM",
            "description": _DESCRIPTION,
        },
        "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"bearer": _BEARER},
            "examples": {code: {"value": _example_problem(code)} for code in PROBLEMS},
        },
    }


def _operation(endpoint: Endpoint, reference: dict[Any, dict[str, Any]]) -> dict[str, object]:
    contract = contract_of(endpoint.method, endpoint.path)
    operation: dict[str, object] = {
        "operationId": _operation_id(endpoint),
        "summary": endpoint.summary,
        "description": _who(endpoint),
        "tags": [endpoint.tag],
        "security": _security(endpoint),
        "parameters": [
            *(_path_parameter(name, contract) for name in _PARAMETER.findall(endpoint.path)),
            *(_parameter(name, "query", text) for name, text in endpoint.query.items()),
            *(_parameter(name, "header", text) for name, text in _headers(endpoint).items()),
        ],
        "responses": {
            str(endpoint.status): _done(endpoint, contract, reference),
            **({"304": {"description": "the caller has it already, by its ETag"}} if _is_cached(endpoint) else {}),
            **_refusals(problem_codes(endpoint)),
            "default": {"description": "another refusal or fault", "content": {_PROBLEM_TYPE: {"schema": _PROBLEM}}},
        },
    }
    if endpoint.body is not None:
        content: dict[str, object] = {"schema": reference[endpoint.body], "example": contract.request or {}}
        required = bool(endpoint.body.__struct_fields__ and contract.request)
        operation["requestBody"] = {"required": required, "content": {"application/json": content}}
    return operation


def _operation_id(endpoint: Endpoint) -> str:
    """A name for generated clients: the method and the words of the path."""
    words = re.sub(r"[^A-Za-z0-9]+", "_", endpoint.path).strip("_")
    return f"{endpoint.method.lower()}_{words}"


def _who(endpoint: Endpoint) -> str:
    """Who may make this call, in words."""
    if endpoint.action is None:
        more = " Of a key that is not published: whom its policy names." if endpoint.credential_helps else ""
        return f"Anyone; no credential is asked for.{more}"
    duties = DUTIES_OF[endpoint.action]
    if endpoint.action in OWN_ACTIONS:
        own = (Action.CREATE_CREDENTIAL, Action.UPDATE_CREDENTIAL)
        others = "" if endpoint.action in own else " An administrator, also of another."
        return f"Anyone with a credential, of their own.{others}"
    if duties | {Duty.ROOT} == frozenset(Duty):
        return "Anyone with a credential."
    names = " or ".join(f"`{duty}`" for duty in sorted(duties) if duty is not Duty.ROOT)
    text = f"Duty {names}"
    if endpoint.action in ADMINISTRATORS_ACTIONS:
        return f"{text}, an administrator by the key's policy."
    if endpoint.action in USERS_ACTIONS:
        return f"{text}, a user by the key's policy."
    if endpoint.action is Action.REQUEST_APPROVAL:
        return f"{text}, as the call itself asks."
    return f"{text}, named in the key's policy." if endpoint.action in COMMON_ACTIONS else f"{text}."


def _done(endpoint: Endpoint, contract: Contract, reference: dict[Any, dict[str, Any]]) -> dict[str, object]:
    content: dict[str, object] = {}
    if contract.answer is not None:
        content["schema"] = reference[contract.answer]
    if contract.example is not None:
        content["example"] = contract.example
    return {"description": "made" if endpoint.status == 201 else "done", "content": {endpoint.media_type: content}}


def _refusals(codes: list[str]) -> dict[str, object]:
    """The problem answers, one for each status, each with its codes and an example of each."""
    by_status: dict[int, list[str]] = {}
    for code in codes:
        by_status.setdefault(PROBLEMS[code].status, []).append(code)
    return {str(status): _refusal(status, by_status[status]) for status in sorted(by_status)}


def _refusal(status: int, codes: list[str]) -> dict[str, object]:
    schema = {"allOf": [_PROBLEM, {"properties": {"code": {"enum": codes}}}]}
    examples = {code: {"$ref": f"#/components/examples/{code}"} for code in codes}
    answer: dict[str, object] = {
        "description": "; ".join(PROBLEMS[code].title for code in codes),
        "content": {_PROBLEM_TYPE: {"schema": schema, "examples": examples}},
    }
    headers = {401: "WWW-Authenticate", 429: "Retry-After", 503: "Retry-After"}
    if status in headers:
        answer["headers"] = {headers[status]: {"schema": {"type": "string"}}}
    return answer


def _example_problem(code: str) -> dict[str, object]:
    return problem(code, PROBLEMS[code].title, request_id="4b0c6f7d1a2e4f5b8c9d0e1f2a3b4c5d")


def _security(endpoint: Endpoint) -> list[dict[str, list[str]]]:
    if endpoint.action:
        return [{"bearer": []}]
    return [{}, {"bearer": []}] if endpoint.credential_helps else []


def _headers(endpoint: Endpoint) -> dict[str, str]:
    recorded = {"X-Request-Id": "an id of the caller's own, recorded with the call; 1 to 128 visible ASCII characters"}
    if _is_cached(endpoint):
        return recorded | {"If-None-Match": "the ETag of what the caller has"}
    if endpoint.action in COVERED_BY or endpoint.action in CHANGES_THE_RULE:
        recorded["Sealmark-Approval"] = "the id of the approval request that releases this very call"
    if endpoint.tag != "signing":
        return recorded
    return recorded | {"Idempotency-Key": "the same key and body give the same answer; 1 to 255 visible characters"}


def _is_cached(endpoint: Endpoint) -> bool:
    return endpoint.tag in ("published", "log")


def _path_parameter(name: str, contract: Contract) -> dict[str, object]:
    usual, meaning = PARAMETERS.get(name, (name, ""))
    example = contract.key if name == "key" and contract.key else usual
    return {**_parameter(name, "path", meaning), "required": True, "example": example}


def _parameter(name: str, where: str, description: str) -> dict[str, object]:
    return {"name": name, "in": where, "schema": {"type": "string"}, "description": description}


def _version() -> str:
    try:
        return version("sealmark")
    except PackageNotFoundError:
        return "0"
