"""What callers prove themselves by: signatures of requests, tokens, key sets."""

from __future__ import annotations

import base64
import contextlib
import hashlib
from datetime import datetime
from typing import Any, Final

from signer.authn import assertions, bearer, key_sets, signed_request, sigv4
from signer.authn.refused import Refused
from signer.authn.token_keys import parse_key_set
from signer.errors import SealmarkError
from tests.hostile.parser import (
    DEEP,
    HOST,
    JSON_TROUBLE,
    NOW,
    P256,
    Parser,
    call_of,
    headers_of,
    json_of,
    text_of,
)


class Nobody:
    """There is nobody, and nothing is remembered."""

    region = "us-east-1"
    is_opened = True

    def find_public_credential(self, _id: str) -> None:
        return None

    def matching_public_credentials(self, _match: object, _value: str) -> tuple[()]:
        return ()

    def find_principal(self, _name: str) -> None:
        return None

    def find_credential(self, _id: str) -> None:
        return None

    def trusted_issuer_revision(self, _name: str) -> None:
        return None

    def find_trusted_issuer_of(self, _url: str) -> None:
        return None

    def use_nonce(self, _id: str, _until: datetime) -> None:
        return None


NOBODY: Final[Any] = Nobody()


def signed_by_sigv4(data: bytes) -> None:
    """In the header, and in the query."""
    headers = {"host": HOST, **headers_of(data)}
    from signer.authn import sigv4_request

    first = text_of(data.partition(b"\n")[0])
    for call in (call_of(headers), call_of({"host": HOST}, target=f"/v1/whoami?{first}")):
        with contextlib.suppress(Refused):
            read = sigv4_request.read(call)
            sigv4_request.require_scope(read, "us-east-1", "kms")
            sigv4._require_coverage(call, read)
            sigv4._require_fresh(call, read, NOW)
            sigv4._forms(call, read)


def _sigv4_seeds() -> list[bytes]:
    credential = "AKIAAAAAAAAAAAAAAAAA/20261126/us-east-1/kms/aws4_request"
    signature = "0" * 64
    header = (
        f"authorization: AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders=content-type;host;x-amz-date,"
        f" Signature={signature}\n"
    )
    query = (
        f"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={credential.replace('/', '%2F')}"
        f"&X-Amz-Date=20261126T120000Z&X-Amz-Expires=300&X-Amz-SignedHeaders=host&X-Amz-Signature={signature}"
    )
    return [
        f"{header}x-amz-date: 20261126T120000Z\ncontent-type: application/json\n".encode(),
        f"{header}date: Thu, 26 Nov 2026 12:00:00 GMT\n".encode(),
        f"{header}date: Thu, 26 Nov 0001 00:00:00 +2359\n".encode(),
        f"{header}date: Thu, 99999999999999999999 Nov 2026 12:00:00 -0000\n".encode(),
        query.encode(),
    ]


def signed_request_of(data: bytes) -> None:
    """RFC 9421."""
    signed_request.authenticate(call_of({"host": HOST, **headers_of(data)}), NOBODY, NOW)


def _signed_request_seeds() -> list[bytes]:
    digest = base64.b64encode(hashlib.sha256(b"{}").digest()).decode()
    covered = '("@method" "@authority" "@target-uri" "content-type" "content-digest")'
    parameters = f'created={int(NOW.timestamp())};keyid="abc";nonce="0123456789abcdef";tag="sealmark"'
    value = base64.b64encode(bytes(64)).decode()
    fields = (
        f"signature-input: sig={covered};{parameters}\nsignature: sig=:{value}:\n"
        f"content-type: application/json\ncontent-digest: sha-256=:{digest}:\n"
    )
    return [fields.encode(), fields.replace(";tag", ";alg=ed25519;expires=99999999999999999;tag").encode()]


def token(data: bytes) -> None:
    """A bearer token, and a JSON Web Token of somebody trusted."""
    with contextlib.suppress(Refused, SealmarkError):
        bearer.authenticate(f"Bearer {text_of(data)}", NOBODY, NOW)
    sets = key_sets.KeySets(lambda: NOW)
    assertions.verify(text_of(data), NOBODY, sets, NOW)


def token_seeds() -> list[bytes]:
    header = {"alg": "ES256", "kid": "1", "typ": "JWT"}
    claims = {"iss": "https://i.example", "sub": "x", "aud": "sealmark", "exp": 1_900_000_000, "iat": 1_700_000_000}
    segments = [base64.urlsafe_b64encode(json_of(each)).rstrip(b"=") for each in (header, claims)]
    deep = base64.urlsafe_b64encode(DEEP[:6000]).rstrip(b"=")
    return [b".".join([*segments, b"AAAA"]), b".".join([deep, *segments[1:], b"AAAA"]), b"smk_" + b"a" * 43]


def _jwks_seeds() -> list[bytes]:
    point = P256.public_key().public_numbers()
    coordinates = {
        name: base64.urlsafe_b64encode(value.to_bytes(32, "big")).rstrip(b"=").decode()
        for name, value in (("x", point.x), ("y", point.y))
    }
    elliptic = {"kty": "EC", "crv": "P-256", "kid": "1", "use": "sig", "alg": "ES256", **coordinates}
    rsa = {"kty": "RSA", "kid": "2", "n": base64.urlsafe_b64encode(b"\xff" * 256).decode().rstrip("="), "e": "AQAB"}
    edwards = {"kty": "OKP", "crv": "Ed25519", "kid": "3", "x": coordinates["x"], "key_ops": ["verify"]}
    return [json_of({"keys": [elliptic, rsa, edwards]}), *JSON_TROUBLE]


PARSERS: Final = (
    Parser("sigv4", _sigv4_seeds, signed_by_sigv4, ()),
    Parser("signed-requests", _signed_request_seeds, signed_request_of, (Refused,)),
    Parser("tokens", token_seeds, token, (assertions.Refused,)),
    Parser("key-sets", _jwks_seeds, parse_key_set, (ValueError,)),
)
