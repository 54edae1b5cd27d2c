"""Multi-region keys between two deployments: what is the same in both, what is each one's own, and the whole of a key's
life."""

from __future__ import annotations

import base64
import uuid
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from keystore.algorithms import MAC_ALGORITHMS
from keystore.api import KeyState, VersionCause
from tests.signer.regions.deployments import ADMINISTRATOR, DOMAIN, FIRST, LINK, SECOND
from tests.signer.web.refusal import assert_refused

if TYPE_CHECKING:
    from keystore.api import CertificateRecord
    from tests.signer.regions.deployments import Elsewhere, Region, Regions

MESSAGE: Final = b"release 1.2.0"
OWN_POLICY: Final = {"administrators": ["user/other-key-admin"], "users": ["role/other"]}


def sign(region: Region | Elsewhere, key_id: str, who: str = "role/ci") -> Any:
    body = {"message": base64.b64encode(MESSAGE).decode()}
    return region.made("POST", f"/v1/keys/{key_id}/signatures", body, who)["results"][0]


def verify(region: Region | Elsewhere, key_id: str, made: Any) -> None:
    """With the public key that this region publishes for the version."""
    der = region.key(key_id).versions[made["key_version"] - 1].public_key
    public_key = load_der_public_key(der)
    assert isinstance(public_key, EllipticCurvePublicKey)
    public_key.verify(base64.b64decode(made["signature"]), MESSAGE, ECDSA(SHA256()))


def shown(region: Region | Elsewhere, key_id: str) -> Any:
    return region.made("GET", f"/v1/keys/{key_id}")["multi_region"]


def verify_rows(region: Region) -> int:
    return region.keystore.store.verify_everything()


def closed(region: Region, key_id: str) -> bytes:
    backing = region.key(key_id).versions[0].backing
    return region.keystore._token.encrypt(backing, b"secret", b"context")


def opened(region: Region, key_id: str, ciphertext: bytes) -> bytes:
    return region.keystore._token.decrypt(region.key(key_id).versions[0].backing, ciphertext, b"context")


def mac_of(region: Region, key_id: str) -> bytes:
    algorithm = MAC_ALGORITHMS["HMAC_SHA_256"]
    return region.keystore._token.mac(region.key(key_id).versions[0].backing, algorithm, MESSAGE)


def certificate_of(region: Region, version_id: str) -> CertificateRecord | None:
    return region.keystore.find_certificate(version_id)


def is_known(region: Region, key_id: str) -> bool:
    return region.keystore.store.get("keys", key_id) is not None


def test_what_one_region_signs_is_verified_with_the_other_ones_public_key(regions: Regions) -> None:
    key_id = regions.replicated()
    first, second = regions.first.key(key_id), regions.second.key(key_id)
    assert first.arn == f"arn:aws:kms:us-east-1:000000000000:key/{key_id}"
    assert second.arn == f"arn:aws:kms:eu-west-1:000000000000:key/{key_id}"
    assert (first.state, second.state) == (KeyState.ENABLED, KeyState.ENABLED)
    for here, there in ((regions.first, regions.second), (regions.second, regions.first)):
        verify(there, key_id, sign(here, key_id))
    primary, replica = {"region": FIRST, "arn": first.arn}, {"region": SECOND, "arn": second.arn}
    expected = {"primary": primary, "replicas": [replica], "making": [], "moving_to": None}
    assert shown(regions.first, key_id) == {"type": "primary", **expected}
    assert shown(regions.second, key_id) == {"type": "replica", **expected}
    regions.second.run(verify_rows)


@pytest.mark.parametrize("spec", ["RSA_2048", "ECC_SECG_P256K1"])
def test_versions_are_the_same_by_id_and_key(regions: Regions, spec: str) -> None:
    key_id = regions.replicated(spec)
    first, second = regions.first.key(key_id), regions.second.key(key_id)
    for name in ("spec", "purpose", "algorithm", "origin", "protection", "published", "domain", "multi_region"):
        assert getattr(first, name) == getattr(second, name)
    for here, there in zip(first.versions, second.versions, strict=True):
        assert replace(here, backing=there.backing) == there
    sign(regions.second, key_id)


