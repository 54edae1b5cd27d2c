"""Approvals that must be signed requests (RFC 9421), with credentials that only the approvers themselves can add."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.asymmetric import ed25519
from sqlalchemy import select

from keystore.db.schema import APPROVAL_VOTES
from tests.signer.authn.by_hand import Signed, public_pem
from tests.signer.guarded import APPROVERS, QUORUM, approvers_there, guarded_key
from tests.signer.web.refusal import assert_refused

if TYPE_CHECKING:
    from werkzeug.test import TestResponse

    from tests.signer.service import ServiceInProcess

ALICE, BOB, _ = APPROVERS
RULE: Final = {"sign": {**QUORUM, "signed": True}}


def new_key(service: ServiceInProcess, name: str, who: str) -> TestResponse:
    body = {"match": "request-key", "public_key": public_pem(ed25519.Ed25519PrivateKey.generate())}
    return service.call(who, "POST", f"/v1/principals/{name}/public-credentials", body)


def test_a_quorum_of_signed_approvals(own_service: ServiceInProcess) -> None:
    approvers_there(own_service)
    keys = {name: ed25519.Ed25519PrivateKey.generate() for name in (ALICE, BOB)}
    ids = {}
    for name, key in keys.items():  # before they are approvers an administrator may still introduce them
        body = {"match": "request-key", "public_key": public_pem(key)}
        made = own_service.made("user/admin", "POST", f"/v1/principals/{name}/public-credentials", body)
        ids[name] = made["id"]
    guarded = guarded_key(own_service, RULE)
    refused = assert_refused(new_key(own_service, ALICE, "user/admin"), 409, "wrong_state", "name")
    assert "approver" in refused
    request = guarded.ask()
    approval = {"request_sha256": request["request_sha256"]}
    assert_refused(guarded.about(ALICE, request, "approve", approval), 403, "policy_forbids")
    for name, key in keys.items():
        assert_refused(guarded.sign(approval=request["id"]), 403, "approval_invalid", "Sealmark-Approval")
        target = f"/v1/approval-requests/{request['id']}/approve"
        signed = Signed(key, ids[name], "POST", target, json.dumps(approval).encode())
        answer = own_service.client.post(target, data=signed.body, headers=signed.all_headers())
        assert answer.status_code == 200, answer.get_data(as_text=True)
    assert guarded.sign(approval=request["id"]).status_code == 200
    with own_service.services.keystore.database.read() as connection:
        rows = connection.execute(select(APPROVAL_VOTES).where(APPROVAL_VOTES.c.request_id == request["id"]))
        votes = {row["approver"]: row for row in rows.mappings()}
    for name in keys:  # a third party can check each of them later
        assert votes[name]["credential"] == f"signed-request:{ids[name]}"
        assert request["id"] in json.loads(votes[name]["proof"])["signature_base"]
