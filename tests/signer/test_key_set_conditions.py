"""What the OpenID Foundation's conformance suite asks of a key set, each as a test: over every kind of key, rotated.

The suite's own conditions have names such as CheckDistinctKeyIdValueInServerJWKs, CheckForKeyIdInServerJWKs,
ValidateServerJWKs and EnsureServerJwksDoesNotContainPrivateOrSymmetricKeys; RFC 7517 and RFC 7518 say the rest.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import uuid
from typing import TYPE_CHECKING, Any, Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt import PyJWK

if TYPE_CHECKING:
    from tests.signer.service import ServiceInProcess

KINDS: Final = {
    "ECC_NIST_P256": ("ECDSA_SHA_256", "ES256"),
    "ECC_NIST_P384": ("ECDSA_SHA_384", "ES384"),
    "ECC_NIST_P521": ("ECDSA_SHA_512", "ES512"),
    "ECC_NIST_EDWARDS25519": ("ED25519_SHA_512", "EdDSA"),
    "RSA_2048": ("RSASSA_PKCS1_V1_5_SHA_256", "RS256"),
}
OF_KIND: Final = {
    "EC": {"kty", "crv", "x", "y"},
    "OKP": {"kty", "crv", "x"},
    "RSA": {"kty", "n", "e"},
}
ALWAYS: Final = {"kid", "use", "alg", "x5c", "x5t#S256"}
COORDINATE_OCTETS: Final = {"P-256": 32, "P-384": 48, "P-521": 66, "Ed25519": 32}
PRIVATE_OR_SYMMETRIC: Final = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}
BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]+")


@pytest.fixture(scope="module")
def text(service: ServiceInProcess) -> str:
    """The set as it is served: a key of each kind, each rotated, one of them twice and at once."""
    issuer = f"i{uuid.uuid4().hex[:12]}"
    service.made("user/key-admin", "POST", "/v1/issuers", {"name": issuer, "url": f"https://{issuer}.example"})
    for spec, (algorithm, _) in KINDS.items():
        body = {"spec": spec, "purpose": "jwt", "algorithm": algorithm, "issuer": issuer, "max_ttl": 600}
        made = service.made("user/key-admin", "POST", "/v1/keys", {**body, "audiences": ["https://api.example"]})
        service.made("user/key-admin", "POST", f"/v1/keys/{made['id']}/rotate")
        if spec == "ECC_NIST_P256":
            service.made("user/key-admin", "POST", f"/v1/keys/{made['id']}/rotate", {"now": True})
    answer = service.call(None, "GET", f"/issuers/{issuer}/jwks.json")
    assert answer.status_code == 200
    return answer.get_data(as_text=True)


@pytest.fixture(scope="module")
def keys(text: str) -> list[dict[str, Any]]:
    members: dict[str, list[dict[str, Any]]] = json.loads(text)
    assert set(members) == {"keys"}
    assert len(members["keys"]) == 2 * len(KINDS) + 1
    return members["keys"]


def octets(value: str) -> bytes:
    """Decoded base64url, which must be written in the one canonical way (RFC 7515 section 2)."""
    assert BASE64URL.fullmatch(value), value
    decoded = base64.urlsafe_b64decode(value + "=" * (-len(value) % 4))
    assert base64.urlsafe_b64encode(decoded).rstrip(b"=").decode() == value
    return decoded


def leaf_of(key: dict[str, Any]) -> x509.Certificate:
    return x509.load_der_x509_certificate(base64.b64decode(key["x5c"][0], validate=True))


def test_each_key_has_an_id(keys: list[dict[str, Any]]) -> None:
    assert all(isinstance(key["kid"], str) and len(octets(key["kid"])) == 32 for key in keys)


def test_ids_are_distinct(keys: list[dict[str, Any]]) -> None:
    assert len({key["kid"] for key in keys}) == len(keys)


def test_no_key_stands_twice_under_two_ids(keys: list[dict[str, Any]]) -> None:
    public = {tuple(key.get(member) for member in ("kty", "crv", "x", "y", "n", "e")) for key in keys}
    assert len(public) == len(keys)


def test_nothing_private_or_symmetric(keys: list[dict[str, Any]]) -> None:
    assert not any(PRIVATE_OR_SYMMETRIC & set(key) for key in keys)
    assert {key["kty"] for key in keys} == {"EC", "OKP", "RSA"}


def test_each_key_has_the_members_of_its_kind_and_no_others(keys: list[dict[str, Any]]) -> None:
    for key in keys:
        assert set(key) == OF_KIND[key["kty"]] | ALWAYS


def test_no_member_stands_twice(text: str) -> None:
    """RFC 7517 section 4: member names are unique; a lenient reader would take the last."""

    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        names = [name for name, _ in pairs]
        assert len(set(names)) == len(names)
        return dict(pairs)

    json.loads(text, object_pairs_hook=unique)


def test_each_key_says_what_it_is_for(keys: list[dict[str, Any]]) -> None:
    assert {key["use"] for key in keys} == {"sig"}
    assert {key["alg"] for key in keys} == {alg for _, alg in KINDS.values()}


def test_numbers_are_canonical_and_of_full_length(keys: list[dict[str, Any]]) -> None:
    for key in keys:
        for member in ("x", "y"):
            if member in key:
                assert len(octets(key[member])) == COORDINATE_OCTETS[key["crv"]]  # RFC 7518 section 6.2.1.2
        for member in ("n", "e"):
            if member in key:
                assert octets(key[member])[0] != 0  # RFC 7518 section 2: the fewest octets


def test_rsa_keys_are_of_2048_bits_or_more_with_a_usual_exponent(keys: list[dict[str, Any]]) -> None:
    strong = [key for key in keys if key["kty"] == "RSA"]
    assert len(strong) == 2
    for key in strong:
        assert int.from_bytes(octets(key["n"]), "big").bit_length() >= 2048
        assert int.from_bytes(octets(key["e"]), "big") == 65537


def test_the_first_certificate_is_the_keys_own(keys: list[dict[str, Any]]) -> None:
    for key in keys:
        certified, named = leaf_of(key).public_key(), PyJWK(key).key
        assert isinstance(certified, ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey)
        assert certified == named


def test_the_certificates_are_a_chain(keys: list[dict[str, Any]]) -> None:
    for key in keys:
        leaf, root = (x509.load_der_x509_certificate(base64.b64decode(text, validate=True)) for text in key["x5c"])
        leaf.verify_directly_issued_by(root)


def test_the_thumbprint_is_the_first_certificates(keys: list[dict[str, Any]]) -> None:
    for key in keys:
        der = base64.b64decode(key["x5c"][0], validate=True)
        assert octets(key["x5t#S256"]) == hashlib.sha256(der).digest()  # RFC 7517 section 4.9


def test_no_url_to_fetch_keys_from_elsewhere(keys: list[dict[str, Any]]) -> None:
    assert not any({"x5u", "jku", "x5t"} & set(key) for key in keys)
