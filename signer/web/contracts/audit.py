"""Contracts of the calls about the audit trail."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from signer.web.answers import audit as answers
from signer.web.contracts.contract import Contract
from signer.web.contracts.examples import KEY_ID, MOMENT

_HASH: Final = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
_RECORD: Final[dict[str, object]] = {
    "v": 1,
    "time": "2026-11-25T21:40:00.123456Z",
    "kind": "decision",
    "epoch": "019abcf0-2f6d-7b1e-9a53-0c5d2e8f7a61",
    "outcome": "succeeded",
    "request_id": "4b0c6f7d1a2e4f5b8c9d0e1f2a3b4c5d",
    "principal": "role/ci",
    "credential": "token:3f2a9c04d1be",
    "source": "10.0.0.5",
    "action": "SignArtifact",
    "key_id": KEY_ID,
    "key_version": 1,
    "version_id": "1c7a0c0e-3a2b-4a59-8f0e-0a1b2c3d4e5f",
    "domain": "default",
    "algorithm": "ECDSA_SHA_256",
    "purpose": "artifact",
    "signatures": [{"digest": _HASH, "sha256": _HASH}],
    "about": {"name": "app", "size": 3, "digests": {"sha256": _HASH}},
    "context": {"repository": "shop/app"},
    "policy_revision": 1,
    "decided_by": "key policy KeyUsers",
    "intent": "019abcf0-3f6d-7b1e-9a53-0c5d2e8f7a61",
    "intent_time": "2026-11-25T21:40:00.113456Z",
    "item": 0,
    "items": 1,
}
_ENTRY: Final[dict[str, object]] = {
    "log": 1,
    "origin": "sealmark/000000000000/us-east-1/0123456789abcdef",
    "index": 17,
    "kind": "decision",
    "key_alias": "release",
    "record": _RECORD,
}
_REPORT: Final[dict[str, object]] = {
    "key_id": KEY_ID,
    "alias": "release",
    "purpose": "artifact",
    "spec": "ECC_NIST_P256",
    "state": "enabled",
    "created_at": MOMENT,
    "created_by": "user/key-admin",
    "uses": 41,
    "denied": 1,
    "failed": 0,
    "first_use": MOMENT,
    "last_use": MOMENT,
    "principals": [
        {
            "principal": "role/ci",
            "actions": [
                {
                    "action": "SignArtifact",
                    "outcome": "denied",
                    "code": "policy_forbids",
                    "count": 1,
                    "first": MOMENT,
                    "last": MOMENT,
                }
            ],
        }
    ],
    "policy_revision": 1,
    "last_policy_change": {"at": MOMENT, "by": "user/key-admin", "action": "PutKeyPolicy"},
    "last_policy_review": {"at": MOMENT, "by": "user/audrey", "action": "GetKeyPolicy"},
    "certificate": {
        "serial": "5f1c",
        "origin": "built-in",
        "not_before": MOMENT,
        "not_after": MOMENT,
        "revoked_at": None,
        "revocation_reason": None,
    },
    "last_rotation": {"version": 1, "at": MOMENT},
    "lacks": ["rotation"],
    "per": "week",
    "periods": [{"from": MOMENT, "uses": 41, "denied": 1}],
    "periods_left_out": False,
    "may_use": [{"principal": "role/ci", "by": "the key policy (KeyUsers)", "last_use": MOMENT, "idle": False}],
}
_USAGE: Final[dict[str, object]] = {
    "day": "2026-11-25",
    "principal": "role/ci",
    "key_id": KEY_ID,
    "key_alias": "release",
    "action": "SignArtifact",
    "outcome": "succeeded",
    "requests": 3,
    "items": 41,
}
_CHANGE: Final[dict[str, object]] = {
    "log": 1,
    "index": 12,
    "of": "policies",
    "time": MOMENT,
    "action": "PutKeyPolicy",
    "principal": "user/key-admin",
    "outcome": "succeeded",
    "key_id": KEY_ID,
    "key_alias": "release",
    "subject": None,
    "approval": None,
    "request_id": "4b0c6f7d1a2e4f5b8c9d0e1f2a3b4c5d",
    "detail": {"revision": 2},
    "policy": {
        "revision": 2,
        "created_at": MOMENT,
        "created_by": "user/key-admin",
        "reason": "the new pipeline",
        "policy": {"Version": "2012-10-17", "Statement": []},
    },
}

AUDIT: Final[Mapping[str, Contract]] = MappingProxyType(
    {
        "GET /v1/audit/entries": Contract(
            answers.AuditEntries, {"entries": [_ENTRY], "next_cursor": None, "log_cursor": "bG9nLjE3"}
        ),
        "GET /v1/audit/entries/<index>": Contract(
            answers.AuditEntryInFull,
            {
                **_ENTRY,
                "leaf": "eyJhbGdvcml0aG0iOiJFQ0RTQV9TSEFfMjU2In0=",
                "leaf_hash": _HASH,
                "nonce": _HASH,
                "proof": {"text": "c2sp.org/tlog-proof@v1\n", "size": 18, "cosigned": False},
            },
        ),
        "GET /v1/audit/report": Contract(
            answers.AuditReport,
            {"from": None, "to": None, "days": 90, "at": MOMENT, "keys": [_REPORT], "next_cursor": None},
        ),
        "GET /v1/usage": Contract(
            answers.UsageReport, {"from": MOMENT, "to": MOMENT, "usage": [_USAGE], "next_cursor": None}
        ),
        "GET /v1/audit/history": Contract(answers.AuditHistory, {"changes": [_CHANGE], "next_cursor": None}),
    }
)
