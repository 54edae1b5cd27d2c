"""The observed key signs as the key does and remembers by which digests."""

from __future__ import annotations

import hashlib

import pytest

from keystore.algorithms import Purpose
from keystore.errors import HsmFault
from signer.formats.observed import MadeSignature, ObservedKey
from tests.software_key import LyingKey, generate, information, software_key


@pytest.mark.parametrize(
    ("spec", "algorithm", "hash_name"),
    [
        ("RSA_2048", "RSASSA_PSS_SHA_384", "sha384"),
        ("ECC_NIST_P256", "ECDSA_SHA_256", "sha256"),
        ("ECC_NIST_EDWARDS25519", "ED25519_SHA_512", "sha512"),
    ],
)
def test_remembers_message_and_signature_by_their_digests(spec: str, algorithm: str, hash_name: str) -> None:
    key = ObservedKey(software_key(spec, Purpose.GENERAL, algorithm))
    first = key.sign(b"one")
    second = key.sign(b"two")
    assert key.made == [
        MadeSignature(hashlib.new(hash_name, message).digest(), hashlib.sha256(signature).digest())
        for message, signature in ((b"one", first), (b"two", second))
    ]


def test_a_digest_is_remembered_as_it_is() -> None:
    key = ObservedKey(software_key("ECC_NIST_P384", Purpose.GENERAL))
    digest = hashlib.sha384(b"x").digest()
    signature = key.sign_digest(digest)
    assert key.made == [MadeSignature(digest, hashlib.sha256(signature).digest())]


def test_what_was_not_made_is_not_remembered() -> None:
    def fault(_: bytes) -> bytes:
        raise HsmFault

    key = ObservedKey(LyingKey(generate("ECC_NIST_P256"), information("ECC_NIST_P256", Purpose.GENERAL), fault))
    with pytest.raises(HsmFault):
        key.sign(b"x")
    with pytest.raises(HsmFault):
        key.sign_digest(bytes(32))
    assert key.made == []


def test_shows_the_key_that_it_wraps() -> None:
    key = software_key("ECC_NIST_P256", Purpose.JWT)
    observed = ObservedKey(key)
    assert observed.public_key == key.public_key
    assert observed.info is key.info
