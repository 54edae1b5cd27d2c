"""`POST /` end to end: who may speak, what is answered in AWS's words; one operation of each way of the pipeline."""

from __future__ import annotations

import base64
import hashlib
import uuid
from typing import TYPE_CHECKING, Any, Final

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from keystore.access import Change
from keystore.algorithms import Purpose
from signer.kms.operations import MEDIA_TYPE
from tests.signer.guarded import enrolled

if TYPE_CHECKING:
    from werkzeug.test import TestResponse

    from tests.signer.service import ServiceInProcess

MESSAGE: Final = base64.b64encode(b"a message").decode()

DENIED: Final = (
    "User: arn:aws:iam::000000000000:role/other is not authorized to perform: kms:{operation} on this resource because "
    "the resource does not exist in this Region, no resource-based policies allow access, or a resource-based policy "
    "explicitly denies access"
)


@pytest.fixture(scope="module")
def key(service: ServiceInProcess) -> dict[str, Any]:
    made: dict[str, Any] = service.make_key(f"wire-{uuid.uuid4().hex[:8]}", purpose="general")
    return made


def refused(answer: TestResponse, name: str, status: int = 400) -> str:
    """The message of a refusal, once it is the one that it should be."""
    told = answer.get_json(force=True)
    assert (answer.status_code, told["__type"]) == (status, name), told
    assert answer.mimetype == MEDIA_TYPE
    assert answer.headers["x-amzn-ErrorType"] == name
    assert answer.headers["x-amzn-RequestId"] == answer.headers["X-Request-Id"]
    return str(told["message"])


def outcome(service: ServiceInProcess, answer: TestResponse) -> dict[str, Any]:
    """The one leaf that the call has left."""
    (leaf,) = service.outcomes(answer.headers["x-amzn-RequestId"])
    return leaf


def test_describe_key(service: ServiceInProcess, key: dict[str, Any]) -> None:
    for reference in (
        key["id"],
        key["arn"],
        f"alias/{key['alias']}",
        key["arn"].replace(f"key/{key['id']}", f"alias/{key['alias']}"),
    ):
        answer = service.kms("role/ci", "DescribeKey", {"KeyId": reference})
        assert (answer.status_code, answer.mimetype) == (200, MEDIA_TYPE)
        metadata = answer.get_json(force=True)["KeyMetadata"]
        assert (metadata["KeyId"], metadata["Arn"], metadata["KeySpec"]) == (key["id"], key["arn"], "ECC_NIST_P256")
        assert metadata["KeyUsage"] == "SIGN_VERIFY"
        assert metadata["SigningAlgorithms"] == ["ECDSA_SHA_256"]
        assert isinstance(metadata["CreationDate"], float)
        assert "DeletionDate" not in metadata
        leaf = outcome(service, answer)
        assert (leaf["action"], leaf["outcome"], leaf["principal"]) == ("DescribeKey", "succeeded", "role/ci")


@pytest.mark.parametrize("message_type", [None, "RAW", "DIGEST"])
def test_sign(service: ServiceInProcess, key: dict[str, Any], message_type: str | None) -> None:
    message = hashlib.sha256(b"a message").digest() if message_type == "DIGEST" else b"a message"
    body = {"KeyId": key["arn"], "Message": base64.b64encode(message).decode(), "SigningAlgorithm": "ECDSA_SHA_256"}
    answer = service.kms("role/ci", "Sign", body if message_type is None else {**body, "MessageType": message_type})
    made = answer.get_json(force=True)
    assert set(made) == {"KeyId", "Signature", "SigningAlgorithm"}, made
    assert (made["KeyId"], made["SigningAlgorithm"]) == (key["arn"], "ECDSA_SHA_256")
    der = service.services.keystore.get_key(key["id"]).versions[0].public_key
    public_key = serialization.load_der_public_key(der)
    assert isinstance(public_key, ec.EllipticCurvePublicKey)
    public_key.verify(base64.b64decode(made["Signature"]), b"a message", ec.ECDSA(hashes.SHA256()))
    assert outcome(service, answer)["action"] == "Sign"


def test_disable_key(service: ServiceInProcess) -> None:
    made = service.make_key(f"wire-{uuid.uuid4().hex[:8]}", purpose="general")
    answer = service.kms("user/key-admin", "DisableKey", {"KeyId": made["id"]})
    assert (answer.status_code, answer.data) == (200, b"")
    assert outcome(service, answer)["action"] == "DisableKey"
    sent = {"KeyId": made["id"], "Message": MESSAGE, "SigningAlgorithm": "ECDSA_SHA_256"}
    assert "disabled" in refused(service.kms("role/ci", "Sign", sent), "DisabledException")
    assert "alias" in refused(
        service.kms("user/key-admin", "DisableKey", {"KeyId": f"alias/{made['alias']}"}), "NotFoundException"
    )


