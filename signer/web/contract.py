"""What each call answers, and an example of what is asked and answered: for `/openapi.json`, by method and path.

Examples are real: the tests send each of them to a service and hold what it answers against the answer written here.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from signer.web import access_answers, answers

if TYPE_CHECKING:
    from collections.abc import Mapping

_MOMENT: Final = "2026-03-01T09:30:00Z"
_KEY_ID: Final = "0b7e5b4e-6b0e-4f0e-9a55-3f7d9a2f6c11"
_KID: Final = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
_REQUEST_ID: Final = "4b0c6f7d1a2e4f5b8c9d0e1f2a3b4c5d"

# Parameters of paths: what stands for them in examples, and what they mean.
PARAMETERS: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "key": ("release", "a key's alias or id"),
        "kind": ("role", "`user` or `role`"),
        "name": ("ci", "the name without its kind"),
        "credential": ("3f2a9c04d1be", "a token's `id`, as lists and records show it"),
        "issuer": ("default", "an issuer's name"),
        "grant": ("9d1f6a52-6f0c-4f7e-8a55-0c7d9a2f6c22", "a grant's id"),
        "policy": ("own-network", "the name of an identity's policy"),
        "revision": ("1", "the number of a version of a key's policy"),
    }
)


@dataclass(frozen=True, slots=True)
class Contract:
    """Beyond what an `Endpoint` says. `answer` None: no JSON of a fixed shape. `example` None: nothing worth showing.
    `request` None: no body, or an empty one. `key`: the example's key, where it is not `release`."""

    answer: type[Any] | None = None
    example: object = None
    request: Mapping[str, object] | None = None
    key: str | None = None


def _made(**members: object) -> dict[str, object]:
    common = {"key_id": _KEY_ID, "key_version": 1, "algorithm": "ECDSA_SHA_256", "request_id": _REQUEST_ID}
    return {"results": [common | members]}


