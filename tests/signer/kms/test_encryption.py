"""Encrypt, Decrypt, data keys, MACs and random octets by AWS's protocol; what is wrong has AWS's name."""

from __future__ import annotations

import base64
import uuid
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.signer.kms.test_wire import refused

if TYPE_CHECKING:
    from tests.signer.service import ServiceInProcess

PLAINTEXT: Final = base64.b64encode(b"a secret").decode()
CONTEXT: Final = {"ab": "c"}


def made(service: ServiceInProcess, operation: str, **members: object) -> dict[str, Any]:
    answer = service.kms("role/ci", operation, members)
    assert answer.status_code == 200, answer.data
    told: dict[str, Any] = answer.get_json(force=True)
    return told


@pytest.fixture(scope="module")
def key(service: ServiceInProcess) -> str:
    return str(service.make_key(f"enc-{uuid.uuid4().hex[:8]}", spec="SYMMETRIC_DEFAULT", purpose="encrypt")["arn"])


@pytest.fixture(scope="module")
def other_key(service: ServiceInProcess) -> str:
    return str(service.make_key(f"enc-{uuid.uuid4().hex[:8]}", spec="SYMMETRIC_DEFAULT", purpose="encrypt")["arn"])


@pytest.fixture(scope="module")
def ciphertext(service: ServiceInProcess, key: str) -> str:
    return str(made(service, "Encrypt", KeyId=key, Plaintext=PLAINTEXT, EncryptionContext=CONTEXT)["CiphertextBlob"])


def test_what_is_encrypted_is_decrypted_with_and_without_its_key(
    service: ServiceInProcess, key: str, ciphertext: str
) -> None:
    for named in ({}, {"KeyId": key}):
        told = made(service, "Decrypt", CiphertextBlob=ciphertext, EncryptionContext=CONTEXT, **named)
        assert told.pop("KeyMaterialId")
        assert told == {"KeyId": key, "Plaintext": PLAINTEXT, "EncryptionAlgorithm": "SYMMETRIC_DEFAULT"}


def test_another_key_is_incorrect_and_another_context_no_ciphertext(
    service: ServiceInProcess, other_key: str, ciphertext: str
) -> None:
    body = {"CiphertextBlob": ciphertext, "EncryptionContext": CONTEXT}
    refused(service.kms("role/ci", "Decrypt", {**body, "KeyId": other_key}), "IncorrectKeyException")
    for context in ({}, {"a": "bc"}, {**CONTEXT, "more": "x"}):
        refused(service.kms("role/ci", "Decrypt", {**body, "EncryptionContext": context}), "InvalidCiphertextException")


def test_a_changed_bit_anywhere_opens_nothing(service: ServiceInProcess, key: str, ciphertext: str) -> None:
    octets = base64.b64decode(ciphertext)
    for position in range(len(octets)):
        changed = octets[:position] + bytes([octets[position] ^ 1]) + octets[position + 1 :]
        body = {"CiphertextBlob": base64.b64encode(changed).decode(), "EncryptionContext": CONTEXT}
        told = service.kms("role/ci", "Decrypt", {**body, "KeyId": key}).get_json(force=True)["__type"]
        # The header names key and version: one that names another key is refused as AWS refuses another key.
        assert told == ("IncorrectKeyException" if 2 <= position < 18 else "InvalidCiphertextException"), position


def test_who_may_not_decrypt_is_not_told_which_key_it_would_be(service: ServiceInProcess, ciphertext: str) -> None:
    message = refused(service.kms("role/other", "Decrypt", {"CiphertextBlob": ciphertext}), "AccessDeniedException")
    assert message.startswith("The ciphertext refers to a customer master key that does not exist")


def test_decrypt_needs_a_ciphertext_unless_a_dry_run_ignores_it(
    service: ServiceInProcess, key: str, ciphertext: str
) -> None:
    assert "CiphertextBlob is required" in refused(
        service.kms("role/ci", "Decrypt", {"KeyId": key}), "ValidationException"
    )
    dry = {"KeyId": key, "DryRun": True, "DryRunModifiers": ["IGNORE_CIPHERTEXT"]}
    refused(service.kms("role/ci", "Decrypt", dry), "DryRunOperationException")
    refused(service.kms("role/other", "Decrypt", dry), "AccessDeniedException")
    refused(service.kms("role/ci", "Decrypt", {"KeyId": key, "DryRun": True}), "ValidationException")
    body = {"CiphertextBlob": ciphertext, "EncryptionContext": CONTEXT, "DryRun": True}
    refused(service.kms("role/ci", "Decrypt", body), "DryRunOperationException")


