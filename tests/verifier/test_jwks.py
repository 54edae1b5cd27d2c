"""Key sets: what refuses the set, what refuses one key, and what is passed over."""

from __future__ import annotations

import base64
import hashlib
import json

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from tests.verifier import pki
from tests.verifier.jwt_builder import AUDIENCE, ISSUER, KINDS, encode, jwk, jwks, signing_key, token
from verifier import Indeterminate, VerificationError, parse_jwks, verify_jwt

GOOD = jwk(signing_key("ES256"), "ES256")


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
    assert answer(jwk(signing_key("ES256"), "ES256", alg=None)) == "verified"
    assert answer(jwk(signing_key("EdDSA"), "EdDSA", alg=None), "EdDSA") == "verified"
    assert answer(jwk(signing_key("RS256"), "RS256", alg=None), "RS256") == "indeterminate unsupported_key"


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
    assert answer(jwk(signing_key("ES256"), "ES256", **changes)) == expected


def test_weak_rsa_keys() -> None:
    assert answer(jwk(pki.key("rsa1024"), "RS256"), "RS256") == "rejected weak_key"
    public = signing_key("RS256").public_key()
    assert isinstance(public, rsa.RSAPublicKey)
    small = jwk(signing_key("RS256"), "RS256", e=encode(b"\x03"))
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
    refused(jwks(jwk(signing_key("ES256"), "ES256", **changes)))


def test_rsa_numbers_have_one_form() -> None:
    entry = jwk(signing_key("RS256"), "RS256")
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
    identity = pki.issue("jwt", signing_key("ES256"))
    encoded = identity.certificate.public_bytes(Encoding.DER)
    chain = [base64.b64encode(encoded).decode()]
    thumbprint = encode(hashlib.sha256(encoded).digest())
    assert answer(GOOD | {"x5c": chain, "x5t#S256": thumbprint}) == "verified"
    assert "thumb" not in refused(jwks(GOOD | {"x5c": chain, "x5t#S256": encode(bytes(32))}))
    other = pki.issue("jwt", pki.key("p256", "other")).certificate.public_bytes(Encoding.DER)
    assert "another key" in refused(jwks(GOOD | {"x5c": [base64.b64encode(other).decode()]}))


def test_thumbprints_must_be_those_of_the_certificate() -> None:
    der = pki.issue("jwt", signing_key("ES256")).certificate.public_bytes(Encoding.DER)
    chain = [pki.base64_of(der)]
    sha1 = encode(hashlib.sha1(der, usedforsecurity=False).digest())
    assert answer(GOOD | {"x5c": chain, "x5t": sha1}) == "verified"
    assert answer(GOOD | {"x5t": sha1}) == "verified"
    assert "x5t " in refused(jwks(GOOD | {"x5c": chain, "x5t": encode(bytes(20))}))
    for wrong in (encode(bytes(19)), sha1 + "=", 7, None, ""):
        refused(jwks(GOOD | {"x5t": wrong}))


def test_certificate_must_be_one_in_its_one_encoding() -> None:
    der = pki.issue("jwt", signing_key("ES256")).certificate.public_bytes(Encoding.DER)
    text = pki.base64_of(der)
    for chain in (text, [text + "\n"], [text, "AAAA"], [text, 7], [encode(der) + "-"]):
        refused(jwks(GOOD | {"x5c": chain}))
    refused(jwks(GOOD | {"x5c": [pki.base64_of(der + b"\x00")]}))


def test_certificate_with_trailing_bits() -> None:
    """The last character before the padding carries bits that most decoders drop."""
    text = ""
    while not text.endswith("="):  # its length depends on the signature's
        text = pki.base64_of(pki.issue("jwt", signing_key("ES256")).certificate.public_bytes(Encoding.DER))
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    bare = text.rstrip("=")
    other = bare[:-1] + alphabet[alphabet.index(bare[-1]) ^ 1] + "=" * (len(text) - len(bare))
    assert base64.b64decode(other) == base64.b64decode(text)
    assert answer(GOOD | {"x5c": [text]}) == "verified"
    refused(jwks(GOOD | {"x5c": [other]}))


