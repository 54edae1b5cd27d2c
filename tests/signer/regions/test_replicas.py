"""Multi-region keys between two deployments: replicas, rotation, the primary region, deletion; what is cut off."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from keystore.api import KeyState
from tests.signer.regions.deployments import FIRST, SECOND, Region, Regions

if TYPE_CHECKING:
    from tests.signer.regions.deployments import Regions

MESSAGE = base64.b64encode(b"release 1.2.0").decode()


def sign(region: Region, key_id: str) -> Any:
    return region.made("POST", f"/v1/keys/{key_id}/signatures", {"message": MESSAGE}, "role/ci")["results"][0]


def test_a_signature_of_one_region_is_verified_with_the_other_ones_public_key(regions: Regions) -> None:
    key_id = regions.replicated()
    first, second = regions.first.key(key_id), regions.second.key(key_id)
    assert key_id.startswith("mrk-") and len(key_id) == 36
    assert (first.arn, second.arn) == (
        f"arn:aws:kms:us-east-1:000000000000:key/{key_id}",
        f"arn:aws:kms:eu-west-1:000000000000:key/{key_id}",
    )
    assert second.state is KeyState.ENABLED
    assert [version.id for version in first.versions] == [version.id for version in second.versions]
    for region in (regions.first, regions.second):
        made = sign(region, key_id)
        assert made["key_version"] == 1
    described = regions.second.made("GET", f"/v1/keys/{key_id}")["multi_region"]
    assert described == {
        "type": "replica",
        "primary": {"region": FIRST, "arn": first.arn},
        "replicas": [{"region": SECOND, "arn": second.arn}],
        "making": [],
        "moving_to": None,
    }