@pytest.mark.parametrize(
    ("asked", "octets"), [({"KeySpec": "AES_256"}, 32), ({"KeySpec": "AES_128"}, 16), ({"NumberOfBytes": 3}, 3)]
)
def test_data_keys(service: ServiceInProcess, key: str, asked: dict[str, object], octets: int) -> None:
    told = made(service, "GenerateDataKey", KeyId=key, EncryptionContext=CONTEXT, **asked)
    assert set(told) == {"CiphertextBlob", "Plaintext", "KeyId", "KeyMaterialId"}
    assert len(base64.b64decode(told["Plaintext"])) == octets
    opened = made(service, "Decrypt", CiphertextBlob=told["CiphertextBlob"], EncryptionContext=CONTEXT)
    assert opened["Plaintext"] == told["Plaintext"]
    hidden = made(service, "GenerateDataKeyWithoutPlaintext", KeyId=key, **asked)
    assert set(hidden) == {"CiphertextBlob", "KeyId", "KeyMaterialId"}
    opened = made(service, "Decrypt", CiphertextBlob=hidden["CiphertextBlob"])
    assert len(base64.b64decode(opened["Plaintext"])) == octets


@pytest.mark.parametrize("asked", [{}, {"KeySpec": "AES_256", "NumberOfBytes": 32}])
def test_a_data_key_has_one_size(service: ServiceInProcess, key: str, asked: dict[str, object]) -> None:
    message = refused(service.kms("role/ci", "GenerateDataKey", {"KeyId": key, **asked}), "ValidationException")
    assert message == "Please specify either number of bytes or key spec."


def test_macs(service: ServiceInProcess) -> None:
    key = service.make_key(f"mac-{uuid.uuid4().hex[:8]}", spec="HMAC_256", purpose="mac")["arn"]
    body = {"KeyId": key, "Message": PLAINTEXT, "MacAlgorithm": "HMAC_SHA_256"}
    told = made(service, "GenerateMac", **body)
    assert set(told) == {"Mac", "MacAlgorithm", "KeyId"}
    verified = made(service, "VerifyMac", **body, Mac=told["Mac"])
    assert verified == {"KeyId": key, "MacValid": True, "MacAlgorithm": "HMAC_SHA_256"}
    wrong = {**body, "Mac": base64.b64encode(bytes(32)).decode()}
    refused(service.kms("role/ci", "VerifyMac", wrong), "KMSInvalidMacException")
    refused(service.kms("role/ci", "GenerateMac", {**body, "MacAlgorithm": "HMAC_SHA_512"}), "InvalidKeyUsageException")
    refused(service.kms("role/ci", "GenerateMac", {**body, "DryRun": True}), "DryRunOperationException")


def test_random_octets(service: ServiceInProcess) -> None:
    octets = [base64.b64decode(made(service, "GenerateRandom", NumberOfBytes=32)["Plaintext"]) for _ in range(2)]
    assert [len(each) for each in octets] == [32, 32]
    assert octets[0] != octets[1]
    refused(service.kms("role/ci", "GenerateRandom", {}), "ValidationException")
    store = {"NumberOfBytes": 1, "CustomKeyStoreId": "cks-1"}
    refused(service.kms("role/ci", "GenerateRandom", store), "UnsupportedOperationException")


def test_no_result_is_encrypted_for_an_enclave(service: ServiceInProcess, key: str, ciphertext: str) -> None:
    recipient = {"Recipient": {"KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_256", "AttestationDocument": "AAAA"}}
    for operation, body in (
        ("Decrypt", {"CiphertextBlob": ciphertext}),
        ("GenerateDataKey", {"KeyId": key, "KeySpec": "AES_256"}),
        ("GenerateRandom", {"NumberOfBytes": 1}),
    ):
        refused(service.kms("role/ci", operation, {**body, **recipient}), "UnsupportedOperationException")


