"""The DSSE envelope (secure-systems-lab/dsse, version 1) as JSON, read strictly. Decides no trust.

One signature, over an in-toto Statement. What the payload says is looked at by `verifier.artifacts.statement`, and
only once the signature holds.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from verifier.errors import Rejected
from verifier.strict_json import JsonValue, check_members, parse_object

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

MAXIMUM_ENVELOPE_BYTES: Final = 4 * 1024 * 1024
PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
_ENVELOPE_MEMBERS: Final = frozenset({"payloadType", "payload", "signatures"})


@dataclass(frozen=True, slots=True)
class Envelope:
    """A well-formed envelope, its signature not checked yet. `key_id` is a hint that nothing protects."""

    payload: bytes
    key_id: str | None
    signature: bytes

    @property
    def signed(self) -> bytes:
        """What the signature is over."""
        return pre_authentication_encoding(PAYLOAD_TYPE, self.payload)


def pre_authentication_encoding(payload_type: str, payload: bytes) -> bytes:
    """PAE of the DSSE protocol: `DSSEv1 SP LEN(type) SP type SP LEN(payload) SP payload`, lengths in decimal octets."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def parse_envelope(data: bytes) -> Envelope:
    """Reads an envelope that stands alone. Rejected if it is not this package's strict form of one."""
    if len(data) > MAXIMUM_ENVELOPE_BYTES:
        raise Rejected("too_large", f"The envelope is larger than {MAXIMUM_ENVELOPE_BYTES} bytes.")
    try:
        return read_envelope(parse_object(data))
    except ValueError as error:
        raise Rejected("malformed", f"The DSSE envelope is malformed: {error}.") from error


def read_envelope(members: dict[str, JsonValue]) -> Envelope:
    """The envelope of a JSON object. ValueError for one that is not strict, Rejected for another type of payload."""
    check_members(members, "the envelope", exactly=_ENVELOPE_MEMBERS)
    if not isinstance(members["payloadType"], str):
        raise ValueError("payloadType is not a text")
    if members["payloadType"] != PAYLOAD_TYPE:
        raise Rejected(
            "type_mismatch", f"The envelope does not say that it holds an in-toto Statement ({PAYLOAD_TYPE})."
        )
    signatures = members["signatures"]
    if not isinstance(signatures, list) or len(signatures) != 1:
        raise ValueError("it must have exactly one signature")
    signature = object_of(signatures[0], "the signature", required={"sig"}, optional={"keyid"})
    key_id = signature.get("keyid")
    if key_id is not None and not isinstance(key_id, str):
        raise ValueError("keyid is not a text")
    return Envelope(octets(members, "payload"), key_id or None, octets(signature, "sig"))


def object_of(
    value: JsonValue, where: str, *, required: AbstractSet[str], optional: AbstractSet[str] = frozenset()
) -> dict[str, JsonValue]:
    """The object, if it has the required members and at most the optional ones beside them. ValueError otherwise."""
    if not isinstance(value, dict):
        raise ValueError(f"{where} is not an object")
    check_members(value, where, exactly=required | (optional & value.keys()))
    return value


def octets(members: dict[str, JsonValue], name: str) -> bytes:
    """A member's bytes, never none. ValueError unless it is standard base64 in its one canonical text."""
    text = members.get(name)
    if not isinstance(text, str) or not text.isascii():
        raise ValueError(f"{name} is not standard base64")
    try:
        value = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        value = b""
    if not value or base64.b64encode(value).decode("ascii") != text:
        raise ValueError(f"{name} is not standard base64")
    return value
