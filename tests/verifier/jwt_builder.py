"""Tokens and key sets: good ones made with PyJWT, hostile ones put together by hand."""

from __future__ import annotations

import base64
import json
from functools import cache
from typing import TYPE_CHECKING

import jwt
from jwt.algorithms import get_default_algorithms

from tests.verifier import pki
from verifier import KeySet, VerificationError, parse_jwks, verify_jwt

if TYPE_CHECKING:
    from tests.verifier.pki import PrivateKey

ISSUER = "https://issuer.example"
AUDIENCE = "https://api.example"
SECONDS = int(pki.NOW.timestamp())
KINDS = {
    "RS256": "rsa2048",
    "RS384": "rsa2048",
    "RS512": "rsa2048",
    "PS256": "rsa2048",
    "PS384": "rsa2048",
    "PS512": "rsa2048",
    "ES256": "p256",
    "ES384": "p384",
    "ES512": "p521",
    "EdDSA": "ed25519",
}


def signing_key(algorithm: str) -> PrivateKey:
    """The test issuer's key for the algorithm: one for each, as a key set must have it."""
    kind = KINDS[algorithm]
    return pki.key(kind, algorithm) if kind.startswith("rsa") else pki.key(kind)


def claims(**changes: object) -> dict[str, object]:
    """Claims as the service makes them. None removes one."""
    made: dict[str, object] = {
        "iss": ISSUER,
        "sub": "user-1",
        "aud": AUDIENCE,
        "iat": SECONDS,
        "nbf": SECONDS,
        "exp": SECONDS + 3600,  # longer than any run of the tests: some are judged at their own time
        "jti": "token-1",
    }
    return {name: value for name, value in (made | changes).items() if value is not None}


def payload() -> bytes:
    """The claims, encoded."""
    return json.dumps(claims()).encode()


def token(
    algorithm: str = "ES256",
    payload: dict[str, object] | None = None,
    key: PrivateKey | None = None,
    **headers: object,
) -> str:
    """A token by PyJWT, `kid` the algorithm's name."""
    return jwt.encode(
        payload or claims(),
        key or signing_key(algorithm),
        algorithm=algorithm,
        headers={"kid": algorithm, "typ": "JWT"} | headers,
    )


def encode(data: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def forge(payload: bytes, header: bytes | None = None, algorithm: str = "ES256") -> str:
    """A token over any bytes at all, rightly signed."""
    head = header or json.dumps({"alg": algorithm, "kid": algorithm, "typ": "JWT"}).encode()
    signing_input = f"{encode(head)}.{encode(payload)}"
    signer = get_default_algorithms()[algorithm]
    signature = signer.sign(signing_input.encode(), signing_key(algorithm))
    return f"{signing_input}.{encode(signature)}"


def jwk(private_key: PrivateKey, algorithm: str, **changes: object) -> dict[str, object]:
    """One public key. None removes a member."""
    made = get_default_algorithms()[algorithm].to_jwk(private_key.public_key(), as_dict=True)
    made.pop("key_ops", None)
    members: dict[str, object] = {**made, "kid": algorithm, "use": "sig", "alg": algorithm}
    return {name: value for name, value in (members | changes).items() if value is not None}


def jwks(*entries: dict[str, object]) -> bytes:
    """A key set: the entries given, or one key for each algorithm."""
    every = [jwk(signing_key(algorithm), algorithm) for algorithm in KINDS]
    return json.dumps({"keys": list(entries) or every}).encode()


@cache
def _every_key() -> KeySet:
    return parse_jwks(jwks())


def answer(text: str, keys: KeySet | None = None, **options: object) -> str:
    """`verified`, or the code of the refusal; by the set of every key, as the issuer and audience of the claims."""
    expected: dict[str, object] = {"issuer": ISSUER, "audience": AUDIENCE, "now": pki.NOW}
    try:
        verify_jwt(text, keys or _every_key(), **(expected | options))  # type: ignore[arg-type]
    except VerificationError as error:
        return error.code
    return "verified"


def header(**members: object) -> bytes:
    """A good header with some members changed; None removes one."""
    made: dict[str, object] = {"alg": "ES256", "kid": "ES256", "typ": "JWT", **members}
    return json.dumps({name: value for name, value in made.items() if value is not None}).encode()


def with_header(**members: object) -> str:
    return forge(payload(), header(**members))


def with_claims(**changes: object) -> str:
    return forge(json.dumps(claims(**changes)).encode())


def with_signature(signature: bytes, text: str | None = None) -> str:
    return f"{(text or token()).rpartition('.')[0]}.{encode(signature)}"
