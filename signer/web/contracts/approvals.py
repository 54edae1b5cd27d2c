"""Contracts of the calls about approvals."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from signer.web.answers import approvals as approvals_answers
from signer.web.contracts.contract import Contract
from signer.web.contracts.examples import DIGEST, KEY_ID, MOMENT

_REQUIREMENT: Final = {
    "approvers": ["user/alice", "user/bob", "user/carol"],
    "needed": 2,
    "window_seconds": 86400,
    "signed": False,
}
_RULE: Final = {
    "key_id": KEY_ID,
    "revision": 1,
    "sign": _REQUIREMENT,
    "policy": _REQUIREMENT,
    "rotation": None,
    "deletion": None,
}
_HELD: Final = {
    "artifacts": [{"digests": {"sha256": DIGEST}, "name": "app.tar.gz", "size": 3}],
    "context": {"commit": "4f2a91c"},
    "formats": ["cms"],
}
_VOTE: Final[dict[str, object]] = {
    "approver": "user/alice",
    "vote": "approve",
    "reason": "",
    "voted_at": MOMENT,
    "credential_kind": "token",
}
_SHOWN_SHA256: Final = "9f64a747e1b97f131fabb6b447296c9b6f0201e79fb3c5356e6c77e89b6a806a"
_APPROVAL: Final[dict[str, object]] = {
    "id": "01953f5a-7c1e-7d3a-9b42-5e1f0a6c8d21",
    "key_id": KEY_ID,
    "operation": "artifacts",
    "requester": "role/ci",
    "request": _HELD,
    "reason": "release 1.2.0",
    "bound": {"key_version": 1, "rule_revision": 1},
    "created_at": MOMENT,
    "expires_at": "2026-03-02T09:30:00Z",
    "request_sha256": _SHOWN_SHA256,
    "key": {"alias": "guarded", "arn": f"arn:aws:kms:us-east-1:000000000000:key/{KEY_ID}", "purpose": "artifact"},
    "state": "open",
    "obstacle": "not_approved",
    "needed": 2,
    "requirements": [
        {
            "approvers": ["user/alice", "user/bob", "user/carol"],
            "needed": 2,
            "signed": False,
            "approved_by": ["user/alice"],
        }
    ],
    "approved_by": ["user/alice"],
    "rejected_by": [],
    "votes": [_VOTE],
    "closed_at": None,
    "closed_by": None,
}
_UNTOUCHED: Final[dict[str, object]] = {**_APPROVAL, "approved_by": [], "votes": []}
_REJECTED: Final[dict[str, object]] = {
    **_APPROVAL,
    "approved_by": [],
    "rejected_by": ["user/alice"],
    "votes": [{**_VOTE, "vote": "reject", "reason": "this commit was not reviewed"}],
}
_WITHDRAWN: Final[dict[str, object]] = {
    **_APPROVAL,
    "state": "withdrawn",
    "obstacle": "withdrawn",
    "closed_at": MOMENT,
    "closed_by": "role/ci",
}

APPROVALS: Final[Mapping[str, Contract]] = MappingProxyType(
    {
        "GET /v1/keys/<key>/approval-rule": Contract(approvals_answers.ApprovalRule, _RULE, key="guarded"),
        "PUT /v1/keys/<key>/approval-rule": Contract(
            approvals_answers.ApprovalRule, _RULE, {"sign": _REQUIREMENT, "policy": _REQUIREMENT}, key="guarded"
        ),
        "DELETE /v1/keys/<key>/approval-rule": Contract(
            approvals_answers.ApprovalRule, {**_RULE, "revision": 2, "sign": None, "policy": None}, key="guarded"
        ),
        "POST /v1/keys/<key>/approval-requests": Contract(
            approvals_answers.ApprovalRequest,
            _UNTOUCHED,
            {"operation": "artifacts", "request": _HELD, "reason": "release 1.2.0"},
            key="guarded",
        ),
        "GET /v1/approval-requests": Contract(
            approvals_answers.ApprovalRequests, {"approval_requests": [_APPROVAL], "next_cursor": None}
        ),
        "GET /v1/approval-requests/<request>": Contract(approvals_answers.ApprovalRequest, _APPROVAL),
        "POST /v1/approval-requests/<request>/approve": Contract(
            approvals_answers.ApprovalRequest, _APPROVAL, {"request_sha256": _SHOWN_SHA256}
        ),
        "POST /v1/approval-requests/<request>/reject": Contract(
            approvals_answers.ApprovalRequest, _REJECTED, {"reason": "this commit was not reviewed"}
        ),
        "POST /v1/approval-requests/<request>/withdraw": Contract(approvals_answers.ApprovalRequest, _WITHDRAWN),
    }
)  # fmt: skip
