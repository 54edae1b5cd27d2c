"""The witness's own key: Ed25519, in one file that its owner alone can read.

The file holds one line in the form of Go's `note` package, `PRIVATE+KEY+NAME+ID+BASE64(0x04 || seed)`. It is a file on
purpose: a witness stands on another machine, in other hands, where there is no HSM of the service's operator.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import stat
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from signer.witness.errors import WitnessStateError
from verifier.notes import COSIGNATURE, NoteKey

if TYPE_CHECKING:
    from pathlib import Path

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,199}")
_PREFIX: Final = "PRIVATE+KEY+"
_SEED_SIZE: Final = 32
_LONGEST: Final = 1024  # octets; a file of another kind is not read whole
_OTHERS_MAY: Final = stat.S_IRWXG | stat.S_IRWXO


class WitnessKey:
    """Makes cosignatures (C2SP tlog-cosignature, version 1). `public` is what verifiers are given."""

    def __init__(self, name: str, private_key: Ed25519PrivateKey) -> None:
        self._private_key = private_key
        self.public = NoteKey(name, COSIGNATURE, private_key.public_key().public_bytes_raw())

    def cosign(self, text: bytes, seconds: int) -> str:
        """The signature line over a checkpoint's text, with the line feed that ends it; `seconds` since 1970, UTC."""
        signed = b"cosignature/v1\ntime " + str(seconds).encode() + b"\n" + text
        return signature_line(self.public, seconds.to_bytes(8, "big") + self._private_key.sign(signed))

    def as_line(self) -> str:
        """The file's one line: a secret."""
        encoded = base64.b64encode(bytes([COSIGNATURE]) + self._private_key.private_bytes_raw()).decode()
        return f"{_PREFIX}{self.public.name}+{self.public.key_id.hex()}+{encoded}\n"


def signature_line(key: NoteKey, signature: bytes) -> str:
    """The line of a note (C2SP signed-note), with the line feed that ends it."""
    return f"\u2014 {key.name} {base64.b64encode(key.key_id + signature).decode()}\n"


def new_key(name: str) -> WitnessKey:
    """A fresh key. Raises `WitnessStateError` for a name that could not stand in a note."""
    if not NAME.fullmatch(name):
        raise WitnessStateError(
            f"{name!r} is not a witness's name: letters, digits and . _ / -, at most 200, such as witness.example/w1"
        )
    return WitnessKey(name, Ed25519PrivateKey.generate())


def write_key(key: WitnessKey, path: Path) -> None:
    """A new file of mode 0600, on the disk when this returns."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(key.as_line())
        file.flush()
        os.fsync(file.fileno())


def read_key(path: Path) -> WitnessKey:
    """Raises `WitnessStateError` if the file is missing, open to others, or not what `write_key` wrote."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise WitnessStateError(f"{path} cannot be read: {error.strerror}") from error
    with os.fdopen(descriptor, "rb") as file:
        if os.fstat(file.fileno()).st_mode & _OTHERS_MAY:
            raise WitnessStateError(f"{path} can be read by others; `chmod 600` it, or better make a new witness")
        line = file.read(_LONGEST)
    damaged = WitnessStateError(f"{path} is damaged: put the file back from where you keep its copy")
    try:
        name, key_id, encoded = line.decode("ascii").removeprefix(_PREFIX).split("+", 2)
        decoded = base64.b64decode(encoded.removesuffix("\n"), validate=True)
        key = WitnessKey(name, Ed25519PrivateKey.from_private_bytes(decoded[1 : 1 + _SEED_SIZE]))
    except (UnicodeDecodeError, binascii.Error, ValueError):
        raise damaged from None
    # The id is a hash of the public key: a flipped bit anywhere in the seed is noticed.
    if key.public.key_id.hex() != key_id or key.as_line().encode() != line:
        raise damaged
    return key