def test_a_secret_key_opens_in_one_region_what_the_other_has_closed(regions: Regions) -> None:
    aes, mac = regions.replicated("SYMMETRIC_DEFAULT", "encrypt"), regions.replicated("HMAC_256", "mac")
    assert regions.second.run(opened, aes, regions.first.run(closed, aes)) == b"secret"
    first, second = regions.first.key(aes).versions[0], regions.second.key(aes).versions[0]
    assert first.material_id == second.material_id is not None
    assert regions.first.run(mac_of, mac) == regions.second.run(mac_of, mac)


def test_each_region_certifies_a_replica_itself(regions: Regions) -> None:
    key_id = regions.replicated(purpose="artifact")
    chains = {
        region.name: region.run(certificate_of, region.key(key_id).versions[0].id)
        for region in (regions.first, regions.second)
    }
    first, second = chains[FIRST], chains[SECOND]
    assert first is not None
    assert second is not None
    assert first.chain[-1] != second.chain[-1]


def test_tokens_speak_for_one_issuer_in_every_region(regions: Regions) -> None:
    members: dict[str, Any] = {"audiences": ["https://api.example"], "max_ttl": 900}
    key_id = regions.replicated(purpose="jwt", **members)
    assert regions.second.key(key_id).settings == regions.first.key(key_id).settings
    issuer = {"name": f"i{uuid.uuid4().hex[:8]}", "url": "https://only-here.example"}
    regions.first.made("POST", "/v1/issuers", issuer)
    other = regions.multi_region_key(purpose="jwt", issuer=issuer["name"], **members)["id"]
    refused = regions.first.call("POST", f"/v1/keys/{other}/replicas", {"region": SECOND})
    assert "there is no issuer" in assert_refused(refused, 422, "unprocessable", "key.settings.issuer")
    regions.second.made("POST", "/v1/issuers", {**issuer, "url": "https://another.example"})
    refused = regions.first.call("POST", f"/v1/keys/{other}/replicas", {"region": SECOND})
    assert "another url" in assert_refused(refused, 422, "unprocessable", "key.settings.issuer")


def test_policy_alias_tags_description_grants_and_state_are_each_regions_own(regions: Regions) -> None:
    made = regions.multi_region_key(alias=f"a{uuid.uuid4().hex[:8]}", description="here", tags={"where": "first"})
    key_id = made["id"]
    body = {"region": SECOND, "policy": OWN_POLICY, "description": "there", "tags": {"where": "second"}}
    regions.first.made("POST", f"/v1/keys/{key_id}/replicas", body)
    replica = regions.second.key(key_id)
    assert (replica.description, dict(replica.tags), replica.aliases) == ("there", {"where": "second"}, ())
    assert replica.created_by == LINK
    # `policy` in short form: who asked is an administrator of it, as of a new key.
    policy = regions.second.made("GET", f"/v1/keys/{key_id}/policy")
    assert policy["administrators"] == [ADMINISTRATOR, "user/other-key-admin"]
    assert policy["users"] == ["role/other"]
    sign(regions.second, key_id, "role/other")
    assert_refused(regions.second.call("POST", f"/v1/keys/{key_id}/signatures", {}, "role/ci"), 404, "not_found", "key")
    regions.second.made("POST", f"/v1/keys/{key_id}/disable")
    assert regions.first.key(key_id).state is KeyState.ENABLED
    sign(regions.first, key_id)
    regions.second.made("POST", f"/v1/keys/{key_id}/enable")


def test_a_rotation_is_in_the_other_region_before_it_is_answered(regions: Regions) -> None:
    key_id = regions.replicated()
    regions.first.made("POST", f"/v1/keys/{key_id}/rotate")
    made = sign(regions.first, key_id)
    assert made["key_version"] == 2
    verify(regions.second, key_id, made)
    assert sign(regions.second, key_id)["key_version"] == 2
    answer = regions.second.call("POST", f"/v1/keys/{key_id}/rotate")
    assert "its primary key in us-east-1" in assert_refused(answer, 422, "unsupported", "key")


def test_what_is_rotated_by_itself_is_carried_and_a_replica_never_is(regions: Regions) -> None:
    key_id = regions.replicated("SYMMETRIC_DEFAULT", "encrypt")
    regions.first.keystore.schedule_rotation(key_id, 90, regions.first.clock())
    regions.first.upkeep()
    assert regions.second.key(key_id).rotation == regions.first.key(key_id).rotation is not None
    regions.move(timedelta(days=91))
    for region in (regions.second, regions.first):
        region.upkeep()
    versions = regions.second.key(key_id).versions
    assert versions[-1].cause is VersionCause.AUTOMATIC
    assert [each.id for each in versions] == [each.id for each in regions.first.key(key_id).versions]
    assert len(versions) == 2


