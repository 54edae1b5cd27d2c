"""A key as AWS describes it: `KeyMetadata`, and what DescribeKey and GetPublicKey say of its algorithms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from keystore.algorithms import CALLER_PURPOSES, KEY_SPECS, KEY_USAGES, KeyKind, Origin, Purpose, key_algorithms
from keystore.api import KeyState
from keystore.lifecycle import state_at
from keystore.regions import arn_in

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from keystore.api import Key, KeyVersion

_STATES: Final[Mapping[KeyState, str]] = {
    KeyState.ENABLED: "Enabled",
    KeyState.DISABLED: "Disabled",
    KeyState.PENDING_DELETION: "PendingDeletion",
    KeyState.PENDING_IMPORT: "PendingImport",
    KeyState.PENDING_REPLICA_DELETION: "PendingReplicaDeletion",
    KeyState.CREATING: "Creating",
    KeyState.UPDATING: "Updating",
}
# Usage → the member that lists what such a key does.
_ALGORITHMS: Final[Mapping[str, str]] = {
    "SIGN_VERIFY": "SigningAlgorithms",
    "ENCRYPT_DECRYPT": "EncryptionAlgorithms",
    "GENERATE_VERIFY_MAC": "MacAlgorithms",
    "KEY_AGREEMENT": "KeyAgreementAlgorithms",
    "ENCAPSULATE_DECAPSULATE": "EncapsulationAlgorithms",
}


def state_name(key: Key, now: datetime) -> str:
    """The key's state at `now` as AWS writes it."""
    return _STATES[state_at(key, now)]


def algorithm_members(key: Key) -> dict[str, object]:
    """The one member that names the algorithms of the key's usage, its default first: clients take that one."""
    usage = KEY_USAGES[key.purpose]
    names = list(key_algorithms(key.purpose, key.spec, key.algorithm, key.protection))
    if key.purpose is Purpose.GENERAL and key.algorithm in names:
        names.sort(key=lambda name: name != key.algorithm)
    return {_ALGORITHMS[usage]: names}


def key_metadata(key: Key, now: datetime) -> dict[str, object]:
    """`KeyMetadata` of a key, as it is at `now`."""
    return {
        "AWSAccountId": key.arn.split(":")[4],
        "KeyId": key.id,
        "Arn": key.arn,
        "CreationDate": key.created_at,
        "Enabled": state_at(key, now) is KeyState.ENABLED,
        "Description": key.description,
        "KeyUsage": KEY_USAGES[key.purpose],
        "KeyState": state_name(key, now),
        "DeletionDate": key.deletion_at,
        "Origin": key.origin.value,
        **_material(key, now),
        "KeyManager": "CUSTOMER" if key.purpose in CALLER_PURPOSES else "AWS",
        "CustomerMasterKeySpec": key.spec,
        "KeySpec": key.spec,
        **algorithm_members(key),
        "MultiRegion": key.multi_region is not None,
        **_regions(key),
    }


def _regions(key: Key) -> dict[str, object]:
    """`MultiRegionConfiguration` of a multi-region key."""
    regions = key.multi_region
    if regions is None:
        return {}

    def one(region: str) -> dict[str, str]:
        return {"Arn": arn_in(key.arn, region), "Region": region}

    here = key.arn.split(":")[3]
    return {
        "MultiRegionConfiguration": {
            "MultiRegionKeyType": "PRIMARY" if regions.primary_region == here else "REPLICA",
            "PrimaryKey": one(regions.primary_region),
            "ReplicaKeys": [one(region) for region in regions.replicas],
        }
    }


def _material(key: Key, now: datetime) -> dict[str, object]:
    """Which material the key uses now, and when it goes where it was imported to go."""
    version = next((each for each in reversed(key.versions) if each.activate_at <= now), None)
    if version is None:
        return {}
    several = KEY_SPECS[key.spec].kind is KeyKind.AES  # of other keys the id is for the service alone
    return {"CurrentKeyMaterialId": version.material_id if several else None, **expiry_members(key, version)}


def expiry_members(key: Key, version: KeyVersion) -> dict[str, object]:
    """When imported material goes, and whether."""
    if key.origin is not Origin.EXTERNAL or not version.has_material:
        return {}
    if version.expires_at is None:
        return {"ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE"}
    return {"ExpirationModel": "KEY_MATERIAL_EXPIRES", "ValidTo": version.expires_at}