def test_a_dry_run_signs_nothing_and_is_told_after_permission(service: ServiceInProcess, key: dict[str, Any]) -> None:
    body = {"KeyId": key["id"], "Message": MESSAGE, "SigningAlgorithm": "ECDSA_SHA_256", "DryRun": True}
    answer = service.kms("role/ci", "Sign", body)
    assert refused(answer, "DryRunOperationException") == (
        "The request would have succeeded, but the DryRun option is set."
    )
    assert service.intents(answer.headers["x-amzn-RequestId"]) == []
    refused(service.kms("role/other", "Sign", body), "AccessDeniedException")


def test_the_same_idempotency_key_gives_the_same_answer(service: ServiceInProcess, key: dict[str, Any]) -> None:
    body = {"KeyId": key["id"], "Message": MESSAGE, "SigningAlgorithm": "ECDSA_SHA_256"}
    headers = {"Idempotency-Key": uuid.uuid4().hex}
    first, second = (service.kms("role/ci", "Sign", body, headers) for _ in range(2))
    assert first.get_json(force=True) == second.get_json(force=True)
    assert refused(service.kms("role/ci", "Sign", {**body, "MessageType": "RAW"}, headers), "ConflictException")


def test_a_held_call_says_how_it_is_released_and_is(service: ServiceInProcess) -> None:
    approver = f"user/of-wire-{uuid.uuid4().hex[:8]}"  # its own: whoever is named in a rule adds no credentials
    approving = service.tokens.pop(enrolled(service, approver))
    made = service.make_key(f"wire-{uuid.uuid4().hex[:8]}", purpose="general")
    rule = {"sign": {"approvers": [approver], "needed": 1, "window_seconds": 600}}
    service.made("user/key-admin", "PUT", f"/v1/keys/{made['id']}/approval-rule", rule)
    body = {"KeyId": made["id"], "Message": MESSAGE, "SigningAlgorithm": "ECDSA_SHA_256"}
    how = refused(service.kms("role/ci", "Sign", body), "AccessDeniedException")
    assert f"/v1/keys/{made['id']}/approval-requests" in how
    asked = {"operation": "signatures", "request": {"message": MESSAGE, "algorithm": "ECDSA_SHA_256"}}
    held = service.made("role/ci", "POST", f"/v1/keys/{made['id']}/approval-requests", asked)
    vote = {"request_sha256": held["request_sha256"]}
    service.made(approving, "POST", f"/v1/approval-requests/{held['id']}/approve", vote)
    headers = {"Sealmark-Approval": held["id"]}
    other = {**body, "Message": base64.b64encode(b"another").decode()}
    refused(service.kms("role/ci", "Sign", other, headers), "AccessDeniedException")
    assert service.kms("role/ci", "Sign", body, headers).status_code == 200


def test_absent_and_denied_look_alike(service: ServiceInProcess, key: dict[str, Any]) -> None:
    for operation, body in (
        ("DescribeKey", {}),
        ("Sign", {"Message": MESSAGE, "SigningAlgorithm": "ECDSA_SHA_256"}),
    ):
        told = {
            refused(service.kms("role/other", operation, {"KeyId": reference, **body}), "AccessDeniedException")
            for reference in (key["id"], f"alias/{key['alias']}", str(uuid.uuid4()), "alias/none")
        }
        assert told == {DENIED.format(operation=operation)}


def test_who_may_on_every_key_is_told_that_one_is_not_there(service: ServiceInProcess) -> None:
    absent = {"KeyId": str(uuid.uuid4())}
    allowed = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "kms:DescribeKey", "Resource": "*"}}
    service.made("user/admin", "POST", "/v1/principals", {"name": "role/sees-all", "duty": "key-user"})
    path = "/v1/principals/role/sees-all/policies/all"
    token = service.made("user/admin", "POST", "/v1/principals/role/sees-all/enrolments", {})["enrolment_code"]
    token = service.made(None, "POST", "/v1/enrolments", {"code": token})["token"]
    refused(service.kms(token, "DescribeKey", absent), "AccessDeniedException")
    service.made("user/admin", "PUT", path, {"policy": allowed})
    told = refused(service.kms(token, "DescribeKey", absent), "NotFoundException")
    # The service's own keys are nobody's: as if they were not there.
    (authority,) = service.services.keystore.find_keys_by_purpose(Purpose.CA)
    assert refused(service.kms(token, "DescribeKey", {"KeyId": authority.id}), "NotFoundException") == told
    sign = {**absent, "Message": MESSAGE, "SigningAlgorithm": "ECDSA_SHA_256"}
    refused(service.kms(token, "Sign", sign), "AccessDeniedException")
    one = {
        "Effect": "Allow",
        "Action": "kms:DescribeKey",
        "Resource": service.services.keystore.arn_of(absent["KeyId"]),
    }
    service.made("user/admin", "PUT", path, {"policy": {"Version": "2012-10-17", "Statement": one}})
    refused(service.kms(token, "DescribeKey", absent), "AccessDeniedException")


