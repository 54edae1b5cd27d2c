"""Every key spec × usage × algorithm × message type: what AWS documents as allowed works and is right outside; the rest
is the documented error before any call to the HSM with a key of anybody's."""

from __future__ import annotations

import base64
import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key
from kyber_py.ml_kem import ML_KEM_768, ML_KEM_1024

from keystore.algorithms import Protection
from signer.access.short_form import document_of
from tests.keystore.imported import OneWrappingKey, pkcs8, private_key, wrapped
from tests.signer.kms import outside
from tests.signer.kms.documented import CURVES, ENCRYPTION, HMAC, MESSAGE_TYPES, ML_DSA, ML_KEM, RSA, SIGNATURES, USAGES
from tests.signer.kms.model import Shape
from tests.signer.service import ServiceInProcess, running_service

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keystore.algorithms import SigningAlgorithm, UseAlgorithm
    from keystore.api import BackingKey
    from keystore.hsm import Token

MESSAGE: Final = b"what is signed, encrypted or authenticated"
SOFTWARE: Final = (*ML_DSA, *ML_KEM, "ECC_NIST_EDWARDS25519")


class CountingToken(OneWrappingKey):
    """A real token that knows which keys it was asked to use."""

    used: list[str]

    def sign(self, backing: BackingKey, algorithm: SigningAlgorithm, data: bytes) -> bytes:
        self.used.append(backing.version_id)
        return super().sign(backing, algorithm, data)

    def encrypt(self, backing: BackingKey, plaintext: bytes, associated: bytes) -> bytes:
        self.used.append(backing.version_id)
        return super().encrypt(backing, plaintext, associated)

    def decrypt(self, backing: BackingKey, sealed: bytes, associated: bytes) -> bytes:
        self.used.append(backing.version_id)
        return super().decrypt(backing, sealed, associated)

    def mac(self, backing: BackingKey, algorithm: UseAlgorithm, message: bytes) -> bytes:
        self.used.append(backing.version_id)
        return super().mac(backing, algorithm, message)

    def decrypt_raw(self, backing: BackingKey, ciphertext: bytes) -> bytes:
        self.used.append(backing.version_id)
        return super().decrypt_raw(backing, ciphertext)

    def agree(self, backing: BackingKey, point: bytes) -> bytes:
        self.used.append(backing.version_id)
        return super().agree(backing, point)


@dataclass
class World:
    """A service with a key of every spec and usage, some of them imported, so that their secret half is known here."""

    service: ServiceInProcess
    token: CountingToken
    keys: dict[tuple[str, str], str] = field(default_factory=dict)  # (spec, usage) → ARN
    material: dict[str, bytes] = field(default_factory=dict)  # spec → imported octets of a secret key
    customers: set[str] = field(default_factory=set)  # ids of all versions of the keys above

    def uses(self) -> int:
        """How often the HSM was asked to use a key of these."""
        return sum(1 for version in self.token.used if version in self.customers)

    def done(self, operation: str, **members: object) -> dict[str, Any]:
        before = self.uses()
        answer = self.service.kms("role/ci", operation, {name: encoded(value) for name, value in members.items()})
        assert answer.status_code == 200, (operation, members, answer.data)
        with_the_public_half = operation in ("Verify", "GetPublicKey") or members["KeyId"] in self.of_rsa_encryption()
        assert self.uses() > before or with_the_public_half or members["KeyId"] in self.of_software()
        told: dict[str, Any] = answer.get_json(force=True)
        return told

    def refused(self, operation: str, name: str, **members: object) -> str:
        """The message; and no key was so much as touched."""
        before = self.uses()
        answer = self.service.kms("role/ci", operation, {name: encoded(value) for name, value in members.items()})
        told = answer.get_json(force=True)
        assert (answer.status_code, told.get("__type")) == (400, name), (operation, members, told)
        assert self.uses() == before
        return str(told["message"])

    def of_software(self) -> set[str]:
        return {arn for (spec, _), arn in self.keys.items() if spec in SOFTWARE}

    def of_rsa_encryption(self) -> set[str]:
        return {self.keys[spec, "ENCRYPT_DECRYPT"] for spec in RSA}

    def public_key(self, arn: str) -> bytes:
        return octets(self.done("GetPublicKey", KeyId=arn)["PublicKey"])


