"""The operations that an approval rule can hold: under which name they are asked for, and what their body is."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import msgspec

from keystore.values import stored_json
from signer.access import Action
from signer.access.circumstances import requested_tags
from signer.access.model import NO_CONTEXT
from signer.administration.grants import grant_details
from signer.errors import Unprocessable
from signer.operations.artifacts import ArtifactSignatures
from signer.operations.assertions import IssuedAssertions
from signer.operations.signatures import RawSignatures
from signer.operations.tokens import IssuedTokens
from signer.request import (
    AliasBody,
    ApprovalRuleBody,
    Body,
    CertificateChain,
    CertificateRequest,
    Deletion,
    Empty,
    NewGrant,
    NewPrimaryRegion,
    NewReplica,
    PolicyBody,
    Renewal,
    Restoration,
    Revocation,
    Rotation,
    RotationPeriod,
    TagNames,
    TagsBody,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from keystore.api import Key
    from signer.access.model import ConditionValues
    from signer.operations.base import Operation

MAXIMUM_BODY: Final = 256 * 1024  # octets of a held body: it is kept, and people read it


@dataclass(frozen=True, slots=True)
class HeldOperation:
    """One of them. `signing` is the signing call that it is, if it is one."""

    name: str
    action: Action
    body_type: type[Body]
    signing: Operation[Any] | None = None
    details: Callable[[Key, Any], ConditionValues] = lambda _key, _body: NO_CONTEXT

    def details_of(self, key: Key, body: Body) -> Sequence[ConditionValues]:
        """What policies may ask of this call: the same as of the call itself."""
        return (self.details(key, body),) if self.signing is None else self.signing.details(key, body)


def deletion_details(body: Deletion) -> ConditionValues:
    """What policies may ask of a deletion."""
    return {"kms:schedulekeydeletionpendingwindowindays": (str(body.days),)}


def policy_details(body: PolicyBody | Restoration) -> ConditionValues:
    """What policies may ask of a change of the policy."""
    return {"kms:bypasspolicylockoutsafetycheck": ("true" if body.bypass_policy_lockout_safety_check else "false",)}


def replication_details(body: NewReplica) -> ConditionValues:
    """What policies may ask of a replica that is to be made."""
    return {
        "kms:replicaregion": (body.region,),
        "kms:bypasspolicylockoutsafetycheck": ("true" if body.bypass_policy_lockout_safety_check else "false",),
    }


def untagging_details(body: TagNames) -> ConditionValues:
    """What policies may ask of tags that are taken away."""
    return {"aws:tagkeys": tuple(body.names)}


def rotation_details(body: RotationPeriod) -> ConditionValues:
    """What policies may ask of a key's schedule."""
    return {"kms:rotationperiodindays": (str(body.days),)}


def move_details(body: NewPrimaryRegion) -> ConditionValues:
    """What policies may ask of a change of the primary region."""
    return {"kms:primaryregion": (body.region,)}


def account_of(key: Key) -> str:
    """The account's 12 digits, of the key's ARN."""
    return key.arn.split(":")[4]


# What a call is named by: the end of its path; what removes, by that and `/remove`.
_HELD: Final = (
    HeldOperation("signatures", Action.SIGN, RawSignatures.body_type, RawSignatures()),
    HeldOperation("artifacts", Action.SIGN_ARTIFACT, ArtifactSignatures.body_type, ArtifactSignatures()),
    HeldOperation("jwts", Action.ISSUE_TOKEN, IssuedTokens.body_type, IssuedTokens()),
    HeldOperation("assertions", Action.ISSUE_ASSERTION, IssuedAssertions.body_type, IssuedAssertions()),
    HeldOperation("policy", Action.PUT_KEY_POLICY, PolicyBody, details=lambda _key, body: policy_details(body)),
    HeldOperation(
        "grants", Action.CREATE_GRANT, NewGrant, details=lambda key, body: grant_details(body, account_of(key))
    ),
    HeldOperation("replicas", Action.REPLICATE_KEY, NewReplica, details=lambda _key, body: replication_details(body)),
    HeldOperation(
        "primary-region",
        Action.UPDATE_PRIMARY_REGION,
        NewPrimaryRegion,
        details=lambda _key, body: move_details(body),
    ),
    HeldOperation("rotate", Action.ROTATE_KEY, Rotation),
    HeldOperation("csr", Action.REQUEST_CERTIFICATE, CertificateRequest),
    HeldOperation("certificate", Action.INSTALL_CERTIFICATE, CertificateChain),
    HeldOperation("certificate/renew", Action.RENEW_CERTIFICATE, Renewal),
    HeldOperation("certificate/revoke", Action.REVOKE_CERTIFICATE, Revocation),
    HeldOperation("enable", Action.ENABLE_KEY, Empty),
    HeldOperation(
        "schedule-deletion", Action.SCHEDULE_KEY_DELETION, Deletion, details=lambda _key, body: deletion_details(body)
    ),
    HeldOperation("aliases", Action.CREATE_ALIAS, AliasBody),
    HeldOperation("aliases/move", Action.UPDATE_ALIAS, AliasBody),
    HeldOperation("aliases/remove", Action.DELETE_ALIAS, AliasBody),
    HeldOperation("tags", Action.TAG_RESOURCE, TagsBody, details=lambda _key, body: requested_tags(body.tags)),
    HeldOperation("tags/remove", Action.UNTAG_RESOURCE, TagNames, details=lambda _key, body: untagging_details(body)),
    HeldOperation(
        "rotation", Action.ENABLE_KEY_ROTATION, RotationPeriod, details=lambda _key, body: rotation_details(body)
    ),
    HeldOperation("rotation/remove", Action.DISABLE_KEY_ROTATION, Empty),
    HeldOperation("rotate-on-demand", Action.ROTATE_KEY_ON_DEMAND, Empty),
    HeldOperation("approval-rule", Action.PUT_APPROVAL_RULE, ApprovalRuleBody),
    HeldOperation("approval-rule/remove", Action.DELETE_APPROVAL_RULE, Empty),
)
HELD: Final[Mapping[str, HeldOperation]] = MappingProxyType({held.name: held for held in _HELD})
HELD_BY_ACTION: Final[Mapping[Action, HeldOperation]] = MappingProxyType({held.action: held for held in _HELD})


def canonical(body: msgspec.Struct) -> bytes:
    """A typed body as canonical JSON: two bodies that mean the same are the same octets, however they were written.

    Raises `Unprocessable` for one too long to be held.
    """
    octets = stored_json(msgspec.to_builtins(body)).encode()
    if len(octets) > MAXIMUM_BODY:
        msg = f"a request for approval holds at most {MAXIMUM_BODY // 1024} KiB, for people read it: ask in parts"
        raise Unprocessable(msg, field="request")
    return octets
