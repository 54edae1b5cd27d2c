"""Encrypt, Decrypt and GenerateDataKey: what comes back, what does not, and what is written down of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pytest

from keystore.ciphertexts import OVERHEAD, describe
from signer.cryptographic_requests import DataKey, Decryption, Encryption
from signer.errors import MalformedRequest
from signer.operations.data_keys import DataKeys
from signer.operations.encryption import Decrypted, Encrypted
from tests.signer.operations.calls import CI, call_of, entry_of, refused, use

if TYPE_CHECKING:
    from tests.signer.service import ServiceInProcess

ENCRYPTED, DECRYPTED = Encrypted(), Decrypted()
WITH, WITHOUT = DataKeys(plaintext=True), DataKeys(plaintext=False)
PLAINTEXT: Final = b"plain text that must not be written down"
CONTEXT: Final = {"tenant": "one", "purpose": "backup"}


@pytest.fixture(scope="module", autouse=True)
def _keys(service: ServiceInProcess) -> None:
    for alias in ("cipher", "cipher-other", "cipher-turned"):
        service.make_key(alias, "SYMMETRIC_DEFAULT", "encrypt")
    service.make_key("cipher-signs", purpose="general")


def encrypted(service: ServiceInProcess, key: str = "cipher", context: dict[str, str] | None = None) -> bytes:
    made: bytes = use(service, key, ENCRYPTED, Encryption(plaintext=PLAINTEXT, context=context))["ciphertext"]
    return made


def test_what_is_encrypted_is_opened_with_its_context_in_any_order(service: ServiceInProcess) -> None:
    made = use(service, "cipher", ENCRYPTED, Encryption(plaintext=PLAINTEXT, context=CONTEXT))
    assert len(made["ciphertext"]) == len(PLAINTEXT) + OVERHEAD
    origin, key = describe(made["ciphertext"]), service.services.keystore.get_key("cipher")
    assert (origin.key_id, origin.version_id) == (key.id, key.versions[0].id)
    turned = dict(reversed(CONTEXT.items()))
    opened = use(service, "cipher", DECRYPTED, Decryption(ciphertext=made["ciphertext"], context=turned))
    assert opened["plaintext"] == PLAINTEXT
    assert opened["material_id"] == made["material_id"] == key.versions[0].material_id
    assert {made["algorithm"], opened["algorithm"]} == {"SYMMETRIC_DEFAULT"}
    for size in (1, 4096):
        body = Encryption(plaintext=bytes(size))
        again = use(service, "cipher", ENCRYPTED, body)["ciphertext"]
        assert use(service, "cipher", DECRYPTED, Decryption(ciphertext=again))["plaintext"] == bytes(size)


def test_no_context_and_an_empty_one_are_the_same(service: ServiceInProcess) -> None:
    ciphertext = encrypted(service, context={})
    assert use(service, "cipher", DECRYPTED, Decryption(ciphertext=ciphertext))["plaintext"] == PLAINTEXT


@pytest.mark.parametrize(
    ("made", "asked"),
    [
        ({"ab": "c"}, {"a": "bc"}),
        ({"a": "b", "c": "d"}, {"a": "d", "c": "b"}),
        ({"a": "b"}, {"a": "b", "c": "d"}),
        ({"a": "b"}, {"A": "b"}),
        ({"a": "b"}, None),
        (None, {"a": "b"}),
        ({"a": ""}, {"a": "\0"}),
        ({"é": "x"}, {"e\u0301": "x"}),
    ],
)
def test_another_context_opens_nothing(
    service: ServiceInProcess, made: dict[str, str] | None, asked: dict[str, str] | None
) -> None:
    error = refused(
        service, "cipher", DECRYPTED, Decryption(ciphertext=encrypted(service, context=made), context=asked)
    )
    assert error.code == "undecipherable"


def test_every_bit_of_a_ciphertext_counts_and_every_fault_is_one_error(service: ServiceInProcess) -> None:
    honest = encrypted(service, context=CONTEXT)
    forged = [honest[:size] for size in (1, 2, 33, 34, 61, len(honest) - 1)] + [honest + b"\0", b"\x01" * 200]
    for place in (0, 1, 2, 17, 18, 33, 34, 45, 46, len(honest) - 17, len(honest) - 16, len(honest) - 1):
        changed = bytearray(honest)
        changed[place] ^= 1
        forged.append(bytes(changed))
    body = [Decryption(ciphertext=each, context=CONTEXT) for each in forged]
    errors = {(error.code, str(error)) for error in (refused(service, "cipher", DECRYPTED, each) for each in body)}
    assert len(errors) == 1
    assert {code for code, _ in errors} == {"undecipherable"}


def test_another_key_opens_nothing(service: ServiceInProcess) -> None:
    body = Decryption(ciphertext=encrypted(service))
    assert refused(service, "cipher-other", DECRYPTED, body).code == "undecipherable"


def test_a_rotated_key_opens_what_it_made_until_that_version_is_revoked(service: ServiceInProcess) -> None:
    old = encrypted(service, "cipher-turned")
    service.made("user/key-admin", "POST", "/v1/keys/cipher-turned/rotate", {})
    made = use(service, "cipher-turned", ENCRYPTED, Encryption(plaintext=PLAINTEXT))
    assert made["key_version"] == 2
    opened = use(service, "cipher-turned", DECRYPTED, Decryption(ciphertext=old))
    assert (opened["plaintext"], opened["key_version"]) == (PLAINTEXT, 1)
    service.made("user/key-admin", "POST", "/v1/keys/cipher-turned/rotate", {"now": True, "revoke": "key_compromise"})
    assert refused(service, "cipher-turned", DECRYPTED, Decryption(ciphertext=old)).code == "wrong_state"
    service.made("user/key-admin", "POST", "/v1/keys/cipher-turned/disable")
    assert refused(service, "cipher-turned", ENCRYPTED, Encryption(plaintext=b"x")).code == "wrong_state"


@pytest.mark.parametrize(
    ("body", "size"),
    [
        (DataKey(), 32),
        (DataKey(spec="AES_256"), 32),
        (DataKey(spec="AES_128"), 16),
        (DataKey(number_of_bytes=1), 1),
        (DataKey(number_of_bytes=1024, context=CONTEXT), 1024),
    ],
)
def test_a_data_key_comes_in_the_clear_and_encrypted_or_encrypted_alone(
    service: ServiceInProcess, body: DataKey, size: int
) -> None:
    made = use(service, "cipher", WITH, body)
    asked = Decryption(ciphertext=made["ciphertext"], context=body.context)
    assert use(service, "cipher", DECRYPTED, asked)["plaintext"] == made["plaintext"]
    alone = use(service, "cipher", WITHOUT, body)
    assert "plaintext" not in alone
    asked = Decryption(ciphertext=alone["ciphertext"], context=body.context)
    opened = use(service, "cipher", DECRYPTED, asked)["plaintext"]
    assert len(opened) == len(made["plaintext"]) == size
    if size > 1:
        assert opened != made["plaintext"]


def test_the_record_has_the_context_and_nothing_of_the_plaintext(service: ServiceInProcess) -> None:
    made = use(service, "cipher", ENCRYPTED, Encryption(plaintext=PLAINTEXT, context=CONTEXT))
    opened = use(service, "cipher", DECRYPTED, Decryption(ciphertext=made["ciphertext"], context=CONTEXT))
    key = use(service, "cipher", WITH, DataKey(context=CONTEXT))
    for result, action in ((made, "Encrypt"), (opened, "Decrypt"), (key, "GenerateDataKey")):
        entry = entry_of(service, result)
        record = entry["record"]
        assert (record["action"], record["outcome"], record["context"]) == (action, "succeeded", CONTEXT)
        assert (record["algorithm"], record["key_version"], record["purpose"]) == ("SYMMETRIC_DEFAULT", 1, "encrypt")
        assert (entry["digest"], entry["signature_sha256"]) == (None, None)
        assert "signatures" not in record
        assert record["intent"]
        assert "proof" not in result  # nothing is signed; the entry is in the log under its next checkpoint
        leaf = json.loads(entry["leaf"])
        assert (leaf["key_sha256"], leaf["signatures"]) == (None, [])


def test_nothing_secret_is_kept_to_answer_the_same_again(service: ServiceInProcess) -> None:
    body = Encryption(plaintext=PLAINTEXT)
    call = call_of(service, CI, body, idempotency_key="again")
    with pytest.raises(Exception, match="nothing of it is kept") as refusal:
        service.services.pipeline.sign(call, "cipher", ENCRYPTED)
    assert getattr(refusal.value, "field", None) == "Idempotency-Key"


def policy(statement: dict[str, Any]) -> dict[str, Any]:
    arn = "arn:aws:iam::000000000000:user/key-admin"
    administrators = {"Sid": "A", "Effect": "Allow", "Principal": {"AWS": arn}, "Resource": "*"}
    administers = ["kms:DescribeKey", "kms:PutKeyPolicy", "kms:GetKeyPolicy", "kms:CreateGrant", "kms:ListGrants"]
    uses = {"Sid": "U", "Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::000000000000:role/ci"}, "Resource": "*"}
    return {
        "Version": "2012-10-17",
        "Statement": [{**administrators, "Action": administers}, {**uses, **statement}],
    }


@pytest.mark.parametrize(
    ("condition", "allowed", "denied"),
    [
        ({"StringEquals": {"kms:EncryptionContext:tenant": "one"}}, CONTEXT, {"tenant": "two"}),
        ({"StringEquals": {"kms:EncryptionContext:tenant": "one"}}, CONTEXT, None),
        ({"ForAllValues:StringEquals": {"kms:EncryptionContextKeys": ["tenant"]}}, {"tenant": "x"}, CONTEXT),
        ({"ForAnyValue:StringEquals": {"kms:EncryptionContextKeys": ["tenant"]}}, CONTEXT, {"other": "x"}),
        ({"StringEquals": {"kms:EncryptionAlgorithm": "SYMMETRIC_DEFAULT"}}, None, None),
    ],
)
def test_policies_ask_of_the_context(
    service: ServiceInProcess, condition: dict[str, Any], allowed: dict[str, str] | None, denied: dict[str, str] | None
) -> None:
    actions = ["kms:Encrypt", "kms:Decrypt", "kms:GenerateDataKey"]
    document = policy({"Action": actions, "Condition": condition})
    body = {"spec": "SYMMETRIC_DEFAULT", "purpose": "encrypt", "policy": document}
    key = service.made("user/key-admin", "POST", "/v1/keys", body)["id"]
    ciphertext = use(service, key, ENCRYPTED, Encryption(plaintext=b"x", context=allowed))["ciphertext"]
    use(service, key, WITH, DataKey(context=allowed))
    use(service, key, DECRYPTED, Decryption(ciphertext=ciphertext, context=allowed))
    if denied != allowed:
        for operation, asked in (
            (ENCRYPTED, Encryption(plaintext=b"x", context=denied)),
            (WITH, DataKey(context=denied)),
            (DECRYPTED, Decryption(ciphertext=ciphertext, context=denied)),
        ):
            assert refused(service, key, operation, asked).code in ("policy_forbids", "not_found")


@pytest.mark.parametrize("constraint", ["context_equals", "context_subset"])
def test_a_grant_constrains_the_context(service: ServiceInProcess, constraint: str) -> None:
    key = service.made(
        "user/key-admin",
        "POST",
        "/v1/keys",
        {"spec": "SYMMETRIC_DEFAULT", "purpose": "encrypt", "administrators": ["user/key-admin"]},
    )["id"]
    service.made(
        "user/key-admin",
        "POST",
        f"/v1/keys/{key}/grants",
        {"grantee": "role/other", "operations": ["Encrypt", "Decrypt"], "constraints": {constraint: {"tenant": "one"}}},
    )
    more = {"tenant": "one", "purpose": "backup"}
    ciphertext = use(service, key, ENCRYPTED, Encryption(plaintext=b"x", context={"tenant": "one"}), "role/other")
    asked = Decryption(ciphertext=ciphertext["ciphertext"], context={"tenant": "one"})
    assert use(service, key, DECRYPTED, asked, "role/other")["plaintext"] == b"x"
    for context in ({"tenant": "two"}, None):
        body = Encryption(plaintext=b"x", context=context)
        assert refused(service, key, ENCRYPTED, body, "role/other").code in ("policy_forbids", "not_found")
    if constraint.endswith("subset"):
        use(service, key, ENCRYPTED, Encryption(plaintext=b"x", context=more), "role/other")
    else:
        assert refused(service, key, ENCRYPTED, Encryption(plaintext=b"x", context=more), "role/other")


@pytest.mark.parametrize(
    ("key", "operation", "body", "code", "field"),
    [
        ("cipher", ENCRYPTED, Encryption(plaintext=b""), "malformed_request", "plaintext"),
        ("cipher", ENCRYPTED, Encryption(plaintext=bytes(4097)), "malformed_request", "plaintext"),
        ("cipher", ENCRYPTED, Encryption(plaintext=b"x", algorithm="RSAES_OAEP_SHA_1"), "unprocessable", "algorithm"),
        ("cipher", ENCRYPTED, Encryption(plaintext=b"x", context={"a": "é" * 4096}), "unprocessable", "context"),
        ("cipher", ENCRYPTED, Encryption(plaintext=b"x", context={"": "x"}), "malformed_request", "context"),
        ("cipher", DECRYPTED, Decryption(ciphertext=b""), "malformed_request", "ciphertext"),
        ("cipher", DECRYPTED, Decryption(ciphertext=b"x", key_version=1), "unprocessable", "key_version"),
        ("cipher", WITH, DataKey(spec="AES_256", number_of_bytes=32), "unprocessable", "number_of_bytes"),
        ("cipher", WITH, DataKey(number_of_bytes=0), "malformed_request", "number_of_bytes"),
        ("cipher", WITH, DataKey(number_of_bytes=1025), "malformed_request", "number_of_bytes"),
        ("cipher-signs", ENCRYPTED, Encryption(plaintext=b"x"), "wrong_purpose", None),
        ("cipher-signs", WITH, DataKey(), "wrong_purpose", None),
        ("absent", ENCRYPTED, Encryption(plaintext=b"x"), "not_found", "key"),
    ],
)
def test_what_cannot_be_is_refused_by_its_member_before_the_hsm(
    service: ServiceInProcess, key: str, operation: Any, body: msgspec.Struct, code: str, field: str | None
) -> None:
    error = refused(service, key, operation, body)
    assert error.code == code
    if code == "malformed_request":
        assert isinstance(error, MalformedRequest)
    if field is not None:
        assert str(getattr(error, "field", None)).startswith(field)
