"""Multi-region keys: replicas in other regions, the primary region, and what other regions say of their keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from signer.access import Action
from signer.call import Answer, Call
from signer.held import move_details, replication_details
from signer.pipeline import present
from signer.regions.statements import ReplicaStatement
from signer.request import NewPrimaryRegion, NewReplica
from signer.web.endpoints import Endpoint

if TYPE_CHECKING:
    from keystore.api import Key
    from signer.access import Permit
    from signer.services import Services


def replicate(services: Services, call: Call, key: str) -> Answer:
    def work(permit: Permit, found: Key | None, body: NewReplica) -> Answer:
        primary = present(found)
        there = services.regions.replicate(permit, primary, body)
        told = {"region": body.region, "state": there.state}
        return Answer(services.keys.describe(services.keystore.get_key(primary.id)), 201, told)

    return services.pipeline.change(call, Action.REPLICATE_KEY, NewReplica, work, key, replication_details)


def set_primary(services: Services, call: Call, key: str) -> Answer:
    def work(_permit: Permit, found: Key | None, body: NewPrimaryRegion) -> Answer:
        moved = services.regions.move(present(found), body.region)
        return Answer(services.keys.describe(moved), recorded={"region": body.region})

    return services.pipeline.change(call, Action.UPDATE_PRIMARY_REGION, NewPrimaryRegion, work, key, move_details)


def take(services: Services, call: Call) -> Answer:
    def work(permit: Permit, _key: Key | None, body: ReplicaStatement) -> Answer:
        key = services.replicas.take(permit, call, body)
        told: dict[str, object] = {"about": body.about, "sender": body.sender, "serial": body.serial}
        if body.beginning is not None:
            told["asked_by"] = body.beginning.asked_by
        told |= {"state": key.state.value, "versions": len(key.versions)}
        content = {"key_id": key.id, "region": services.keystore.region, "state": key.state.value}
        return Answer(content, recorded=told, made_key=key.id)

    return services.pipeline.change(call, Action.SYNCHRONIZE_MULTI_REGION_KEY, ReplicaStatement, work)


ENDPOINTS: Final = (
    Endpoint(
        "POST",
        "/v1/keys/<key>/replicas",
        "Make a replica of a multi-region key in another region",
        replicate,
        Action.REPLICATE_KEY,
        NewReplica,
        201,
        tag="keys",
    ),
    Endpoint(
        "POST",
        "/v1/keys/<key>/primary-region",
        "Make another region's replica the primary key",
        set_primary,
        Action.UPDATE_PRIMARY_REGION,
        NewPrimaryRegion,
        tag="keys",
    ),
    Endpoint(
        "POST",
        "/v1/replicas",
        "Take what another region says of a multi-region key: for its service alone",
        take,
        Action.SYNCHRONIZE_MULTI_REGION_KEY,
        ReplicaStatement,
        tag="keys",
    ),
)
