"""Tokens: the text, and, since no changed token passes its signature, the claims behind a signature that holds."""

from __future__ import annotations

import json

from tests.verifier import pki
from tests.verifier.jwt_builder import AUDIENCE, ISSUER, KINDS, claims, forge, jwks, token
from verifier import VerificationError, parse_jwks, verify_jwt

NAME = "jwt"
KEYS = parse_jwks(jwks())
SIGNED = b"claims:"


def seeds() -> list[bytes]:
    """A token of each algorithm, forms that are refused, and, after `claims:`, payloads to be signed."""
    head, payload, signature = token().split(".")
    texts = [
        *(token(algorithm) for algorithm in KINDS),
        token(typ="application/at+jwt", x5t="AAAA"),
        json.dumps({"payload": payload, "protected": head, "signature": signature}),
        f"{head}.{payload}.",
        ".".join([head, *["AAAA"] * 4]),
    ]
    payloads = [
        claims(),
        claims(aud=["other", AUDIENCE], nbf=None, iat=None, exp=1e11),
        claims(iss=7, aud={}, exp="1", extra=[{"a": None}]),
    ]
    return [*(text.encode() for text in texts), *(SIGNED + json.dumps(each).encode() for each in payloads)]


def one(data: bytes) -> None:
    """Verified or refused. What is verified can be reported, and is as strict as it should be."""
    if data.startswith(SIGNED):
        text = forge(data.removeprefix(SIGNED), algorithm="EdDSA")
    else:
        text = data.decode("utf-8", "surrogateescape")
    try:
        facts = verify_jwt(text, KEYS, issuer=ISSUER, audience=AUDIENCE, now=pki.NOW, types=("JWT", "at+jwt"))
    except VerificationError:
        return
    json.dumps(facts.as_json())
    if facts.issuer != ISSUER or AUDIENCE not in facts.audiences or facts.expires_at <= pki.NOW:
        raise AssertionError("a token was verified that is not as demanded")
