"""A real token behind a wrapper that counts, lies, stops or looks on when it is asked to sign. For tests alone."""

from __future__ import annotations

import hashlib
import threading
import uuid
from typing import TYPE_CHECKING, Final

from keystore.algorithms import KeyUse
from keystore.api import BackingKey
from keystore.hsm import Token
from keystore.hsm.labels import LOG
from tests.hsm_support import DOMAIN

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from keystore.algorithms import SigningAlgorithm, UseAlgorithm
    from keystore.api import DataKeyPair, GeneratedKey, TokenInfo
    from keystore.importable import Material


class FaultyToken:
    """A `keystore.api.HardwareToken` over the real one; honest until it is told otherwise."""

    def __init__(self, token: Token) -> None:
        self._token = token
        self._guard = threading.Lock()
        self._others: dict[str, BackingKey] = {}
        self.asked = 0  # how often it was asked to sign
        # a signature's stand-in, from this token, the key, its algorithm, what is to be signed and the honest signature
        self.lie: Callable[[FaultyToken, BackingKey, SigningAlgorithm, bytes, bytes], bytes] | None = None
        self.lies_from = 0  # signatures that are honest before the first lie, counted from `honest`
        self.before_signing: Callable[[BackingKey], None] | None = None
        self.after_signing: Callable[[], None] | None = None
        self.before_checkpoint: Callable[[bytes], None] | None = None  # with the text that the log key is to sign
        self.generated: list[GeneratedKey] = []

    def honest(self) -> None:
        """Ends every fault, and counts anew."""
        self.asked = self.lies_from = 0
        self.lie = self.before_signing = self.after_signing = self.before_checkpoint = None
        self.generated = []

    def sign(self, backing: BackingKey, algorithm: SigningAlgorithm, data: bytes) -> bytes:
        if backing.version_id == LOG:  # a checkpoint, after everything else: not what is counted and lied about here
            if self.before_checkpoint is not None:
                self.before_checkpoint(data)
            return self._token.sign(backing, algorithm, data)
        with self._guard:
            turn = self.asked
            self.asked += 1
        if self.before_signing is not None:
            self.before_signing(backing)
        signature = self._token.sign(backing, algorithm, data)
        if self.after_signing is not None:
            self.after_signing()
        if self.lie is not None and turn >= self.lies_from:
            return self.lie(self, backing, algorithm, data, signature)
        return signature

    def sign_each(
        self, backing: BackingKey, algorithm: SigningAlgorithm, inputs: Sequence[bytes], made: list[bytes]
    ) -> None:
        for data in inputs:
            made.append(self.sign(backing, algorithm, data))  # noqa: PERF401 - those before a fault are made, too

    def signed_by(self, backing: BackingKey, algorithm: SigningAlgorithm, data: bytes) -> bytes:
        """What the real token says, uncounted."""
        return self._token.sign(backing, algorithm, data)

    def other_key(self, spec: str) -> BackingKey:
        """Another key of the same spec, made once."""
        if spec not in self._others:
            version_id = str(uuid.uuid4())
            made = self._token.generate(spec, DOMAIN, f"key/{version_id}")
            label = None if made.wrapped is None else DOMAIN
            self._others[spec] = BackingKey(version_id, spec, label, made.wrapped, made.token_label)
        return self._others[spec]

    def destroy_others(self) -> None:
        """Leaves no object on the token."""
        for backing in self._others.values():
            self._token.destroy(backing)
        self._others = {}

    @property
    def info(self) -> TokenInfo:
        return self._token.info

    def seal(self, message: bytes) -> bytes:
        return self._token.seal(message)

    def generate(self, spec: str, domain_label: str, token_label: str, use: KeyUse = KeyUse.SIGN) -> GeneratedKey:
        made = self._token.generate(spec, domain_label, token_label, use)
        self.generated.append(made)
        return made

    def encrypt(self, backing: BackingKey, plaintext: bytes, associated: bytes) -> bytes:
        return self._token.encrypt(backing, plaintext, associated)

    def decrypt(self, backing: BackingKey, sealed: bytes, associated: bytes) -> bytes:
        return self._token.decrypt(backing, sealed, associated)

    def mac(self, backing: BackingKey, algorithm: UseAlgorithm, message: bytes) -> bytes:
        return self._token.mac(backing, algorithm, message)

    def decrypt_raw(self, backing: BackingKey, ciphertext: bytes) -> bytes:
        return self._token.decrypt_raw(backing, ciphertext)

    def agree(self, backing: BackingKey, point: bytes) -> bytes:
        return self._token.agree(backing, point)

    def make_data_key_pair(self, spec: str) -> DataKeyPair:
        return self._token.make_data_key_pair(spec)

    def material_id(self, backing: BackingKey) -> str:
        return self._token.material_id(backing)

    def bring_in(self, material: Material, domain_label: str, use: KeyUse) -> GeneratedKey:
        return self._token.bring_in(material, domain_label, use)

    def rewrap(self, backing: BackingKey, to_domain_label: str) -> bytes:
        return self._token.rewrap(backing, to_domain_label)

    def opens(self, backing: BackingKey) -> bool:
        return self._token.opens(backing)

    def link_seal(self, domain: str, message: bytes) -> bytes:
        return self._token.link_seal(domain, message)

    def destroy(self, backing: BackingKey) -> None:
        self._token.destroy(backing)

    def read_text(self, name: str) -> str | None:
        return self._token.read_text(name)

    def write_text(self, name: str, text: str) -> None:
        self._token.write_text(name, text)

    def follow(self, newer: Callable[[BackingKey], BackingKey | None]) -> None:
        self._token.follow(newer)

    def texts_locked(self) -> AbstractContextManager[None]:
        return self._token.texts_locked()

    def random(self, size: int) -> bytes:
        return self._token.random(size)

    def probe(self) -> None:
        self._token.probe()

    def close(self) -> None:
        self._token.close()


def garbage(_token: FaultyToken, _key: BackingKey, _algorithm: SigningAlgorithm, _data: bytes, honest: bytes) -> bytes:
    """Octets of the right number that mean nothing."""
    return (hashlib.shake_256(honest)).digest(len(honest))


def truncated(
    _token: FaultyToken, _key: BackingKey, _algorithm: SigningAlgorithm, _data: bytes, honest: bytes
) -> bytes:
    """The last octet is missing."""
    return honest[:-1]


def halved(_token: FaultyToken, _key: BackingKey, _algorithm: SigningAlgorithm, _data: bytes, honest: bytes) -> bytes:
    """The second half is missing: for ECDSA, s without r."""
    return honest[: len(honest) // 2]


def empty(_token: FaultyToken, _key: BackingKey, _algorithm: SigningAlgorithm, _data: bytes, _honest: bytes) -> bytes:
    """Nothing at all."""
    return b""


def another_keys(
    token: FaultyToken, key: BackingKey, algorithm: SigningAlgorithm, data: bytes, _honest: bytes
) -> bytes:
    """A good signature over the right data, by another key of the same HSM."""
    return token.signed_by(token.other_key(key.spec), algorithm, data)


def another_digests(
    token: FaultyToken, key: BackingKey, algorithm: SigningAlgorithm, data: bytes, _honest: bytes
) -> bytes:
    """A good signature by the right key, over something else."""
    return token.signed_by(key, algorithm, hashlib.shake_256(data).digest(len(data)))


LIES: Final = (garbage, truncated, halved, empty, another_keys, another_digests)