def encoded(value: object) -> object:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def octets(text: str) -> bytes:
    return base64.b64decode(text)


def create(service: ServiceInProcess, spec: str, usage: str, **members: object) -> str:
    policy = json.dumps(document_of(["user/key-admin"], ["role/ci"], service.services.keystore.account))
    asked = {"KeySpec": spec, "KeyUsage": usage, "Policy": policy, **members}
    answer = service.kms("user/key-admin", "CreateKey", asked)
    assert answer.status_code == 200, (spec, answer.data)
    return str(answer.get_json(force=True)["KeyMetadata"]["Arn"])


def bring_in(service: ServiceInProcess, arn: str, material: bytes) -> None:
    """As its owner would, by AWS's own two calls. A secret key fits into RSAES-OAEP; a private one needs more."""
    algorithm = "RSAES_OAEP_SHA_256" if len(material) <= 64 else "RSA_AES_KEY_WRAP_SHA_256"
    asked = {"KeyId": arn, "WrappingAlgorithm": algorithm, "WrappingKeySpec": "RSA_2048"}
    told = service.kms("user/key-admin", "GetParametersForImport", asked).get_json(force=True)
    assert "ImportToken" in told, told
    sent = {
        "KeyId": arn,
        "ImportToken": told["ImportToken"],
        "EncryptedKeyMaterial": encoded(wrapped(octets(told["PublicKey"]), algorithm, material)),
        "ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE",
    }
    answer = service.kms("user/key-admin", "ImportKeyMaterial", sent)
    assert answer.status_code == 200, answer.data


