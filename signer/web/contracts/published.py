"""Contracts of the calls about what is published, and the service itself."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from signer.web.answers import published as published_answers
from signer.web.contracts.contract import Contract
from signer.web.contracts.examples import KID, MOMENT, PEM

_ISSUER: Final = {
    "name": "shop",
    "url": "https://id.shop.example",
    "entity_id": "https://id.shop.example",
    "jwks_uri": None,
    "authorization_endpoint": None,
    "token_endpoint": None,
    "sign_on_url": None,
    "created_at": MOMENT,
}
_KEY_SET: Final = Contract(
    published_answers.KeySet,
    {"keys": [{"kty": "EC", "crv": "P-256", "x": "…", "y": "…", "kid": KID, "use": "sig", "alg": "ES256"}]},
)
_DISCOVERY: Final = Contract(
    published_answers.Discovery,
    {
        "issuer": "https://id.example",
        "jwks_uri": "https://id.example/jwks.json",
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
    },
)

PUBLISHED: Final[Mapping[str, Contract]] = MappingProxyType(
    {
        "GET /healthz": Contract(published_answers.Status, {"status": "alive"}),
        "GET /readyz": Contract(
            published_answers.Ready,
            {
                "status": "ready",
                "parts": {
                    **{name: {"status": "ready"} for name in ("database", "hsm", "audit", "configuration")},
                    "certificates": {"status": "ready"},
                },
            },
        ),
        "POST /v1/issuers": Contract(
            published_answers.Issuer, _ISSUER, {"name": "shop", "url": "https://id.shop.example"}
        ),
        "GET /v1/issuers": Contract(published_answers.Issuers, {"issuers": [_ISSUER]}),
        "GET /v1/domains": Contract(
            published_answers.Domains,
            {"domains": [{"name": "default", "version": 1, "created_at": MOMENT, "home_region": None}]},
        ),
        "GET /issuers/<issuer>/jwks.json": _KEY_SET,
        "GET /.well-known/jwks.json": _KEY_SET,
        "GET /issuers/<issuer>/.well-known/openid-configuration": _DISCOVERY,
        "GET /.well-known/openid-configuration": _DISCOVERY,
        "GET /v1/keys/<key>/public-key": Contract(
            example="-----BEGIN PUBLIC KEY-----\nMFkw…\n-----END PUBLIC KEY-----\n"
        ),
        "GET /v1/keys/<key>/certificate": Contract(example=PEM),
        "GET /v1/ca": Contract(example=PEM),
    }
)  # fmt: skip
