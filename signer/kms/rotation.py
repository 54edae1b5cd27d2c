"""Rotation as AWS has it: of symmetric keys, by a schedule or on demand. Keys with a public half, and those that make
MACs, are rotated natively: whoever verifies has to learn of the new version."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, Literal

from msgspec import Meta

from keystore.algorithms import Origin
from keystore.api import KeyState, VersionCause
from keystore.errors import Conflict as Taken
from keystore.rotation import DEFAULT_PERIOD, MOST_ON_DEMAND, is_rotatable, tells_versions_apart
from signer.access import Action
from signer.call import Answer, Call
from signer.errors import Conflict
from signer.held import rotation_details
from signer.kms.errors import Refusal, unsupported
from signer.kms.metadata import expiry_members
from signer.kms.operation import KmsOperation
from signer.kms.paging import after, page
from signer.kms.references import administered
from signer.kms.shapes import KeyId, Limit, Marker, Request
from signer.kms.states import require_enabled
from signer.kms.translation import Translated
from signer.pipeline import present
from signer.request import Empty, RotationPeriod

if TYPE_CHECKING:
    from datetime import datetime

    from keystore.api import Key, KeyVersion
    from signer.access import Permit
    from signer.services import Services

_USUAL_PAGE: Final = 100
_TO_BE_DELETED: Final = (KeyState.PENDING_DELETION, KeyState.PENDING_REPLICA_DELETION)
_TYPES: Final = {VersionCause.AUTOMATIC: "AUTOMATIC", VersionCause.ON_DEMAND: "ON_DEMAND"}


class KeyRequest(Request):
    """`DisableKeyRotation`, `GetKeyRotationStatus`, `RotateKeyOnDemand`"""

    key_id: KeyId


class EnableKeyRotationRequest(Request):
    """`EnableKeyRotation`"""

    key_id: KeyId
    rotation_period_in_days: Annotated[int, Meta(ge=90, le=2560)] | None = None


class ListKeyRotationsRequest(Request):
    """`ListKeyRotations`"""

    key_id: KeyId
    include_key_material: Literal["ALL_KEY_MATERIAL", "ROTATIONS_ONLY"] | None = None
    limit: Limit | None = None
    marker: Marker | None = None


def enable_key_rotation(services: Services, call: Call) -> Answer:
    """`EnableKeyRotation`"""
    asked = Translated(
        EnableKeyRotationRequest, lambda request: RotationPeriod(days=request.rotation_period_in_days or DEFAULT_PERIOD)
    )

    def before(_permit: Permit, key: Key | None, _body: RotationPeriod) -> None:
        _require_rotatable(present(key))
        require_enabled(present(key), services.keystore.clock())

    def work(_permit: Permit, key: Key | None, body: RotationPeriod) -> Answer:
        services.keystore.schedule_rotation(present(key).id, body.days, services.keystore.clock())
        return Answer(None, recorded={"rotation_days": body.days})

    def reference(_body: RotationPeriod) -> str:
        return administered(asked.request.key_id, services.keystore)

    return services.pipeline.change(
        asked.of(call), Action.ENABLE_KEY_ROTATION, RotationPeriod, work, reference, rotation_details, before=before
    )


def disable_key_rotation(services: Services, call: Call) -> Answer:
    """`DisableKeyRotation`"""
    asked = Translated(KeyRequest, lambda _request: Empty())

    def before(_permit: Permit, key: Key | None, _body: Empty) -> None:
        _require_rotatable(present(key))
        require_enabled(present(key), services.keystore.clock())

    def work(_permit: Permit, key: Key | None, _body: Empty) -> Answer:
        services.keystore.unschedule_rotation(present(key).id)
        return Answer(None)

    def reference(_body: Empty) -> str:
        return administered(asked.request.key_id, services.keystore)

    return services.pipeline.change(asked.of(call), Action.DISABLE_KEY_ROTATION, Empty, work, reference, before=before)


def get_key_rotation_status(services: Services, call: Call) -> Answer:
    """`GetKeyRotationStatus`: of a key that is to be deleted, or cannot be rotated so, that it is not."""

    def work(_permit: Permit, key: Key | None, _body: KeyRequest) -> Answer:
        found = present(key)
        _require_symmetric(found)
        schedule = None if found.state in _TO_BE_DELETED else found.rotation
        content: dict[str, object] = {"KeyId": found.id, "KeyRotationEnabled": schedule is not None}
        if schedule is not None:
            content |= {"RotationPeriodInDays": schedule.period_days, "NextRotationDate": schedule.next_at}
        return Answer(content)

    def reference(body: KeyRequest) -> str:
        return administered(body.key_id, services.keystore)

    return services.pipeline.look(call, Action.GET_KEY_ROTATION_STATUS, KeyRequest, work, reference)


def rotate_key_on_demand(services: Services, call: Call) -> Answer:
    """`RotateKeyOnDemand`"""
    asked = Translated(KeyRequest, lambda _request: Empty())

    def before(_permit: Permit, key: Key | None, _body: Empty) -> None:
        found = present(key)
        _require_symmetric(found)
        require_enabled(found, services.keystore.clock())
        if sum(1 for version in found.versions if version.cause is VersionCause.ON_DEMAND) >= MOST_ON_DEMAND:
            msg = f"The key has been rotated on demand {MOST_ON_DEMAND} times, which is the most"
            raise Refusal("LimitExceededException", msg, code="limit_exceeded")

    def work(permit: Permit, key: Key | None, _body: Empty) -> Answer:
        try:
            rotated = services.keys.rotate_on_demand(permit, present(key))
        except Taken as faster:
            msg = "The key is being rotated by another request"
            raise Conflict(msg) from faster
        version = rotated.versions[-1]
        return Answer({"KeyId": rotated.id}, recorded={"version": version.number, "activate_at": version.activate_at})

    def reference(_body: Empty) -> str:
        return administered(asked.request.key_id, services.keystore)

    return services.pipeline.change(asked.of(call), Action.ROTATE_KEY_ON_DEMAND, Empty, work, reference, before=before)


def list_key_rotations(services: Services, call: Call) -> Answer:
    """`ListKeyRotations`: the newest last; with all material, also the one that the key was made with."""

    def work(_permit: Permit, key: Key | None, body: ListKeyRotationsRequest) -> Answer:
        found, now = present(key), services.keystore.clock()
        _require_symmetric(found)
        begin, limit = int(after(body.marker, "Rotations") or "0"), body.limit or _USUAL_PAGE
        whole = body.include_key_material == "ALL_KEY_MATERIAL"
        listed = [
            version for version in found.versions if version.number > begin and (whole or version.cause in _TYPES)
        ]
        shown = [_shown(version, found, now) for version in listed[:limit]]
        return Answer(page("Rotations", shown, str(listed[limit - 1].number) if len(listed) > limit else None))

    def reference(body: ListKeyRotationsRequest) -> str:
        return administered(body.key_id, services.keystore)

    return services.pipeline.look(call, Action.LIST_KEY_ROTATIONS, ListKeyRotationsRequest, work, reference)


def _shown(version: KeyVersion, key: Key, now: datetime) -> dict[str, object]:
    """A version as an entry of the list; one that was not made by a rotation has no date and no type of one."""
    current = max((each.number for each in key.versions if each.activate_at <= now), default=0)
    state = "PENDING_ROTATION" if version.number > current else "NON_CURRENT"
    external = key.origin is Origin.EXTERNAL
    rotated = version.cause in _TYPES
    return {
        "KeyId": key.id,
        "KeyMaterialId": version.material_id,
        "KeyMaterialDescription": version.material_description if external else None,
        "ImportState": ("IMPORTED" if version.has_material else "PENDING_IMPORT") if external else None,
        "KeyMaterialState": "CURRENT" if version.number == current else state,
        **expiry_members(key, version),
        "RotationDate": version.activate_at if rotated else None,
        "RotationType": _TYPES[version.cause] if rotated else None,
    }


def _require_symmetric(key: Key) -> None:
    if not tells_versions_apart(key.purpose, key.spec):
        msg = (
            f"Only symmetric encryption keys are rotated so; {key.arn} is a {key.spec} key for {key.purpose}: make a "
            "new version of it with POST /v1/keys/KEY/rotate, and let those who verify learn of it"
        )
        raise unsupported(msg, field="keyId")


def _require_rotatable(key: Key) -> None:
    _require_symmetric(key)
    if not is_rotatable(key.purpose, key.spec, key.origin):
        msg = f"{key.arn} has imported material, which is not rotated by itself"
        raise unsupported(msg, field="keyId")


OPERATIONS: Final = (
    KmsOperation("EnableKeyRotation", EnableKeyRotationRequest, enable_key_rotation, (Action.ENABLE_KEY_ROTATION,)),
    KmsOperation("DisableKeyRotation", KeyRequest, disable_key_rotation, (Action.DISABLE_KEY_ROTATION,)),
    KmsOperation("GetKeyRotationStatus", KeyRequest, get_key_rotation_status, (Action.GET_KEY_ROTATION_STATUS,)),
    KmsOperation("RotateKeyOnDemand", KeyRequest, rotate_key_on_demand, (Action.ROTATE_KEY_ON_DEMAND,)),
    KmsOperation("ListKeyRotations", ListKeyRotationsRequest, list_key_rotations, (Action.LIST_KEY_ROTATIONS,)),
)
