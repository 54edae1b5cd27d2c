"""The one table from our codes to the exceptions of AWS KMS, with AWS's status and wording.

Names are those of the service's model and of its common errors (AWS KMS API Reference); nearly all are HTTP 400. What
clients should try again has a status that they try again by themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from signer.access.decision import KEY_NOT_FOUND
from signer.access.short_form import arn_of
from signer.authn.tokens import blanked
from signer.errors import NotFound, PolicyForbids, SealmarkError, Unauthenticated, WrongState
from signer.problems import PROBLEMS, code_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from signer.call import Trace

TYPE_HEADER: Final = "x-amzn-ErrorType"
UNKNOWN_OPERATION: Final = "UnknownOperationException"
ACCESS_DENIED: Final = "AccessDeniedException"
VALIDATION: Final = "ValidationException"
SERIALIZATION: Final = "SerializationException"
UNSUPPORTED: Final = "UnsupportedOperationException"
INVALID_USAGE: Final = "InvalidKeyUsageException"
INVALID_STATE: Final = "KMSInvalidStateException"
INVALID_CIPHERTEXT: Final = "InvalidCiphertextException"
NOT_FOUND: Final = "NotFoundException"
INTERNAL: Final = "KMSInternalException"
INVALID_ARN: Final = "InvalidArnException"
DRY_RUN_WORDS: Final = "The request would have succeeded, but the DryRun option is set."
_LONGEST_MESSAGE: Final = 4096


class Refusal(SealmarkError):
    """A refusal that AWS has a name for. `exception` is that name; `code` is ours, for the record.

    The message goes to the caller as it is: it names no key that the caller has not named.
    """

    def __init__(self, exception: str, message: str, *, code: str = "unprocessable", field: str | None = None) -> None:
        super().__init__(message, field=field)
        self.exception = exception
        self.code = code


def invalid(message: str, *, field: str | None = None) -> Refusal:
    """A `ValidationException`."""
    return Refusal(VALIDATION, message, field=field)


def unsupported(message: str, *, field: str | None = None) -> Refusal:
    """An `UnsupportedOperationException`."""
    return Refusal(UNSUPPORTED, message, code="unsupported", field=field)


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes out: `{"__type": name, "message": message}` with this status."""

    name: str
    status: int
    message: str


# Our code → the exception that it is. `None`: it depends, see `_depending`.
EXCEPTIONS: Final[Mapping[str, str | None]] = MappingProxyType(
    {
        "unauthenticated": None,
        "too_many_requests": "ThrottlingException",
        "overloaded": "ThrottlingException",
        "quota_exceeded": "ThrottlingException",
        "duty_forbids": ACCESS_DENIED,
        "policy_forbids": ACCESS_DENIED,
        "approval_required": ACCESS_DENIED,
        "approval_invalid": ACCESS_DENIED,
        "insecure_transport": ACCESS_DENIED,
        "separation_of_duties": ACCESS_DENIED,
        "not_found": None,
        "method_not_allowed": UNKNOWN_OPERATION,
        "unsupported_media_type": UNKNOWN_OPERATION,
        "conflict": None,
        "request_in_progress": "ConflictException",
        "limit_exceeded": "LimitExceededException",
        "dry_run": "DryRunOperationException",
        "undecipherable": INVALID_CIPHERTEXT,
        "invalid_signature": "KMSInvalidSignatureException",
        "invalid_mac": "KMSInvalidMacException",
        "import_token_expired": "ExpiredImportTokenException",
        "invalid_import_token": "InvalidImportTokenException",
        "incorrect_key_material": "IncorrectKeyMaterialException",
        "wrong_purpose": INVALID_USAGE,
        "wrong_state": None,
        "request_too_large": "RequestEntityTooLargeException",
        "malformed_request": VALIDATION,
        "unprocessable": VALIDATION,
        "unsupported": UNSUPPORTED,
        "hsm_unavailable": "DependencyTimeoutException",
        "store_unavailable": "DependencyTimeoutException",
        "audit_unavailable": "DependencyTimeoutException",
        "service_unavailable": "DependencyTimeoutException",
        "hsm_fault": INTERNAL,
        "integrity_failure": INTERNAL,
        "internal_error": INTERNAL,
    }
)
# Every other exception is a 400.
_STATUSES: Final[Mapping[str, int]] = MappingProxyType(
    {
        "DependencyTimeoutException": 503,
        INTERNAL: 500,
        "KeyUnavailableException": 500,
        "RequestEntityTooLargeException": 413,
    }
)
_METHOD_NOT_ALLOWED: Final = 405


def fault_for(error: BaseException, trace: Trace, account: str, *, code: str | None = None) -> Fault:
    """What a caller is answered. `trace` says who asks and what for, as far as that was found out; `code` is of an
    exception that is not ours."""
    code = code_of(error) if code is None else code
    name = error.exception if isinstance(error, Refusal) else EXCEPTIONS.get(code, INTERNAL) or _depending(error, code)
    status = _METHOD_NOT_ALLOWED if code == "method_not_allowed" else _STATUSES.get(name, 400)
    return Fault(name, status, blanked(_message(error, code, name, trace, account))[:_LONGEST_MESSAGE])


def _depending(error: BaseException, code: str) -> str:
    if isinstance(error, Unauthenticated):
        return error.kind
    if code == "conflict":
        return "AlreadyExistsException" if getattr(error, "field", None) == "alias" else "ConflictException"
    if code == "wrong_state":
        disabled = isinstance(error, WrongState) and error.state == "disabled"
        return "DisabledException" if disabled else INVALID_STATE
    return ACCESS_DENIED if _is_hidden(error) else NOT_FOUND


def _is_hidden(error: BaseException) -> bool:
    """A key that is not there, or not for this caller to see: told apart only for who could do this to every key."""
    return isinstance(error, NotFound) and str(error) == KEY_NOT_FOUND and not error.openly


def _message(error: BaseException, code: str, name: str, trace: Trace, account: str) -> str:
    if isinstance(error, Refusal):
        return str(error)
    if isinstance(error, Unauthenticated):
        return error.words
    if code == "dry_run":
        return DRY_RUN_WORDS
    if name == ACCESS_DENIED and code in ("duty_forbids", "policy_forbids", "not_found"):
        return _denied(error, trace, account)
    if code == "not_found" and str(error) == KEY_NOT_FOUND:
        return "There is no such key."
    if name == UNKNOWN_OPERATION:
        return "POST / with X-Amz-Target: TrentService.OPERATION and Content-Type: application/x-amz-json-1.1"
    detail = PROBLEMS[code].detail
    if detail is not None or code == "internal_error":
        return detail or "something went wrong inside"
    return str(error)


def _denied(error: BaseException, trace: Trace, account: str) -> str:
    """AWS's words for what a policy does not allow (IAM User Guide, "Access denied error message examples")."""
    who = "User" if trace.caller is None else f"User: {arn_of(trace.caller, account)}"
    action = trace.action or "this operation"
    if isinstance(error, NotFound):
        return (
            f"{who} is not authorized to perform: {action} on this resource because the resource does not exist in "
            "this Region, no resource-based policies allow access, or a resource-based policy explicitly denies access"
        )
    because = _DENIED_BY.get(error.denied_by or "", "") if isinstance(error, PolicyForbids) else ""
    resource = f" on resource: {trace.resource}" if trace.resource else ""
    because = because or f"because no identity-based policy allows the {action} action"
    return f"{who} is not authorized to perform: {action}{resource} {because} ({error})"


_DENIED_BY: Final = {
    "key policy": "with an explicit deny in a resource-based policy",
    "identity policy": "with an explicit deny in an identity-based policy",
}
