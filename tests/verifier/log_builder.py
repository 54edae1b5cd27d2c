"""A transparency log for tests: leaves, tree, checkpoints, cosignatures and proofs.

Written from RFC 6962 section 2.1 (the recursive definitions, as they stand there) and the C2SP documents; it shares
nothing with `verifier`. Leaves are only ever appended: to tamper with one, build another log.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

if TYPE_CHECKING:
    from collections.abc import Sequence

PROOF_HEADER = "c2sp.org/tlog-proof@v1"


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


@dataclass(frozen=True)
class NoteSigner:
    """An Ed25519 key that signs notes: `kind` 1 for logs, 4 for witnesses (C2SP signed-note, "Signature types")."""

    name: str
    private_key: Ed25519PrivateKey
    kind: int = 1

    @property
    def public_key(self) -> bytes:
        """The 32 bytes of RFC 8032."""
        return self.private_key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    @property
    def key_id(self) -> bytes:
        """The first four bytes of SHA-256 over name, line feed, kind and key."""
        return _sha256(self.name.encode() + b"\n" + bytes([self.kind]) + self.public_key)[:4]

    @property
    def text(self) -> str:
        """The verifier key, `NAME+ID+KEY`."""
        return f"{self.name}+{self.key_id.hex()}+{_base64(bytes([self.kind]) + self.public_key)}"

    def line(self, signature: bytes) -> bytes:
        """A signature line for a note, with its line feed."""
        return f"\u2014 {self.name} {_base64(self.key_id + signature)}\n".encode()


def _private_key(label: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(_sha256(label.encode()))


def log_signer(label: str = "log", account: str = "000000000000", region: str = "us-east-1") -> NoteSigner:
    """A log's key under the name that Sealmark gives its logs; another label is another key."""
    private_key = _private_key(f"log {label}")
    spki = private_key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return NoteSigner(f"sealmark/{account}/{region}/{_sha256(spki).hex()[:16]}", private_key)


def witness_signer(name: str = "witness.example/w1") -> NoteSigner:
    """A witness's key."""
    return NoteSigner(name, _private_key(f"witness {name}"), kind=4)


class LogBuilder:
    """A log in memory. Sizes are optional everywhere: the whole log by default."""

    def __init__(self, leaves: Sequence[bytes] = ()) -> None:
        self._leaves = list(leaves)
        self._subtrees: dict[tuple[int, int], bytes] = {}

    @property
    def leaves(self) -> tuple[bytes, ...]:
        """The leaves so far."""
        return tuple(self._leaves)

    @property
    def size(self) -> int:
        """How many leaves there are."""
        return len(self._leaves)

    def append(self, leaf: bytes) -> int:
        """The index of the new leaf."""
        self._leaves.append(leaf)
        return len(self._leaves) - 1

    def root(self, size: int | None = None) -> bytes:
        """MTH(D[size]), RFC 6962 section 2.1."""
        end = self.size if size is None else size
        return self._mth(0, end) if end else _sha256(b"")

    def inclusion(self, index: int, size: int | None = None) -> list[bytes]:
        """PATH(index, D[size]), RFC 6962 section 2.1.1: from the leaf's sibling up."""
        return self._path(index, 0, self.size if size is None else size)

    def consistency(self, first: int, second: int | None = None) -> list[bytes]:
        """PROOF(first, D[second]), RFC 6962 section 2.1.2; nothing from the empty log on."""
        end = self.size if second is None else second
        return self._subproof(first, 0, end, whole=True) if first else []

    def checkpoint(self, signer: NoteSigner, size: int | None = None, origin: str | None = None) -> bytes:
        """A signed checkpoint (C2SP tlog-checkpoint); the origin is the signer's name unless it is said."""
        end = self.size if size is None else size
        text = f"{origin or signer.name}\n{end}\n{_base64(self.root(end))}\n".encode()
        return sign_note(text, signer)

    def proof(self, index: int, checkpoint: bytes, *, extra: bytes | None = None) -> bytes:
        """C2SP tlog-proof of the leaf at `index` under the checkpoint (whose size it reads), the leaf as `extra`."""
        size = int(checkpoint.split(b"\n")[1])
        leaf = self._leaves[index] if extra is None else extra
        lines = [PROOF_HEADER, f"extra {_base64(leaf)}", f"index {index}"]
        lines += [_base64(each) for each in self.inclusion(index, size)]
        return "".join(f"{line}\n" for line in lines).encode() + b"\n" + checkpoint

    def _mth(self, start: int, end: int) -> bytes:
        if (start, end) not in self._subtrees:
            if end - start == 1:
                found = _sha256(b"\x00" + self._leaves[start])
            else:
                middle = start + _split(end - start)
                found = _sha256(b"\x01" + self._mth(start, middle) + self._mth(middle, end))
            self._subtrees[start, end] = found
        return self._subtrees[start, end]

    def _path(self, index: int, start: int, end: int) -> list[bytes]:
        if end - start == 1:
            return []
        middle = start + _split(end - start)
        if index < middle:
            return [*self._path(index, start, middle), self._mth(middle, end)]
        return [*self._path(index, middle, end), self._mth(start, middle)]

    def _subproof(self, first: int, start: int, end: int, *, whole: bool) -> list[bytes]:
        if first == end - start:
            return [] if whole else [self._mth(start, end)]
        split = _split(end - start)
        if first <= split:
            return [*self._subproof(first, start, start + split, whole=whole), self._mth(start + split, end)]
        return [*self._subproof(first - split, start + split, end, whole=False), self._mth(start, start + split)]


def _split(size: int) -> int:
    """The largest power of two below `size`."""
    return int(2 ** ((size - 1).bit_length() - 1))


def sign_note(text: bytes, *signers: NoteSigner) -> bytes:
    """The text, which ends with a line feed, and a signature of each signer under it (C2SP signed-note)."""
    return text + b"\n" + b"".join(signer.line(signer.private_key.sign(text)) for signer in signers)


def cosign(note: bytes, witness: NoteSigner, at: datetime | int) -> bytes:
    """The note with one more line, the witness's cosignature/v1 at that time (C2SP tlog-cosignature)."""
    text = note[: note.rindex(b"\n\n") + 1]
    seconds = int(at.timestamp()) if isinstance(at, datetime) else at
    message = f"cosignature/v1\ntime {seconds}\n".encode() + text
    return note + witness.line(seconds.to_bytes(8, "big") + witness.private_key.sign(message))


def canonical(value: object) -> bytes:
    """Canonical JSON: members sorted, no spaces, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode("ascii")


def leaf_time(moment: datetime) -> str:
    """As leaves and records write it: UTC, six digits after the point."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def decision_leaf(*signatures: dict[str, str], **changes: object) -> bytes:
    """The leaf of a decision; without signatures that of a refusal. `signatures`: {"digest": hex, "sha256": hex}."""
    members: dict[str, object] = {
        "algorithm": None,
        "key_sha256": None,
        "key_version": None,
        "record_sha256": _sha256(b"a nonce and a record").hex(),
        "signatures": list(signatures),
        "time": "2026-01-02T03:04:05.678901Z",
        "v": 1,
    }
    return canonical(members | changes)


def rows_leaf(journal: int, link: bytes = b"\x05" * 32) -> bytes:
    """The leaf of an entry of the sealed rows' journal."""
    return canonical({"journal": journal, "link": link.hex(), "v": 1})