@pytest.fixture(scope="module")
def world(token: Token, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    counting = CountingToken(token)
    counting.used = []
    with running_service(counting, tmp_path_factory.mktemp("documented"), software_specs=SOFTWARE) as service:
        made = World(service, counting)
        for spec, usages in USAGES.items():
            for usage in usages:
                imported = spec in (*RSA, *HMAC, "SYMMETRIC_DEFAULT")
                arn = create(service, spec, usage, **({"Origin": "EXTERNAL"} if imported else {}))
                made.keys[spec, usage] = arn
                if imported:
                    bring_in(service, arn, known_material(made, spec))
                key = service.services.keystore.get_key(arn.rpartition("/")[2])
                made.customers |= {version.id for version in key.versions}
                assert (key.protection is Protection.SOFTWARE) == (spec in SOFTWARE)
        yield made


def known_material(world: World, spec: str) -> bytes:
    if spec in RSA:
        return pkcs8(private_key(spec))
    bits = 256 if spec == "SYMMETRIC_DEFAULT" else int(spec.rpartition("_")[2])
    return world.material.setdefault(spec, os.urandom(bits // 8))


@pytest.mark.parametrize("spec", SIGNATURES)
def test_signatures(world: World, spec: str) -> None:
    arn = world.keys[spec, "SIGN_VERIFY"]
    public_key = world.public_key(arn)
    for algorithm in Shape("SigningAlgorithmSpec").facts["enum"]:
        for message_type in MESSAGE_TYPES:
            asked = {"KeyId": arn, "SigningAlgorithm": algorithm, "MessageType": message_type}
            lengths = SIGNATURES[spec].get(algorithm)
            if lengths is None:
                for operation, more in (("Sign", {}), ("Verify", {"Signature": b"x"})):
                    told = world.refused(operation, "InvalidKeyUsageException", **asked, Message=bytes(64), **more)
                    assert told == f"Algorithm {algorithm} is incompatible with key spec {spec}."
            elif message_type not in lengths:
                for operation, more in (("Sign", {}), ("Verify", {"Signature": b"x"})):
                    world.refused(operation, "ValidationException", **asked, Message=bytes(64), **more)
            else:
                try_signature(world, public_key, asked, lengths[message_type])


def try_signature(world: World, public_key: bytes, asked: dict[str, str], length: int | None) -> None:
    algorithm = asked["SigningAlgorithm"]
    sent = outside.content(public_key, algorithm, asked["MessageType"], MESSAGE)
    made = world.done("Sign", **asked, Message=sent)
    assert (made["KeyId"], made["SigningAlgorithm"]) == (asked["KeyId"], algorithm)
    signature = octets(made["Signature"])
    # What Ed25519ph signs is the hash that came: AWS hashes it once more.
    outside.verify(public_key, algorithm, sent if "_PH_" in algorithm else MESSAGE, signature)
    assert world.done("Verify", **asked, Message=sent, Signature=signature)["SignatureValid"] is True
    changed = bytes([sent[0] ^ 1]) + sent[1:]
    world.refused("Verify", "KMSInvalidSignatureException", **asked, Message=changed, Signature=signature)
    if length is not None:
        for wrong in (sent[:-1], sent + b"x"):
            told = world.refused("Sign", "ValidationException", **asked, Message=wrong)
            assert told == f"Digest is invalid length for algorithm {algorithm}."
            world.refused("Verify", "ValidationException", **asked, Message=wrong, Signature=signature)


@pytest.mark.parametrize("spec", ENCRYPTION)
def test_encryption(world: World, spec: str) -> None:
    arn = world.keys[spec, "ENCRYPT_DECRYPT"]
    for algorithm in Shape("EncryptionAlgorithmSpec").facts["enum"]:
        asked = {"KeyId": arn, "EncryptionAlgorithm": algorithm}
        if algorithm not in ENCRYPTION[spec]:
            world.refused("Encrypt", "InvalidKeyUsageException", **asked, Plaintext=MESSAGE)
            world.refused("Decrypt", "InvalidKeyUsageException", **asked, CiphertextBlob=bytes(512))
        elif spec == "SYMMETRIC_DEFAULT":
            sealed = octets(world.done("Encrypt", **asked, Plaintext=MESSAGE)["CiphertextBlob"])
            assert outside.open_symmetric(world.material[spec], sealed, b"") == MESSAGE
            assert octets(world.done("Decrypt", **asked, CiphertextBlob=sealed)["Plaintext"]) == MESSAGE
        else:
            ours = private_key(spec)
            assert isinstance(ours, rsa.RSAPrivateKey)
            sealed = octets(world.done("Encrypt", **asked, Plaintext=MESSAGE)["CiphertextBlob"])
            assert ours.decrypt(sealed, outside.oaep(algorithm)) == MESSAGE
            theirs = ours.public_key().encrypt(MESSAGE, outside.oaep(algorithm))
            assert octets(world.done("Decrypt", **asked, CiphertextBlob=theirs)["Plaintext"]) == MESSAGE
            room = ours.key_size // 8 - 2 * outside.HASHES[algorithm.rpartition("_")[2]].digest_size - 2
            world.done("Encrypt", **asked, Plaintext=bytes(room))
            world.refused("Encrypt", "ValidationException", **asked, Plaintext=bytes(room + 1))
            context = {"EncryptionContext": {"a": "b"}}
            world.refused("Encrypt", "ValidationException", **asked, Plaintext=MESSAGE, **context)


@pytest.mark.parametrize("spec", HMAC)
def test_macs(world: World, spec: str) -> None:
    arn = world.keys[spec, "GENERATE_VERIFY_MAC"]
    for algorithm in Shape("MacAlgorithmSpec").facts["enum"]:
        asked = {"KeyId": arn, "MacAlgorithm": algorithm, "Message": MESSAGE}
        if algorithm != HMAC[spec]:
            world.refused("GenerateMac", "InvalidKeyUsageException", **asked)
            world.refused("VerifyMac", "InvalidKeyUsageException", **asked, Mac=b"x")
            continue
        mac = octets(world.done("GenerateMac", **asked)["Mac"])
        assert mac == outside.mac(world.material[spec], algorithm, MESSAGE)
        assert world.done("VerifyMac", **asked, Mac=mac)["MacValid"] is True
        # A wrong one is found out by the HSM, so it is asked.
        answer = world.service.kms("role/ci", "VerifyMac", {**encoded_members(asked), "Mac": encoded(mac[::-1])})
        assert answer.get_json(force=True)["__type"] == "KMSInvalidMacException"


def encoded_members(asked: dict[str, Any]) -> dict[str, object]:
    return {name: encoded(value) for name, value in asked.items()}


@pytest.mark.parametrize("spec", [spec for spec in CURVES if "KEY_AGREEMENT" in USAGES[spec]])
def test_agreement(world: World, spec: str) -> None:
    arn = world.keys[spec, "KEY_AGREEMENT"]
    public_key = load_der_public_key(world.public_key(arn))
    assert isinstance(public_key, ec.EllipticCurvePublicKey)
    peer = ec.generate_private_key(public_key.curve)
    asked = {"KeyId": arn, "KeyAgreementAlgorithm": "ECDH"}
    told = world.done("DeriveSharedSecret", **asked, PublicKey=spki(peer))
    assert octets(told["SharedSecret"]) == peer.exchange(ec.ECDH(), public_key)
    assert told["KeyOrigin"] == "AWS_KMS"
    stranger = ec.generate_private_key(ec.SECP256K1())
    for wrong in (spki(stranger), b"no key"):
        world.refused("DeriveSharedSecret", "ValidationException", **asked, PublicKey=wrong)


def spki(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize("spec", ML_KEM)
def test_encapsulation(world: World, spec: str) -> None:
    arn = world.keys[spec, "ENCAPSULATE_DECAPSULATE"]
    asked = {"KeyId": arn, "EncapsulationAlgorithm": "ML_KEM"}
    told = world.done("Encapsulate", **asked)
    blob = told["SharedSecretCiphertextBlob"]
    opened = world.done("Decapsulate", **asked, SharedSecretCiphertextBlob=blob)
    assert opened["SharedSecret"] == told["SharedSecret"]
    public_key = world.public_key(arn)
    raw = public_key[-{"ML_KEM_768": 1184, "ML_KEM_1024": 1568}[spec] :]  # FIPS 203, table 3
    secret, theirs = {"ML_KEM_768": ML_KEM_768, "ML_KEM_1024": ML_KEM_1024}[spec].encaps(raw)
    opened = world.done("Decapsulate", **asked, SharedSecretCiphertextBlob=theirs)
    assert octets(opened["SharedSecret"]) == secret


DATA_KEYS: Final = ("GenerateDataKey", "GenerateDataKeyWithoutPlaintext")
PAIRS: Final = ("GenerateDataKeyPair", "GenerateDataKeyPairWithoutPlaintext")
# Operation → the usage that it needs, and the rest of a request that is right.
USES: Final[dict[str, tuple[str, dict[str, object]]]] = {
    "Sign": ("SIGN_VERIFY", {"Message": MESSAGE, "SigningAlgorithm": "ECDSA_SHA_256"}),
    "Verify": ("SIGN_VERIFY", {"Message": MESSAGE, "SigningAlgorithm": "ECDSA_SHA_256", "Signature": b"x"}),
    "Encrypt": ("ENCRYPT_DECRYPT", {"Plaintext": MESSAGE}),
    "Decrypt": ("ENCRYPT_DECRYPT", {"CiphertextBlob": MESSAGE}),
    **dict.fromkeys(DATA_KEYS, ("ENCRYPT_DECRYPT", {"KeySpec": "AES_256"})),
    **dict.fromkeys(PAIRS, ("ENCRYPT_DECRYPT", {"KeyPairSpec": "ECC_NIST_P256"})),
    "GenerateMac": ("GENERATE_VERIFY_MAC", {"Message": MESSAGE, "MacAlgorithm": "HMAC_SHA_256"}),
    "VerifyMac": ("GENERATE_VERIFY_MAC", {"Message": MESSAGE, "MacAlgorithm": "HMAC_SHA_256", "Mac": b"x"}),
    "DeriveSharedSecret": ("KEY_AGREEMENT", {"KeyAgreementAlgorithm": "ECDH", "PublicKey": b"x"}),
    "Encapsulate": ("ENCAPSULATE_DECAPSULATE", {"EncapsulationAlgorithm": "ML_KEM"}),
    "Decapsulate": (
        "ENCAPSULATE_DECAPSULATE",
        {"EncapsulationAlgorithm": "ML_KEM", "SharedSecretCiphertextBlob": b"x"},
    ),
}


@pytest.mark.parametrize("operation", USES)
def test_keys_of_every_other_usage_are_refused(world: World, operation: str) -> None:
    needed, members = USES[operation]
    for (_, usage), arn in world.keys.items():
        if usage != needed:
            world.refused(operation, "InvalidKeyUsageException", KeyId=arn, **members)
    if operation in (*DATA_KEYS, *PAIRS):
        for spec in RSA:
            arn = world.keys[spec, "ENCRYPT_DECRYPT"]
            world.refused(operation, "InvalidKeyUsageException", KeyId=arn, **members)


def test_keys_of_the_services_own_kinds_sign_nothing_here(world: World) -> None:
    for purpose, members in (
        ("artifact", {}),
        ("jwt", {"audiences": ["https://api.example"], "max_ttl": 60}),
        ("saml", {"audiences": ["https://sp.example"], "recipients": ["https://sp.example/acs"]}),
    ):
        arn = world.service.make_key(f"own-{purpose}", purpose=purpose, **members)["arn"]
        world.refused("Sign", "InvalidKeyUsageException", KeyId=arn, **USES["Sign"][1])


def test_usages_that_a_spec_has_not_are_refused_when_a_key_is_made(world: World) -> None:
    for spec, allowed in USAGES.items():
        for usage in Shape("KeyUsageType").facts["enum"]:
            if usage not in allowed:
                asked = {"KeySpec": spec, "KeyUsage": usage}
                told = world.service.kms("user/key-admin", "CreateKey", asked).get_json(force=True)
                assert told["__type"] == "ValidationException", (spec, usage, told)


def test_every_spec_of_the_model_is_here_or_refused_by_name(world: World) -> None:
    for spec in set(Shape("KeySpec").facts["enum"]) - set(USAGES):
        usage = "ENCAPSULATE_DECAPSULATE" if spec.startswith("ML_KEM") else "SIGN_VERIFY"
        told = world.service.kms("user/key-admin", "CreateKey", {"KeySpec": spec, "KeyUsage": usage})
        assert told.get_json(force=True)["__type"] == "UnsupportedOperationException", spec


def test_an_ed25519_key_in_the_hsm_has_no_prehashed_variant(world: World) -> None:
    members = {"purpose": "general", "spec": "ECC_NIST_EDWARDS25519", "protection": "hsm"}
    arn = world.service.make_key("hsm-ed25519", **members)["arn"]
    asked = {"KeyId": arn, "Message": bytes(64), "MessageType": "DIGEST", "SigningAlgorithm": "ED25519_PH_SHA_512"}
    world.refused("Sign", "InvalidKeyUsageException", **asked)
    told = world.service.kms("role/ci", "GetPublicKey", {"KeyId": arn}).get_json(force=True)
    assert told["SigningAlgorithms"] == ["ED25519_SHA_512"]


@pytest.mark.parametrize("spec", Shape("DataKeyPairSpec").facts["enum"])
def test_data_key_pairs(world: World, spec: str) -> None:
    arn = world.keys["SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT"]
    asked = {"KeyId": arn, "KeyPairSpec": spec}
    if spec == "SM2" or spec.startswith("ML_KEM"):
        for operation in PAIRS:
            world.refused(operation, "UnsupportedOperationException", **asked)
        return
    if spec in ("RSA_3072", "RSA_4096"):
        return  # the same but for the time that they take
    told = world.done("GenerateDataKeyPair", **asked)
    sealed = octets(told["PrivateKeyCiphertextBlob"])
    assert outside.open_symmetric(world.material["SYMMETRIC_DEFAULT"], sealed, b"") == octets(
        told["PrivateKeyPlaintext"]
    )
    assert outside.public_half(octets(told["PrivateKeyPlaintext"])) == octets(told["PublicKey"])
    hidden = world.done("GenerateDataKeyPairWithoutPlaintext", **asked)
    assert "PrivateKeyPlaintext" not in hidden
    private = outside.open_symmetric(
        world.material["SYMMETRIC_DEFAULT"], octets(hidden["PrivateKeyCiphertextBlob"]), b""
    )
    assert outside.public_half(private) == octets(hidden["PublicKey"])
