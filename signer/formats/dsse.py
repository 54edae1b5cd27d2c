"""DSSE envelopes (github.com/secure-systems-lab/dsse, version 1) that hold an in-toto Statement (version 1) over files.

The service builds the statement: who asks gives names, digests and, if they will, a predicate; the bytes that are
signed are the service's own encoding of them, so one statement has one text. Nothing else is ever put in an envelope.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, Final, TypedDict

import msgspec

from signer.errors import Unprocessable
from signer.formats.json_values import require_value

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from keystore.api import SigningKey

PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
MAXIMUM_PREDICATE_BYTES: Final = 64 * 1024
MAXIMUM_PREDICATE_DEPTH: Final = 32


class EnvelopeSignature(TypedDict):
    """`keyid` is the key's RFC 7638 thumbprint, `sig` base64."""

    keyid: str
    sig: str


class Envelope(TypedDict):
    """The JSON form of an envelope; `payload` is base64."""

    payloadType: str
    payload: str
    signatures: list[EnvelopeSignature]


def pre_authentication_encoding(payload_type: str, payload: bytes) -> bytes:
    """What is signed (DSSE protocol, PAE): lengths before contents, so that no two pairs have one encoding."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def statement(
    subjects: Sequence[tuple[str, Mapping[str, str]]], predicate_type: str, predicate: Mapping[str, Any]
) -> bytes:
    """The Statement as it is signed. Each subject is a name and digests (algorithm to lower-case hex), never none."""
    return msgspec.json.encode(
        {
            "_type": STATEMENT_TYPE,
            "subject": [{"name": name, "digest": dict(digests)} for name, digests in subjects],
            "predicateType": predicate_type,
            "predicate": predicate,
        }
    )


def require_bounded(predicate: Mapping[str, Any], *, field: str = "predicate") -> None:
    """Pass if every reader reads the predicate alike, and it is within its bounds. Raises: `Unprocessable`."""
    require_value(predicate, field, depth=1, deepest=MAXIMUM_PREDICATE_DEPTH)
    size = len(msgspec.json.encode(predicate))
    if size > MAXIMUM_PREDICATE_BYTES:
        message = f"the predicate takes {size} bytes of JSON; {MAXIMUM_PREDICATE_BYTES} are allowed"
        raise Unprocessable(message, field=field)


def envelope(key: SigningKey, payload: bytes, *, kid: str) -> Envelope:
    """The signed envelope around a statement's bytes. Raises: what `SigningKey.sign` raises."""
    signature = key.sign(pre_authentication_encoding(PAYLOAD_TYPE, payload))
    return {
        "payloadType": PAYLOAD_TYPE,
        "payload": base64.b64encode(payload).decode("ascii"),
        "signatures": [{"keyid": kid, "sig": base64.b64encode(signature).decode("ascii")}],
    }
