"""Key material brought in by AWS's wire protocol, prepared by OpenSSL's commands as AWS's documentation prepares it."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest
import structlog.testing
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sqlalchemy import select

from keystore.db.schema import LOG_ENTRIES
from signer.access.short_form import document_of
from tests.keystore.imported import OneWrappingKey, pkcs8, private_key
from tests.signer.service import MovedClock, ServiceInProcess, running_service

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from werkzeug.test import TestResponse

    from keystore.api import Key
    from keystore.hsm import Token

FOREVER: Final = {"ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE"}
ADMIN: Final = "user/key-admin"


class Vault:
    """A service with a clock that tests move, and a caller with OpenSSL who brings keys of its own."""

    def __init__(self, service: ServiceInProcess, clock: MovedClock, folder: Path) -> None:
        self.service = service
        self.clock = clock
        self.folder = folder

    def key(self, spec: str = "SYMMETRIC_DEFAULT", usage: str = "ENCRYPT_DECRYPT") -> Key:
        policy = json.dumps(document_of([ADMIN], ["role/ci"], "000000000000"))
        asked = {"KeySpec": spec, "KeyUsage": usage, "Origin": "EXTERNAL", "Policy": policy}
        made = self.answered("CreateKey", asked)["KeyMetadata"]
        assert (made["Origin"], made["KeyState"]) == ("EXTERNAL", "PendingImport")
        return self.service.services.keystore.get_key(made["KeyId"])

    def parameters(self, key: Key, algorithm: str) -> dict[str, Any]:
        asked = {"KeyId": key.id, "WrappingAlgorithm": algorithm, "WrappingKeySpec": "RSA_2048"}
        made: dict[str, Any] = self.answered("GetParametersForImport", asked)
        return made

    def answered(self, operation: str, asked: object) -> Any:
        answer = self.service.kms(ADMIN, operation, asked)
        assert answer.status_code == 200, answer.get_data(as_text=True)
        return answer.get_json(force=True)

    def encrypted(self, made: dict[str, Any], material: bytes, digest: str) -> bytes:
        """RSAES-OAEP by `openssl pkeyutl`."""
        (self.folder / "public.der").write_bytes(base64.b64decode(made["PublicKey"]))
        options = ("rsa_padding_mode:oaep", f"rsa_oaep_md:{digest}", f"rsa_mgf1_md:{digest}")
        with_options = [word for option in options for word in ("-pkeyopt", option)]
        command = ["openssl", "pkeyutl", "-encrypt", "-pubin", "-keyform", "DER", "-inkey", "public.der", *with_options]
        return self._run(command, material)

    def wrapped(self, made: dict[str, Any], material: bytes, digest: str) -> bytes:
        """RSA_AES_KEY_WRAP: AES-KWP by `openssl enc` under a key of the caller's, and that key by RSAES-OAEP."""
        carrier = os.urandom(32)
        command = ["openssl", "enc", "-id-aes256-wrap-pad", "-iv", "A65959A6", "-K", carrier.hex()]
        return self.encrypted(made, carrier, digest) + self._run(command, material)

    def _run(self, command: list[str], given: bytes) -> bytes:
        (self.folder / "in").write_bytes(given)
        subprocess.run([*command, "-in", "in", "-out", "out"], cwd=self.folder, check=True)
        return (self.folder / "out").read_bytes()

    def bring(self, key: Key, made: dict[str, Any], ciphertext: bytes, **more: object) -> TestResponse:
        asked = {"ImportToken": made["ImportToken"], "EncryptedKeyMaterial": base64.b64encode(ciphertext).decode()}
        return self.service.kms(ADMIN, "ImportKeyMaterial", {"KeyId": key.id, **asked, **more})

    def metadata(self, key: Key) -> Any:
        return self.answered("DescribeKey", {"KeyId": key.id})["KeyMetadata"]


@pytest.fixture(scope="module")
def vault(token: Token, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vault]:
    folder, clock = tmp_path_factory.mktemp("vault"), MovedClock(datetime.now(UTC))
    with running_service(OneWrappingKey(token), folder, clock=clock) as running:
        yield Vault(running, clock, folder)


def refusal(answer: TestResponse) -> str:
    told = answer.get_json(force=True)
    assert answer.status_code == 400, told
    return str(told["__type"])


