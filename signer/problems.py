"""The one table from error codes to HTTP problems (RFC 9457).

Refusals carry their own message. Faults of the HSM, the database or the audit trail are described here, in words that
tell the caller what it means for the call and nothing of the inside; what really happened goes to the log.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from keystore.errors import KeystoreError
from signer.authn.tokens import blanked
from signer.errors import SealmarkError

if TYPE_CHECKING:
    from collections.abc import Mapping

RETRY_AFTER_SECONDS: Final = 5
OVERLOADED_RETRY_SECONDS: Final = 1


@dataclass(frozen=True, slots=True)
class ProblemKind:
    """How one code is answered. `detail` replaces the error's own message where that is not for callers."""

    status: int
    title: str
    detail: str | None = None


PROBLEMS: Final[Mapping[str, ProblemKind]] = MappingProxyType(
    {
        "unauthenticated": ProblemKind(401, "Unauthorized"),
        "duty_forbids": ProblemKind(403, "Your duty does not allow this call"),
        "policy_forbids": ProblemKind(403, "The key's policy does not allow this call"),
        "approval_required": ProblemKind(403, "Others must approve this call"),
        "approval_invalid": ProblemKind(403, "The approval does not release this call"),
        "insecure_transport": ProblemKind(403, "TLS or a configured proxy is required"),
        "not_found": ProblemKind(404, "Not found"),
        "method_not_allowed": ProblemKind(405, "Method not allowed"),
        "conflict": ProblemKind(409, "Conflict"),
        "request_in_progress": ProblemKind(409, "The same request is still in progress, or its outcome is not known"),
        "limit_exceeded": ProblemKind(409, "A limit of this deployment is reached"),
        "dry_run": ProblemKind(412, "The call would have succeeded"),
        "undecipherable": ProblemKind(422, "This key and context do not decrypt that"),
        "import_token_expired": ProblemKind(422, "The import token is too old"),
        "invalid_import_token": ProblemKind(422, "No import token of this key"),
        "incorrect_key_material": ProblemKind(422, "Not the key's material"),
        "invalid_signature": ProblemKind(422, "This is no signature of this key over that"),
        "invalid_mac": ProblemKind(422, "This is no MAC of this key over that"),
        "wrong_purpose": ProblemKind(409, "The key's purpose is another"),
        "separation_of_duties": ProblemKind(409, "Nobody may both administer and use a key"),
        "wrong_state": ProblemKind(409, "The key's state does not allow this"),
        "request_too_large": ProblemKind(413, "Request body too large"),
        "unsupported_media_type": ProblemKind(415, "Send application/json"),
        "malformed_request": ProblemKind(422, "The request is malformed"),
        "unprocessable": ProblemKind(422, "The request asks for what cannot be done"),
        "unsupported": ProblemKind(422, "Not supported"),
        "too_many_requests": ProblemKind(429, "Too many failed attempts"),
        "overloaded": ProblemKind(429, "Too many calls at once"),
        "quota_exceeded": ProblemKind(429, "A quota of this deployment is used up"),
        "hsm_unavailable": ProblemKind(503, "HSM not usable", "the HSM cannot be used just now; nothing was signed"),
        "hsm_fault": ProblemKind(503, "HSM fault", "the HSM's answer did not pass the check; nothing was released"),
        "integrity_failure": ProblemKind(
            503, "Integrity failure", "a stored record failed its integrity check; nothing was done"
        ),
        "store_unavailable": ProblemKind(
            503, "Database not usable", "the database cannot be used just now; nothing was done"
        ),
        "audit_unavailable": ProblemKind(
            503, "Audit trail not usable", "the audit trail cannot be written just now; no signature was released"
        ),
        "service_unavailable": ProblemKind(503, "Service not usable"),
        "internal_error": ProblemKind(500, "Internal error", "something went wrong inside; nothing was released"),
    }
)

SERVER_FAULTS: Final = frozenset(code for code, kind in PROBLEMS.items() if kind.status >= 500)


def problem(code: str, message: str, *, field: str | None = None, request_id: str | None = None) -> dict[str, object]:
    """A problem object: `type`, `title`, `status`, `code`, `detail`, and `field` and `request_id` where there are
    any."""
    kind = PROBLEMS.get(code, PROBLEMS["internal_error"])
    body: dict[str, object] = {
        "type": f"urn:sealmark:problem:{code}",
        "title": kind.title,
        "status": kind.status,
        "code": code if code in PROBLEMS else "internal_error",
        "detail": kind.detail or blanked(message),
    }
    if field is not None:
        body["field"] = blanked(field)
    if request_id is not None:
        body["request_id"] = request_id
    return body


def code_of(error: BaseException) -> str:
    """The stable code of any exception; what is not ours is `internal_error`."""
    if isinstance(error, SealmarkError | KeystoreError):
        return error.code if error.code in PROBLEMS else "internal_error"
    return "internal_error"


def problem_for(error: BaseException, *, request_id: str | None = None) -> dict[str, object]:
    """The problem object that answers an exception."""
    field = getattr(error, "field", None)
    body = problem(code_of(error), str(error), field=field if isinstance(field, str) else None, request_id=request_id)
    parts = getattr(error, "parts", None)
    return body if parts is None else body | {"parts": parts}  # RFC 9457 section 3.2: an extension member
