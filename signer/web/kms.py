"""`POST /`: the wire protocol of AWS KMS at the door. Its answers and its errors are AWS's, whatever went wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from flask import Response, g, request
from werkzeug.exceptions import HTTPException

from signer.call import Call, Trace
from signer.kms import operations
from signer.kms.encoding import encode
from signer.kms.errors import TYPE_HEADER, fault_for
from signer.problems import PROBLEMS, RETRY_AFTER_SECONDS
from signer.web.endpoints import Endpoint
from signer.web.http import code_of_any, report_fault, request_id

if TYPE_CHECKING:
    from signer.services import Services

PATH: Final = "/"
REQUEST_ID: Final = "x-amzn-RequestId"


def call_operation(services: Services, call: Call) -> Response:
    body = encode(operations.answer(services, call).content)
    return Response(body, 200, headers={REQUEST_ID: request_id()}, mimetype=operations.MEDIA_TYPE)


def is_wire() -> bool:
    """Whether the request is one of this protocol, so that its errors are."""
    return request.path == PATH


def error_response(error: Exception, services: Services) -> Response:
    """Any exception as AWS words it; what is not ours is logged and answered without its words."""
    code = g.refused_with = code_of_any(error)
    call: Call | None = g.get("call")
    fault = fault_for(error, Trace() if call is None else call.trace, services.keystore.account, code=code)
    if not isinstance(error, HTTPException):
        report_fault(error, code)
    body = msgspec.json.encode({"__type": fault.name, "message": fault.message})
    response = Response(body, fault.status, mimetype=operations.MEDIA_TYPE)
    response.headers[REQUEST_ID] = request_id()
    response.headers[TYPE_HEADER] = fault.name
    if code == "method_not_allowed":
        response.headers["Allow"] = "POST"
    if PROBLEMS[code].status == 429 or fault.status == 503:
        seconds = int(getattr(error, "retry_after", RETRY_AFTER_SECONDS))
        response.headers["Retry-After"] = str(seconds)
        response.headers["x-amz-retry-after"] = str(1000 * seconds)  # what AWS's own clients wait for
    return response


ENDPOINTS: Final = (
    Endpoint(
        "POST",
        PATH,
        "Call an operation of AWS KMS",
        call_operation,
        media_type=operations.MEDIA_TYPE,
        tag="aws",
        wire=True,
    ),
)
