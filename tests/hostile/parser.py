"""What a target is: valid inputs, the parser, and what it may raise."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from signer.call import Call

ACCOUNT: Final = "000000000000"
NOW: Final = datetime(2026, 11, 26, 12, tzinfo=UTC)
HOST: Final = "sign.example"
P256: Final = ec.derive_private_key(0x51EA1, ec.SECP256R1())
PEER: Final = P256.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
PEER_PEM: Final = P256.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
KEY_ID: Final = "0b5a6ee5-6ddd-4f0b-8f7a-0d0c9a2f2a3e"
DEEP: Final = b"[" * 20_000
LONG_NUMBER: Final = b'{"a":' + b"9" * 5000 + b"}"
JSON_TROUBLE: Final = (DEEP, b'{"a":' * 5000, LONG_NUMBER, b'{"a":"\\ud800"}', b'{"a":1,"a":2}', b"\xef\xbb\xbf{}")


@dataclass(frozen=True)
class Parser:
    """One target. `seeds` are made when they are first asked for."""

    name: str
    seeds: Callable[[], list[bytes]]
    one: Callable[[bytes], object]
    refusals: tuple[type[Exception], ...]

    def run(self, data: bytes) -> None:
        """Raises only what the parser does not promise."""
        with contextlib.suppress(*self.refusals):
            self.one(data)


def text_of(data: bytes) -> str:
    """What a header or a word of a command line can hold."""
    return data.decode("latin-1")


def json_of(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def call_of(headers: dict[str, str], body: bytes = b"{}", target: str = "/v1/whoami") -> Call:
    return Call(
        request_id="0" * 32,
        caller_request_id=None,
        source="192.0.2.1",
        authorization=headers.get("authorization"),
        idempotency_key=None,
        body=body,
        method="POST",
        target=target,
        secure=True,
        headers=headers,
    )


def headers_of(data: bytes) -> dict[str, str]:
    """Lines `name: value`; what HTTP lets no header hold is not given to the parsers either."""
    found = {}
    for line in data.split(b"\n"):
        name, colon, value = line.partition(b":")
        if colon and value.isascii() and not any(octet < 32 or octet == 127 for octet in value):
            found[text_of(name).strip().lower()] = value.decode("ascii").strip()
    return found
