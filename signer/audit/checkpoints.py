"""Checkpoints and proofs of the log, as text.

C2SP signed-note, tlog-checkpoint and tlog-proof (https://c2sp.org). Base64 is that of RFC 4648 section 4.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from binascii import b2a_base64
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

if TYPE_CHECKING:
    from collections.abc import Iterable

ED25519: Final = 0x01  # signed-note, "Signature types"
PROOF_HEADER: Final = "c2sp.org/tlog-proof@v1\n"


class NoteSigner:
    """Who signs checkpoints: a name and an Ed25519 public key, and what follows from the two."""

    def __init__(self, name: str, public_key: bytes) -> None:
        """`public_key` is a DER SubjectPublicKeyInfo. Raises `ValueError` if it is not of Ed25519."""
        loaded = load_der_public_key(public_key)
        if not isinstance(loaded, Ed25519PublicKey):
            msg = "the log's key is not of Ed25519"
            raise ValueError(msg)
        self.name = name
        self.public_key = loaded
        octets = bytes([ED25519]) + loaded.public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.key_id = hashlib.sha256(name.encode() + b"\n" + octets).digest()[:4]
        self.verifier_key = f"{name}+{self.key_id.hex()}+{b64encode(octets).decode()}"

    def line(self, signature: bytes) -> str:
        """The line of a signature (64 octets) below a note."""
        return f"\N{EM DASH} {self.name} {b64encode(self.key_id + signature).decode()}\n"


def checkpoint_text(origin: str, size: int, root: bytes) -> str:
    """What is signed: origin, size and root, a line each."""
    return f"{origin}\n{size}\n{b64encode(root).decode()}\n"


def hash_line(node: bytes) -> str:
    """A hash as it stands in a proof."""
    return b2a_base64(node).decode()


def hash_lines(nodes: Iterable[bytes]) -> str:
    """The hashes of an inclusion proof, from the leaf up, a line each."""
    return "".join(map(hash_line, nodes))


def proof_text(leaf: bytes, index: int, lines: str, checkpoint: str) -> str:
    """The proof that `leaf` is the entry `index` of the log whose signed checkpoint this is; `lines` are its hashes."""
    extra = b2a_base64(leaf).decode()  # with its line feed
    return f"{PROOF_HEADER}extra {extra}index {index}\n{lines}\n{checkpoint}"
