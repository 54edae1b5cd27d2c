"""How `/openapi.json` tells of `POST /`: one call whose operations are named by a header, and described by AWS."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from signer.kms.operations import OPERATIONS
from signer.web.answers.aws import AwsFault, AwsMembers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from signer.web.endpoints import Endpoint

_DESCRIPTION: Final = """Anyone with a credential, as each operation's action allows: a signed request (AWS Signature
Version 4), or any other credential of this service. `X-Amz-Target` names the operation; its members, in and out, are
those of the AWS KMS API Reference. Refusals have AWS's names in `__type`, nearly all of them with status 400."""
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


def wire_operation(endpoint: Endpoint, reference: Mapping[Any, dict[str, Any]]) -> dict[str, object]:
    """The Operation Object of the endpoint."""
    targets = [f"TrentService.{name}" for name in sorted(OPERATIONS)]
    target = {"name": "X-Amz-Target", "in": "header", "required": True, "schema": {"type": "string", "enum": targets}}
    members = {endpoint.media_type: {"schema": reference[AwsMembers]}}
    failed = {endpoint.media_type: {"schema": reference[AwsFault]}}
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
        "requestBody": {"required": True, "content": members},
        "responses": {
            "200": {"description": "done", "content": members},
            **{status: {"description": text, "content": failed} for status, text in _ANSWERS.items()},
            "default": {"description": "another refusal or fault", "content": failed},
        },
    }
