"""Which problems each call may be answered with, by their codes: derived from what the call is, for `/openapi.json`.

The tests hold every refusal that they ever meet against it (tests/signer/service.py).
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from signer.access import Action
from signer.access.approvals import CHANGES_THE_RULE, COVERED_BY
from signer.access.duties import DUTIES_OF, OWN_ACTIONS, USERS_ACTIONS, Duty

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from signer.web.endpoints import Endpoint

_ANY_CALL: Final = ("insecure_transport", "malformed_request", "internal_error")
_HEALTH: Final = frozenset({"/healthz", "/readyz"})
_WITH_A_BODY: Final = ("request_too_large", "unsupported_media_type")
_WITH_A_CREDENTIAL: Final = ("unauthenticated", "too_many_requests", "audit_unavailable")
# Whatever reads a sealed row: the seal is checked in the HSM.
_READS: Final = ("integrity_failure", "store_unavailable", "hsm_unavailable", "hsm_fault")
_CHANGES: Final = ("conflict", "wrong_state", "unprocessable", "unsupported")
_SIGNS: Final = ("conflict", "request_in_progress", "wrong_purpose", "wrong_state", "unprocessable", "unsupported")
# A key or a principal that may not be there; a ciphertext names its key.
_NAMES_IN_THE_BODY: Final = frozenset({Action.EXPLAIN_ACCESS, Action.DECRYPT})
_VOTES: Final = frozenset({Action.APPROVE_REQUEST, Action.REJECT_REQUEST, Action.WITHDRAW_REQUEST})
_OF_THE_TRAIL: Final = frozenset(
    {Action.READ_AUDIT_TRAIL, Action.REPORT_AUDIT_TRAIL, Action.EXPORT_AUDIT_TRAIL, Action.READ_USAGE}
)
_LIMITED: Final = frozenset(
    {
        Action.CREATE_KEY,
        Action.ROTATE_KEY,
        Action.CREATE_GRANT,
        Action.PUT_PRINCIPAL_POLICY,
        Action.CREATE_CREDENTIAL,
        Action.REPLICATE_KEY,
        *(Action.CREATE_ALIAS, Action.UPDATE_ALIAS, Action.TAG_RESOURCE),
    }
)
_DECIDES_ACCESS: Final = frozenset(
    {
        *(Action.CREATE_KEY, Action.PUT_KEY_POLICY, Action.CREATE_GRANT, Action.PUT_PRINCIPAL_POLICY),
        *(Action.REPLICATE_KEY, Action.SYNCHRONIZE_MULTI_REGION_KEY),
    }
)
_MORE: Final[Mapping[Action, tuple[str, ...]]] = MappingProxyType(
    {
        Action.REQUEST_APPROVAL: ("wrong_purpose", "limit_exceeded", "separation_of_duties"),
        Action.REQUEST_CERTIFICATE: ("wrong_purpose",),  # a key that signs nothing signs no request
        Action.DECRYPT: ("undecipherable",),
        Action.RE_ENCRYPT_FROM: ("undecipherable",),
        Action.VERIFY_MAC: ("invalid_mac",),
        Action.VERIFY: ("invalid_signature", *_SIGNS),
        # Both ask another region.
        Action.REPLICATE_KEY: ("service_unavailable",),
        Action.UPDATE_PRIMARY_REGION: ("service_unavailable",),
        Action.SYNCHRONIZE_MULTI_REGION_KEY: ("not_found",),  # the key, in the body
    }
)
# What is signed anew now and then, by whoever asks for it first.
_SIGNED_WHEN_DUE: Final = frozenset({"/v1/ca/crl", "/v1/trust", "/issuers/<issuer>/saml/metadata", "/saml/metadata"})
# Calls that read no row; of these, `/readyz` alone can say that a part is not usable.
_READS_NOTHING: Final = frozenset({"/healthz", "/readyz", "/openapi.json", "/docs", "/v1/access/actions"})


def problem_codes(endpoint: Endpoint) -> list[str]:
    """The codes of `signer.problems.PROBLEMS` that this call may answer with, sorted."""
    return sorted(set(_codes(endpoint)))


def _codes(endpoint: Endpoint) -> Iterator[str]:
    yield from _ANY_CALL
    if endpoint.path not in _HEALTH:
        yield "overloaded"
    if endpoint.body is not None:
        yield from _WITH_A_BODY
    if "<" in endpoint.path or endpoint.tag in ("published", "log") or endpoint.action in _NAMES_IN_THE_BODY:
        yield "not_found"
    if endpoint.path.startswith("/v1/keys/<key>/") and endpoint.tag == "published":
        yield from ("wrong_state", "wrong_purpose")  # no certificate; the version is revoked; a key that has neither
    if endpoint.path == "/readyz":
        yield "service_unavailable"
    if endpoint.path in _SIGNED_WHEN_DUE:
        yield from ("service_unavailable", "audit_unavailable")
    if endpoint.path not in _READS_NOTHING:
        yield from _READS
    if endpoint.credential_helps:
        yield from (*_WITH_A_CREDENTIAL, "duty_forbids")
    if endpoint.action is not None:
        yield from _codes_of_action(endpoint, endpoint.action)
    elif endpoint.body is not None:  # a credential in the body: an enrolment's code
        yield from _WITH_A_CREDENTIAL


def _codes_of_action(endpoint: Endpoint, action: Action) -> Iterator[str]:
    yield from _WITH_A_CREDENTIAL
    yield "quota_exceeded"
    if DUTIES_OF[action] != frozenset(Duty) or action in OWN_ACTIONS:
        yield "duty_forbids"
    yield "policy_forbids"  # the key's policy, or one that is attached to the caller
    if action in USERS_ACTIONS:
        yield from _SIGNS
    elif action is Action.EXPLAIN_ACCESS:
        yield "unprocessable"
    elif endpoint.method != "GET":
        yield from _CHANGES
    if endpoint.method != "GET":
        yield "approval_invalid"  # one that was sent though nothing asks for it, too
    if action in COVERED_BY or action in CHANGES_THE_RULE:
        yield "approval_required"
    if action in _OF_THE_TRAIL:
        yield from ("unprocessable", "not_found")
    if action in _VOTES:
        yield "policy_forbids"
    yield from _MORE.get(action, ())
    if action in _DECIDES_ACCESS:
        yield "separation_of_duties"
    if action in _LIMITED:
        yield "limit_exceeded"
