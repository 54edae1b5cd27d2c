"""Key sets: their members, every kind of key, and the certificates in them."""

from __future__ import annotations

import hashlib
import json

from cryptography.hazmat.primitives.serialization import Encoding

from tests.verifier import pki
from tests.verifier.jwt_builder import encode, jwk, jwks, signing_key
from verifier import VerificationError, parse_jwks

NAME = "jwks"


def seeds() -> list[bytes]:
    """Small sets of one or two keys, with and without a certificate; keys that are refused."""
    certificate = pki.issue("jwt", signing_key("ES256")).certificate.public_bytes(Encoding.DER)
    with_certificate = jwk(
        signing_key("ES256"),
        "ES256",
        x5c=[pki.base64_of(certificate)],
        **{"x5t#S256": encode(hashlib.sha256(certificate).digest())},
    )
    return [
        jwks(with_certificate),
        jwks(jwk(signing_key("EdDSA"), "EdDSA"), jwk(signing_key("ES512"), "ES512", alg=None)),
        jwks(jwk(signing_key("RS256"), "RS256", key_ops=["verify"])),
        jwks({"kty": "OKP", "crv": "X25519", "x": "AAAA", "kid": "x", "use": "enc"}, {"kty": "oct", "kid": "y"}),
        json.dumps({"keys": []}).encode(),
    ]


def one(data: bytes) -> None:
    """Read and asked for each of its keys."""
    try:
        keys = parse_jwks(data)
    except VerificationError:
        return
    for key_id in (*keys.keys, *keys.unusable, "another"):
        try:
            if keys.find(key_id).key_id != key_id:
                raise AssertionError("the key found is another one than was asked for")
        except VerificationError:
            pass
