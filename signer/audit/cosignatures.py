"""Cosignatures of outside witnesses, read strictly before anybody keeps them.

C2SP signed-note and tlog-cosignature, version 1 (https://c2sp.org). A witness's answer is a stranger's: a line counts
only if it is the configured key's, is valid over the very checkpoint, and says a time that can be.
"""

from __future__ import annotations

import hashlib
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

KIND: Final = 0x04  # signed-note, "Signature types": a timestamped Ed25519 cosignature
CLOCK_SECONDS: Final = 300  # by which a witness's clock may differ from ours
LONGEST_NAME: Final = 100
_KEY_SIZE: Final = 32
_TIME_SIZE: Final = 8
_SIGNATURE_SIZE: Final = 64


class BadCosignature(Exception):
    """What a witness sent is no cosignature of it; the message says why, for the log."""


@dataclass(frozen=True, slots=True)
class WitnessKey:
    """A witness's verifier key: `NAME+ID+KEY`, of the kind 4."""

    name: str
    public_key: bytes  # 32 octets

    @property
    def key_id(self) -> bytes:
        """Four octets that select, and prove nothing."""
        return hashlib.sha256(f"{self.name}\n".encode() + bytes([KIND]) + self.public_key).digest()[:4]

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{b64encode(bytes([KIND]) + self.public_key).decode()}"


def parse_witness_key(text: str) -> WitnessKey:
    """Raises `ValueError` for anything but the form that `str` of a key has; the message says what is wrong."""
    name, _, rest = text.partition("+")
    _, _, encoded = rest.partition("+")
    octets = _base64(encoded) or b""
    if len(octets) != 1 + _KEY_SIZE or octets[0] != KIND:
        msg = "it is not NAME+ID+KEY with a key of the kind 4, as `sealmark witness key` prints it"
        raise ValueError(msg)
    if not name or len(name) > LONGEST_NAME or not name.isprintable() or any(char.isspace() for char in name):
        msg = f"its name is not one of 1 to {LONGEST_NAME} characters without spaces"
        raise ValueError(msg)
    key = WitnessKey(name, octets[1:])
    if str(key) != text:
        msg = f"its id is not the key's, which is {key.key_id.hex()}: a character is wrong somewhere"
        raise ValueError(msg)
    return key


def own_line(answer: str, key: WitnessKey, text: bytes, now: int) -> str:
    """The one line of `answer` that is this witness's valid cosignature of the checkpoint `text`, with its line feed.

    Lines of other keys are left aside. `now`: seconds since 1970. Raises `BadCosignature`.
    """
    if not answer.endswith("\n"):
        raise BadCosignature("the answer does not end with a line feed")
    start = f"\N{EM DASH} {key.name} "
    mine = [(line, _base64(line.removeprefix(start))) for line in answer[:-1].split("\n") if line.startswith(start)]
    signatures = [(line, octets) for line, octets in mine if octets is not None and octets[:4] == key.key_id]
    if len(signatures) != 1:
        raise BadCosignature("the answer has not just one line of the configured key")
    ((line, octets),) = signatures
    if len(octets) != 4 + _TIME_SIZE + _SIGNATURE_SIZE:
        raise BadCosignature("the cosignature has not the length of one")
    seconds = int.from_bytes(octets[4 : 4 + _TIME_SIZE], "big")
    signed = f"cosignature/v1\ntime {seconds}\n".encode() + text
    try:
        Ed25519PublicKey.from_public_bytes(key.public_key).verify(octets[4 + _TIME_SIZE :], signed)
    except (InvalidSignature, ValueError):
        raise BadCosignature("the cosignature does not verify") from None
    if abs(seconds - now) > CLOCK_SECONDS:
        raise BadCosignature(f"the cosignature's time is {abs(seconds - now)} s away from ours: set the clocks right")
    return f"{line}\n"


def _base64(text: str) -> bytes | None:
    try:
        octets = b64decode(text, validate=True)
    except (Base64Error, ValueError):
        return None
    return octets if b64encode(octets).decode() == text else None
