"""JWKs: thumbprints of the RFCs' own examples, members that clients need, certificates that hold the same key."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa, x448
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import load_der_x509_certificate
from joserfc.jwk import ECKey, KeySet, OKPKey, RSAKey
from jwt import PyJWKSet

from keystore.algorithms import PURPOSES, SIGNING_ALGORITHMS, Purpose
from signer.errors import ServiceUnavailable, Unprocessable
from signer.formats import jwks
from tests.signer.formats.support import certified, certify
from tests.software_key import new_key, software_key

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

JWT_SPECS = [spec for spec in PURPOSES[Purpose.JWT] if spec not in {"RSA_3072", "RSA_4096"}]


def der(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def unsigned(value: str) -> int:
    return int.from_bytes(base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)), "big")


def test_thumbprint_of_rfc_7638_section_3_1() -> None:
    modulus = (
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3"
        "oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdA"
        "ZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-"
        "kEgU8awapJzKnqDKgw"
    )
    key = rsa.RSAPublicNumbers(65537, unsigned(modulus)).public_key()
    assert jwks.thumbprint(der(key)) == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"


def test_thumbprint_of_rfc_8037_appendix_a_3() -> None:
    point = base64.urlsafe_b64decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo=")
    key = Ed25519PublicKey.from_public_bytes(point)
    assert jwks.thumbprint(der(key)) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


@pytest.mark.parametrize("spec", JWT_SPECS)
def test_members_are_what_clients_need(spec: str) -> None:
    signer = certified(spec, Purpose.JWT)
    key = jwks.jwk(signer.key.public_key_der, algorithm=signer.key.info.algorithm.name, chain=signer.chain)
    assert key["kid"] == jwks.thumbprint(signer.key.public_key_der)
    assert key["use"] == "sig"
    assert key["alg"] == signer.key.info.algorithm.jws
    assert "key_ops" not in key
    chain = [base64.b64decode(certificate, validate=True) for certificate in key["x5c"]]
    assert tuple(chain) == signer.chain
    assert load_der_x509_certificate(chain[0]).public_key() == signer.key.public_key
    digest = base64.urlsafe_b64encode(hashlib.sha256(chain[0]).digest()).rstrip(b"=").decode()
    assert key["x5t#S256"] == digest


@pytest.mark.parametrize("spec", JWT_SPECS)
def test_joserfc_and_pyjwt_read_the_same_key(spec: str) -> None:
    signer = certified(spec, Purpose.JWT)
    key = jwks.jwk(signer.key.public_key_der, algorithm=signer.key.info.algorithm.name, chain=signer.chain)
    (read,) = KeySet.import_key_set({"keys": [dict(key)]}).keys
    assert isinstance(read, (RSAKey, ECKey, OKPKey))
    assert read.thumbprint() == key["kid"]
    assert der(read.public_key) == signer.key.public_key_der
    (seen,) = PyJWKSet.from_dict({"keys": [dict(key)]}).keys
    assert seen.key == signer.key.public_key


def test_coordinates_keep_their_leading_zeros() -> None:
    """RFC 7518 section 6.2.1.2: always the octets of the curve."""
    scalar = next(
        scalar
        for scalar in range(1, 5000)
        if ec.derive_private_key(scalar, ec.SECP256R1()).public_key().public_numbers().x < 1 << 248
    )
    public_key = ec.derive_private_key(scalar, ec.SECP256R1()).public_key()
    key = jwks.jwk(der(public_key), algorithm="ECDSA_SHA_256")
    assert len(str(key["x"])) == 43
    assert unsigned(str(key["x"])) == public_key.public_numbers().x


def test_secp256k1_has_names_of_its_own() -> None:
    """RFC 8812 section 3."""
    key = jwks.jwk(software_key("ECC_SECG_P256K1", Purpose.GENERAL).public_key_der, algorithm="ECDSA_SHA_256")
    assert (key["crv"], key["alg"]) == ("secp256k1", "ES256K")


def test_a_chain_of_another_key_is_refused() -> None:
    other = certify(new_key("ECC_NIST_P256", Purpose.JWT))
    with pytest.raises(ServiceUnavailable, match="not the key's"):
        jwks.jwk(
            software_key("ECC_NIST_P256", Purpose.JWT).public_key_der, algorithm="ECDSA_SHA_256", chain=other.chain
        )


def test_a_kind_without_a_json_form_is_refused() -> None:
    key = x448.X448PrivateKey.generate().public_key()
    with pytest.raises(Unprocessable, match="no JSON form"):
        jwks.thumbprint(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def test_a_key_that_comes_twice_stands_once() -> None:
    keys = [
        jwks.jwk(software_key(spec, Purpose.JWT).public_key_der, algorithm=PURPOSES[Purpose.JWT][spec][0])
        for spec in ("ECC_NIST_P256", "ECC_NIST_P384", "ECC_NIST_P256")
    ]
    assert jwks.key_set(keys) == {"keys": keys[:2]}


def test_every_algorithm_of_a_jwt_key_has_a_jws_name() -> None:
    assert all(SIGNING_ALGORITHMS[name].jws for names in PURPOSES[Purpose.JWT].values() for name in names)