@pytest.mark.parametrize("digest", ["sha1", "sha256"])
def test_a_symmetric_key_by_openssl(vault: Vault, digest: str) -> None:
    key, algorithm = vault.key(), f"RSAES_OAEP_SHA_{digest.removeprefix('sha')}"
    assert (vault.metadata(key)["KeyState"], vault.metadata(key)["Enabled"]) == ("PendingImport", False)
    made = vault.parameters(key, algorithm)
    assert made["KeyId"] == key.arn
    assert made["ParametersValidTo"] == pytest.approx((vault.clock() + timedelta(hours=24)).timestamp())
    with structlog.testing.capture_logs() as logged:
        answer = vault.bring(key, made, vault.encrypted(made, os.urandom(32), digest), **FOREVER)
    imported = answer.get_json(force=True)
    assert imported["KeyId"] == key.arn
    assert len(imported["KeyMaterialId"]) == 64
    assert [entry["event"] for entry in logged if entry.get("log_level") == "warning"] == ["key_material_imported"]
    assert vault.metadata(key)["KeyState"] == "Enabled"
    (leaf,) = vault.service.outcomes(answer.headers["x-amzn-RequestId"])
    assert (leaf["action"], leaf["outcome"], leaf["key_id"]) == ("ImportKeyMaterial", "succeeded", key.id)


@pytest.mark.parametrize("digest", ["sha1", "sha256"])
def test_a_private_key_by_openssl_signs(vault: Vault, digest: str) -> None:
    key = vault.key("ECC_NIST_P256", "SIGN_VERIFY")
    made = vault.parameters(key, f"RSA_AES_KEY_WRAP_SHA_{digest.removeprefix('sha')}")
    theirs = private_key("ECC_NIST_P256")
    answer = vault.bring(key, made, vault.wrapped(made, pkcs8(theirs), digest), **FOREVER)
    assert answer.get_json(force=True) == {"KeyId": key.arn}
    asked = {"KeyId": key.id, "Message": base64.b64encode(b"message").decode(), "SigningAlgorithm": "ECDSA_SHA_256"}
    signed = vault.service.kms("role/ci", "Sign", asked).get_json(force=True)
    assert isinstance(theirs, ec.EllipticCurvePrivateKey)
    theirs.public_key().verify(base64.b64decode(signed["Signature"]), b"message", ec.ECDSA(hashes.SHA256()))


def test_imported_keys_decrypt_and_agree(vault: Vault) -> None:
    key, theirs = vault.key("RSA_2048", "ENCRYPT_DECRYPT"), private_key("RSA_2048")
    made = vault.parameters(key, "RSA_AES_KEY_WRAP_SHA_256")
    assert vault.bring(key, made, vault.wrapped(made, pkcs8(theirs), "sha256"), **FOREVER).status_code == 200
    assert isinstance(theirs, rsa.RSAPrivateKey)
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    asked = {
        "KeyId": key.id,
        "CiphertextBlob": base64.b64encode(theirs.public_key().encrypt(b"plaintext", oaep)).decode(),
        "EncryptionAlgorithm": "RSAES_OAEP_SHA_256",
    }
    opened = vault.service.kms("role/ci", "Decrypt", asked).get_json(force=True)
    assert base64.b64decode(opened["Plaintext"]) == b"plaintext"

    key, mine = vault.key("ECC_NIST_P256", "KEY_AGREEMENT"), private_key("ECC_NIST_P256")
    assert isinstance(mine, ec.EllipticCurvePrivateKey)
    made = vault.parameters(key, "RSAES_OAEP_SHA_256")
    assert vault.bring(key, made, vault.encrypted(made, pkcs8(mine), "sha256"), **FOREVER).status_code == 200
    other = ec.generate_private_key(ec.SECP256R1())
    point = other.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    agreed = {"KeyId": key.id, "KeyAgreementAlgorithm": "ECDH", "PublicKey": base64.b64encode(point).decode()}
    derived = vault.service.kms("role/ci", "DeriveSharedSecret", agreed).get_json(force=True)
    assert base64.b64decode(derived["SharedSecret"]) == other.exchange(ec.ECDH(), mine.public_key())
    assert derived["KeyOrigin"] == "EXTERNAL"


