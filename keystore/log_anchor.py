"""What the HSM does for the transparency log: it signs heads, and keeps the last one where no database writer reaches.

The kept head is two texts on the token, written in turn: a process that is killed while it writes one leaves the other,
so that there is a readable head at every moment. They bear no seal of their own: whoever can write to the token has the
service's PIN, with which seals are made too. Other HSMs have other log keys, and with them other logs (`origin`).
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from keystore.algorithms import SIGNING_ALGORITHMS
from keystore.api import BackingKey
from keystore.errors import CeremonyError, HsmFault, HsmUnavailable, IntegrityFailure
from keystore.hsm.labels import LOG, LOG_HEADS
from keystore.signing import load_public_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keystore.api import HardwareToken

EMPTY_ROOT: Final = hashlib.sha256(b"").digest()  # of a tree without leaves, RFC 6962 section 2.1
_KEY: Final = BackingKey(version_id=LOG, spec="ECC_NIST_EDWARDS25519", domain_label=None, wrapped=None, token_label=LOG)
_ALGORITHM: Final = SIGNING_ALGORITHMS["ED25519_SHA_512"]
_VERSION: Final = "sealmark log head v1"
_HEAD: Final = re.compile(rf"{_VERSION}\n([!-~]+)\n(0|[1-9][0-9]{{0,18}})\n([A-Za-z0-9+/]{{43}}=)\n")
_ROOT_SIZE: Final = 32  # octets, SHA-256


@dataclass(frozen=True, slots=True)
class KeptHead:
    """The last head of a log that the HSM was told of. `root` is 32 octets."""

    origin: str
    size: int
    root: bytes


class LogAnchor:
    """The log of one deployment as its HSM knows it; safe to call from many threads. Raises: `HsmUnavailable`."""

    def __init__(self, token: HardwareToken, account: str, region: str, public_key: bytes) -> None:
        """`public_key` is the log key's published one, DER SubjectPublicKeyInfo. Raises: `HsmFault` if it is none."""
        published = load_public_key(public_key)
        if not isinstance(published, Ed25519PublicKey):
            raise HsmFault("the published log key is not an Ed25519 key")
        self.public_key = public_key
        self.origin = f"sealmark/{account}/{region}/{hashlib.sha256(public_key).hexdigest()[:16]}"
        self._token = token
        self._published = published

    def sign(self, text: bytes) -> bytes:
        """64 octets of Ed25519 (RFC 8032) by the log key over a checkpoint's text, verified.

        Raises: `HsmUnavailable` also while the log key is missing from the token; `HsmFault` if what came back does not
        verify with the published key.
        """
        signature = self._token.sign(_KEY, _ALGORITHM, text)
        try:
            self._published.verify(signature, text)
        except InvalidSignature as exc:
            raise HsmFault("the HSM's signature by the log key does not verify with the published one") from exc
        return signature

    def kept_head(self) -> KeptHead:
        """The last head that was kept; of size 0 since the ceremony.

        Raises: `HsmUnavailable` if the HSM keeps none, `IntegrityFailure` if it keeps something else in its place.
        """
        with self._token.texts_locked():
            return _newest(self._read())

    def keep_head(self, origin: str, size: int, root: bytes) -> None:
        """Keeps a head in the place of the last one. One that is kept already is not written again.

        Raises: `IntegrityFailure` if it is of another log, smaller than the kept one, or of its size with another root;
        and as `kept_head`.
        """
        new = KeptHead(origin, size, root)
        if origin != self.origin:
            raise IntegrityFailure(f"a head of the log {origin} is not kept for the log {self.origin}")
        with self._token.texts_locked():
            heads = self._read()
            last = _newest(heads)
            if size < last.size:
                raise IntegrityFailure(f"the log goes back from the size {last.size}, which the HSM keeps, to {size}")
            if size == last.size:
                if root != last.root:
                    raise IntegrityFailure(f"the log has another root at the size {size} than the HSM keeps")
                return
            # The text that holds the newest head is the one that must survive this write.
            self._token.write_text(LOG_HEADS[1 - heads.index(last)], _encode(new))

    def _read(self) -> list[KeptHead | None]:
        return [self._head(name) for name in LOG_HEADS]

    def _head(self, name: str) -> KeptHead | None:
        text = self._token.read_text(name)
        if text is None:
            return None
        head = _decode(text)
        if head is None:
            raise IntegrityFailure(f"the HSM's data object {name!r} is not a head of a log")
        if head.origin != self.origin:
            raise IntegrityFailure(f"the HSM's data object {name!r} is a head of the log {head.origin}")
        return head


def begin_log(token: HardwareToken, origin: str) -> None:
    """Keeps the head of an empty log on a token that keeps none: a ceremony's last act.

    Raises: `CeremonyError` if it keeps one.
    """
    for name in LOG_HEADS:
        if token.read_text(name) is not None:
            raise CeremonyError(f"the token holds {name!r} already: a ceremony needs a token of its own")
    for name in LOG_HEADS:
        token.write_text(name, _encode(KeptHead(origin, 0, EMPTY_ROOT)))


def _newest(heads: Sequence[KeptHead | None]) -> KeptHead:
    present = [head for head in heads if head is not None]
    if not present:
        raise HsmUnavailable(
            "the HSM keeps no head of the log: bring it back, or begin another log (sealmark restore --new-log)"
        )
    newest = max(present, key=lambda head: head.size)
    if any(head.size == newest.size and head.root != newest.root for head in present):
        raise IntegrityFailure(f"the HSM keeps two roots of the log at the size {newest.size}")
    return newest


def _encode(head: KeptHead) -> str:
    if len(head.root) != _ROOT_SIZE:
        raise IntegrityFailure(f"a root has {_ROOT_SIZE} octets, not {len(head.root)}")
    return f"{_VERSION}\n{head.origin}\n{head.size}\n{base64.b64encode(head.root).decode()}\n"


def _decode(text: str) -> KeptHead | None:
    """None for whatever `_encode` would not have written."""
    match = _HEAD.fullmatch(text)
    if match is None:
        return None
    head = KeptHead(match[1], int(match[2]), base64.b64decode(match[3]))
    return head if _encode(head) == text else None