def test_a_denied_user_of_the_key_is_told_which_kind_of_rule_denies(service: ServiceInProcess) -> None:
    made = service.make_key(f"wire-{uuid.uuid4().hex[:8]}", purpose="general")
    body = {"KeyId": made["id"], "Message": MESSAGE, "SigningAlgorithm": "ECDSA_SHA_256"}
    keystore = service.services.keystore
    text = keystore.get_key(made["id"]).policy.document
    denied = '{"Effect":"Deny","Principal":"*","Action":"kms:Sign","Resource":"*"},'
    document = text.replace('"Statement":[', f'"Statement":[{denied}')
    keystore.set_policy(made["id"], document, Change("user/key-admin", keystore.clock()))
    message = refused(service.kms("role/ci", "Sign", body), "AccessDeniedException")
    assert message.startswith(
        f"User: arn:aws:iam::000000000000:role/ci is not authorized to perform: kms:Sign on resource: {made['arn']} "
        "with an explicit deny in a resource-based policy"
    )


def test_another_duty_is_denied_before_any_key_is_looked_up(service: ServiceInProcess, key: dict[str, Any]) -> None:
    body = {"Message": MESSAGE, "SigningAlgorithm": "ECDSA_SHA_256"}
    told = {
        refused(service.kms("user/key-admin", "Sign", {"KeyId": name, **body}), "AccessDeniedException")
        for name in (key["id"], str(uuid.uuid4()))
    }
    assert len(told) == 1
    assert "because no identity-based policy allows the kms:Sign action" in told.pop()


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("not-a-key", "NotFoundException"),
        ("arn:aws:kms:eu-west-9:000000000000:key/3d3e6615-57e8-4024-8031-6c14a910baf4", "NotFoundException"),
        ("arn:aws:kms:us-east-1:999999999999:key/3d3e6615-57e8-4024-8031-6c14a910baf4", "NotFoundException"),
        ("arn:aws:kms:us-east-1", "InvalidArnException"),
        ("arn:aws:s3:::bucket", "InvalidArnException"),
        ("arn:aws:kms:us-east-1:000000000000:grant/x", "InvalidArnException"),
        ("alias/", "NotFoundException"),
        ("alias/a b", "NotFoundException"),
    ],
)
def test_what_names_no_key_here(service: ServiceInProcess, reference: str, name: str) -> None:
    answer = service.kms("role/ci", "DescribeKey", {"KeyId": reference})
    refused(answer, name)
    assert outcome(service, answer)["outcome"] == "denied"


def test_calls_that_are_none(service: ServiceInProcess) -> None:
    target = {"X-Amz-Target": "DynamoDB_20120810.ListTables"}
    cases: list[dict[str, str]] = [
        target,
        {"X-Amz-Target": "TrentService.Nothing"},
        {"X-Amz-Target": ""},
        {"Content-Type": "application/json"},
        {"Content-Type": "application/x-amz-json-1.0"},
    ]
    for headers in cases:
        answer = service.kms("role/ci", "DescribeKey", {"KeyId": "x"}, headers)
        refused(answer, "UnknownOperationException")
        assert outcome(service, answer)["principal"] == "role/ci"
        unknown = service.kms(None, "DescribeKey", {"KeyId": "x"}, headers)
        refused(unknown, "UnknownOperationException")
        assert service.outcomes(unknown.headers["x-amzn-RequestId"]) == []
    answer = service.client.get("/")
    refused(answer, "UnknownOperationException", 405)
    assert answer.headers["Allow"] == "POST"


def test_callers_that_are_nobody(service: ServiceInProcess) -> None:
    sent = {"KeyId": "alias/x"}
    refused(service.kms(None, "DescribeKey", sent), "MissingAuthenticationTokenException")
    refused(service.kms("smt_none", "DescribeKey", sent), "UnrecognizedClientException")


def test_a_body_over_the_limit(service: ServiceInProcess) -> None:
    answer = service.kms("role/ci", "Sign", b"{" + b" " * (1024 * 1024))
    refused(answer, "RequestEntityTooLargeException", 413)
    assert outcome(service, answer)["action"] == "Sign"


@pytest.mark.parametrize("reference", ["id", "absent"])
def test_the_short_road_and_flasks_answer_alike(service: ServiceInProcess, key: dict[str, Any], reference: str) -> None:
    body = {"KeyId": key.get(reference, str(uuid.uuid4()))}
    short, long = (
        service.kms("role/ci", "DescribeKey", body, headers)
        for headers in ({}, {"X-Forwarded-For": "192.0.2.1"})  # for Flask to look at; believed of nobody here
    )
    assert (short.status_code, short.data) == (long.status_code, long.data)
    assert {name for name, _ in short.headers} == {name for name, _ in long.headers}
    assert short.mimetype == long.mimetype