def test_a_revoked_version_is_revoked_everywhere(regions: Regions) -> None:
    key_id = regions.replicated(purpose="artifact")
    regions.first.made("POST", f"/v1/keys/{key_id}/rotate", {"now": True, "revoke": "key_compromise"})
    old, new = regions.second.key(key_id).versions
    assert old.revoked_at is not None
    assert new.revoked_at is None
    certificate = regions.second.run(certificate_of, old.id)
    assert certificate is not None
    assert certificate.revoked_at is not None


def test_the_primary_region_changes_hands_and_comes_back(regions: Regions) -> None:
    key_id = regions.replicated()
    moved = regions.first.made("POST", f"/v1/keys/{key_id}/primary-region", {"region": SECOND})
    assert (moved["multi_region"]["type"], moved["state"]) == ("replica", "enabled")
    assert shown(regions.second, key_id)["type"] == "primary"
    assert_refused(regions.first.call("POST", f"/v1/keys/{key_id}/rotate"), 422, "unsupported", "key")
    regions.second.made("POST", f"/v1/keys/{key_id}/rotate")
    verify(regions.first, key_id, sign(regions.second, key_id))
    answer = regions.first.call("POST", f"/v1/keys/{key_id}/primary-region", {"region": SECOND})
    assert "this is a replica" in assert_refused(answer, 422, "unsupported", "key")
    regions.second.made("POST", f"/v1/keys/{key_id}/primary-region", {"region": FIRST})
    for region in (regions.first, regions.second):
        region.upkeep()
    assert (shown(regions.first, key_id)["type"], shown(regions.second, key_id)["type"]) == ("primary", "replica")
    assert len(regions.first.key(key_id).versions) == 2


def test_a_disabled_replica_does_not_become_primary(regions: Regions) -> None:
    key_id = regions.replicated()
    regions.second.made("POST", f"/v1/keys/{key_id}/disable")
    answer = regions.first.call("POST", f"/v1/keys/{key_id}/primary-region", {"region": SECOND})
    assert "the replica here is disabled" in assert_refused(answer, 409, "wrong_state", "key_id")
    assert regions.first.key(key_id).state is KeyState.ENABLED
    assert shown(regions.first, key_id)["moving_to"] is None


def test_a_primary_key_waits_for_its_last_replica(regions: Regions) -> None:
    key_id = regions.replicated()
    waiting = regions.first.made("POST", f"/v1/keys/{key_id}/schedule-deletion", {"days": 10})
    assert (waiting["state"], waiting["deletion_at"]) == ("pending_replica_deletion", None)
    sign(regions.second, key_id)  # a replica is its own
    regions.second.made("POST", f"/v1/keys/{key_id}/schedule-deletion", {"days": 7})
    regions.move(timedelta(days=8))
    regions.first.upkeep()
    assert regions.first.key(key_id).state is KeyState.PENDING_REPLICA_DELETION
    regions.second.upkeep()  # the replica is deleted, and the primary region told
    assert regions.second.key(key_id).state is KeyState.DELETED
    key = regions.first.key(key_id)
    assert key.state is KeyState.PENDING_DELETION
    assert key.deletion_at == regions.first.clock() + timedelta(days=10)
    regions.move(timedelta(days=11))
    regions.first.upkeep()
    assert regions.first.key(key_id).state is KeyState.DELETED


def test_a_deletion_that_waits_is_taken_back(regions: Regions) -> None:
    key_id = regions.replicated()
    regions.first.made("POST", f"/v1/keys/{key_id}/schedule-deletion", {"days": 7})
    assert regions.first.made("POST", f"/v1/keys/{key_id}/cancel-deletion")["state"] == "disabled"
    regions.first.made("POST", f"/v1/keys/{key_id}/enable")
    sign(regions.first, key_id)