def test_certificates_that_the_library_cannot_read() -> None:
    """Its exceptions are of many kinds; none of them may come out."""
    address = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.17"), bytes.fromhex("3004a3023000"))
    odd = pki.issue("jwt", signing_key("ES256"), profile=pki.Profile(extra=((address, False),))).certificate
    der = odd.public_bytes(Encoding.DER)
    unknown_curve = der.replace(bytes.fromhex("06082a8648ce3d030107"), bytes.fromhex("06082a8648ce3d030177"))
    for each in (der, unknown_curve):
        refused(jwks(GOOD | {"x5c": [pki.base64_of(each)]}))


def test_keys_of_every_kind_side_by_side() -> None:
    """One bad apple is refused when it is asked for; the others go on working."""
    entries: list[dict[str, object]] = [
        GOOD,
        jwk(signing_key("RS256"), "RS256"),
        jwk(signing_key("EdDSA"), "EdDSA"),
        jwk(pki.key("rsa1024"), "RS256", kid="weak"),
        jwk(pki.key("p256", "enc"), "ES256", kid="enc", use="enc"),
        jwk(pki.key("secp256k1"), "ES256K", kid="k1"),
        {"kty": "OKP", "crv": "X25519", "x": encode(bytes(32)), "kid": "x", "use": "sig"},
        {"kty": "OKP", "crv": "Ed448", "x": encode(bytes(57)), "kid": "ed448", "use": "sig"},
        {"kty": "AKP", "alg": "ML-DSA-65", "pub": "AAAA", "kid": "pq", "use": "sig"},
        {"kty": 7, "kid": "number", "use": "sig"},
        {"kid": "nothing", "use": "sig"},
        {"kty": "RSA", "n": "AQAB", "e": "AQAB"},
    ]
    keys = parse_jwks(jwks(*entries))
    assert set(keys.keys) == {"ES256", "RS256", "EdDSA"}
    assert {kid: reason.code for kid, reason in keys.unusable.items()} == {
        "weak": "weak_key",
        "enc": "key_not_for_this_purpose",
        **dict.fromkeys(("k1", "x", "ed448", "pq", "number", "nothing"), "unsupported_key"),
    }


def test_one_key_under_two_kids_refuses_the_set() -> None:
    assert "two kids" in refused(jwks(GOOD, GOOD | {"kid": "other"}))
    pair = [jwk(signing_key("RS256"), "RS256"), jwk(signing_key("RS256"), "PS256")]
    assert "two kids" in refused(jwks(*pair))


def test_secret_keys_refuse_the_set() -> None:
    assert "private" in refused(jwks(GOOD, {"kty": "oct", "k": "AAAA", "kid": "shared", "use": "sig"}))
    assert "private" in refused(jwks(GOOD, {"kty": "oct", "k": "AAAA"}))


@pytest.mark.parametrize("kid", ["1", "../x", "k" * 300, "ü", encode(bytes(32)), " "])
def test_any_kid_will_do(kid: str) -> None:
    """Issuers name keys as they like: a thumbprint (RFC 7638) is what Sealmark takes, and nothing that is asked for."""
    keys = parse_jwks(jwks(GOOD | {"kid": kid}))
    assert verify_jwt(token(kid=kid), keys, issuer=ISSUER, audience=AUDIENCE).key.key_id == kid


@pytest.mark.parametrize("operations", [[], ["verify", "sign"], ["verify", "verify"], ["encrypt"], "verify", None])
def test_key_operations_are_verifying_alone(operations: object) -> None:
    assert answer({**GOOD, "key_ops": operations}) == "rejected key_not_for_this_purpose"
    assert answer({**GOOD, "key_ops": ["verify"]}) == "verified"


def test_too_many_keys() -> None:
    many: list[dict[str, object]] = [{"kty": "OKP", "kid": str(number)} for number in range(257)]
    assert "more than 256" in refused(jwks(*many))


def test_too_large() -> None:
    refused(json.dumps({"keys": [], "padding": "x" * 1024 * 1024}).encode())