def test_what_goes_wrong_has_awss_name(vault: Vault) -> None:
    key, other, own = vault.key(), vault.key(), vault.service.make_key("made-here", purpose="general")
    made = vault.parameters(key, "RSAES_OAEP_SHA_256")
    good = vault.encrypted(made, bytes(32), "sha256")
    assert refusal(vault.bring(other, made, good, **FOREVER)) == "InvalidImportTokenException"
    assert refusal(vault.bring(key, made | {"ImportToken": "AAAA"}, good, **FOREVER)) == "InvalidImportTokenException"
    assert refusal(vault.bring(key, made, good[:-1] + bytes([good[-1] ^ 1]), **FOREVER)) == "InvalidCiphertextException"
    short = vault.encrypted(made, bytes(31), "sha256")
    assert refusal(vault.bring(key, made, short, **FOREVER)) == "IncorrectKeyMaterialException"
    assert vault.bring(key, made, good, **FOREVER).status_code == 200
    another = vault.encrypted(made, bytes([1] * 32), "sha256")
    assert refusal(vault.bring(key, made, another, **FOREVER)) == "IncorrectKeyMaterialException"
    for asked, name in (
        ({"KeyId": key.id, "WrappingAlgorithm": "RSAES_PKCS1_V1_5"}, "UnsupportedOperationException"),
        ({"KeyId": key.id, "WrappingAlgorithm": "SM2PKE"}, "UnsupportedOperationException"),
        ({"KeyId": key.id, "WrappingAlgorithm": "RSA_AES_KEY_WRAP_SHA_256"}, "UnsupportedOperationException"),
        ({"KeyId": key.id, "WrappingKeySpec": "SM2"}, "UnsupportedOperationException"),
        ({"KeyId": own["id"]}, "UnsupportedOperationException"),
        ({"KeyId": key.id, "WrappingAlgorithm": "ROT13"}, "ValidationException"),
        ({"KeyId": "alias/made-here"}, "NotFoundException"),
    ):
        defaults = {"WrappingAlgorithm": "RSAES_OAEP_SHA_256", "WrappingKeySpec": "RSA_2048"}
        assert refusal(vault.service.kms(ADMIN, "GetParametersForImport", defaults | asked)) == name
    vault.clock.move(timedelta(hours=24))
    assert refusal(vault.bring(key, made, good, **FOREVER)) == "ExpiredImportTokenException"
    vault.service.services.keystore.schedule_deletion(key.id, days=7)
    asked = {"KeyId": key.id, "WrappingAlgorithm": "RSAES_OAEP_SHA_1", "WrappingKeySpec": "RSA_2048"}
    assert refusal(vault.service.kms(ADMIN, "GetParametersForImport", asked)) == "KMSInvalidStateException"
    assert refusal(vault.bring(key, made, good, **FOREVER)) == "KMSInvalidStateException"


def test_who_uses_a_key_brings_no_material_in(vault: Vault) -> None:
    key = vault.key()
    made = vault.parameters(key, "RSAES_OAEP_SHA_256")
    material = base64.b64encode(vault.encrypted(made, bytes(32), "sha256")).decode()
    for operation, asked in {
        "GetParametersForImport": {"WrappingAlgorithm": "RSAES_OAEP_SHA_256", "WrappingKeySpec": "RSA_2048"},
        "ImportKeyMaterial": {"ImportToken": made["ImportToken"], "EncryptedKeyMaterial": material, **FOREVER},
        "DeleteImportedKeyMaterial": {},
    }.items():
        for who in ("role/ci", "user/admin", "user/auditor", "user/other-key-admin"):
            answer = vault.service.kms(who, operation, {"KeyId": key.id, **asked})
            assert refusal(answer) == "AccessDeniedException", (who, operation)
    assert vault.metadata(key)["KeyState"] == "PendingImport"


def test_an_end_is_given_as_aws_wants_it(vault: Vault) -> None:
    key = vault.key()
    made = vault.parameters(key, "RSAES_OAEP_SHA_256")
    good = vault.encrypted(made, os.urandom(32), "sha256")
    now = vault.clock().timestamp()
    for wrong in (
        {},
        {"ExpirationModel": "KEY_MATERIAL_EXPIRES"},
        {**FOREVER, "ValidTo": now + 60},
        {"ValidTo": now},
        {"ValidTo": now - 1},
        {"ValidTo": now + 365 * 86400 + 60},
        {"ValidTo": "tomorrow"},
    ):
        assert refusal(vault.bring(key, made, good, **wrong)) in ("ValidationException", "SerializationException")
    assert vault.metadata(key)["KeyState"] == "PendingImport"
    assert vault.bring(key, made, good, ValidTo=now + 365 * 86400).status_code == 200


def test_material_that_expires_is_deleted_once_and_recorded(vault: Vault) -> None:
    key = vault.key("ECC_NIST_P256", "SIGN_VERIFY")
    made = vault.parameters(key, "RSAES_OAEP_SHA_256")
    material = vault.encrypted(made, pkcs8(private_key("ECC_NIST_P256")), "sha256")
    assert vault.bring(key, made, material, ValidTo=vault.clock().timestamp() + 60).status_code == 200
    asked = {"KeyId": key.id, "Message": "AAAA", "SigningAlgorithm": "ECDSA_SHA_256"}
    assert vault.service.kms("role/ci", "Sign", asked).status_code == 200
    vault.clock.move(timedelta(seconds=60))
    assert refusal(vault.service.kms("role/ci", "Sign", asked)) == "KMSInvalidStateException"
    for _ in range(2):
        vault.service.services.upkeep.once(vault.clock())
    with vault.service.services.keystore.database.read() as connection:
        expired = (LOG_ENTRIES.c.action == "DeleteExpiredKeyMaterial", LOG_ENTRIES.c.key_id == key.id)
        told = connection.execute(select(LOG_ENTRIES.c.principal).where(*expired)).all()
    assert len(told) == 1
    assert vault.metadata(key)["KeyState"] == "PendingImport"


