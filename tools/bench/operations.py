"""What the benchmark asks the service for: bodies, and whether the answers are right.

`NATIVE` is the service's own API; another protocol (AWS's, the peer's) is another `Wire`: it makes whole HTTP requests
of the same items, and reads the same results out of its answers.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

import jwt
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.hazmat.primitives.serialization import load_der_public_key

from tools.service import ServiceError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Item: TypeAlias = dict[str, Any]
CONTEXT: Final = {"tenant": "bench"}
AUDIENCE: Final = "https://api.example"


@dataclass(frozen=True, slots=True)
class Checker:
    """With what answers are checked: the key's published half (DER), if it has one, and who opens its ciphertexts
    (to base64)."""

    public_key: bytes
    decrypt: Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Operation:
    """One call. `item` makes its body of 32 octets and an algorithm; `check` raises unless the result is right.

    `path` is what follows the key; `members` are those of a new key beside its purpose.
    """

    path: str
    purpose: str
    item: Callable[[bytes, str], Item]
    check: Callable[[Checker, bytes, Item], None]
    members: Item = field(default_factory=dict)


class Wire(Protocol):
    """How a call is sent and read."""

    @property
    def name(self) -> str: ...
    def requests(
        self, address: str, token: str, alias: str, operation: Operation, batches: Sequence[Sequence[Item]]
    ) -> tuple[bytes, ...]:
        """Whole HTTP requests, one for each batch of items. `address` is HOST:PORT."""
        ...

    def results(self, answer: bytes) -> list[Item]:
        """The results in an answer's body, with the native API's names."""
        ...


class Native:
    """The service's own API, with a bearer token."""

    name: Final = "native"

    def requests(
        self, address: str, token: str, alias: str, operation: Operation, batches: Sequence[Sequence[Item]]
    ) -> tuple[bytes, ...]:
        return tuple(_post(address, f"/v1/keys/{alias}/{operation.path}", token, _body(batch)) for batch in batches)

    def results(self, answer: bytes) -> list[Item]:
        found: list[Item] = json.loads(answer)["results"]
        return found


NATIVE: Final[Wire] = Native()


def _body(batch: Sequence[Item]) -> bytes:
    return json.dumps(batch[0] if len(batch) == 1 else {"items": list(batch)}).encode()


def _post(address: str, path: str, token: str, body: bytes) -> bytes:
    return (
        f"POST {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def _text(octets: bytes) -> str:
    return base64.b64encode(octets).decode()


def _check_signature(checker: Checker, digest: bytes, result: Item) -> None:
    key, signature = load_der_public_key(checker.public_key), base64.b64decode(result["signature"], validate=True)
    prehashed = utils.Prehashed(hashes.SHA256())
    if isinstance(key, ec.EllipticCurvePublicKey):
        key.verify(signature, digest, ec.ECDSA(prehashed))
    elif isinstance(key, rsa.RSAPublicKey):
        key.verify(signature, digest, padding.PKCS1v15(), prehashed)
    else:
        raise ServiceError(f"the key is of a kind that is not measured: {key!r}")


def _check_token(checker: Checker, subject: bytes, result: Item) -> None:
    key = load_der_public_key(checker.public_key)
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise ServiceError(f"the key is of a kind that is not measured: {key!r}")
    claims = jwt.decode(result["token"], key, algorithms=["ES256"], audience=AUDIENCE)
    if claims["sub"] != subject.hex():
        raise ServiceError("a token speaks of somebody else")


def _check_ciphertext(checker: Checker, plaintext: bytes, result: Item) -> None:
    if checker.decrypt(result["ciphertext"]) != _text(plaintext):
        raise ServiceError("a ciphertext opens to something else")


def _check_data_key(checker: Checker, _unused: bytes, result: Item) -> None:
    if len(base64.b64decode(result["plaintext"], validate=True)) != 32:
        raise ServiceError("a data key has another length")
    if checker.decrypt(result["ciphertext"]) != result["plaintext"]:
        raise ServiceError("a data key's ciphertext opens to something else")


SIGN: Final = Operation(
    "signatures",
    "general",
    lambda digest, algorithm: {"digest": _text(digest), "algorithm": algorithm},
    _check_signature,
)
JWT: Final = Operation(
    "jwts",
    "jwt",
    lambda subject, _algorithm: {"claims": {"sub": subject.hex(), "aud": AUDIENCE}},
    _check_token,
    {"audiences": [AUDIENCE], "max_ttl": 600},
)
ENCRYPT: Final = Operation(
    "encrypt",
    "encrypt",
    lambda plaintext, _algorithm: {"plaintext": _text(plaintext), "context": CONTEXT},
    _check_ciphertext,
)
DATA_KEY: Final = Operation(
    "data-keys", "encrypt", lambda _unused, _algorithm: {"spec": "AES_256", "context": CONTEXT}, _check_data_key
)
