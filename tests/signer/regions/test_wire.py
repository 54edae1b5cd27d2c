"""Multi-region keys as clients of AWS KMS have them."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from keystore.api import KeyState
from signer.access.short_form import document_of
from tests.signer.regions.deployments import ADMINISTRATOR, FIRST, SECOND

if TYPE_CHECKING:
    from tests.signer.regions.deployments import Region, Regions


def kms(region: Region, who: str, operation: str, body: dict[str, Any]) -> tuple[int, Any]:
    answer = region.service.kms(who, operation, body)
    return answer.status_code, json.loads(answer.data) if answer.data else None


def test_a_key_is_made_replicated_used_and_given_away(regions: Regions) -> None:
    policy = json.dumps(document_of([ADMINISTRATOR], ["role/ci"], "000000000000"))
    status, made = regions.first.run(kms, ADMINISTRATOR, "CreateKey", {"MultiRegion": True, "Policy": policy})
    assert status == 200, made
    key_id = made["KeyMetadata"]["KeyId"]
    primary = {"Arn": f"arn:aws:kms:us-east-1:000000000000:key/{key_id}", "Region": FIRST}
    replica = {"Arn": f"arn:aws:kms:eu-west-1:000000000000:key/{key_id}", "Region": SECOND}
    assert made["KeyMetadata"]["MultiRegion"] is True
    assert made["KeyMetadata"]["MultiRegionConfiguration"] == {
        "MultiRegionKeyType": "PRIMARY",
        "PrimaryKey": primary,
        "ReplicaKeys": [],
    }
    asked = {
        "KeyId": primary["Arn"],
        "ReplicaRegion": SECOND,
        "Policy": policy,
        "Description": "there",
        "Tags": [{"TagKey": "where", "TagValue": "there"}],
    }
    status, there = regions.first.run(kms, ADMINISTRATOR, "ReplicateKey", asked)
    assert status == 200, there
    assert set(there) == {"ReplicaKeyMetadata", "ReplicaPolicy", "ReplicaTags"}
    metadata = there["ReplicaKeyMetadata"]
    assert (metadata["Arn"], metadata["KeyState"], metadata["Description"]) == (replica["Arn"], "Enabled", "there")
    assert metadata["MultiRegionConfiguration"] == {
        "MultiRegionKeyType": "REPLICA",
        "PrimaryKey": primary,
        "ReplicaKeys": [replica],
    }
    assert (json.loads(there["ReplicaPolicy"]), there["ReplicaTags"]) == (json.loads(policy), asked["Tags"])
    status, described = regions.second.run(kms, "role/ci", "DescribeKey", {"KeyId": key_id})
    assert described["KeyMetadata"]["MultiRegionConfiguration"] == metadata["MultiRegionConfiguration"]
    context = {"EncryptionContext": {"file": "a"}}
    plaintext = base64.b64encode(b"secret").decode()
    _, closed = regions.first.run(kms, "role/ci", "Encrypt", {"KeyId": key_id, "Plaintext": plaintext, **context})
    # The ciphertext names the key, an mrk- id too.
    status, opened = regions.second.run(
        kms, "role/ci", "Decrypt", {"CiphertextBlob": closed["CiphertextBlob"], **context}
    )
    assert (status, opened["Plaintext"], opened["KeyId"]) == (200, plaintext, replica["Arn"])
    assert regions.first.run(kms, ADMINISTRATOR, "RotateKeyOnDemand", {"KeyId": key_id})[0] == 200
    _, closed = regions.first.run(kms, "role/ci", "Encrypt", {"KeyId": key_id, "Plaintext": plaintext})
    assert len(regions.second.key(key_id).versions) == 2
    assert regions.second.run(kms, "role/ci", "Decrypt", {"CiphertextBlob": closed["CiphertextBlob"]})[0] == 200
    for operation in ("RotateKeyOnDemand", "EnableKeyRotation", "DisableKeyRotation"):
        status, refused = regions.second.run(kms, ADMINISTRATOR, operation, {"KeyId": key_id})
        assert (status, refused["__type"]) == (400, "UnsupportedOperationException"), operation
    moved = regions.first.run(kms, ADMINISTRATOR, "UpdatePrimaryRegion", {"KeyId": key_id, "PrimaryRegion": SECOND})
    assert moved == (200, None)
    _, described = regions.second.run(kms, "role/ci", "DescribeKey", {"KeyId": key_id})
    assert described["KeyMetadata"]["MultiRegionConfiguration"]["MultiRegionKeyType"] == "PRIMARY"
    status, deleted = regions.second.run(kms, ADMINISTRATOR, "ScheduleKeyDeletion", {"KeyId": key_id})
    assert (status, deleted["KeyState"]) == (200, "PendingReplicaDeletion")
    assert regions.second.key(key_id).state is KeyState.PENDING_REPLICA_DELETION


def test_what_is_refused_has_awss_name(regions: Regions) -> None:
    key_id, single = regions.replicated(), regions.first.service.make_key("single-region")["id"]
    disabled = regions.multi_region_key()["id"]
    regions.first.made("POST", f"/v1/keys/{disabled}/disable")
    to_second, to_nowhere = {"ReplicaRegion": SECOND}, {"ReplicaRegion": "ap-south-1"}
    broken = json.dumps({"Version": "2012-10-17", "Statement": []})
    cases: tuple[tuple[str, dict[str, Any], str], ...] = (
        ("ReplicateKey", {"KeyId": key_id, **to_second}, "AlreadyExistsException"),
        ("ReplicateKey", {"KeyId": single, **to_second}, "UnsupportedOperationException"),
        ("ReplicateKey", {"KeyId": key_id, **to_nowhere}, "UnsupportedOperationException"),
        ("ReplicateKey", {"KeyId": disabled, **to_second}, "DisabledException"),
        ("UpdatePrimaryRegion", {"KeyId": single, "PrimaryRegion": SECOND}, "UnsupportedOperationException"),
        ("UpdatePrimaryRegion", {"KeyId": disabled, "PrimaryRegion": SECOND}, "DisabledException"),
    )
    for operation, body, name in cases:
        status, refused = regions.first.run(kms, ADMINISTRATOR, operation, body)
        assert (status, refused["__type"]) == (400, name), (operation, body, refused)
    regions.first.made("POST", f"/v1/keys/{disabled}/enable")
    for body, name in (
        ({"KeyId": disabled, **to_second, "Policy": broken}, "MalformedPolicyDocumentException"),
        ({"KeyId": disabled, **to_second, "Tags": [{"TagKey": "aws:x", "TagValue": ""}]}, "TagException"),
    ):
        status, refused = regions.first.run(kms, ADMINISTRATOR, "ReplicateKey", body)
        assert (status, refused["__type"]) == (400, name), refused
    status, refused = regions.first.run(
        kms, ADMINISTRATOR, "UpdatePrimaryRegion", {"KeyId": disabled, "PrimaryRegion": SECOND}
    )
    assert (status, refused["__type"]) == (400, "NotFoundException")