def test_a_deleted_replica_may_come_back_with_nothing_of_what_was_granted_on_it(regions: Regions) -> None:
    key_id = regions.replicated()
    grant = {"grantee": "role/other", "operations": ["Sign"]}
    regions.second.made("POST", f"/v1/keys/{key_id}/grants", grant)
    sign(regions.second, key_id, "role/other")
    regions.second.made("POST", f"/v1/keys/{key_id}/schedule-deletion", {"days": 7})
    regions.move(timedelta(days=8))
    regions.second.upkeep()
    assert shown(regions.first, key_id)["replicas"] == []
    regions.first.made("POST", f"/v1/keys/{key_id}/rotate")
    regions.first.made("POST", f"/v1/keys/{key_id}/replicas", {"region": SECOND, "users": ["role/ci"]})
    verify(regions.first, key_id, sign(regions.second, key_id))
    assert_refused(
        regions.second.call("POST", f"/v1/keys/{key_id}/signatures", {}, "role/other"), 404, "not_found", "key"
    )
    versions = regions.second.made("GET", f"/v1/keys/{key_id}/policy/versions")["versions"]
    assert [version["reason"] for version in versions][-1] == "the replica was made"


def test_an_approval_rule_goes_with_the_key(regions: Regions) -> None:
    """Else who administers a key would be rid of it by a replica."""
    key_id = regions.multi_region_key()["id"]
    rule = {"sign": {"approvers": ["user/auditor", "user/other-key-admin"], "needed": 1, "window_seconds": 600}}
    regions.first.made("PUT", f"/v1/keys/{key_id}/approval-rule", rule)
    regions.first.made("POST", f"/v1/keys/{key_id}/replicas", {"region": SECOND, "users": ["role/ci"]})
    body = {"message": base64.b64encode(MESSAGE).decode()}
    answer = regions.second.call("POST", f"/v1/keys/{key_id}/signatures", body, "role/ci")
    assert_refused(answer, 403, "approval_required")


def test_a_rule_about_the_policy_covers_a_replica_too(regions: Regions) -> None:
    key_id = regions.multi_region_key()["id"]
    rule = {"policy": {"approvers": ["user/auditor", "user/other-key-admin"], "needed": 1, "window_seconds": 600}}
    regions.first.made("PUT", f"/v1/keys/{key_id}/approval-rule", rule)
    answer = regions.first.call("POST", f"/v1/keys/{key_id}/replicas", {"region": SECOND, "users": ["role/ci"]})
    assert "`replicas`" in assert_refused(answer, 403, "approval_required")


@pytest.mark.parametrize(
    ("body", "status", "code", "field", "words"),
    [
        ({"region": "ap-south-1"}, 422, "unprocessable", "region", "not among the other regions"),
        ({"region": FIRST}, 422, "unprocessable", "region", "not among the other regions"),
        ({"region": "Mars"}, 422, "malformed_request", "region", "a region, such as eu-west-1"),
        (
            {"region": SECOND, "users": ["role/nobody"]},
            422,
            "unprocessable",
            "policy/Statement/1/Principal",
            "no principal",
        ),
        ({"region": SECOND, "users": [ADMINISTRATOR]}, 409, "separation_of_duties", "policy", "user/key-admin"),
        ({"region": SECOND, "policy": {"Version": "2012-10-17", "Statement": []}}, 422, "unprocessable", None, ""),
        ({"region": SECOND, "policy": OWN_POLICY, "users": []}, 422, "unprocessable", "policy", "give either"),
        ({"region": SECOND, "policy": {"nobody": 1}}, 422, "malformed_request", "policy.nobody", ""),
    ],
)
def test_a_replica_that_cannot_be_is_refused_and_leaves_nothing(
    regions: Regions, body: dict[str, Any], status: int, code: str, field: str | None, words: str
) -> None:
    key_id = regions.multi_region_key()["id"]
    answer = regions.first.call("POST", f"/v1/keys/{key_id}/replicas", body)
    assert answer.status_code == status
    problem = answer.get_json()
    assert problem["code"] == code
    assert words in problem["detail"]
    if field is not None:
        assert problem["field"] == field
    multi_region = shown(regions.first, key_id)
    assert (multi_region["replicas"], multi_region["making"]) == ([], [])
    assert not regions.second.run(is_known, key_id)


