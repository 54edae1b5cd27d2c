"""`POST /v1/keys`: every contradiction is refused by the name of its member, and nothing is made; what is made is
described whole."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest
from sqlalchemy import func, select

from keystore.algorithms import (
    CALLER_PURPOSES,
    KEY_SPECS,
    PURPOSES,
    SIGNING_ALGORITHMS,
    SIGNING_PURPOSES,
    SOFTWARE_ONLY,
    Protection,
    Purpose,
    algorithms_for,
)
from keystore.db.schema import KEYS
from tests.signer.web.refusal import assert_refused

if TYPE_CHECKING:
    from tests.signer.service import ServiceInProcess

ARTIFACT: Final[dict[str, object]] = {"spec": "ECC_NIST_P256", "purpose": "artifact"}
GENERAL: Final[dict[str, object]] = {"spec": "ECC_NIST_P256", "purpose": "general"}
JWT: Final[dict[str, object]] = {
    "spec": "ECC_NIST_P256",
    "purpose": "jwt",
    "audiences": ["https://api.example"],
    "max_ttl": 600,
}
SAML: Final[dict[str, object]] = {
    "spec": "ECC_NIST_P256",
    "purpose": "saml",
    "audiences": ["https://sp.example"],
    "recipients": ["https://sp.example/acs"],
}
ENCRYPT: Final[dict[str, object]] = {"spec": "SYMMETRIC_DEFAULT", "purpose": "encrypt"}
WHOLE: Final[dict[str, dict[str, object]]] = {
    "artifact": ARTIFACT,
    "general": GENERAL,
    "jwt": JWT,
    "saml": SAML,
    "encrypt": ENCRYPT,
    "mac": {"spec": "HMAC_256", "purpose": "mac"},
    "agree": {"spec": "ECC_NIST_P256", "purpose": "agree"},
    "encapsulate": {"spec": "ML_KEM_768", "purpose": "encapsulate"},
}


def without(body: dict[str, object], member: str) -> dict[str, object]:
    return {name: value for name, value in body.items() if name != member}


def count_keys(service: ServiceInProcess) -> int:
    with service.services.keystore.database.read() as connection:
        return int(connection.execute(select(func.count()).select_from(KEYS)).scalar_one())


@pytest.fixture(scope="module", autouse=True)
def taken(service: ServiceInProcess) -> None:
    service.make_key("creation-taken", purpose="general")


@pytest.mark.parametrize(
    ("body", "status", "code", "field"),
    [
        # what its purpose needs
        (without(JWT, "audiences"), 422, "unprocessable", "audiences"),
        (without(JWT, "max_ttl"), 422, "unprocessable", "max_ttl"),
        (without(SAML, "audiences"), 422, "unprocessable", "audiences"),
        (without(SAML, "recipients"), 422, "unprocessable", "recipients"),
        # what belongs to another purpose
        ({**GENERAL, "formats": ["raw"]}, 422, "unprocessable", "formats"),
        ({**JWT, "formats": ["raw"]}, 422, "unprocessable", "formats"),
        ({**SAML, "formats": ["cms"]}, 422, "unprocessable", "formats"),
        ({**ARTIFACT, "issuer": "default"}, 422, "unprocessable", "issuer"),
        ({**GENERAL, "issuer": "default"}, 422, "unprocessable", "issuer"),
        ({**ARTIFACT, "audiences": ["a"]}, 422, "unprocessable", "audiences"),
        ({**ARTIFACT, "max_ttl": 60}, 422, "unprocessable", "max_ttl"),
        ({**SAML, "max_ttl": 60}, 422, "unprocessable", "max_ttl"),
        ({**SAML, "types": ["JWT"]}, 422, "unprocessable", "types"),
        ({**JWT, "recipients": ["https://sp.example"]}, 422, "unprocessable", "recipients"),
        # formats: Ed25519 makes DSSE alone, and an attestation is no format of its own
        ({**ARTIFACT, "spec": "ECC_NIST_EDWARDS25519", "formats": ["cms"]}, 422, "unprocessable", "formats"),
        ({**ARTIFACT, "spec": "ECC_NIST_EDWARDS25519", "formats": ["dsse", "raw"]}, 422, "unprocessable", "formats"),
        ({**ARTIFACT, "spec": "ECC_NIST_EDWARDS25519", "formats": ["bundle"]}, 422, "unprocessable", "formats"),
        ({**ARTIFACT, "formats": ["attestation"]}, 422, "malformed_request", "formats[0]"),
        ({**ARTIFACT, "formats": ["pgp"]}, 422, "malformed_request", "formats[0]"),
        ({**ARTIFACT, "formats": []}, 422, "malformed_request", "formats"),
        # spec by purpose by algorithm
        ({**ARTIFACT, "spec": "ECC_SECG_P256K1"}, 422, "unprocessable", "spec"),
        ({**JWT, "spec": "ECC_SECG_P256K1"}, 422, "unprocessable", "spec"),
        ({**SAML, "spec": "ECC_SECG_P256K1"}, 422, "unprocessable", "spec"),
        ({**SAML, "spec": "ECC_NIST_EDWARDS25519"}, 422, "unprocessable", "spec"),
        ({**SAML, "spec": "ECC_NIST_P521"}, 422, "unprocessable", "spec"),
        ({**GENERAL, "spec": "RSA_1024"}, 422, "unprocessable", "spec"),
        ({**GENERAL, "spec": "SYMMETRIC_DEFAULT"}, 422, "unprocessable", "spec"),
        ({**GENERAL, "spec": ""}, 422, "malformed_request", "spec"),
        ({**ARTIFACT, "algorithm": "ECDSA_SHA_384"}, 422, "unprocessable", "algorithm"),
        ({**ARTIFACT, "algorithm": "RSASSA_PSS_SHA_256"}, 422, "unprocessable", "algorithm"),
        ({**JWT, "algorithm": "none"}, 422, "unprocessable", "algorithm"),
        ({**SAML, "spec": "RSA_2048", "algorithm": "RSASSA_PSS_SHA_256"}, 422, "unprocessable", "algorithm"),
        # purposes that are the service's own
        ({**GENERAL, "purpose": "ca"}, 422, "malformed_request", "purpose"),
        ({**GENERAL, "purpose": "log"}, 422, "malformed_request", "purpose"),
        (without(GENERAL, "purpose"), 422, "malformed_request", "purpose"),
        (without(GENERAL, "spec"), 422, "malformed_request", "spec"),
        # names
        ({**GENERAL, "alias": str(uuid.UUID(int=7))}, 422, "unprocessable", "alias"),
        ({**GENERAL, "alias": str(uuid.UUID(int=7)).upper()}, 422, "unprocessable", "alias"),
        ({**GENERAL, "alias": "a/b"}, 422, "malformed_request", "alias"),
        ({**GENERAL, "alias": ""}, 422, "malformed_request", "alias"),
        ({**GENERAL, "alias": "a" * 251}, 422, "malformed_request", "alias"),
        ({**GENERAL, "alias": "release\n"}, 422, "malformed_request", "alias"),
        ({**GENERAL, "alias": "creation-taken"}, 409, "conflict", "alias"),
        ({**GENERAL, "domain": "no-such-domain"}, 422, "unprocessable", "domain"),
        ({**JWT, "issuer": "no-such-issuer"}, 422, "unprocessable", "issuer"),
        ({**SAML, "issuer": "no-such-issuer"}, 422, "unprocessable", "issuer"),
        # people
        ({**GENERAL, "users": ["role/nobody"]}, 422, "unprocessable", "users"),
        ({**GENERAL, "users": ["user/admin"]}, 422, "unprocessable", "users"),
        ({**GENERAL, "users": ["user/auditor"]}, 422, "unprocessable", "users"),
        ({**GENERAL, "users": ["user/key-admin"]}, 422, "unprocessable", "users"),
        ({**GENERAL, "users": ["role/ci", "user/other-key-admin"]}, 422, "unprocessable", "users"),
        ({**GENERAL, "administrators": ["role/ci"]}, 422, "unprocessable", "administrators"),
        ({**GENERAL, "administrators": ["user/admin"]}, 422, "unprocessable", "administrators"),
        ({**GENERAL, "administrators": ["user/nobody"]}, 422, "unprocessable", "administrators"),
        ({**GENERAL, "users": ["ci"]}, 422, "malformed_request", "users[0]"),
        (
            {**GENERAL, "users": ["role/ci"], "policy": {"administrators": [], "users": []}},
            422,
            "unprocessable",
            "policy",
        ),
        (
            {**GENERAL, "administrators": [], "policy": {"administrators": [], "users": []}},
            422,
            "unprocessable",
            "policy",
        ),
        ({**GENERAL, "policy": {"administrators": [], "users": ["user/admin"]}}, 422, "unprocessable", "users"),
        ({**GENERAL, "policy": {"users": []}}, 422, "malformed_request", "policy.administrators"),
        # bounds
        ({**JWT, "max_ttl": 0}, 422, "malformed_request", "max_ttl"),
        ({**JWT, "max_ttl": 30 * 86400 + 1}, 422, "malformed_request", "max_ttl"),
        ({**JWT, "audiences": []}, 422, "malformed_request", "audiences"),
        ({**JWT, "audiences": [""]}, 422, "malformed_request", "audiences[0]"),
        ({**JWT, "types": []}, 422, "malformed_request", "types"),
        ({**SAML, "recipients": []}, 422, "malformed_request", "recipients"),
        ({**GENERAL, "description": "x" * 8193}, 422, "malformed_request", "description"),
        ({**GENERAL, "published": "yes"}, 422, "malformed_request", "published"),
    ],
)
def test_a_contradiction_is_refused_by_its_member(
    service: ServiceInProcess, body: dict[str, object], status: int, code: str, field: str
) -> None:
    before = count_keys(service)
    assert_refused(service.call("user/key-admin", "POST", "/v1/keys", body), status, code, field)
    assert count_keys(service) == before


COMMON_MEMBERS: Final = {
    *("id", "arn", "alias", "spec", "purpose", "algorithm", "algorithms", "required_digest", "formats", "domain"),
    *("aliases", "tags", "origin", "rotation", "multi_region"),
    *("protection", "storage", "token", "state", "description", "published", "created_at", "created_by"),
    *("deletion_at", "policy_revision", "versions"),
}
MEMBERS_OF: Final[dict[str, set[str]]] = {
    "artifact": set(),
    "general": set(),
    "jwt": {"issuer", "audiences", "max_ttl", "types"},
    "saml": {"issuer", "audiences", "recipients"},
    "encrypt": set(),
}


@pytest.mark.parametrize("purpose", MEMBERS_OF)
def test_the_description_is_whole_and_the_same_for_all_who_may_see_it(service: ServiceInProcess, purpose: str) -> None:
    body = {**WHOLE[purpose], "alias": f"whole-{purpose}", "description": "née", "users": ["role/ci"]}
    before = datetime.now(UTC)
    made: dict[str, Any] = service.made("user/key-admin", "POST", "/v1/keys", body)
    assert set(made) == COMMON_MEMBERS | MEMBERS_OF[purpose]
    for name, value in {**WHOLE[purpose], "alias": f"whole-{purpose}", "description": "née"}.items():
        assert made[name] == value
    assert made["id"] == str(uuid.UUID(made["id"]))
    assert made["arn"] == f"arn:aws:kms:us-east-1:000000000000:key/{made['id']}"
    signs = purpose != "encrypt"
    algorithm = "ECDSA_SHA_256" if signs else "SYMMETRIC_DEFAULT"
    always: dict[str, object] = {
        "aliases": [f"whole-{purpose}"],
        "tags": {},
        "origin": "AWS_KMS",
        "algorithm": algorithm,
        "algorithms": [algorithm],
        "required_digest": "sha256" if signs else None,
        "formats": ["cms", "dsse"] if purpose == "artifact" else [],
        "domain": "default",
        "protection": "hsm",
        "storage": "wrapped",
        "state": "enabled",
    }
    assert {name: made[name] for name in always} == always
    assert set(made["token"]) == {"manufacturer", "model", "serial"}
    assert all(made["token"].values())
    assert made["published"] is (purpose not in ("general", "encrypt"))
    assert (made["created_by"], made["deletion_at"]) == ("user/key-admin", None)
    (version,) = made["versions"]
    members = {"version", "state", "created_at", "activate_at", "kid"}
    assert set(version) == members | {"revoked_at", "revocation_reason", "certificate"}
    assert (version["revoked_at"], version["revocation_reason"]) == (None, None)
    assert (version["kid"] is None) is (purpose == "encrypt")
    if purpose in ("general", "encrypt"):
        assert version["certificate"] is None
    else:
        assert version["certificate"]["origin"] == "built-in"
        assert version["certificate"]["revoked_at"] is None
    assert (version["version"], version["state"]) == (1, "active")
    assert before - timedelta(seconds=1) <= datetime.fromisoformat(made["created_at"]) <= datetime.now(UTC)
    if purpose in ("jwt", "saml"):
        assert made["issuer"] == "default"
    if purpose == "jwt":
        assert made["types"] == ["JWT"]
    for who in ("user/key-admin", "role/ci"):
        for reference in (made["id"], f"whole-{purpose}"):
            assert service.made(who, "GET", f"/v1/keys/{reference}") == made


@pytest.mark.parametrize(
    ("purpose", "spec"),
    [
        (purpose, spec)
        for purpose in CALLER_PURPOSES
        for spec in PURPOSES[purpose]
        if spec not in SOFTWARE_ONLY and (not spec.startswith("RSA") or spec == "RSA_2048")
    ],
)
def test_each_pair_of_purpose_and_spec_can_be_made_and_has_its_first_algorithm_by_default(
    service: ServiceInProcess, purpose: Purpose, spec: str
) -> None:
    body = {**WHOLE[purpose.value], "spec": spec, "users": ["role/ci"]}
    made = service.made("user/key-admin", "POST", "/v1/keys", body)
    allowed = algorithms_for(purpose, spec, Protection.HSM)
    assert made["algorithm"] == allowed[0]
    fixed = purpose in SIGNING_PURPOSES and purpose is not Purpose.GENERAL
    assert made["algorithms"] == ([allowed[0]] if fixed else list(allowed))
    assert made["storage"] == ("token" if spec == "ECC_NIST_EDWARDS25519" else "wrapped")
    signing = SIGNING_ALGORITHMS.get(allowed[0])
    assert made["required_digest"] == (None if signing is None else signing.hash_name)
    if not KEY_SPECS[spec].has_public_key:
        assert_refused(service.call("role/ci", "GET", f"/v1/keys/{made['id']}/public-key"), 409, "wrong_purpose")
        published = service.call("user/key-admin", "POST", "/v1/keys", {**body, "published": True})
        assert_refused(published, 422, "unsupported", "published")


def test_an_algorithm_is_fixed_when_the_key_is_made(service: ServiceInProcess) -> None:
    body = {**ARTIFACT, "spec": "RSA_2048", "algorithm": "RSASSA_PSS_SHA_256"}
    made = service.made("user/key-admin", "POST", "/v1/keys", body)
    assert (made["algorithm"], made["algorithms"]) == ("RSASSA_PSS_SHA_256", ["RSASSA_PSS_SHA_256"])


def test_every_spec_is_known_by_its_aws_name() -> None:
    assert set(KEY_SPECS) == {
        *("RSA_2048", "RSA_3072", "RSA_4096", "ECC_NIST_P256", "ECC_NIST_P384", "ECC_NIST_P521"),
        *("ECC_SECG_P256K1", "ECC_NIST_EDWARDS25519", "SYMMETRIC_DEFAULT"),
        *("HMAC_224", "HMAC_256", "HMAC_384", "HMAC_512"),
        *("ML_DSA_44", "ML_DSA_65", "ML_DSA_87", "ML_KEM_768", "ML_KEM_1024"),
    }


def test_users_and_administrators_are_short_for_a_policy(service: ServiceInProcess) -> None:
    short = {**GENERAL, "users": ["role/ci"], "administrators": ["user/other-key-admin"]}
    long = {**GENERAL, "policy": {"users": ["role/ci"], "administrators": ["user/other-key-admin"]}}
    for body in (short, long):
        made = service.made("user/key-admin", "POST", "/v1/keys", body)
        policy = service.made("user/other-key-admin", "GET", f"/v1/keys/{made['id']}/policy")
        assert [statement["Sid"] for statement in policy.pop("policy")["Statement"]] == [
            "KeyAdministrators",
            "KeyUsers",
        ]
        assert policy == {
            "short_form": True,
            "administrators": ["user/key-admin", "user/other-key-admin"],
            "users": ["role/ci"],
            "revision": made["policy_revision"],
        }


def test_the_maker_administers_what_it_makes_and_may_say_so(service: ServiceInProcess) -> None:
    made = service.made("user/key-admin", "POST", "/v1/keys", {**GENERAL, "administrators": ["user/key-admin"]})
    policy = service.made("user/key-admin", "GET", f"/v1/keys/{made['id']}/policy")
    assert (policy["administrators"], policy["users"]) == (["user/key-admin"], [])


def test_formats_keep_their_order_and_stand_once(service: ServiceInProcess) -> None:
    body = {**ARTIFACT, "formats": ["raw", "cms", "raw"]}
    assert service.made("user/key-admin", "POST", "/v1/keys", body)["formats"] == ["raw", "cms"]
