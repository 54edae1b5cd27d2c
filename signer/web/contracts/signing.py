"""Contracts of the calls about signing calls."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from signer.web.answers import signing as signing_answers
from signer.web.contracts.contract import Contract
from signer.web.contracts.examples import DIGEST, KEY_ID, PROOF

_REQUEST_ID: Final = "4b0c6f7d1a2e4f5b8c9d0e1f2a3b4c5d"


def _made(**members: object) -> dict[str, object]:
    common = {"key_id": KEY_ID, "key_version": 1, "algorithm": "ECDSA_SHA_256", "request_id": _REQUEST_ID}
    return {"results": [common | members | {"proof": PROOF}]}


SIGNING: Final[Mapping[str, Contract]] = MappingProxyType(
    {
        "POST /v1/keys/<key>/signatures": Contract(
            signing_answers.MadeSignatures,
            _made(signature="MEUCIQD…"),
            {"message": "aGVsbG8K", "context": {"reason": "handshake"}},
            key="device",
        ),
        "POST /v1/keys/<key>/artifacts": Contract(
            signing_answers.MadeArtifacts,
            _made(name="app.tar.gz", signatures={"cms": "MIIE…", "raw": "MEUCIQD…"}),
            {
                "artifacts": [{"name": "app.tar.gz", "size": 3, "digests": {"sha256": DIGEST}}],
                "formats": ["cms", "raw"],
                "context": {"repository": "shop/app", "commit": "4f2a91c"},
            },
        ),
        "POST /v1/keys/<key>/jwts": Contract(
            signing_answers.MadeTokens,
            _made(token="eyJhbGciOiJFUzI1NiIsImtpZCI6…"),
            {"claims": {"sub": "alice", "roles": ["reader"]}, "ttl": 300},
            key="tokens",
        ),
        "POST /v1/keys/<key>/assertions": Contract(
            signing_answers.MadeResponses,
            _made(response="PHNhbWxwOlJlc3BvbnNlIC…"),
            {
                "subject": "alice@example.com",
                "audience": "https://sp.example",
                "recipient": "https://sp.example/acs",
                "attributes": {"groups": ["staff", "release"]},
            },
            key="sso",
        ),
    }
)  # fmt: skip
