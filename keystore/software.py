"""Where keys of `protection: software` lie: encrypted in the HSM, opened in this process, remembered for a while.

The seed is encrypted (AES-256-GCM, in the HSM) under a backing key of the version's own, which its domain key wraps as
it wraps every other; `wrapped` holds both, in the one encoding below. So a domain's rotation, a restore and the seals
of rows mean for these keys what they mean for all others. What is lost: the private key is used in this process, and
whoever reads its memory has it (`docs/threat-model.md`).
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from keystore import software_keys
from keystore.algorithms import KEY_SPECS, KeyUse, Protection
from keystore.api import BackingKey, GeneratedKey
from keystore.errors import HsmFault, Undecipherable
from keystore.hsm.cache import KeyCache
from keystore.sealing import encode_field, encode_value

if TYPE_CHECKING:
    from keystore.api import HardwareToken

# The first field of what is authenticated with every seed. Another encoding gets another version of both.
_DOMAIN: Final = b"sealmark software key v1"
_VERSION: Final = b"\x01"
_BACKING_SPEC: Final = "SYMMETRIC_DEFAULT"
_LENGTH: Final = 4  # octets of a field's length


@dataclass(frozen=True, slots=True)
class Envelope:
    """The two parts of `wrapped`: the backing key, wrapped by the domain key, and the seed under the backing key."""

    key: bytes = field(repr=False)
    seed: bytes = field(repr=False)

    def encoded(self) -> bytes:
        """Version (1 octet), then each part with its length in 4 octets, big-endian."""
        return _VERSION + encode_field(self.key) + encode_field(self.seed)


def decode_envelope(wrapped: bytes) -> Envelope:
    """Reads what `Envelope.encoded` writes, and nothing else. Raises `HsmFault`."""
    parts, rest = [], wrapped[1:]
    while rest:
        end = _LENGTH + int.from_bytes(rest[:_LENGTH], "big")
        parts.append(rest[_LENGTH:end])
        rest = rest[end:]
    if len(parts) == 2 and (envelope := Envelope(*parts)).encoded() == wrapped:
        return envelope
    raise HsmFault("a software key is not in the encoding that is read")


def associated(version_id: str, spec: str) -> bytes:
    """What is authenticated with a seed: under another version or spec it does not open."""
    return encode_field(_DOMAIN) + encode_value(version_id) + encode_value(spec)


def rewrapped(token: HardwareToken, backing: BackingKey, to_domain_label: str) -> bytes:
    """What `wrapped` is to be under another domain key, whatever the key's protection.

    The unwrapped copy in this process is forgotten. Raises as `HardwareToken.rewrap`.
    """
    if backing.protection is Protection.HSM or backing.wrapped is None:
        wrapped = token.rewrap(backing, to_domain_label)
        token.destroy(backing)
        return wrapped
    envelope = decode_envelope(backing.wrapped)
    inner = _inner(backing, envelope)
    try:
        return replace(envelope, key=token.rewrap(inner, to_domain_label)).encoded()
    finally:
        token.destroy(inner)


def inner_key(backing: BackingKey) -> BackingKey:
    """The HSM's part of a software key. Raises `HsmFault` for what is none."""
    return _inner(backing, decode_envelope(backing.wrapped or b""))


def _inner(backing: BackingKey, envelope: Envelope) -> BackingKey:
    """The backing key that the seed is encrypted under."""
    return BackingKey(backing.version_id, _BACKING_SPEC, backing.domain_label, envelope.key, None, use=KeyUse.DECRYPT)


class SoftwareKeys:
    """One process's software keys: a bounded number of them stays open, least recently used out first."""

    def __init__(self, token: HardwareToken, cache_size: int) -> None:
        self._token = token
        self._opened: KeyCache[software_keys.PrivateKey] = KeyCache(cache_size)

    def generate(self, version_id: str, spec: str, domain_label: str) -> GeneratedKey:
        """A key pair of this spec, its seed from the HSM's random numbers and the system's. Raises `Unsupported`."""
        row = KEY_SPECS[spec]
        size = software_keys.seed_octets(row)
        mixed = zip(self._token.random(size), secrets.token_bytes(size), strict=True)
        return self.keep(version_id, spec, domain_label, bytes(one ^ other for one, other in mixed))

    def keep(self, version_id: str, spec: str, domain_label: str, seed: bytes) -> GeneratedKey:
        """The key of this seed, encrypted for the database. Raises `Unsupported`, and as the token does."""
        public_key = software_keys.public_half(software_keys.load(KEY_SPECS[spec], seed))
        made = self._token.generate(_BACKING_SPEC, domain_label, f"key/{version_id}", KeyUse.DECRYPT)
        if made.wrapped is None:
            raise HsmFault("the HSM does not wrap the key that software keys are encrypted under")
        inner = BackingKey(version_id, _BACKING_SPEC, domain_label, made.wrapped, None, use=KeyUse.DECRYPT)
        try:
            sealed = self._token.encrypt(inner, seed, associated(version_id, spec))
        finally:
            self._token.destroy(inner)
        return GeneratedKey(public_key, Envelope(made.wrapped, sealed).encoded(), None)

    def open(self, backing: BackingKey, public_key: bytes) -> software_keys.PrivateKey:
        """The private key, from memory or by the HSM. Raises `HsmFault` if it is not that of the published public key,
        and as the token does."""
        if backing.wrapped is None:
            raise HsmFault(f"key version {backing.version_id} names no wrapped key")
        name = (backing.version_id, backing.wrapped)
        entry = self._opened.acquire(name)
        if entry is None:
            key = self._decrypted(backing, decode_envelope(backing.wrapped))
            if software_keys.public_half(key) != public_key:
                raise HsmFault(f"key version {backing.version_id} is not of its public key")
            entry = self._opened.add(name, key, _forget, permanent=False)
        self._opened.release(entry, _forget)  # the object lives on with whoever uses it now
        return entry.handle

    def forget(self, backing: BackingKey) -> None:
        """Drops an opened key from memory."""
        self._opened.remove((backing.version_id, backing.wrapped), _forget)

    def _decrypted(self, backing: BackingKey, envelope: Envelope) -> software_keys.PrivateKey:
        inner = _inner(backing, envelope)
        try:
            seed = self._token.decrypt(inner, envelope.seed, associated(backing.version_id, backing.spec))
            return software_keys.load(KEY_SPECS[backing.spec], seed)
        except (Undecipherable, ValueError) as exc:
            raise HsmFault(f"key version {backing.version_id} does not open") from exc
        finally:
            self._token.destroy(inner)


def _forget(key: software_keys.PrivateKey) -> None:
    """Nothing to be done: the library wipes a key that nobody refers to any more."""