def test_what_is_there_is_not_replicated_again_and_what_is_no_multi_region_key_never(regions: Regions) -> None:
    key_id = regions.replicated()
    answer = regions.first.call("POST", f"/v1/keys/{key_id}/replicas", {"region": SECOND})
    assert "in eu-west-1 already" in assert_refused(answer, 409, "conflict", "region")
    answer = regions.second.call("POST", f"/v1/keys/{key_id}/replicas", {"region": FIRST})
    assert "this is a replica" in assert_refused(answer, 422, "unsupported", "key")
    single = regions.first.service.make_key(f"s{uuid.uuid4().hex[:8]}")["id"]
    for path, body in (("replicas", {"region": SECOND}), ("primary-region", {"region": SECOND})):
        answer = regions.first.call("POST", f"/v1/keys/{single}/{path}", body)
        assert "decided when a key is made" in assert_refused(answer, 422, "unsupported", "key")
    disabled = regions.multi_region_key()["id"]
    regions.first.made("POST", f"/v1/keys/{disabled}/disable")
    answer = regions.first.call("POST", f"/v1/keys/{disabled}/replicas", {"region": SECOND})
    assert_refused(answer, 409, "wrong_state")
    alone = regions.multi_region_key()["id"]
    answer = regions.first.call("POST", f"/v1/keys/{alone}/primary-region", {"region": SECOND})
    assert "no replica of the key" in assert_refused(answer, 409, "conflict", "region")


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"spec": "ECC_NIST_EDWARDS25519"}, "spec"),  # SoftHSM cannot wrap it
        ({"domain": "default"}, None),  # the domain of multi-region keys is taken all the same
        ({"domain": DOMAIN, "multi_region": False}, "domain"),
        ({"alias": "mrk-1234abcd12ab34cd56ef1234567890ab"}, "alias"),
    ],
)
def test_which_keys_may_be_of_several_regions(regions: Regions, members: dict[str, Any], field: str | None) -> None:
    body = {"spec": "ECC_NIST_P256", "purpose": "general", "users": ["role/ci"], "multi_region": True, **members}
    answer = regions.first.call("POST", "/v1/keys", body)
    if field is None:
        assert answer.get_json()["domain"] == DOMAIN
    else:
        assert answer.status_code == 422
        assert answer.get_json()["field"] == field


def test_conditions_see_what_a_key_is_and_where_it_goes(regions: Regions) -> None:
    key_id = regions.replicated()
    administrators = {
        "Sid": "Administrators",
        "Effect": "Allow",
        "Principal": {"AWS": "arn:aws:iam::000000000000:user/key-admin"},
        "Action": ["kms:PutKeyPolicy", "kms:DescribeKey", "kms:RotateKey"],
        "Resource": "*",
        "Condition": {"StringEquals": {"kms:MultiRegionKeyType": "PRIMARY"}, "Bool": {"kms:MultiRegion": "true"}},
    }
    moving = {
        **administrators,
        "Sid": "Moving",
        "Action": ["kms:ReplicateKey", "kms:UpdatePrimaryRegion"],
        "Condition": {"StringEquals": {"kms:ReplicaRegion": "ap-south-1", "kms:PrimaryRegion": "ap-south-1"}},
    }
    policy = {"Version": "2012-10-17", "Statement": [administrators, moving]}
    regions.first.made("PUT", f"/v1/keys/{key_id}/policy", policy)
    regions.first.made("POST", f"/v1/keys/{key_id}/rotate")
    for path in ("replicas", "primary-region"):
        answer = regions.first.call("POST", f"/v1/keys/{key_id}/{path}", {"region": SECOND})
        assert_refused(answer, 403, "policy_forbids")
    regions.second.made("PUT", f"/v1/keys/{key_id}/policy", {**policy, "bypass_policy_lockout_safety_check": True})
    assert_refused(regions.second.call("GET", f"/v1/keys/{key_id}"), 403, "policy_forbids")


def test_both_sides_record_it(regions: Regions) -> None:
    key_id = regions.replicated()
    query = f"/v1/audit/entries?key={key_id}"
    recorded = {
        region.name: [
            (
                entry["record"]["action"],
                entry["record"]["principal"],
                (entry["record"].get("detail") or {}).get("about"),
            )
            for entry in region.made("GET", query, who="user/auditor")["entries"]
        ]
        for region in (regions.first, regions.second)
    }
    assert ("ReplicateKey", ADMINISTRATOR, None) in recorded[FIRST]
    for about in ("making", "state"):
        assert ("SynchronizeMultiRegionKey", LINK, about) in recorded[SECOND]
