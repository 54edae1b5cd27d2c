"""The service's error tree: each error has a stable `code`. `signer.problems` holds the one table from code to HTTP
status.

Messages are for the caller: they say what is wrong, which field, and what would be right; never a secret, never whether
something that the caller may not see exists.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Judged:
    """A decision of access: about which key, by which revision of its policy, by which statement."""

    key_id: str | None
    policy_revision: int | None
    decided_by: str


class SealmarkError(Exception):
    """Base of everything the service refuses. `field` is the JSON path of the member at fault, if one is.

    `judged` is for the record alone, never for the caller: what was decided of the request, where it came to that.
    """

    code = "error"
    judged: Judged | None = None

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field


class Unauthenticated(SealmarkError):
    """No credential, an unknown one, a wrong one, an expired one: one answer for all.

    `kind` and `words` are the name and the text that AWS has for it, for callers of AWS's protocol alone
    (`signer.authn.refused`).
    """

    code = "unauthenticated"

    def __init__(
        self,
        message: str,
        *,
        field: str | None = None,
        kind: str = "UnrecognizedClientException",
        words: str = "The security token included in the request is invalid.",
    ) -> None:
        super().__init__(message, field=field)
        self.kind = kind
        self.words = words


class TooManyRequests(SealmarkError):
    """Too many failed attempts from here: nothing was looked up. `retry_after` is in whole seconds."""

    code = "too_many_requests"

    def __init__(self, message: str, *, retry_after: int = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class QuotaExceeded(SealmarkError):
    """What the configuration allows of such calls is used up; `quota` names it. `retry_after` is in whole seconds."""

    code = "quota_exceeded"

    def __init__(self, message: str, *, quota: str = "", retry_after: int = 1) -> None:
        super().__init__(message)
        self.quota = quota
        self.retry_after = retry_after


class Replayed(TooManyRequests):
    """The same signed request came before. Signed again, in another second, it is another one, so the caller is asked
    to wait that long (AWS's clients do so by themselves)."""


class DutyForbids(SealmarkError):
    """The caller's duty does not allow this call; decided before any key is looked up."""

    code = "duty_forbids"


class PolicyForbids(SealmarkError):
    """The caller may see the key but not use it so. `denied_by` is the kind of rule that says so (`access.Source`)."""

    code = "policy_forbids"

    def __init__(self, message: str, *, field: str | None = None, denied_by: str | None = None) -> None:
        super().__init__(message, field=field)
        self.denied_by = denied_by


class ApprovalRequired(SealmarkError):
    """The key's approval rule holds this call until approvers have released it."""

    code = "approval_required"


class ApprovalInvalid(SealmarkError):
    """The approval that the call names does not release it."""

    code = "approval_invalid"


class SeparationOfDuties(SealmarkError):
    """What was asked would let one principal both administer and use a key; the message says who and by what."""

    code = "separation_of_duties"


class NotFound(SealmarkError):
    """Not there, or not for the caller to see: one answer for both.

    `openly`: the caller might do this to every key there is, so it may be told that there is none (as AWS tells it;
    callers of the native API get one answer all the same).
    """

    code = "not_found"

    def __init__(self, message: str, *, field: str | None = None, openly: bool = False) -> None:
        super().__init__(message, field=field)
        self.openly = openly


class MalformedRequest(SealmarkError):
    """The body is not JSON, or a member is missing, unknown, of the wrong type or out of bounds."""

    code = "malformed_request"


class Unprocessable(SealmarkError):
    """Well-formed, but asks for what the key or the service does not do."""

    code = "unprocessable"


class RequestTooLarge(SealmarkError):
    """The body is over the limit."""

    code = "request_too_large"


class DryRun(SealmarkError):
    """The call would have succeeded; it asked for no more than that."""

    code = "dry_run"


class WrongPurpose(SealmarkError):
    """The key's purpose is another."""

    code = "wrong_purpose"


class WrongState(SealmarkError):
    """The key's or the principal's state does not allow this now. `state` is a key's, where it is that."""

    code = "wrong_state"

    def __init__(self, message: str, *, field: str | None = None, state: str | None = None) -> None:
        super().__init__(message, field=field)
        self.state = state


class Conflict(SealmarkError):
    """The name is taken, or the idempotency key was used with another body."""

    code = "conflict"


class RequestInProgress(SealmarkError):
    """The same idempotency key is being worked on right now."""

    code = "request_in_progress"


class InsecureTransport(SealmarkError):
    """A caller from another machine without TLS and without a proxy named in the configuration."""

    code = "insecure_transport"


class ServiceUnavailable(SealmarkError):
    """A part that a signature needs (HSM, database, audit) is not usable; nothing was signed."""

    code = "service_unavailable"


class AuditUnavailable(ServiceUnavailable):
    """The record cannot be written; so nothing is signed, or what was signed is not given out."""

    code = "audit_unavailable"


class InvalidSignature(SealmarkError):
    """A signature that none of the key's versions made over this message."""

    code = "invalid_signature"


class ConfigurationError(SealmarkError):
    """A setting is missing, unknown, unsafe or contradicts another; the message names it."""

    code = "configuration"
