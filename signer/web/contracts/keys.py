"""Contracts of the calls about keys and their certificates."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from signer.web.answers import keys as keys_answers
from signer.web.contracts.contract import Contract
from signer.web.contracts.examples import KEY_ID, KID, MOMENT, MULTI_REGION_KEY_ID, PEM

_CERTIFICATE: Final = {
    "serial": "1b9d3c0e5f7a48269c1d2e3f405162738",
    "origin": "built-in",
    "not_before": MOMENT,
    "not_after": "2027-03-01T09:30:00Z",
    "revoked_at": None,
    "revocation_reason": None,
}
_CERTIFIED: Final = {"key_id": KEY_ID, "key_version": 1, **_CERTIFICATE}
_KEY: Final[dict[str, object]] = {
    "id": KEY_ID,
    "arn": f"arn:aws:kms:us-east-1:000000000000:key/{KEY_ID}",
    "alias": "release",
    "aliases": ["release"],
    "tags": {"team": "release"},
    "spec": "ECC_NIST_P256",
    "purpose": "artifact",
    "algorithm": "ECDSA_SHA_256",
    "algorithms": ["ECDSA_SHA_256"],
    "required_digest": "sha256",
    "formats": ["cms", "raw"],
    "domain": "default",
    "multi_region": None,
    "protection": "hsm",
    "origin": "AWS_KMS",
    "storage": "wrapped",
    "token": {"manufacturer": "SoftHSM project", "model": "SoftHSM v2", "serial": "6b1f0c9ad1e7a3c2"},
    "state": "enabled",
    "description": "",
    "published": True,
    "created_at": MOMENT,
    "created_by": "user/key-admin",
    "deletion_at": None,
    "rotation": None,
    "policy_revision": 1,
    "versions": [
        {
            "version": 1,
            "state": "active",
            "created_at": MOMENT,
            "activate_at": MOMENT,
            "kid": KID,
            "revoked_at": None,
            "revocation_reason": None,
            "certificate": _CERTIFICATE,
        }
    ],
}
_SECRET: Final[dict[str, object]] = {
    **_KEY,
    "alias": "vault",
    "aliases": ["vault"],
    "spec": "SYMMETRIC_DEFAULT",
    "purpose": "encrypt",
    "algorithm": "SYMMETRIC_DEFAULT",
    "algorithms": ["SYMMETRIC_DEFAULT"],
    "required_digest": None,
    "formats": [],
    "published": False,
    "versions": [
        {
            "version": 1,
            "state": "active",
            "created_at": MOMENT,
            "activate_at": MOMENT,
            "kid": None,
            "revoked_at": None,
            "revocation_reason": None,
            "certificate": None,
        }
    ],
}
_ROTATED: Final = {**_SECRET, "rotation": {"days": 90, "next_at": "2027-03-01T09:30:00Z"}}
_REPLICATED: Final = {
    **_KEY,
    "id": MULTI_REGION_KEY_ID,
    "arn": f"arn:aws:kms:us-east-1:000000000000:key/{MULTI_REGION_KEY_ID}",
    "domain": "global",
    "multi_region": {
        "type": "primary",
        "primary": {
            "region": "us-east-1",
            "arn": f"arn:aws:kms:us-east-1:000000000000:key/{MULTI_REGION_KEY_ID}",
        },
        "replicas": [{"region": "eu-west-1", "arn": f"arn:aws:kms:eu-west-1:000000000000:key/{MULTI_REGION_KEY_ID}"}],
        "making": [],
        "moving_to": None,
    },
}
_STATEMENT: Final = {
    "about": "gone",
    "account": "000000000000",
    "sender": "eu-west-1",
    "receiver": "us-east-1",
    "serial": 7,
    "key_id": MULTI_REGION_KEY_ID,
    "domain": "global",
    "seal": "rJ0Cq0mXc0yNnQv5b2YxT8m1o9l4f3w6h7k5d2s1a8A=",
}
_DESCRIBED: Final = Contract(keys_answers.KeyDescription, _KEY)
INSTALLATION: Final = "PUT /v1/keys/<key>/certificate"

KEYS: Final[Mapping[str, Contract]] = MappingProxyType(
    {
        "POST /v1/keys": Contract(
            keys_answers.KeyDescription,
            _KEY,
            {
                "alias": "release",
                "spec": "ECC_NIST_P256",
                "purpose": "artifact",
                "formats": ["cms", "raw"],
                "users": ["role/ci"],
            },
        ),
        "GET /v1/keys": Contract(keys_answers.Keys, {"keys": [_KEY], "next_cursor": None}),
        "GET /v1/keys/<key>": _DESCRIBED,
        "POST /v1/keys/<key>/rotate": Contract(keys_answers.KeyDescription, _KEY, {"now": True}),
        "POST /v1/keys/<key>/disable": _DESCRIBED,
        "POST /v1/keys/<key>/enable": _DESCRIBED,
        "POST /v1/keys/<key>/schedule-deletion": Contract(keys_answers.KeyDescription, _KEY, {"days": 30}),
        "POST /v1/keys/<key>/cancel-deletion": _DESCRIBED,
        "POST /v1/keys/<key>/aliases": Contract(keys_answers.KeyDescription, _KEY, {"alias": "app/release"}),
        "POST /v1/keys/<key>/aliases/move": Contract(keys_answers.KeyDescription, _KEY, {"alias": "app/release"}),
        "POST /v1/keys/<key>/aliases/remove": Contract(keys_answers.KeyDescription, _KEY, {"alias": "app/release"}),
        "POST /v1/keys/<key>/tags": Contract(keys_answers.KeyDescription, _KEY, {"tags": {"team": "release"}}),
        "POST /v1/keys/<key>/tags/remove": Contract(keys_answers.KeyDescription, _KEY, {"names": ["team"]}),
        "PUT /v1/keys/<key>/description": Contract(
            keys_answers.KeyDescription, _KEY, {"description": "signs releases"}
        ),
        "PUT /v1/keys/<key>/rotation": Contract(
            keys_answers.KeyDescription, _ROTATED, {"days": 90}, key="vault"
        ),
        "DELETE /v1/keys/<key>/rotation": Contract(keys_answers.KeyDescription, _SECRET, key="vault"),
        "POST /v1/keys/<key>/replicas": Contract(
            keys_answers.KeyDescription, _REPLICATED, {"region": "eu-west-1", "users": ["role/ci"]}
        ),
        "POST /v1/keys/<key>/primary-region": Contract(
            keys_answers.KeyDescription, _REPLICATED, {"region": "eu-west-1"}
        ),
        "POST /v1/replicas": Contract(
            keys_answers.ReplicaTaken,
            {"key_id": MULTI_REGION_KEY_ID, "region": "us-east-1", "state": "enabled"},
            _STATEMENT,
        ),
        "POST /v1/keys/<key>/csr": Contract(
            keys_answers.CertificateRequested,
            {"csr": "-----BEGIN CERTIFICATE REQUEST-----\nMIIB…\n-----END CERTIFICATE REQUEST-----\n"},
            {"subject": "CN=release,O=Example"},
        ),
        INSTALLATION: Contract(keys_answers.VersionCertificate, {**_CERTIFIED, "origin": "installed"}, {"chain": PEM}),
        "POST /v1/keys/<key>/certificate/renew": Contract(keys_answers.VersionCertificate, _CERTIFIED, {"days": 90}),
        "POST /v1/keys/<key>/certificate/revoke": Contract(
            keys_answers.Revoked,
            {
                "key_id": KEY_ID,
                "key_version": 1,
                "reason": "superseded",
                "revoked_at": MOMENT,
                "version_revoked": False,
                "certificates": [{"serial": str(_CERTIFICATE["serial"]), "origin": "built-in"}],
            },
            {"reason": "superseded"},
        ),
    }
)  # fmt: skip