_PRINCIPAL: Final = {
    "name": "role/ci",
    "duty": "key-user",
    "state": "enabled",
    "enabled_until": None,
    "created_at": _MOMENT,
    "created_by": "user/admin",
}
_IN_A_YEAR: Final = "2027-03-01T09:30:00Z"
_TOKEN: Final = {
    "id": "3f2a9c04d1be",
    "kind": "token",
    "label": "pipeline",
    "state": "enabled",
    "created_at": _MOMENT,
    "created_by": "role/ci",
    "expires_at": _IN_A_YEAR,
}
_ISSUER: Final = {
    "name": "shop",
    "url": "https://id.shop.example",
    "entity_id": "https://id.shop.example",
    "jwks_uri": None,
    "authorization_endpoint": None,
    "token_endpoint": None,
    "sign_on_url": None,
    "created_at": _MOMENT,
}
_CERTIFICATE: Final = {
    "serial": "1b9d3c0e5f7a48269c1d2e3f405162738",
    "origin": "built-in",
    "not_before": _MOMENT,
    "not_after": "2027-03-01T09:30:00Z",
    "revoked_at": None,
    "revocation_reason": None,
}
_CERTIFIED: Final = {"key_id": _KEY_ID, "key_version": 1, **_CERTIFICATE}
_POLICY_DOCUMENT: Final[dict[str, object]] = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Sid": "Administration",
            "Effect": "Allow",
            "Principal": {"AWS": "arn:aws:iam::000000000000:user/key-admin"},
            "Action": [
                *("kms:Describe*", "kms:Explain*", "kms:Get*", "kms:List*", "kms:Put*"),
                *("kms:Enable*", "kms:Disable*", "kms:Rotate*", "kms:*Deletion", "kms:*Certificate", "kms:*Grant"),
            ],
            "Resource": "*",
        },
        {
            "Sid": "ReleasesOfOneRepository",
            "Effect": "Allow",
            "Principal": {"AWS": "arn:aws:iam::000000000000:role/ci"},
            "Action": ["kms:DescribeKey", "kms:SignArtifact"],
            "Resource": "*",
            "Condition": {"StringEquals": {"sealmark:SigningContext:repository": "shop/app"}},
        },
    ],
}
_SHOWN_POLICY: Final = {
    "policy": _POLICY_DOCUMENT,
    "administrators": ["user/key-admin"],
    "users": ["role/ci"],
    "short_form": False,
    "revision": 1,
}
_VERSION: Final = {
    "revision": 1,
    "created_at": _MOMENT,
    "created_by": "user/key-admin",
    "reason": "the key was made",
}
_IDENTITY_DOCUMENT: Final[dict[str, object]] = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Sid": "OwnNetworkAlone",
            "Effect": "Deny",
            "Action": "kms:*",
            "Resource": "*",
            "Condition": {"NotIpAddress": {"aws:SourceIp": ["10.0.0.0/8", "127.0.0.0/8"]}},
        }
    ],
}
_IDENTITY_POLICY: Final = {
    "name": "own-network",
    "revision": 1,
    "changed_at": _MOMENT,
    "changed_by": "user/admin",
    "reason": "CI runs on our own network alone",
}
_NEW_GRANT: Final[dict[str, object]] = {
    "grantee": "role/ci",
    "operations": ["DescribeKey", "RetireGrant", "SignArtifact"],
    "constraints": {"context_subset": {"repository": "shop/app"}},
    "name": "nightly",
    "retiring": "user/key-admin",
}
_GRANT: Final[dict[str, object]] = {
    "id": "9d1f6a52-6f0c-4f7e-8a55-0c7d9a2f6c22",
    "key_id": _KEY_ID,
    **_NEW_GRANT,
    "state": "active",
    "created_at": _MOMENT,
    "created_by": "user/key-admin",
    "ended_at": None,
    "ended_by": None,
}
_ENDED_GRANT: Final = {**_GRANT, "ended_at": _MOMENT, "ended_by": "user/key-admin"}
_KEY: Final[dict[str, object]] = {
    "id": _KEY_ID,
    "arn": f"arn:aws:kms:us-east-1:000000000000:key/{_KEY_ID}",
    "alias": "release",
    "spec": "ECC_NIST_P256",
    "purpose": "artifact",
    "algorithm": "ECDSA_SHA_256",
    "algorithms": ["ECDSA_SHA_256"],
    "required_digest": "sha256",
    "formats": ["cms", "raw"],
    "domain": "default",
    "protection": "hsm",
    "storage": "wrapped",
    "token": {"manufacturer": "SoftHSM project", "model": "SoftHSM v2", "serial": "6b1f0c9ad1e7a3c2"},
    "state": "enabled",
    "description": "",
    "published": True,
    "created_at": _MOMENT,
    "created_by": "user/key-admin",
    "deletion_at": None,
    "policy_revision": 1,
    "versions": [
        {
            "version": 1,
            "state": "active",
            "created_at": _MOMENT,
            "activate_at": _MOMENT,
            "kid": _KID,
            "revoked_at": None,
            "revocation_reason": None,
            "certificate": _CERTIFICATE,
        }
    ],
}
_DIGEST: Final = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"
_PEM: Final = "-----BEGIN CERTIFICATE-----\nMIIB…\n-----END CERTIFICATE-----\n"
_DESCRIBED: Final = Contract(answers.KeyDescription, _KEY)
_KEY_SET: Final = Contract(
    answers.KeySet,
    {"keys": [{"kty": "EC", "crv": "P-256", "x": "…", "y": "…", "kid": _KID, "use": "sig", "alg": "ES256"}]},
)
_DISCOVERY: Final = Contract(
    answers.Discovery,
    {
        "issuer": "https://id.example",
        "jwks_uri": "https://id.example/jwks.json",
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
    },
)

