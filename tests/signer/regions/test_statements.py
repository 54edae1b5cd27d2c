"""What a region does not believe: statements that were changed, repeated, meant for others, or not true of the key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
import pytest

from keystore.api import MultiRegion
from signer.regions import statements
from signer.regions.statements import ReplicaStatement
from tests.signer.regions.deployments import ADMINISTRATOR, DOMAIN, FIRST, LINK, SECOND
from tests.signer.web.refusal import assert_refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.signer.regions.deployments import Region, Regions, Reply


class Statements:
    """Statements of the first region, sealed in its HSM as the service does it, after whatever was done to them."""

    def __init__(self, regions: Regions) -> None:
        self._regions = regions
        self._administration = regions.first.service.services.regions

    def about(self, key_id: str, about: statements.About = "state", *, replica: bool = True) -> ReplicaStatement:
        key = self._regions.first.key(key_id)
        (region,) = self._administration._settings.values()
        said = self._administration._stated(key, MultiRegion(FIRST, (SECOND,) if replica else ()))
        beginning = statements.StatedBeginning(
            asked_by=ADMINISTRATOR,
            policy={
                "Version": "2012-10-17",
                "Statement": [
                    {
                        "Effect": "Allow",
                        "Principal": {"AWS": "arn:aws:iam::000000000000:user/key-admin"},
                        "Action": "kms:PutKeyPolicy",
                        "Resource": "*",
                    }
                ],
            },
            description="",
            tags={},
            approvals={},
            bypass_policy_lockout_safety_check=False,
        )
        return self._administration._sealed(about, key, region, said, beginning if about == "making" else None)

    def sealed(self, statement: ReplicaStatement) -> ReplicaStatement:
        statement.seal = b""
        keystore = self._regions.first.keystore
        statement.seal = keystore.regions.sealed(DOMAIN, statements.to_be_sealed(statement))
        return statement

    def sent(self, statement: ReplicaStatement, who: str | None = ADMINISTRATOR) -> Reply:
        return self._regions.second.call("POST", "/v1/replicas", msgspec.to_builtins(statement), who)


@pytest.fixture(scope="module")
def said(regions: Regions) -> Statements:
    return Statements(regions)


@pytest.fixture(scope="module")
def only_here(regions: Regions) -> str:
    """A key that no test replicates."""
    return str(regions.multi_region_key()["id"])


@pytest.fixture(scope="module")
def in_both(regions: Regions) -> str:
    """A replicated key with two versions, of which no test changes anything."""
    key_id = regions.replicated()
    regions.first.made("POST", f"/v1/keys/{key_id}/rotate")
    return key_id


CHANGES: Final[dict[str, Callable[[Any], object]]] = {
    "serial": lambda one: setattr(one, "serial", one.serial + 1),
    "key_id": lambda one: setattr(one, "key_id", f"mrk-{'a' * 32}"),
    "algorithm": lambda one: setattr(one.key, "algorithm", "ECDSA_SHA_384"),
    "primary": lambda one: setattr(one.key, "primary_region", SECOND),
    "public key": lambda one: setattr(one.key.versions[0], "public_key", b"x" * 91),
    "blob": lambda one: setattr(one.key.versions[0], "wrapped", bytes(40)),
    "time": lambda one: setattr(one.key.versions[0], "activate_at", one.key.versions[0].created_at.replace(year=2020)),
    "policy": lambda one: setattr(one.beginning, "policy", {"Version": "2012-10-17", "Statement": []}),
    "who asked": lambda one: setattr(one.beginning, "asked_by", "user/somebody"),
    "seal": lambda one: setattr(one, "seal", bytes(32)),
    "no seal": lambda one: setattr(one, "seal", b""),
}


def test_what_was_changed_on_the_way_does_not_bear_the_seal(said: Statements, only_here: str) -> None:
    for change in CHANGES.values():
        statement = said.about(only_here, "making")
        change(statement)
        assert_refused(said.sent(statement), 422, "unprocessable", "seal")


ELSEWHERE: Final = (
    ("receiver", "ap-south-1", "receiver"),
    ("account", "999999999999", "receiver"),
    ("sender", "ap-south-1", "sender"),
    ("domain", "default", "domain"),
)


def test_a_statement_for_somebody_else_is_refused_however_it_is_sealed(said: Statements, only_here: str) -> None:
    for name, value, field in ELSEWHERE:
        statement = said.about(only_here, "making")
        setattr(statement, name, value)
        assert_refused(said.sent(said.sealed(statement)), 422, "unprocessable", field)


def wrapped(regions: Regions, key_id: str) -> bytes:
    blob = regions.first.key(key_id).versions[0].backing.wrapped
    assert blob is not None
    return blob


@pytest.mark.parametrize(
    ("spec", "purpose"), [("ECC_NIST_P256", "general"), ("SYMMETRIC_DEFAULT", "encrypt"), ("HMAC_256", "mac")]
)
def test_a_blob_that_is_not_the_key_that_it_is_said_to_be(
    regions: Regions, said: Statements, spec: str, purpose: str
) -> None:
    """Said by a deployment that has the link key, and so sealed: still the HSM here looks."""
    key_id, another, of_other_spec = (
        regions.multi_region_key(*kind)["id"]
        for kind in ((spec, purpose), (spec, purpose), ("ECC_NIST_P384", "general"))
    )
    own = wrapped(regions, key_id)
    for blob in (bytes(len(own)), own[:-8], b"", wrapped(regions, another), wrapped(regions, of_other_spec)):
        statement = said.about(key_id, "making")
        assert statement.key is not None
        statement.key.versions[0].wrapped = blob
        answer = said.sent(said.sealed(statement))
        assert "is not the key" in assert_refused(answer, 422, "unprocessable", "versions[0].wrapped")
    assert regions.second.run(rows_of, key_id) == 0


def rows_of(region: Region, key_id: str) -> int:
    store = region.keystore.store
    rows = [store.get(table, key_id) for table in ("keys", "policies", "replications")]
    return sum(row is not None for row in rows) + len(store.select("key_versions", {"key_id": key_id}))


def test_a_later_statement_is_not_followed_by_an_earlier_one(regions: Regions, said: Statements) -> None:
    key_id = regions.replicated()
    earlier = said.about(key_id)
    later = said.about(key_id)
    assert said.sent(later).status_code == 200
    for statement in (earlier, later):
        answer = said.sent(statement)
        assert "later statement" in assert_refused(answer, 409, "conflict", "key_id")


def test_fewer_versions_than_are_here_are_refused(said: Statements, in_both: str) -> None:
    statement = said.about(in_both)
    assert statement.key is not None
    statement.key.versions = statement.key.versions[:1]
    answer = said.sent(said.sealed(statement))
    assert "2 versions are here" in assert_refused(answer, 409, "conflict", "key_id")


FIXED: Final[dict[str, object]] = {
    "algorithm": "ECDSA_SHA_384",
    "published": True,
    "purpose": "artifact",
    "formats": ["cms"],
}


def test_what_is_fixed_when_a_key_is_made_is_not_changed_from_elsewhere(said: Statements, in_both: str) -> None:
    for member, value in FIXED.items():
        statement = said.about(in_both)
        assert statement.key is not None
        setattr(statement.key, member, value)
        answer = said.sent(said.sealed(statement))
        assert "is another here" in assert_refused(answer, 409, "conflict", "key_id")


def test_another_key_of_the_same_version_is_refused(said: Statements, in_both: str, only_here: str) -> None:
    statement, another = said.about(in_both), said.about(only_here)
    assert statement.key is not None
    assert another.key is not None
    statement.key.versions[0] = another.key.versions[0]
    answer = said.sent(said.sealed(statement))
    assert "version 1 of the key is another here" in assert_refused(answer, 409, "conflict", "key_id")


def test_a_key_that_is_here_is_not_made_again(regions: Regions, said: Statements, in_both: str) -> None:
    answer = said.sent(said.about(in_both, "making"))
    assert "in eu-west-1 already" in assert_refused(answer, 409, "conflict", "key_id")
    assert regions.second.key(in_both).policy.revision == 1


def test_a_key_that_is_not_here_is_not_told_of(said: Statements, only_here: str) -> None:
    assert_refused(said.sent(said.about(only_here)), 404, "not_found", "key_id")


def test_half_a_statement_is_refused(said: Statements, only_here: str) -> None:
    halves: tuple[tuple[statements.About, str], ...] = (("making", "beginning"), ("making", "key"), ("state", "key"))
    for about, member in halves:
        statement = said.about(only_here, about)
        setattr(statement, member, None)
        assert_refused(said.sent(said.sealed(statement)), 422, "unprocessable", member)


IMPOSSIBLE: Final = (
    ("domain_version", 7, "key_id"),
    ("replicas", ["ap-south-1"], "replicas"),
    ("primary_region", "ap-south-1", "beginning"),
    ("spec", "SM2", "spec"),
    ("origin", "EXTERNAL", "origin"),
    ("protection", "software", "spec"),
)


def test_what_cannot_be_here_is_named(said: Statements, only_here: str) -> None:
    for member, value, field in IMPOSSIBLE:
        statement = said.about(only_here, "making")
        assert statement.key is not None
        setattr(statement.key, member, value)
        answer = said.sent(said.sealed(statement))
        assert answer.status_code in (409, 422), answer.body
        assert answer.get_json()["field"] == field, answer.body


def test_only_key_administrators_speak_for_another_region(said: Statements, only_here: str) -> None:
    statement = said.about(only_here, "making")
    for who in ("user/admin", "role/ci", "user/auditor"):
        assert_refused(said.sent(statement, who), 403, "duty_forbids")
    assert_refused(said.sent(statement, None), 401, "unauthenticated")


def test_the_other_regions_principal_is_kept_to_that(regions: Regions) -> None:
    """What docs/multi-region.md tells to attach to it."""
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "NothingElse",
                "Effect": "Deny",
                "NotAction": ["kms:SynchronizeMultiRegionKey", "sealmark:WhoAmI"],
                "Resource": "*",
            }
        ],
    }
    regions.second.made("PUT", f"/v1/principals/{LINK}/policies/only-replicas", {"policy": policy}, "user/admin")
    key_id = regions.replicated()
    token = regions.second.run(made_token)
    for method, path, body in (
        ("POST", "/v1/keys", {"spec": "ECC_NIST_P256", "purpose": "general"}),
        ("GET", "/v1/keys", None),
        ("GET", f"/v1/keys/{key_id}", None),
    ):
        assert regions.second.call(method, path, body, token).status_code in (403, 404)


def made_token(region: Any) -> str:
    code = region.made("POST", f"/v1/principals/{LINK}/enrolments", {}, "user/admin")["enrolment_code"]
    return str(region.made("POST", "/v1/enrolments", {"code": code}, None)["token"])