def test_materials_of_a_symmetric_key_are_deleted_by_their_ids(vault: Vault) -> None:
    key = vault.key()
    made = vault.parameters(key, "RSAES_OAEP_SHA_256")
    first, second = (vault.encrypted(made, os.urandom(32), "sha256") for _ in range(2))
    one = vault.bring(key, made, first, KeyMaterialDescription="the first", **FOREVER).get_json(force=True)
    new = {"ImportType": "NEW_KEY_MATERIAL", **FOREVER}
    two = vault.bring(key, made, second, **new).get_json(force=True)
    assert refusal(vault.bring(key, made, second, **new)) == "IncorrectKeyMaterialException"
    deleted = vault.answered("DeleteImportedKeyMaterial", {"KeyId": key.id, "KeyMaterialId": two["KeyMaterialId"]})
    assert deleted == two
    assert vault.metadata(key)["KeyState"] == "Enabled"
    assert vault.answered("DeleteImportedKeyMaterial", {"KeyId": key.id}) == one
    assert vault.metadata(key)["KeyState"] == "PendingImport"
    unknown = {"KeyId": key.id, "KeyMaterialId": "0" * 64}
    assert refusal(vault.service.kms(ADMIN, "DeleteImportedKeyMaterial", unknown)) == "NotFoundException"
    again = {"KeyMaterialId": one["KeyMaterialId"], "ImportType": "EXISTING_KEY_MATERIAL", **FOREVER}
    assert vault.bring(key, made, first, **again).status_code == 200


def test_a_symmetric_key_is_rotated_to_the_material_that_waits(vault: Vault) -> None:
    key = vault.key()
    made = vault.parameters(key, "RSAES_OAEP_SHA_256")
    first, second = (vault.encrypted(made, os.urandom(32), "sha256") for _ in range(2))
    one = vault.bring(key, made, first, **FOREVER).get_json(force=True)
    asked = {"KeyId": key.id, "Plaintext": base64.b64encode(b"of the first").decode()}
    old = vault.service.kms("role/ci", "Encrypt", asked).get_json(force=True)["CiphertextBlob"]
    assert refusal(vault.service.kms(ADMIN, "RotateKeyOnDemand", {"KeyId": key.id})) == "KMSInvalidStateException"
    two = vault.bring(key, made, second, ImportType="NEW_KEY_MATERIAL", **FOREVER).get_json(force=True)
    assert materials(vault, key) == [
        (one["KeyMaterialId"], "CURRENT", "IMPORTED"),
        (two["KeyMaterialId"], "PENDING_ROTATION", "IMPORTED"),
    ]
    vault.answered("RotateKeyOnDemand", {"KeyId": key.id})
    assert vault.metadata(key)["CurrentKeyMaterialId"] == two["KeyMaterialId"]
    opened = vault.service.kms("role/ci", "Decrypt", {"CiphertextBlob": old}).get_json(force=True)
    assert base64.b64decode(opened["Plaintext"]) == b"of the first"
    vault.answered("DeleteImportedKeyMaterial", {"KeyId": key.id, "KeyMaterialId": one["KeyMaterialId"]})
    assert materials(vault, key) == [
        (one["KeyMaterialId"], "NON_CURRENT", "PENDING_IMPORT"),
        (two["KeyMaterialId"], "CURRENT", "IMPORTED"),
    ]
    refused = vault.service.kms("role/ci", "Decrypt", {"CiphertextBlob": old})
    assert refusal(refused) == "KMSInvalidStateException"
    assert vault.bring(key, made, first, **FOREVER).status_code == 200
    assert vault.service.kms("role/ci", "Decrypt", {"CiphertextBlob": old}).status_code == 200


def materials(vault: Vault, key: Key) -> list[tuple[str, str, str]]:
    listed = vault.answered("ListKeyRotations", {"KeyId": key.id, "IncludeKeyMaterial": "ALL_KEY_MATERIAL"})
    return [(one["KeyMaterialId"], one["KeyMaterialState"], one["ImportState"]) for one in listed["Rotations"]]
