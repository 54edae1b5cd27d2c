"""How `/openapi.json` tells of `POST /`: one call whose operations are named by a header, and described by AWS."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from signer.kms.operations import OPERATIONS

if TYPE_CHECKING:
    from signer.web.endpoints import Endpoint

_DESCRIPTION: Final = """Anyone with a credential, as each operation's action allows: a signed request (AWS Signature
Version 4), or any other credential of this service. `X-Amz-Target` names the operation; its members, in and out, are
those of the AWS KMS API Reference. Refusals have AWS's names in `__type`, nearly all of them with status 400."""
_ERROR: Final = {
    "type": "object",
    "properties": {"__type": {"type": "string"}, "message": {"type": "string"}},
    "required": ["__type", "message"],
}
_ANSWERS: Final = {
    "400": "refused: AccessDeniedException, ValidationException, NotFoundException and the others of AWS KMS",
    "413": "the body is over the limit",
    "500": "KMSInternalException",
    "503": "DependencyTimeoutException: the HSM, the database or the audit trail cannot be used just now",
}
_HEADERS: Final = {
    "X-Request-Id": "an id of the caller's own, recorded with the call; 1 to 128 visible ASCII characters",
    "Sealmark-Approval": "the id of the approval request that releases this very call",
    "Idempotency-Key": "the same key and body give the same answer; 1 to 255 visible characters",
}


def wire_operation(endpoint: Endpoint) -> dict[str, object]:
    """The Operation Object of the endpoint."""
    targets = [f"TrentService.{name}" for name in sorted(OPERATIONS)]
    target = {"name": "X-Amz-Target", "in": "header", "required": True, "schema": {"type": "string", "enum": targets}}
    asked = {"schema": {"type": "object"}}
    failed = {endpoint.media_type: {"schema": _ERROR}}
    return {
        "operationId": "post_aws_kms",
        "summary": endpoint.summary,
        "description": " ".join(_DESCRIPTION.split()),
        "tags": [endpoint.tag],
        "security": [{"bearer": []}],
        "parameters": [
            target,
            *(
                {"name": name, "in": "header", "schema": {"type": "string"}, "description": text}
                for name, text in _HEADERS.items()
            ),
        ],
        "requestBody": {"required": True, "content": {endpoint.media_type: asked}},
        "responses": {
            "200": {"description": "done", "content": {endpoint.media_type: {"schema": {"type": "object"}}}},
            **{status: {"description": text, "content": failed} for status, text in _ANSWERS.items()},
            "default": {"description": "another refusal or fault", "content": failed},
        },
    }
