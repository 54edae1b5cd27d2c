"""Contracts of the calls about identities and their credentials."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from signer.web.answers import identities as identities_answers
from signer.web.contracts.contract import Contract
from signer.web.contracts.examples import MOMENT, VERSION

_PRINCIPAL: Final = {
    "name": "role/ci",
    "duty": "key-user",
    "state": "enabled",
    "enabled_until": None,
    "created_at": MOMENT,
    "created_by": "user/admin",
}
_IN_A_YEAR: Final = "2027-03-01T09:30:00Z"
_TOKEN: Final = {
    "id": "3f2a9c04d1be",
    "kind": "token",
    "label": "pipeline",
    "state": "enabled",
    "created_at": MOMENT,
    "created_by": "role/ci",
    "expires_at": _IN_A_YEAR,
}
_ACCESS_KEY: Final = {
    "access_key_id": "AKIA2S6GQ7LWB5HX4NTD",
    "principal": "role/ci",
    "temporary": False,
    "label": "pipeline",
    "state": "enabled",
    "created_at": MOMENT,
    "created_by": "role/ci",
    "expires_at": _IN_A_YEAR,
}
_PUBLIC_CREDENTIAL: Final = {
    "id": "7c1d2a5e-93b4-4d0f-8a6b-2f1e0c9d8b7a",
    "principal": "role/ci",
    "match": "request-key",
    "value": "9f2c0a4d7be15638a1c4f0e27d93b85a6e1f4c02d8b7a9350c6e1d4f2b8a7390",
    "algorithm": "ed25519",
    "public_key": "-----BEGIN PUBLIC KEY-----\nMCow…\n-----END PUBLIC KEY-----\n",
    "label": "build machine 3",
    "state": "enabled",
    "created_at": MOMENT,
    "created_by": "user/admin",
    "expires_at": None,
}
_TRUST: Final[dict[str, object]] = {
    "url": "https://token.actions.githubusercontent.com",
    "audiences": ["https://sealmark.example"],
    "mappings": [
        {"role": "role/ci", "conditions": {"repository": ["octo/app"], "ref": ["refs/tags/*", "refs/heads/main"]}}
    ],
}
_TRUSTED: Final = {
    "name": "github",
    **_TRUST,
    "jwks_url": None,
    "jwks": None,
    "algorithms": ["RS256"],
    "max_token_age": 600,
    "session_lifetime": 900,
    "revision": 1,
    "created_at": MOMENT,
    "created_by": "user/admin",
    "updated_at": MOMENT,
    "updated_by": "user/admin",
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
    "changed_at": MOMENT,
    "changed_by": "user/admin",
    "reason": "CI runs on our own network alone",
}
EXCHANGE: Final = "POST /v1/token-exchange"

IDENTITIES: Final[Mapping[str, Contract]] = MappingProxyType(
    {
        "GET /v1/whoami": Contract(
            identities_answers.Me,
            {
                "name": "role/ci",
                "duty": "key-user",
                "credential": "bearer:3f2a9c04d1be",
                "kind": "token",
                "expires_at": _IN_A_YEAR,
            },
        ),
        "POST /v1/principals": Contract(
            identities_answers.MadePrincipal,
            {"name": "role/ci", "duty": "key-user", "enrolment_code": "sme_…", "expires_at": MOMENT},
            {"name": "role/ci", "duty": "key-user"},
        ),
        "GET /v1/principals": Contract(
            identities_answers.Principals, {"principals": [_PRINCIPAL], "next_cursor": None}
        ),
        "GET /v1/principals/<kind>/<name>": Contract(identities_answers.Principal, _PRINCIPAL),
        "DELETE /v1/principals/<kind>/<name>": Contract(
            identities_answers.DeletedPrincipal, {"name": "role/ci", "state": "deleted"}
        ),
        "POST /v1/principals/<kind>/<name>/disable": Contract(
            identities_answers.Principal, {**_PRINCIPAL, "state": "disabled"}
        ),
        "POST /v1/principals/<kind>/<name>/enable": Contract(identities_answers.Principal, _PRINCIPAL),
        "PUT /v1/principals/<kind>/<name>/duty": Contract(
            identities_answers.Principal, {**_PRINCIPAL, "duty": "auditor"}, {"duty": "auditor"}
        ),
        "POST /v1/principals/<kind>/<name>/enrolments": Contract(
            identities_answers.MadeEnrolment,
            {"name": "role/ci", "enrolment_code": "sme_…", "expires_at": MOMENT, "revoked_tokens": 1},
            {"revoke_tokens": True},
        ),
        "POST /v1/principals/<kind>/<name>/tokens": Contract(
            identities_answers.MadeApiToken,
            {"id": "3f2a9c04d1be", "token": "smk_…", "label": "pipeline", "expires_at": _IN_A_YEAR},
            {"label": "pipeline", "days": 90},
        ),
        "GET /v1/principals/<kind>/<name>/tokens": Contract(
            identities_answers.ApiTokens, {"tokens": [_TOKEN], "next_cursor": None}
        ),
        "DELETE /v1/principals/<kind>/<name>/tokens/<credential>": Contract(
            identities_answers.RevokedApiToken, {"id": "3f2a9c04d1be", "state": "revoked"}
        ),
        "POST /v1/principals/<kind>/<name>/access-keys": Contract(
            identities_answers.MadeAccessKey,
            {
                "access_key_id": "AKIA2S6GQ7LWB5HX4NTD",
                "secret_access_key": "…",
                "session_token": None,
                "label": "pipeline",
                "expires_at": _IN_A_YEAR,
            },
            {"label": "pipeline", "days": 90},
        ),
        "GET /v1/principals/<kind>/<name>/access-keys": Contract(
            identities_answers.AccessKeys, {"access_keys": [_ACCESS_KEY], "next_cursor": None}
        ),
        "POST /v1/principals/<kind>/<name>/access-keys/<access_key>/disable": Contract(
            identities_answers.AccessKey, {**_ACCESS_KEY, "state": "disabled"}
        ),
        "POST /v1/principals/<kind>/<name>/access-keys/<access_key>/enable": Contract(
            identities_answers.AccessKey, _ACCESS_KEY
        ),
        "DELETE /v1/principals/<kind>/<name>/access-keys/<access_key>": Contract(
            identities_answers.AccessKey, {**_ACCESS_KEY, "state": "revoked"}
        ),
        "POST /v1/enrolments": Contract(
            identities_answers.Enrolled,
            {"name": "role/ci", "token": "smk_…", "expires_at": _IN_A_YEAR},
            {"code": "sme_the-code-that-was-handed-over"},
        ),
        "PUT /v1/principals/<kind>/<name>/policies/<policy>": Contract(
            identities_answers.IdentityPolicy,
            {**_IDENTITY_POLICY, "policy": _IDENTITY_DOCUMENT},
            {"policy": _IDENTITY_DOCUMENT, "reason": "CI runs on our own network alone"},
        ),
        "GET /v1/principals/<kind>/<name>/policies": Contract(
            identities_answers.IdentityPolicies,
            {
                "duty": {"name": "key-user", "actions": ["kms:DescribeKey", "kms:SignArtifact"]},
                "policies": [_IDENTITY_POLICY],
            },
        ),
        "GET /v1/principals/<kind>/<name>/policies/<policy>": Contract(
            identities_answers.IdentityPolicy, {**_IDENTITY_POLICY, "policy": _IDENTITY_DOCUMENT}
        ),
        "GET /v1/principals/<kind>/<name>/policy-versions": Contract(
            identities_answers.IdentityPolicyVersions,
            {
                "versions": [{**VERSION, "name": "own-network", "policy": _IDENTITY_DOCUMENT}],
                "next_cursor": None,
            },
        ),
        "DELETE /v1/principals/<kind>/<name>/policies/<policy>": Contract(
            identities_answers.DeletedPolicy,
            {"name": "own-network", "state": "deleted"},
            {"reason": "CI moved"},
        ),
        "POST /v1/principals/<kind>/<name>/public-credentials": Contract(
            identities_answers.PublicCredential,
            _PUBLIC_CREDENTIAL,
            {
                "match": "request-key",
                "public_key": "-----BEGIN PUBLIC KEY-----\n"
                "MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----\n",
                "label": "build machine 3",
            },
        ),
        "GET /v1/principals/<kind>/<name>/public-credentials": Contract(
            identities_answers.PublicCredentials, {"public_credentials": [_PUBLIC_CREDENTIAL], "next_cursor": None}
        ),
        "DELETE /v1/principals/<kind>/<name>/public-credentials/<binding>": Contract(
            identities_answers.PublicCredential, {**_PUBLIC_CREDENTIAL, "state": "revoked"}
        ),
        "POST /v1/trusted-issuers": Contract(identities_answers.TrustedIssuer, _TRUSTED, {"name": "github", **_TRUST}),
        "GET /v1/trusted-issuers": Contract(
            identities_answers.TrustedIssuers, {"trusted_issuers": [_TRUSTED], "next_cursor": None}
        ),
        "GET /v1/trusted-issuers/<trusted>": Contract(identities_answers.TrustedIssuer, _TRUSTED),
        "PUT /v1/trusted-issuers/<trusted>": Contract(
            identities_answers.TrustedIssuer, {**_TRUSTED, "revision": 2}, {**_TRUST, "algorithms": ["RS256"]}
        ),
        "DELETE /v1/trusted-issuers/<trusted>": Contract(
            identities_answers.DeletedTrustedIssuer, {"name": "github", "state": "deleted"}
        ),
        EXCHANGE: Contract(
            identities_answers.Exchanged,
            {
                "access_token": "smk_…",
                "issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
                "token_type": "Bearer",
                "expires_in": 900,
                "name": "role/ci",
            },
            {"subject_token": "eyJhbGciOiJSUzI1NiIsImtpZCI6…", "role": "role/ci"},
        ),
    }
)  # fmt: skip