INSTALLATION: Final = "PUT /v1/keys/<key>/certificate"
CONTRACTS: Final[Mapping[str, Contract]] = MappingProxyType(
    {
        "GET /healthz": Contract(answers.Status, {"status": "alive"}),
        "GET /readyz": Contract(answers.Status, {"status": "ready"}),
        "GET /v1/whoami": Contract(
            answers.Me,
            {
                "name": "role/ci",
                "duty": "key-user",
                "credential": "bearer:3f2a9c04d1be",
                "kind": "token",
                "expires_at": _IN_A_YEAR,
            },
        ),
        "POST /v1/principals": Contract(
            answers.MadePrincipal,
            {"name": "role/ci", "duty": "key-user", "enrolment_code": "sme_…", "expires_at": _MOMENT},
            {"name": "role/ci", "duty": "key-user"},
        ),
        "GET /v1/principals": Contract(answers.Principals, {"principals": [_PRINCIPAL], "next_cursor": None}),
        "GET /v1/principals/<kind>/<name>": Contract(answers.Principal, _PRINCIPAL),
        "DELETE /v1/principals/<kind>/<name>": Contract(
            answers.DeletedPrincipal, {"name": "role/ci", "state": "deleted"}
        ),
        "POST /v1/principals/<kind>/<name>/disable": Contract(
            answers.Principal, {**_PRINCIPAL, "state": "disabled"}
        ),
        "POST /v1/principals/<kind>/<name>/enable": Contract(answers.Principal, _PRINCIPAL),
        "PUT /v1/principals/<kind>/<name>/duty": Contract(
            answers.Principal, {**_PRINCIPAL, "duty": "auditor"}, {"duty": "auditor"}
        ),
        "POST /v1/principals/<kind>/<name>/enrolments": Contract(
            answers.MadeEnrolment,
            {"name": "role/ci", "enrolment_code": "sme_…", "expires_at": _MOMENT, "revoked_tokens": 1},
            {"revoke_tokens": True},
        ),
        "POST /v1/principals/<kind>/<name>/tokens": Contract(
            answers.MadeApiToken,
            {"id": "3f2a9c04d1be", "token": "smk_…", "label": "pipeline", "expires_at": _IN_A_YEAR},
            {"label": "pipeline", "days": 90},
        ),
        "GET /v1/principals/<kind>/<name>/tokens": Contract(
            answers.ApiTokens, {"tokens": [_TOKEN], "next_cursor": None}
        ),
        "DELETE /v1/principals/<kind>/<name>/tokens/<credential>": Contract(
            answers.RevokedApiToken, {"id": "3f2a9c04d1be", "state": "revoked"}
        ),
        "POST /v1/enrolments": Contract(
            answers.Enrolled,
            {"name": "role/ci", "token": "smk_…", "expires_at": _IN_A_YEAR},
            {"code": "sme_the-code-that-was-handed-over"},
        ),
        "POST /v1/keys": Contract(
            answers.KeyDescription,
            _KEY,
            {
                "alias": "release",
                "spec": "ECC_NIST_P256",
                "purpose": "artifact",
                "formats": ["cms", "raw"],
                "users": ["role/ci"],
            },
        ),
        "GET /v1/keys": Contract(answers.Keys, {"keys": [_KEY], "next_cursor": None}),
        "GET /v1/keys/<key>": _DESCRIBED,
        "POST /v1/keys/<key>/rotate": Contract(answers.KeyDescription, _KEY, {"now": True}),
        "POST /v1/keys/<key>/disable": _DESCRIBED,
        "POST /v1/keys/<key>/enable": _DESCRIBED,
        "POST /v1/keys/<key>/schedule-deletion": Contract(answers.KeyDescription, _KEY, {"days": 30}),
        "POST /v1/keys/<key>/cancel-deletion": _DESCRIBED,
        "GET /v1/keys/<key>/grants": Contract(access_answers.Grants, {"grants": [_GRANT], "next_cursor": None}),
        "GET /v1/keys/<key>/policy": Contract(answers.Policy, _SHOWN_POLICY),
        "PUT /v1/keys/<key>/policy": Contract(answers.Policy, {**_SHOWN_POLICY, "revision": 2}, _POLICY_DOCUMENT),
        "POST /v1/keys/<key>/signatures": Contract(
            answers.MadeSignatures,
            _made(signature="MEUCIQD…"),
            {"message": "aGVsbG8K", "context": {"reason": "handshake"}},
            key="device",
        ),
        "POST /v1/keys/<key>/artifacts": Contract(
            answers.MadeArtifacts,
            _made(name="app.tar.gz", signatures={"cms": "MIIE…", "raw": "MEUCIQD…"}),
            {
                "artifacts": [{"name": "app.tar.gz", "size": 3, "digests": {"sha256": _DIGEST}}],
                "formats": ["cms", "raw"],
                "context": {"repository": "shop/app", "commit": "4f2a91c"},
            },
        ),
        "POST /v1/keys/<key>/jwts": Contract(
            answers.MadeTokens,
            _made(token="eyJhbGciOiJFUzI1NiIsImtpZCI6…"),
            {"claims": {"sub": "alice", "roles": ["reader"]}, "ttl": 300},
            key="tokens",
        ),
        "POST /v1/keys/<key>/assertions": Contract(
            answers.MadeResponses,
            _made(response="PHNhbWxwOlJlc3BvbnNlIC…"),
            {
                "subject": "alice@example.com",
                "audience": "https://sp.example",
                "recipient": "https://sp.example/acs",
                "attributes": {"groups": ["staff", "release"]},
            },
            key="sso",
        ),
        "POST /v1/keys/<key>/grants": Contract(access_answers.Grant, _GRANT, _NEW_GRANT),
        "POST /v1/keys/<key>/grants/<grant>/retire": Contract(
            access_answers.Grant, {**_ENDED_GRANT, "state": "retired"}
        ),
        "DELETE /v1/keys/<key>/grants/<grant>": Contract(access_answers.Grant, {**_ENDED_GRANT, "state": "revoked"}),
        "GET /v1/keys/<key>/policy/versions": Contract(
            access_answers.PolicyVersions, {"versions": [_VERSION], "next_cursor": None}
        ),
        "GET /v1/keys/<key>/policy/versions/<revision>": Contract(
            access_answers.PolicyVersion, {**_VERSION, "policy": _POLICY_DOCUMENT}
        ),
        "POST /v1/keys/<key>/policy/versions/<revision>/restore": Contract(
            answers.Policy, {**_SHOWN_POLICY, "revision": 3}, {"reason": "the last change broke the nightly build"}
        ),
        "PUT /v1/principals/<kind>/<name>/policies/<policy>": Contract(
            access_answers.IdentityPolicy,
            {**_IDENTITY_POLICY, "policy": _IDENTITY_DOCUMENT},
            {"policy": _IDENTITY_DOCUMENT, "reason": "CI runs on our own network alone"},
        ),
        "GET /v1/principals/<kind>/<name>/policies": Contract(
            access_answers.IdentityPolicies,
            {
                "duty": {"name": "key-user", "actions": ["kms:DescribeKey", "kms:SignArtifact"]},
                "policies": [_IDENTITY_POLICY],
            },
        ),
        "GET /v1/principals/<kind>/<name>/policies/<policy>": Contract(
            access_answers.IdentityPolicy, {**_IDENTITY_POLICY, "policy": _IDENTITY_DOCUMENT}
        ),
        "GET /v1/principals/<kind>/<name>/policy-versions": Contract(
            access_answers.IdentityPolicyVersions,
            {
                "versions": [{**_VERSION, "name": "own-network", "policy": _IDENTITY_DOCUMENT}],
                "next_cursor": None,
            },
        ),
        "DELETE /v1/principals/<kind>/<name>/policies/<policy>": Contract(
            access_answers.DeletedPolicy,
            {"name": "own-network", "state": "deleted"},
            {"reason": "CI moved"},
        ),
        "POST /v1/issuers": Contract(
            answers.Issuer, _ISSUER, {"name": "shop", "url": "https://id.shop.example"}
        ),
        "GET /v1/issuers": Contract(answers.Issuers, {"issuers": [_ISSUER]}),
        "GET /v1/domains": Contract(
            answers.Domains, {"domains": [{"name": "default", "version": 1, "created_at": _MOMENT}]}
        ),
        "GET /issuers/<issuer>/jwks.json": _KEY_SET,
        "GET /.well-known/jwks.json": _KEY_SET,
        "GET /issuers/<issuer>/.well-known/openid-configuration": _DISCOVERY,
        "GET /.well-known/openid-configuration": _DISCOVERY,
        "GET /v1/keys/<key>/public-key": Contract(
            example="-----BEGIN PUBLIC KEY-----\nMFkw…\n-----END PUBLIC KEY-----\n"
        ),
        "GET /v1/keys/<key>/certificate": Contract(example=_PEM),
        "POST /v1/keys/<key>/csr": Contract(
            answers.CertificateRequested,
            {"csr": "-----BEGIN CERTIFICATE REQUEST-----\nMIIB…\n-----END CERTIFICATE REQUEST-----\n"},
            {"subject": "CN=release,O=Example"},
        ),
        INSTALLATION: Contract(answers.VersionCertificate, {**_CERTIFIED, "origin": "installed"}, {"chain": _PEM}),
        "POST /v1/keys/<key>/certificate/renew": Contract(answers.VersionCertificate, _CERTIFIED, {"days": 90}),
        "POST /v1/keys/<key>/certificate/revoke": Contract(
            answers.Revoked,
            {
                "key_id": _KEY_ID,
                "key_version": 1,
                "reason": "superseded",
                "revoked_at": _MOMENT,
                "version_revoked": False,
                "certificates": [{"serial": str(_CERTIFICATE["serial"]), "origin": "built-in"}],
            },
            {"reason": "superseded"},
        ),
        "GET /v1/ca": Contract(example=_PEM),
    }
)  # fmt: skip


def contract_of(method: str, path: str) -> Contract:
    """The contract of a route, in Flask's form; an empty one where nothing is written."""
    return CONTRACTS.get(f"{method} {path}", Contract())
