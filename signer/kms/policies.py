"""Key policies: each key has the one that AWS calls `default`."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from signer.access import Action
from signer.access.policy_json import decode_policy
from signer.call import Answer, Call
from signer.errors import SeparationOfDuties, Unprocessable
from signer.held import policy_details
from signer.kms.errors import NOT_FOUND, Refusal
from signer.kms.operation import KmsOperation
from signer.kms.paging import after, page
from signer.kms.references import administered
from signer.kms.shapes import KeyId, Limit, Marker, PolicyName, PolicyText, Request
from signer.kms.translation import Translated
from signer.pipeline import present
from signer.request import PolicyBody

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keystore.api import Key
    from signer.access import Permit
    from signer.services import Services

_NAME: Final = "default"


class GetKeyPolicyRequest(Request):
    """`GetKeyPolicy`"""

    key_id: KeyId
    policy_name: PolicyName | None = None


class PutKeyPolicyRequest(Request):
    """`PutKeyPolicy`"""

    key_id: KeyId
    policy: PolicyText
    policy_name: PolicyName | None = None
    bypass_policy_lockout_safety_check: bool | None = None


class ListKeyPoliciesRequest(Request):
    """`ListKeyPolicies`"""

    key_id: KeyId
    limit: Limit | None = None
    marker: Marker | None = None


def policy_members(text: str) -> dict[str, Any]:
    """The document that a text is, to be looked at by whoever stores it.

    Raises `Refusal`: `MalformedPolicyDocumentException`, also for the short form, which is not AWS's.
    """
    with malformed_policies():
        decoded = decode_policy(text)
        if not isinstance(decoded, dict) or "Statement" not in decoded:
            msg = "a policy is a JSON object with a Statement"
            raise Unprocessable(msg, field="policy")
    return dict(decoded)


@contextmanager
def malformed_policies() -> Iterator[None]:
    """What a policy is refused for as AWS names it: `MalformedPolicyDocumentException`."""
    try:
        yield
    except (Unprocessable, SeparationOfDuties) as refusal:
        if not (refusal.field or "").startswith(("policy", "Statement")):
            raise
        message = f"{refusal} ({refusal.field})" if refusal.field != "policy" else str(refusal)
        raise Refusal("MalformedPolicyDocumentException", message, code=refusal.code, field=refusal.field) from refusal


def get_key_policy(services: Services, call: Call) -> Answer:
    """`GetKeyPolicy`"""

    def work(_permit: Permit, key: Key | None, body: GetKeyPolicyRequest) -> Answer:
        _require_name(body.policy_name)
        return Answer({"Policy": present(key).policy.document, "PolicyName": _NAME})

    def reference(body: GetKeyPolicyRequest) -> str:
        return administered(body.key_id, services.keystore)

    return services.pipeline.look(call, Action.GET_KEY_POLICY, GetKeyPolicyRequest, work, reference)


def put_key_policy(services: Services, call: Call) -> Answer:
    """`PutKeyPolicy`"""
    asked = Translated(PutKeyPolicyRequest, _policy)

    def before(_permit: Permit, _key: Key | None, _body: PolicyBody) -> None:
        _require_name(asked.request.policy_name)

    def work(permit: Permit, key: Key | None, body: PolicyBody) -> Answer:
        with malformed_policies():
            replaced = services.policies.replaced(permit, present(key), body)
        return Answer(None, recorded={"revision": replaced.policy.revision})

    return services.pipeline.change(
        asked.of(call),
        Action.PUT_KEY_POLICY,
        PolicyBody,
        work,
        lambda _body: administered(asked.request.key_id, services.keystore),
        policy_details,
        before=before,
    )


def _policy(request: PutKeyPolicyRequest) -> PolicyBody:
    found = policy_members(request.policy)
    unknown = set(found) - {"Version", "Id", "Statement"}
    if unknown:
        msg = f"a policy has no element {min(unknown)[:60]!r}"
        raise Refusal("MalformedPolicyDocumentException", msg, field="policy")
    return PolicyBody(
        version=found.get("Version"),
        id=found.get("Id"),
        statement=found["Statement"],
        bypass_policy_lockout_safety_check=bool(request.bypass_policy_lockout_safety_check),
    )


def list_key_policies(services: Services, call: Call) -> Answer:
    """`ListKeyPolicies`"""

    def work(_permit: Permit, _key: Key | None, body: ListKeyPoliciesRequest) -> Answer:
        begin = after(body.marker, "PolicyNames")
        return Answer(page("PolicyNames", [_NAME] if begin is None or begin < _NAME else [], None))

    def reference(body: ListKeyPoliciesRequest) -> str:
        return administered(body.key_id, services.keystore)

    return services.pipeline.look(call, Action.LIST_KEY_POLICIES, ListKeyPoliciesRequest, work, reference)


def _require_name(name: str | None) -> None:
    if name not in (None, _NAME):
        raise Refusal(NOT_FOUND, "No such policy exists", code="not_found", field="policyName")


OPERATIONS: Final = (
    KmsOperation("GetKeyPolicy", GetKeyPolicyRequest, get_key_policy, (Action.GET_KEY_POLICY,)),
    KmsOperation("PutKeyPolicy", PutKeyPolicyRequest, put_key_policy, (Action.PUT_KEY_POLICY,)),
    KmsOperation("ListKeyPolicies", ListKeyPoliciesRequest, list_key_policies, (Action.LIST_KEY_POLICIES,)),
)
