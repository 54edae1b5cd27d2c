"""Signed requests written by hand from RFC 9421 with plain cryptography: nothing of the library that the service uses.

Every part can be left out or spoilt by a test.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

if TYPE_CHECKING:
    from collections.abc import Mapping

PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey
_PSS: Final = padding.PSS(padding.MGF1(hashes.SHA512()), 64)
USUAL: Final = ("@method", "@authority", "@target-uri")


def _at_last(value: object) -> object:
    return value() if isinstance(value, FromNow) else value


def public_pem(key: PrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def sign(key: PrivateKey, base: bytes) -> bytes:
    """RFC 9421 sections 3.3.1, 3.3.4, 3.3.5 and 3.3.6, by the kind of key."""
    if isinstance(key, ec.EllipticCurvePrivateKey):
        size = key.key_size // 8
        r, s = decode_dss_signature(key.sign(base, ec.ECDSA(_hash(key.key_size))))
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(base, _PSS, hashes.SHA512())
    return key.sign(base)


def is_signature(key: PrivateKey, signature: bytes, base: bytes) -> bool:
    """The check that a third party makes, with the public half alone."""
    public = key.public_key()
    try:
        if isinstance(public, ec.EllipticCurvePublicKey):
            half = len(signature) // 2
            r, s = (int.from_bytes(part, "big") for part in (signature[:half], signature[half:]))
            public.verify(encode_dss_signature(r, s), base, ec.ECDSA(_hash(public.key_size)))
        elif isinstance(public, rsa.RSAPublicKey):
            public.verify(signature, base, _PSS, hashes.SHA512())
        else:
            public.verify(signature, base)
    except InvalidSignature:
        return False
    return True


def _hash(bits: int) -> hashes.HashAlgorithm:
    return hashes.SHA384() if bits == 384 else hashes.SHA256()


def digest_of(body: bytes) -> str:
    """RFC 9530 section 2."""
    return f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"


@dataclass(frozen=True)
class FromNow:
    """A moment so many seconds after the request is signed, however long ago the tests were collected."""

    seconds: int

    def __call__(self) -> int:
        return int(time.time()) + self.seconds


@dataclass(frozen=True)
class Signed:
    """One request and how it is signed; `headers` are those that are sent and may be covered."""

    key: PrivateKey
    keyid: str
    method: str = "GET"
    target: str = "/v1/whoami"
    body: bytes = b""
    authority: str = "localhost"
    scheme: str = "http"
    headers: Mapping[str, str] = field(default_factory=dict)
    covered: tuple[str, ...] | None = None
    parameters: Mapping[str, object] = field(default_factory=dict)
    label: str = "sig1"

    def but(self, **changes: Any) -> Signed:
        return replace(self, **changes)

    def with_parameters(self, **changes: object) -> Signed:
        """Other parameters; None takes one away."""
        return replace(self, parameters={**self.parameters, **changes})

    def all_headers(self) -> dict[str, str]:
        """What is sent, with the digest of the body, and signed."""
        sent = dict(self.headers)
        if self.body:
            sent.setdefault("Content-Type", "application/json")
            sent.setdefault("Content-Digest", digest_of(self.body))
        given, signature_input = self.base_and_input(sent)
        signature = base64.b64encode(sign(self.key, given.encode())).decode()
        return {
            **sent,
            "Signature-Input": f"{self.label}={signature_input}",
            "Signature": f"{self.label}=:{signature}:",
        }

    def base_and_input(self, sent: Mapping[str, str]) -> tuple[str, str]:
        """RFC 9421 section 2.5: a line for each component, then the parameters."""
        lower = {name.lower(): value for name, value in sent.items()}
        path, mark, query = self.target.partition("?")
        derived = {
            "@method": self.method,
            "@authority": self.authority,
            "@scheme": self.scheme,
            "@target-uri": f"{self.scheme}://{self.authority}{self.target}",
            "@request-target": self.target,
            "@path": path,
            "@query": f"?{query}" if mark else "?",
        }
        covered = self.covered
        if covered is None:
            more = [name for name in ("content-digest", "idempotency-key", "x-request-id") if name in lower]
            covered = (*USUAL, *more)
        parameters: dict[str, object] = {
            "created": int(time.time()),
            "keyid": self.keyid,
            "nonce": secrets.token_urlsafe(18),
            **self.parameters,
        }
        written = "".join(
            f";{name}={value if isinstance(value, int) else _quoted(str(value))}"
            for name, value in ((name, _at_last(value)) for name, value in parameters.items())
            if value is not None
        )
        signature_input = f"({' '.join(_component(name) for name in covered)}){written}"
        values = [derived.get(name) or lower.get(name, "") for name in (name.partition(";")[0] for name in covered)]
        lines = [f"{_component(name)}: {value}" for name, value in zip(covered, values, strict=True)]
        return "\n".join([*lines, f'"@signature-params": {signature_input}']), signature_input


def _component(name: str) -> str:
    """Its identifier; parameters are written behind a semicolon."""
    bare, mark, parameters = name.partition(";")
    return _quoted(bare) + mark + parameters


def _quoted(text: str) -> str:
    return f'"{text}"'
