"""The shapes of `cryptography`'s private keys: they sign by their own algorithm and refuse everything else."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils

from keystore.algorithms import SIGNING_ALGORITHMS, Purpose
from signer.errors import Unprocessable
from signer.formats.hsmkey import HsmEd25519Key, HsmEllipticCurveKey, HsmRsaKey, own_padding, private_key_for
from tests.software_key import SoftwareKey, generate, information, software_key

PSS_256 = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)


def rsa_key(algorithm: str) -> HsmRsaKey:
    key = private_key_for(software_key("RSA_2048", Purpose.GENERAL, algorithm))
    assert isinstance(key, HsmRsaKey)
    return key


def curve_key() -> HsmEllipticCurveKey:
    key = private_key_for(software_key("ECC_NIST_P256", Purpose.GENERAL))
    assert isinstance(key, HsmEllipticCurveKey)
    return key


def edwards_key() -> HsmEd25519Key:
    key = private_key_for(software_key("ECC_NIST_EDWARDS25519", Purpose.GENERAL))
    assert isinstance(key, HsmEd25519Key)
    return key


@pytest.mark.parametrize("algorithm", [name for name in SIGNING_ALGORITHMS if name.startswith("RSA")])
def test_rsa_signs_by_its_own_padding_and_hash(algorithm: str) -> None:
    key = rsa_key(algorithm)
    row = SIGNING_ALGORITHMS[algorithm]
    chosen_padding = own_padding(row)
    chosen_hash = {"sha256": hashes.SHA256(), "sha384": hashes.SHA384(), "sha512": hashes.SHA512()}[str(row.hash_name)]
    assert chosen_padding is not None
    signature = key.sign(b"message", chosen_padding, chosen_hash)
    key.public_key().verify(signature, b"message", chosen_padding, chosen_hash)
    assert isinstance(key, rsa.RSAPrivateKey)
    assert key.key_size == 2048


@pytest.mark.parametrize(
    ("algorithm", "asked_padding", "asked_hash"),
    [
        ("RSASSA_PKCS1_V1_5_SHA_256", PSS_256, hashes.SHA256()),
        ("RSASSA_PKCS1_V1_5_SHA_256", padding.PKCS1v15(), hashes.SHA384()),
        ("RSASSA_PKCS1_V1_5_SHA_256", padding.PKCS1v15(), hashes.SHA3_256()),
        ("RSASSA_PKCS1_V1_5_SHA_256", padding.PKCS1v15(), utils.Prehashed(hashes.SHA256())),
        ("RSASSA_PKCS1_V1_5_SHA_256", padding.PKCS1v15(), utils.NoDigestInfo()),
        ("RSASSA_PSS_SHA_256", padding.PKCS1v15(), hashes.SHA256()),
        ("RSASSA_PSS_SHA_256", PSS_256, hashes.SHA512()),
        ("RSASSA_PSS_SHA_256", PSS_256, utils.Prehashed(hashes.SHA256())),
        ("RSASSA_PSS_SHA_256", padding.PSS(padding.MGF1(hashes.SHA256()), 20), hashes.SHA256()),
        ("RSASSA_PSS_SHA_256", padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.MAX_LENGTH), hashes.SHA256()),
        ("RSASSA_PSS_SHA_256", padding.PSS(padding.MGF1(hashes.SHA384()), 32), hashes.SHA256()),
    ],
)
def test_rsa_refuses_what_is_not_its_own(
    algorithm: str,
    asked_padding: padding.AsymmetricPadding,
    asked_hash: hashes.HashAlgorithm | utils.Prehashed | utils.NoDigestInfo,
) -> None:
    with pytest.raises(Unprocessable, match=f"signs messages by {algorithm} alone"):
        rsa_key(algorithm).sign(bytes(32), asked_padding, asked_hash)


def test_curve_signs_by_its_own_hash() -> None:
    key = curve_key()
    signature = key.sign(b"message", ec.ECDSA(hashes.SHA256()))
    key.public_key().verify(signature, b"message", ec.ECDSA(hashes.SHA256()))
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert (key.key_size, key.curve.name) == (256, "secp256r1")


@pytest.mark.parametrize(
    "asked",
    [
        ec.ECDSA(hashes.SHA384()),
        ec.ECDSA(utils.Prehashed(hashes.SHA256())),
        ec.ECDSA(hashes.SHA256(), deterministic_signing=True),
    ],
)
def test_curve_refuses_what_is_not_its_own(asked: ec.ECDSA) -> None:
    with pytest.raises(Unprocessable, match="ECDSA_SHA_256 alone"):
        curve_key().sign(bytes(32), asked)


def test_edwards_signs_messages() -> None:
    key = edwards_key()
    key.public_key().verify(key.sign(b"message"), b"message")
    assert isinstance(key, ed25519.Ed25519PrivateKey)


def test_the_private_half_is_never_given_out() -> None:
    numbers = [rsa_key("RSASSA_PSS_SHA_256").private_numbers, curve_key().private_numbers]
    for refuse in [*numbers, edwards_key().private_bytes_raw]:
        with pytest.raises(Unprocessable, match="lives in the HSM"):
            refuse()
    for key in (rsa_key("RSASSA_PSS_SHA_256"), curve_key(), edwards_key()):
        with pytest.raises(Unprocessable, match="lives in the HSM"):
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        with pytest.raises(TypeError, match="cannot pickle"):
            pickle.dumps(key)
    with pytest.raises(Unprocessable, match="lives in the HSM"):
        rsa_key("RSASSA_PSS_SHA_256").decrypt(bytes(256), padding.PKCS1v15())
    with pytest.raises(Unprocessable, match="lives in the HSM"):
        curve_key().exchange(ec.ECDH(), curve_key().public_key())


def test_a_copy_is_the_same_key() -> None:
    for key in (rsa_key("RSASSA_PSS_SHA_256"), curve_key(), edwards_key()):
        assert copy.copy(key) is key
        assert copy.deepcopy(key) is key


def test_an_algorithm_of_another_kind_is_refused() -> None:
    information_of_rsa = replace(
        information("RSA_2048", Purpose.JWT), algorithm=SIGNING_ALGORITHMS["RSASSA_PSS_SHA_256"]
    )
    for spec in ("ECC_NIST_P256", "ECC_NIST_EDWARDS25519"):
        with pytest.raises(Unprocessable, match="not an algorithm of this kind"):
            private_key_for(SoftwareKey(generate(spec), information_of_rsa))
