"""Key sets: what refuses the set, what refuses one key, and what is passed over."""

from __future__ import annotations

import base64
import hashlib
import json

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from tests.verifier import pki
from tests.verifier.jwt_builder import AUDIENCE, ISSUER, KINDS, encode, jwk, jwks, token
from verifier import Indeterminate, VerificationError, parse_jwks, verify_jwt

GOOD = jwk(pki.key("p256"), "ES256")


def refused(data: bytes) -> str:
    with pytest.raises(Indeterminate) as caught:
        parse_jwks(data)
    assert caught.value.code == "invalid_jwks"
    return caught.value.message


def answer(entry: dict[str, object], algorithm: str = "ES256") -> str:
    """What a token that names this key gets."""
    keys = parse_jwks(jwks(entry))
    try:
        verify_jwt(token(algorithm), keys, issuer=ISSUER, audience=AUDIENCE)
    except VerificationError as error:
        return f"{error.outcome} {error.code}"
    return "verified"


def test_good_sets() -> None:
    keys = parse_jwks(jwks())
    assert set(keys.keys) == set(KINDS)
    assert not keys.unusable
    assert answer(GOOD) == "verified"
    assert answer(GOOD | {"anything": "else"}) == "verified"


def test_curve_pins_the_algorithm_where_the_key_does_not() -> None:
    assert answer(jwk(pki.key("p256"), "ES256", alg=None)) == "verified"
    assert answer(jwk(pki.key("ed25519"), "EdDSA", alg=None), "EdDSA") == "verified"
    assert answer(jwk(pki.key("rsa2048"), "RS256", alg=None), "RS256") == "indeterminate unsupported_key"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"use": "enc"}, "rejected key_not_for_this_purpose"),
        ({"use": None}, "rejected key_not_for_this_purpose"),
        ({"key_ops": ["sign"]}, "rejected key_not_for_this_purpose"),
        ({"alg": "RS256"}, "rejected algorithm_not_allowed"),
        ({"alg": "ES384"}, "rejected algorithm_not_allowed"),
        ({"alg": "none"}, "rejected algorithm_not_allowed"),
        ({"alg": 7}, "rejected algorithm_not_allowed"),
        ({"kty": "AKP"}, "indeterminate unsupported_key"),
        ({"kty": "oct"}, "indeterminate unsupported_key"),
        ({"crv": "secp256k1"}, "indeterminate unsupported_key"),
        ({"kid": None}, "indeterminate unknown_key"),
    ],
)
def test_unusable_keys(changes: dict[str, object], expected: str) -> None:
    assert answer(jwk(pki.key("p256"), "ES256", **changes)) == expected


def test_weak_rsa_keys() -> None:
    assert answer(jwk(pki.key("rsa1024"), "RS256"), "RS256") == "rejected weak_key"
    public = pki.key("rsa2048").public_key()
    assert isinstance(public, rsa.RSAPublicKey)
    small = jwk(pki.key("rsa2048"), "RS256", e=encode(b"\x03"))
    assert answer(small, "RS256") == "rejected weak_key"


@pytest.mark.parametrize("member", ["d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"])
def test_private_members_refuse_the_set(member: str) -> None:
    assert "private" in refused(jwks(GOOD | {"kid": "other"}, GOOD | {member: "AAAA"}))


@pytest.mark.parametrize(
    "changes",
    [
        {"kid": ""},
        {"kid": 7},
        {"x": "AAAA"},
        {"x": None},
        {"y": 7},
        {"x": "="},
        {"y": GOOD["x"]},
        {"x5c": []},
        {"x5c": [7]},
        {"x5c": ["AAAA"]},
    ],
)
def test_malformed_keys_refuse_the_set(changes: dict[str, object]) -> None:
    refused(jwks(jwk(pki.key("p256"), "ES256", **changes)))


def test_rsa_numbers_have_one_form() -> None:
    entry = jwk(pki.key("rsa2048"), "RS256")
    refused(jwks(entry | {"e": encode(b"\x00\x01\x00\x01")}))


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{}", b'{"keys":{}}', b'{"keys":[7]}', b'{"keys":[],"keys":[]}', b"\xff"]
)
def test_malformed_sets(data: bytes) -> None:
    refused(data)


def test_same_kid_twice_refuses_the_set() -> None:
    assert "same kid" in refused(jwks(GOOD, GOOD))
    assert "same kid" in refused(jwks(GOOD, GOOD | {"use": "enc"}))


def test_certificate_must_hold_the_same_key() -> None:
    identity = pki.issue("jwt", pki.key("p256"))
    encoded = identity.certificate.public_bytes(Encoding.DER)
    chain = [base64.b64encode(encoded).decode()]
    thumbprint = encode(hashlib.sha256(encoded).digest())
    assert answer(GOOD | {"x5c": chain, "x5t#S256": thumbprint}) == "verified"
    assert "thumb" not in refused(jwks(GOOD | {"x5c": chain, "x5t#S256": encode(bytes(32))}))
    other = pki.issue("jwt", pki.key("p256", "other")).certificate.public_bytes(Encoding.DER)
    assert "another key" in refused(jwks(GOOD | {"x5c": [base64.b64encode(other).decode()]}))


def test_too_large() -> None:
    refused(json.dumps({"keys": [], "padding": "x" * 1024 * 1024}).encode())