def test_a_token_that_is_no_grants_is_refused(service: ServiceInProcess, key: str) -> None:
    body = {"KeyId": key, "Plaintext": PLAINTEXT, "GrantTokens": ["AAAA"]}
    refused(service.kms("role/ci", "Encrypt", body), "InvalidGrantTokenException")


def test_keys_for_something_else(service: ServiceInProcess, key: str) -> None:
    general = service.make_key(f"sig-{uuid.uuid4().hex[:8]}", purpose="general")["arn"]
    artifact = service.make_key(f"art-{uuid.uuid4().hex[:8]}", formats=["raw"])["arn"]
    sign = {"Message": PLAINTEXT, "SigningAlgorithm": "ECDSA_SHA_256"}
    mac = {"Message": PLAINTEXT, "MacAlgorithm": "HMAC_SHA_256"}
    for operation, body in (
        ("Sign", {"KeyId": key, **sign}),
        ("Sign", {"KeyId": artifact, **sign}),
        ("Verify", {"KeyId": key, **sign, "Signature": "AAAA"}),
        ("Encrypt", {"KeyId": general, "Plaintext": PLAINTEXT}),
        ("Decrypt", {"KeyId": general, "CiphertextBlob": PLAINTEXT}),
        ("GenerateDataKey", {"KeyId": general, "KeySpec": "AES_256"}),
        ("GenerateMac", {"KeyId": general, **mac}),
        ("VerifyMac", {"KeyId": key, **mac, "Mac": "AAAA"}),
    ):
        refused(service.kms("role/ci", operation, body), "InvalidKeyUsageException")
    refused(service.kms("role/ci", "GetPublicKey", {"KeyId": key}), "UnsupportedOperationException")


def test_re_encryption(service: ServiceInProcess, key: str, other_key: str, ciphertext: str) -> None:
    body = {
        "CiphertextBlob": ciphertext,
        "SourceEncryptionContext": CONTEXT,
        "DestinationKeyId": other_key,
        "DestinationEncryptionContext": {"for": "another"},
    }
    told = made(service, "ReEncrypt", **body)
    assert told["SourceKeyMaterialId"] != told["DestinationKeyMaterialId"]
    algorithms = (told["SourceEncryptionAlgorithm"], told["DestinationEncryptionAlgorithm"])
    assert (told["SourceKeyId"], told["KeyId"], *algorithms) == (key, other_key, *["SYMMETRIC_DEFAULT"] * 2)
    opened = made(service, "Decrypt", CiphertextBlob=told["CiphertextBlob"], EncryptionContext={"for": "another"})
    assert (opened["KeyId"], opened["Plaintext"]) == (other_key, PLAINTEXT)
    refused(service.kms("role/ci", "ReEncrypt", {**body, "DryRun": True}), "DryRunOperationException")
    refused(service.kms("role/ci", "ReEncrypt", {**body, "SourceKeyId": other_key}), "IncorrectKeyException")
    wrong = {**body, "SourceEncryptionContext": {"a": "bc"}}
    refused(service.kms("role/ci", "ReEncrypt", wrong), "InvalidCiphertextException")


def test_who_may_use_one_key_of_two_is_told_which_is_denied(
    service: ServiceInProcess, other_key: str, ciphertext: str
) -> None:
    theirs = service.make_key(
        f"enc-{uuid.uuid4().hex[:8]}", spec="SYMMETRIC_DEFAULT", purpose="encrypt", users=["role/other"]
    )["arn"]
    body = {"CiphertextBlob": ciphertext, "SourceEncryptionContext": CONTEXT}
    denied = refused(service.kms("role/ci", "ReEncrypt", {**body, "DestinationKeyId": theirs}), "AccessDeniedException")
    assert "kms:ReEncryptTo" in denied
    absent = {**body, "DestinationKeyId": str(uuid.uuid4())}
    assert refused(service.kms("role/ci", "ReEncrypt", absent), "AccessDeniedException") == denied
    hidden = refused(
        service.kms("role/other", "ReEncrypt", {**body, "DestinationKeyId": theirs}), "AccessDeniedException"
    )
    assert hidden.startswith("The ciphertext refers to a customer master key that does not exist")
