"""Answers of the calls that encrypt, authenticate, agree and verify. All octets are base64."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from signer.web.answers.common import KeyId


class Used(msgspec.Struct):
    """What every result has: the key that was used, and with which algorithm."""

    key_id: KeyId
    key_version: int
    algorithm: str
    request_id: str


class WithMaterial(Used):
    """The same of a key whose material has an id of its own."""

    material_id: Annotated[str, Meta(description="which material of a symmetric key; RSA keys have none")] | (
        msgspec.UnsetType
    ) = msgspec.UNSET


class MadeCiphertext(WithMaterial, kw_only=True):
    """One ciphertext."""

    ciphertext: bytes


class MadeCiphertexts(msgspec.Struct):
    """One."""

    results: list[MadeCiphertext]


class OpenedCiphertext(WithMaterial, kw_only=True):
    """What was encrypted."""

    plaintext: bytes


class OpenedCiphertexts(msgspec.Struct):
    """One."""

    results: list[OpenedCiphertext]


class MadeDataKey(WithMaterial, kw_only=True):
    """A data key, in the clear and encrypted."""

    ciphertext: bytes
    plaintext: bytes


class MadeDataKeys(msgspec.Struct):
    """One."""

    results: list[MadeDataKey]


class MadePair(WithMaterial, kw_only=True):
    """A key pair: its public half (DER SubjectPublicKeyInfo), its private half (PKCS #8, DER) encrypted."""

    spec: str
    public_key: bytes
    private_key_ciphertext: bytes


class MadePairs(msgspec.Struct):
    """One."""

    results: list[MadePair]


class MadeOpenPair(MadePair, kw_only=True):
    """The same, with the private half in the clear."""

    private_key: bytes


class MadeOpenPairs(msgspec.Struct):
    """One."""

    results: list[MadeOpenPair]


class MovedFrom(msgspec.Struct, kw_only=True):
    """By which key it was opened."""

    key_id: KeyId
    key_version: int
    algorithm: str
    material_id: str | msgspec.UnsetType = msgspec.UNSET


class MovedCiphertext(MovedFrom, kw_only=True):
    """A ciphertext of the destination, whose key and version these are; and of what it was made."""

    request_id: str
    ciphertext: bytes
    source: MovedFrom


class MovedCiphertexts(msgspec.Struct):
    """One."""

    results: list[MovedCiphertext]


class MadeMac(Used, kw_only=True):
    """One code."""

    mac: bytes


class MadeMacs(msgspec.Struct):
    """One."""

    results: list[MadeMac]


class Valid(Used, kw_only=True):
    """Always true: what is not valid is refused."""

    valid: bool


class ValidMacs(msgspec.Struct):
    """One."""

    results: list[Valid]


class ValidSignature(Valid, kw_only=True):
    """The same, with the version that signed."""

    signed_by_version: int


class ValidSignatures(msgspec.Struct):
    """One."""

    results: list[ValidSignature]


class AgreedSecret(Used, kw_only=True):
    """A shared secret: the x coordinate (SP 800-56A section 5.7.1.2), or ML-KEM's."""

    shared_secret: bytes


class AgreedSecrets(msgspec.Struct):
    """One."""

    results: list[AgreedSecret]


class EncapsulatedSecret(AgreedSecret, kw_only=True):
    """The same, with the ciphertext that gives it to the holder of the key."""

    ciphertext: bytes


class EncapsulatedSecrets(msgspec.Struct):
    """One."""

    results: list[EncapsulatedSecret]


class MadeRandom(msgspec.Struct):
    """Octets of the HSM's generator."""

    random: bytes
