"""ReplicateKey and UpdatePrimaryRegion, and where a multi-region key is in AWS's words."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from keystore.api import KeyState
from keystore.regions import arn_in
from signer.access import Action
from signer.call import Answer, Call
from signer.errors import Conflict, Unprocessable
from signer.held import move_details, replication_details
from signer.kms.errors import Refusal, unsupported
from signer.kms.metadata import key_metadata
from signer.kms.operation import KmsOperation
from signer.kms.policies import malformed_policies, policy_members
from signer.kms.references import administered
from signer.kms.shapes import Description, KeyId, PolicyText, Region, Request
from signer.kms.states import require_enabled
from signer.kms.tags import Tag, tags_of
from signer.kms.translation import Translated
from signer.pipeline import present
from signer.regions.client import RefusedThere
from signer.request import NewPrimaryRegion, NewReplica

if TYPE_CHECKING:
    from keystore.api import Key
    from signer.access import Permit
    from signer.services import Services


class ReplicateKeyRequest(Request):
    """`ReplicateKey`"""

    key_id: KeyId
    replica_region: Region
    policy: PolicyText | None = None
    bypass_policy_lockout_safety_check: bool | None = None
    description: Description | None = None
    tags: list[Tag] | None = None


class UpdatePrimaryRegionRequest(Request):
    """`UpdatePrimaryRegion`"""

    key_id: KeyId
    primary_region: Region


def replicate_key(services: Services, call: Call) -> Answer:
    """`ReplicateKey`"""
    asked = Translated(ReplicateKeyRequest, _new_replica)

    def before(_permit: Permit, key: Key | None, body: NewReplica) -> None:
        _require_primary(services, present(key))
        _require_other_region(services, body.region)
        require_enabled(present(key), services.keystore.clock())

    def work(permit: Permit, key: Key | None, body: NewReplica) -> Answer:
        primary = present(key)
        try:
            with malformed_policies():
                there = services.regions.replicate(permit, primary, body)
        except Conflict as exists:
            raise Refusal("AlreadyExistsException", str(exists), code="conflict", field="replicaRegion") from exists
        except RefusedThere as refusal:
            raise _in_words(refusal) from refusal
        now = services.keystore.clock()
        replica = replace(
            services.keystore.get_key(primary.id),
            arn=arn_in(primary.arn, body.region),
            state=KeyState(there.state),
            description=body.description,
            created_at=now,
        )
        content = {
            "ReplicaKeyMetadata": key_metadata(replica, now),
            "ReplicaPolicy": json.dumps(services.regions.policy_of(permit, body), separators=(",", ":")),
            "ReplicaTags": [{"TagKey": name, "TagValue": value} for name, value in body.tags.items()],
        }
        return Answer(content, recorded={"region": body.region, "state": there.state})

    def reference(_body: NewReplica) -> str:
        return administered(asked.request.key_id, services.keystore)

    return services.pipeline.change(
        asked.of(call), Action.REPLICATE_KEY, NewReplica, work, reference, replication_details, before=before
    )


def update_primary_region(services: Services, call: Call) -> Answer:
    """`UpdatePrimaryRegion`"""
    asked = Translated(UpdatePrimaryRegionRequest, lambda request: NewPrimaryRegion(region=request.primary_region))

    def before(_permit: Permit, key: Key | None, body: NewPrimaryRegion) -> None:
        found = present(key)
        _require_primary(services, found)
        _require_other_region(services, body.region)
        require_enabled(found, services.keystore.clock())
        if found.multi_region is not None and body.region not in found.multi_region.replicas:
            msg = f"{arn_in(found.arn, body.region)} does not exist"
            raise Refusal("NotFoundException", msg, code="not_found", field="primaryRegion")

    def work(_permit: Permit, key: Key | None, body: NewPrimaryRegion) -> Answer:
        try:
            services.regions.move(present(key), body.region)
        except RefusedThere as refusal:
            raise _in_words(refusal) from refusal
        return Answer(None, recorded={"region": body.region})

    def reference(_body: NewPrimaryRegion) -> str:
        return administered(asked.request.key_id, services.keystore)

    return services.pipeline.change(
        asked.of(call), Action.UPDATE_PRIMARY_REGION, NewPrimaryRegion, work, reference, move_details, before=before
    )


def _new_replica(request: ReplicateKeyRequest) -> NewReplica:
    return NewReplica(
        region=request.replica_region,
        policy=None if request.policy is None else policy_members(request.policy),
        description=request.description or "",
        tags=tags_of(request.tags or ()),
        bypass_policy_lockout_safety_check=bool(request.bypass_policy_lockout_safety_check),
    )


def _require_primary(services: Services, key: Key) -> None:
    if key.multi_region is None:
        msg = f"{key.arn} is not a multi-Region key."
        raise unsupported(msg, field="keyId")
    if key.multi_region.primary_region != services.keystore.region:
        msg = f"{key.arn} is a replica: do this to the primary key, in {key.multi_region.primary_region}."
        raise unsupported(msg, field="keyId")


def _require_other_region(services: Services, region: str) -> None:
    try:
        services.regions.require_known(region)
    except Unprocessable as unknown:
        raise unsupported(str(unknown), field="region") from unknown


def _in_words(refusal: RefusedThere) -> Refusal:
    """What the other region refuses, by AWS's names."""
    if (refusal.field or "").startswith("policy"):
        return Refusal("MalformedPolicyDocumentException", str(refusal), code=refusal.code, field=refusal.field)
    name = {
        "conflict": "AlreadyExistsException",
        "wrong_state": "KMSInvalidStateException",
        "limit_exceeded": "LimitExceededException",
    }.get(refusal.code, "UnsupportedOperationException")
    return Refusal(name, str(refusal), code=refusal.code, field=refusal.field)


OPERATIONS: Final = (
    KmsOperation("ReplicateKey", ReplicateKeyRequest, replicate_key, (Action.REPLICATE_KEY,)),
    KmsOperation(
        "UpdatePrimaryRegion", UpdatePrimaryRegionRequest, update_primary_region, (Action.UPDATE_PRIMARY_REGION,)
    ),
)
