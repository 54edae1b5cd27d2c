"""RSA encryption, key agreement and data key pairs through the pipeline, checked by `cryptography` outside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, x25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_private_key,
    load_der_public_key,
)

from keystore.algorithms import PURPOSES, Purpose
from signer.cryptographic_requests import Agreement, DataKey, DataKeyPair, Decryption, Encryption
from signer.operations.agreement import SharedSecrets
from signer.operations.data_keys import DataKeyPairs, DataKeys
from signer.operations.encryption import Decrypted, Encrypted, longest_plaintext
from tests.signer.operations.calls import entry_of, refused, use

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

    from tests.signer.service import ServiceInProcess

ENCRYPTED, DECRYPTED, AGREED = Encrypted(), Decrypted(), SharedSecrets()
HASHES: Final = {"RSAES_OAEP_SHA_1": hashes.SHA1(), "RSAES_OAEP_SHA_256": hashes.SHA256()}  # noqa: S303
CONTEXT: Final = {"tenant": "one"}


@pytest.fixture(scope="module")
def rsa_key(service: ServiceInProcess) -> rsa.RSAPublicKey:
    made = service.make_key("oaep", "RSA_2048", "encrypt", published=True)
    assert (made["algorithms"], made["required_digest"]) == (list(HASHES)[::-1], None)
    pem = service.call(None, "GET", "/v1/keys/oaep/public-key?format=der").get_data()
    key = load_der_public_key(pem)
    assert isinstance(key, rsa.RSAPublicKey)
    return key


def outside(key: rsa.RSAPublicKey, algorithm: str, plaintext: bytes, label: bytes | None = None) -> bytes:
    known = HASHES[algorithm]
    return key.encrypt(plaintext, padding.OAEP(padding.MGF1(known), known, label))


@pytest.mark.parametrize("algorithm", HASHES)
def test_what_others_encrypt_to_the_published_key_is_opened(
    service: ServiceInProcess, rsa_key: rsa.RSAPublicKey, algorithm: str
) -> None:
    room = longest_plaintext("RSA_2048", algorithm)
    assert room == {"RSAES_OAEP_SHA_1": 214, "RSAES_OAEP_SHA_256": 190}[algorithm]
    for plaintext in (b"p", bytes(room), b"\0\0p"):
        asked = Decryption(ciphertext=outside(rsa_key, algorithm, plaintext), algorithm=algorithm)
        opened = use(service, "oaep", DECRYPTED, asked)
        assert (opened["plaintext"], opened["algorithm"]) == (plaintext, algorithm)
        assert "material_id" not in opened
        made = use(service, "oaep", ENCRYPTED, Encryption(plaintext=plaintext, algorithm=algorithm))["ciphertext"]
        assert len(made) == 256
        opened = use(service, "oaep", DECRYPTED, Decryption(ciphertext=made, algorithm=algorithm))
        assert opened["plaintext"] == plaintext
    too_long = Encryption(plaintext=bytes(room + 1), algorithm=algorithm)
    assert refused(service, "oaep", ENCRYPTED, too_long).code == "unprocessable"
    entry = entry_of(service, opened)
    assert (entry["record"]["algorithm"], "signatures" in entry["record"]) == (algorithm, False)


def test_every_fault_of_an_rsa_ciphertext_is_one_error(service: ServiceInProcess, rsa_key: rsa.RSAPublicKey) -> None:
    numbers = rsa_key.public_numbers()

    def raw(encoded: bytes) -> bytes:
        return pow(int.from_bytes(encoded, "big"), numbers.e, numbers.n).to_bytes(256, "big")

    honest = outside(rsa_key, "RSAES_OAEP_SHA_256", b"plain")
    forged = [
        raw(b"\x01" + bytes(255)),  # Manger: the first octet is not zero
        raw(b"\x00" + b"\x55" * 255),
        raw(bytes(255) + b"\x02"),
        outside(rsa_key, "RSAES_OAEP_SHA_1", b"plain"),
        outside(rsa_key, "RSAES_OAEP_SHA_256", b"plain", b"label"),
        rsa_key.encrypt(b"plain", padding.PKCS1v15()),
        bytes([honest[0], honest[1] ^ 1]) + honest[2:],
        honest[:-1],
        honest + b"\0",
        b"\0" + honest,
        numbers.n.to_bytes(256, "big"),
        b"\xff" * 256,
        bytes(256),
        b"x",
    ]
    errors = {
        (error.code, str(error))
        for error in (refused(service, "oaep", DECRYPTED, Decryption(ciphertext=each)) for each in forged)
    }
    assert {code for code, _ in errors} == {"undecipherable"}
    assert len(errors) == 1
    assert use(service, "oaep", DECRYPTED, Decryption(ciphertext=honest))["plaintext"] == b"plain"


def test_an_rsa_key_has_no_context_and_makes_no_data_keys(service: ServiceInProcess, rsa_key: rsa.RSAPublicKey) -> None:
    ciphertext = outside(rsa_key, "RSAES_OAEP_SHA_256", b"plain")
    for operation, body, code in (
        (ENCRYPTED, Encryption(plaintext=b"x", context=CONTEXT), "unprocessable"),
        (DECRYPTED, Decryption(ciphertext=ciphertext, context=CONTEXT), "unprocessable"),
        (DECRYPTED, Decryption(ciphertext=ciphertext, algorithm="SYMMETRIC_DEFAULT"), "unprocessable"),
        (DECRYPTED, Decryption(ciphertext=ciphertext, key_version=2), "unprocessable"),
        (DataKeys(plaintext=True), DataKey(), "wrong_purpose"),
        (DataKeyPairs(plaintext=True), DataKeyPair(spec="ECC_NIST_P256"), "wrong_purpose"),
    ):
        assert refused(service, "oaep", operation, body).code == code
    asked = Decryption(ciphertext=ciphertext, key_version=1)
    assert use(service, "oaep", DECRYPTED, asked)["plaintext"] == b"plain"


@pytest.mark.parametrize("spec", PURPOSES[Purpose.AGREE])
def test_both_sides_have_the_same_secret(service: ServiceInProcess, spec: str) -> None:
    service.make_key(f"agrees-{spec}", spec, "agree", published=True)
    ours = load_der_public_key(service.call(None, "GET", f"/v1/keys/agrees-{spec}/public-key?format=der").get_data())
    assert isinstance(ours, ec.EllipticCurvePublicKey)
    theirs = ec.generate_private_key(ours.curve)
    made = use(service, f"agrees-{spec}", AGREED, Agreement(public_key=der(theirs.public_key())))
    assert made["shared_secret"] == theirs.exchange(ec.ECDH(), ours)
    assert made["algorithm"] == "ECDH"
    honest = der(theirs.public_key())
    other = ec.SECP384R1() if spec != "ECC_NIST_P384" else ec.SECP256R1()
    for peer in (
        honest[:-1] + bytes([honest[-1] ^ 1]),
        honest[:-1],
        der(ec.generate_private_key(other).public_key()),
        der(x25519.X25519PrivateKey.generate().public_key()),
        b"no key",
    ):
        error = refused(service, f"agrees-{spec}", AGREED, Agreement(public_key=peer))
        assert (error.code, getattr(error, "field", None)) == ("unprocessable", "public_key")


def der(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize("spec", ["ECC_NIST_P256", "ECC_SECG_P256K1", "ECC_NIST_EDWARDS25519"])
def test_a_data_key_pair_comes_in_the_clear_and_encrypted_or_encrypted_alone(
    service: ServiceInProcess, pair_key: None, spec: Any
) -> None:
    for plaintext in (True, False):
        body = DataKeyPair(spec=spec, context=CONTEXT)
        made = use(service, "makes-pairs", DataKeyPairs(plaintext=plaintext), body)
        asked = Decryption(ciphertext=made["private_key_ciphertext"], context=CONTEXT)
        opened = use(service, "makes-pairs", DECRYPTED, asked)["plaintext"]
        assert der(load_der_private_key(opened, None).public_key()) == made["public_key"]
        assert ("private_key" in made) is plaintext
        assert made.get("private_key", opened) == opened
        record = entry_of(service, made)["record"]
        assert record["about"] == {"data_key_pair": spec}
        assert record["context"] == CONTEXT


@pytest.fixture(scope="module")
def pair_key(service: ServiceInProcess) -> None:
    service.make_key("makes-pairs", "SYMMETRIC_DEFAULT", "encrypt")
